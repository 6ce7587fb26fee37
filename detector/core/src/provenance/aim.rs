//! Where a call goes, and which tools alone would have brought what nobody authored of it: what a grant is compared with.
//!
//! Everything else that asks of values wants to know whether one *may* have come from somewhere. Here a wrong yes lets a
//! call run, so whatever is not certain counts against: what is encoded, spelled, cut or too long, what other agents handed
//! over, what a tool only gave back. Once something is forgotten nobody can say where a value came from first, and so nobody
//! brought it.

use martingale_schemas::Step;
use martingale_schemas::grant::is_same_address;

use super::atom::{Atom, Coding, Flag};
use super::index::{Index, ToolTraits};
use super::role::Role;
use super::scan::{self, Depth, Scanner, Sink};
use super::table::Sighting;
use super::{fold, places, rarity, walk};
use crate::hash::hash_text;

/// Texts and numbers of a call that are looked at. One with more goes anywhere.
const LEAVES_MAX: usize = 64;
/// Longer ones are told apart by their beginning alone.
const VALUE_BYTES_MAX: usize = 192;
/// Names of members beyond these are values that stand in the place of names.
const NAME_BYTES_MAX: usize = 64;
const NAME_DIGITS_MAX: usize = 5;

/// Which tools gave a value that is too short to be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// None did: it is the agent's own.
    Nobody,
    /// These, by the hashes of their names.
    Tools(Vec<u64>),
    /// That is not known.
    Unknown,
}

/// What a call would do, as far as it is certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aim {
    /// Every address that it names.
    pub(crate) destinations: Vec<String>,
    /// Tools each of which alone would have brought all that neither user nor operator wrote.
    pub(crate) sources: Vec<Box<str>>,
}

impl Aim {
    /// `None` for a call that cannot be seen through. `short` is asked of what an index does not keep.
    pub(crate) fn of(
        step: &Step<'_>,
        tool: ToolTraits,
        index: Option<&Index>,
        short: &dyn Fn(&str) -> Short,
    ) -> Option<Self> {
        let Some(input) = step.input.as_ref() else { return Some(Self::default()) };
        let mut weighing = index.filter(|it| !it.lossy).map(Weighing::new);
        let (mut destinations, mut leaves, mut clear) = (Vec::new(), 0, step.input_cut.is_none());
        let cut = walk::leaves_and_names(input.get(), 1, &mut |leaf| {
            if leaf.is_name {
                clear &= is_plain_name(leaf.text);
                return;
            }
            leaves += 1;
            // A path that was cut no longer tells what the value is for.
            clear &= leaves <= LEAVES_MAX && !leaf.path.contains('…');
            let text = leaf.text.trim();
            let is_destination = places::of(leaf.path, text, &mut |it| {
                if !destinations.iter().any(|known| known == it) {
                    destinations.push(it.to_owned());
                }
            });
            let role = if is_destination { Role::Destination } else { Role::of(leaf.key, text, tool.runs_code) };
            if let Some(it) = &mut weighing {
                it.weigh(role, text, short);
            }
        });
        let sources = weighing.filter(|it| it.brought).map(|it| it.left).unwrap_or_default();
        (clear && !cut).then(|| Self { destinations, sources: sources.into_iter().map(Into::into).collect() })
    }

    /// Whether it goes there and nowhere else.
    pub(crate) fn goes_to(&self, destination: &str) -> bool {
        !self.destinations.is_empty() && self.destinations.iter().all(|it| is_same_address(destination, it))
    }

    pub(crate) fn comes_from(&self, tool: &str) -> bool {
        self.sources.iter().any(|it| **it == *tool)
    }
}

/// Whether the name of a member is one that a schema has.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'$' | b' ');
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    name.len() <= NAME_BYTES_MAX && digits <= NAME_DIGITS_MAX && name.bytes().all(is_plain)
}

/// Whether a value is of a form in which the index cannot take it for another one: it drops accents, schemes and what stands
/// before a path.
fn is_strict(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    text.len() <= VALUE_BYTES_MAX
        && text.is_ascii()
        && matches!(scheme, "http" | "https")
        && !rest.contains("..")
        && !rest.starts_with(['.', '/', '-', '_', '@'])
}

/// Tools that may have brought all that was looked at so far.
struct Weighing<'i> {
    index: &'i Index,
    left: Vec<&'i str>,
    /// Whether any value came from a tool at all.
    brought: bool,
}

impl<'i> Weighing<'i> {
    fn new(index: &'i Index) -> Self {
        Self { index, left: index.sources.tools(), brought: false }
    }

    fn weigh(&mut self, role: Role, text: &str, short: &dyn Fn(&str) -> Short) {
        let aims = matches!(role, Role::Destination | Role::Handle | Role::Command);
        if aims && !is_strict(text) {
            self.left.clear();
            return;
        }
        let is_short = rarity::bits(&fold::plain(text)) < rarity::GATE_BITS;
        let key = self.index.key;
        let is_path = text.contains('/');
        let asking = Asking { of: self, aims, is_path, whole: Whole::Unknown, authored: None };
        let mut scanner = Scanner::new(&key, Depth::All, asking);
        scanner.text(text, Flag::FIELD);
        if aims && is_short && role != Role::Command && text.len() <= NAME_BYTES_MAX {
            scanner.sink().atom(scan::named(&key, role, text.as_bytes(), 0, Flag::FIELD));
        }
        let whole = scanner.sink().whole;
        match whole {
            Whole::Authored | Whole::Brought => {}
            Whole::Unknown if is_short && role != Role::Content => self.short(short(text), aims),
            Whole::Unknown if aims => self.left.clear(),
            Whole::Unknown => {}
        }
    }

    fn short(&mut self, by: Short, aims: bool) {
        match by {
            Short::Nobody if !aims => {}
            Short::Tools(tools) => {
                self.left.retain(|it| tools.iter().all(|by| *by == hash_text(it)));
                self.brought = true;
            }
            Short::Nobody | Short::Unknown => self.left.clear(),
        }
    }

    fn is_authored(&self, atom: &Atom) -> bool {
        self.index.named.find(atom.hash).next().is_some()
    }

    /// Leaves the tool that gave a value first, if it also stood there in a form that counts; whether any gave it. One that gives
    /// back what it was asked for brings nothing.
    fn keep(&mut self, atom: &Atom, counts: impl Fn(&Sighting) -> bool) -> bool {
        let index = self.index;
        let sources = &index.sources;
        let tool = |it: &Sighting| sources.get(it.source).map(|it| &*it.tool);
        let sightings = || index.read.find(atom.hash).filter(|it| tool(it).is_some());
        let Some(first) = sightings().max_by_key(|it| sources.age(it.source)) else { return false };
        let first = tool(first).filter(|first| sightings().any(|it| counts(it) && tool(it) == Some(first)));
        self.left.retain(|it| first == Some(*it));
        self.brought = true;
        true
    }
}

/// Whose a value is as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Authored,
    Brought,
    Unknown,
}

/// Takes what a scanner finds in one argument.
struct Asking<'g, 'i> {
    of: &'g mut Weighing<'i>,
    /// It decides where the call goes, on what it works or what it runs; otherwise it is carried along.
    aims: bool,
    is_path: bool,
    whole: Whole,
    /// The latest value, if an author wrote it: its other forms and its parts are theirs too.
    authored: Option<u16>,
}

impl Asking<'_, '_> {
    /// What decides counts only as a whole, as it stands here and stood there; and in no other form was it anybody else's.
    fn aim(&mut self, atom: &Atom, is_whole: bool) {
        if !is_whole {
            if self.whole == Whole::Brought && atom.flags.has(Flag::LOOSE) && !atom.flags.has(Flag::PART) {
                self.of.keep(atom, |_| true);
            }
            return;
        }
        if self.whole != Whole::Unknown {
            return;
        }
        let counts =
            |it: &Sighting| it.coding == Coding::NONE && !it.flags.any(TRACE) && (!self.is_path || it.raw == atom.raw);
        if self.of.is_authored(atom) {
            self.whole = Whole::Authored;
        } else if self.of.keep(atom, counts) {
            self.whole = Whole::Brought;
        }
    }

    /// What is carried along may be the agent's own words, and holds nothing of anybody else's.
    fn carry(&mut self, atom: &Atom) {
        let is_theirs = match atom.flags {
            it if it.has(Flag::PART) => self.authored.is_some(),
            it if it.has(Flag::LOOSE) => self.authored == Some(atom.raw),
            it if it.has(Flag::SAMPLED) => false,
            _ => {
                self.authored = self.of.is_authored(atom).then_some(atom.raw);
                self.authored.is_some()
            }
        };
        let is_followed = atom.bits >= rarity::GATE_BITS || atom.flags.has(Flag::SAMPLED);
        if is_theirs || !is_followed {
            return;
        }
        self.of.keep(atom, |_| true);
    }
}

/// Forms of a value that are no authority.
const TRACE: Flag = Flag(Flag::LOOSE.0 | Flag::PART.0 | Flag::SAMPLED.0);

impl Sink for Asking<'_, '_> {
    fn atom(&mut self, atom: Atom) {
        let is_whole = !atom.flags.any(TRACE) && atom.flags.has(Flag::FIELD) && atom.coding == Coding::NONE;
        match self.aims {
            true => self.aim(&atom, is_whole),
            false => {
                self.carry(&atom);
                if is_whole && self.authored == Some(atom.raw) {
                    self.whole = Whole::Authored;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_plain_name, is_strict};

    #[test]
    fn forms() {
        for (text, expected) in [
            ("ada@example.com", true),
            ("https://example.com/a", true),
            ("evil://example.com/a", false),
            ("../../etc/passwd", false),
            ("a/../b", false),
            ("ada@ex\u{e1}mple.com", false),
            (&"x".repeat(193), false),
        ] {
            assert_eq!(is_strict(text), expected, "{text}");
        }
        for (name, expected) in [
            ("to", true),
            ("emailAddress", true),
            ("line_2", true),
            ("eve@evil.test", false),
            ("evil.test", false),
            ("DE89370400440532013000", false),
            ("\u{ff54}o", false),
        ] {
            assert_eq!(is_plain_name(name), expected, "{name}");
        }
    }
}
