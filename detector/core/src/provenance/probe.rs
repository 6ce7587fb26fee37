//! Where the arguments of a call come from.

use martingale_schemas::{Step, StepId, ValueMatch};

use super::atom::{Atom, Coding, Flag};
use super::index::{Index, ToolTraits};
use super::paths;
use super::role::Role;
use super::scan::{self, Depth, Scanner, Sink};
use super::sent;
use super::source::{Integrity, Source};
use super::table::Sighting;

/// Arguments looked at in one call; the rest is passed over.
const ARGUMENTS_MAX: usize = 64;
/// Places kept of one argument: the strongest.
const TRACES_MAX: usize = 4;

/// How a value in an argument equals the one that was read.
fn compared(asked: &Atom, known: &Sighting) -> ValueMatch {
    if asked.flags.has(Flag::SAMPLED) {
        return ValueMatch::Copied;
    }
    if asked.flags.has(Flag::NAMED) {
        return ValueMatch::Named;
    }
    let depth = asked.coding.depth() + known.coding.depth();
    let coding = if asked.coding == Coding::NONE { known.coding } else { asked.coding };
    match (depth, coding.innermost()) {
        (0, _) if asked.raw == known.raw => ValueMatch::Exact,
        (0, _) if asked.lower == known.lower => ValueMatch::Case,
        (0, _) if (asked.flags | known.flags).has(Flag::LOOSE) => ValueMatch::Loose,
        (0, _) => ValueMatch::Separators,
        (1, Coding::URL) => ValueMatch::Url,
        (1, Coding::HEX) => ValueMatch::Hex,
        (1, _) => ValueMatch::Base64,
        _ => ValueMatch::Nested,
    }
}

/// One sighting of a value of an argument.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'i> {
    pub source: &'i Source,
    sighting: Sighting,
    pub matched: ValueMatch,
    /// Whether it is the argument as a whole and not a part of it.
    pub whole: bool,
}

impl Trace<'_> {
    /// Number of the sentence in its result.
    pub fn sentence(&self) -> u16 {
        self.sighting.sentence
    }

    /// Number of its source, as [`super::Ingested::source`] said it.
    pub fn source_number(&self) -> u16 {
        self.sighting.source
    }

    pub fn bits(&self) -> u8 {
        self.sighting.bits
    }

    /// Whether it stood alone under a name, in JSON or on a line.
    pub fn is_structured(&self) -> bool {
        self.sighting.flags.any(Flag::FIELD | Flag::RECORD)
    }

    fn rank(&self) -> (bool, u8) {
        (self.whole, self.sighting.bits)
    }
}

/// What is known of one argument.
#[derive(Debug)]
pub struct Argument<'p> {
    /// As `recipients[*].email`.
    pub path: &'p str,
    /// Which item of the innermost list.
    pub item: u16,
    pub role: Role,
    pub text: &'p str,
    /// The author who wrote this very value, where one did and it is remembered which.
    pub named: bool,
    pub author: Option<&'p Source>,
    /// Words of the value, and how many of them an author wrote.
    pub words: u16,
    pub words_named: u16,
    traces: [Option<Trace<'p>>; TRACES_MAX],
}

impl<'p> Argument<'p> {
    /// Its path with the number of the innermost item.
    pub fn shown_path(&self) -> String {
        paths::with_item(self.path, self.item)
    }

    /// Whether an author wrote it, as a whole or word by word.
    pub(crate) const fn is_authored(&self) -> bool {
        is_authored(self.named, self.words, self.words_named)
    }

    /// Where it was read, the strongest trace first.
    pub fn traces(&self) -> impl Iterator<Item = &Trace<'p>> {
        self.traces.iter().flatten()
    }
}

impl Index {
    /// Calls `visit` with each argument of a call, or part of what is said or handed over, and where its values were read.
    pub fn probe(&self, step: &Step<'_>, tool: ToolTraits, visit: &mut impl FnMut(&Argument<'_>)) {
        let (mut left, mut destinations_left) = (ARGUMENTS_MAX, ARGUMENTS_MAX);
        sent::leaves(step, usize::MAX, &mut |leaf| {
            let role = Role::of(leaf.key, leaf.text, tool.runs_code);
            // Where a call goes is looked at behind whatever else it carries.
            let left = if left == 0 && role == Role::Destination { &mut destinations_left } else { &mut left };
            if *left == 0 {
                return;
            }
            *left -= 1;
            let asking = Asking { index: self, named: None, words: 0, words_named: 0, traces: [None; TRACES_MAX] };
            let mut scanner = Scanner::new(&self.key, Depth::All, asking);
            scanner.text(leaf.text, Flag::FIELD);
            if matches!(role, Role::Handle | Role::Name | Role::Destination) && leaf.text.len() <= 64 {
                let atom = scan::named(&self.key, role, leaf.text.as_bytes(), 0, Flag::FIELD);
                scanner.sink().read(&atom, true);
            }
            let it = scanner.sink();
            visit(&Argument {
                path: leaf.path,
                item: leaf.item,
                role,
                text: leaf.text,
                named: it.named.is_some(),
                author: it.named.and_then(|it| self.authors.get(it)),
                words: it.words,
                words_named: it.words_named,
                traces: it.traces,
            });
        });
    }

    /// Whether an author wrote this word.
    pub(crate) fn is_named(&self, word: &str) -> bool {
        self.ask(word).named.is_some()
    }

    /// Whether an author wrote this value, as a whole or word by word.
    pub(super) fn is_authored(&self, value: &str) -> bool {
        let it = self.ask(value);
        is_authored(it.named.is_some(), it.words, it.words_named)
    }

    /// The step that read this value, as a whole, in what anybody could have written.
    pub(super) fn strangers(&self, value: &str) -> Option<&StepId<'static>> {
        let theirs = |it: &Trace<'_>| it.whole && it.source.integrity == Integrity::Untrusted;
        self.ask(value).traces.into_iter().flatten().find(theirs).map(|it| &it.source.step)
    }

    fn ask(&self, value: &str) -> Asking<'_> {
        let asking = Asking { index: self, named: None, words: 0, words_named: 0, traces: [None; TRACES_MAX] };
        let mut scanner = Scanner::new(&self.key, Depth::All, asking);
        scanner.text(value, Flag::FIELD);
        scanner.into_sink()
    }

    /// The path of a trace, as `transactions[3].recipient`; empty when it is not known.
    pub fn path_of(&self, trace: &Trace<'_>) -> String {
        self.paths.shown(trace.sighting.path, trace.sighting.item)
    }
}

/// Whether an author wrote a value, as a whole or each of its words.
const fn is_authored(named: bool, words: u16, words_named: u16) -> bool {
    named || words > 0 && words == words_named
}

/// Looks up what a scanner finds in an argument.
struct Asking<'i> {
    index: &'i Index,
    /// Number of the author of the whole value.
    named: Option<u16>,
    words: u16,
    words_named: u16,
    traces: [Option<Trace<'i>>; TRACES_MAX],
}

impl<'i> Asking<'i> {
    fn read(&mut self, atom: &Atom, whole: bool) {
        for sighting in self.index.read.find(atom.hash) {
            let Some(source) = self.index.sources.get(sighting.source) else { continue };
            let trace = Trace { source, sighting: *sighting, matched: compared(atom, sighting), whole };
            self.keep(trace);
        }
    }

    /// Keeps the strongest traces; of the same source and sentence the first that was found.
    fn keep(&mut self, trace: Trace<'i>) {
        let same = |it: &Trace<'_>| {
            (it.sighting.source, it.sighting.sentence) == (trace.sighting.source, trace.sighting.sentence)
                && it.rank() >= trace.rank()
        };
        if self.traces.iter().flatten().any(same) {
            return;
        }
        let at = self.traces.iter().position(|it| it.is_none_or(|it| it.rank() < trace.rank()));
        if let Some(at) = at {
            self.traces[at..].rotate_right(1);
            self.traces[at] = Some(trace);
        }
    }
}

impl Sink for Asking<'_> {
    fn atom(&mut self, atom: Atom) {
        let whole = atom.flags.has(Flag::FIELD) && !atom.flags.has(Flag::PART);
        if !atom.flags.any(Flag::LOOSE | Flag::SAMPLED | Flag::PART) {
            let author = self.index.named.find(atom.hash).map(|it| it.source).next();
            if whole && self.named.is_none() {
                self.named = author;
            }
            if !atom.flags.has(Flag::WHOLE) {
                self.words = self.words.saturating_add(1);
                self.words_named = self.words_named.saturating_add(u16::from(author.is_some()));
            }
        }
        self.read(&atom, whole);
    }
}
