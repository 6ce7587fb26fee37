//! What a session has read, and from where.

use martingale_schemas::{Step, StepId};
use serde::{Deserialize, Serialize};

use super::atom::{Atom, Flag};
use super::pages::{self, At, Page, PageRef, Paged, Shelf};
use super::paths::{self, Paths};
use super::rarity::GATE_BITS;
use super::scan::{Depth, Scanner, Sink};
use super::sip::Key;
use super::source::{Confidentiality, Integrity, Source, Sources};
use super::table::{Put, Sighting, Table};
use super::walk::{self, Leaf};
use crate::tools;

/// How much of what was read is kept of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Values of tool results, 24 bytes each. Full: of eight that fall together the one with the fewest bits goes, of
    /// equals the oldest, and from then on nobody can say that a value came from nowhere.
    pub read_max: usize,
    /// Values that the user and the operator wrote. Full: the ones with the fewest bits go; a value that is not known to
    /// be theirs counts as not theirs.
    pub named_max: usize,
    /// Steps that brought values in, and bytes of their ids and tools. Full: the oldest is forgotten with its values.
    pub sources_max: usize,
    pub sources_bytes_max: usize,
    /// Paths. Full: values of other paths are kept without one.
    pub paths_max: usize,
}

impl Bounds {
    pub const DEFAULT: Self =
        Self { read_max: 1024, named_max: 512, sources_max: 96, sources_bytes_max: 4096, paths_max: 64 };
}

/// Steps of the user and the operator whose ids are kept.
const AUTHORS_MAX: usize = 32;
/// Shortest name of a member that is looked at for a secret: every format is longer.
const NAME_MIN: usize = 16;
/// Path of what a step says of its failure.
const ERROR_PATH: &str = "error.message";
/// Longest name of a tool that is kept with a source.
pub(super) const TOOL_MAX: usize = 48;

/// What matters here of a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolTraits {
    /// What it gives anybody may have written.
    pub outside: bool,
    /// It runs what it is given.
    pub runs_code: bool,
    /// What its results are labelled with.
    pub confidentiality: Confidentiality,
}

impl ToolTraits {
    #[must_use]
    pub fn new(outside: bool, runs_code: bool, labels: &[Box<str>]) -> Self {
        let has = |names: &[&str]| labels.iter().any(|it| names.contains(&it.as_ref()));
        let confidentiality = if has(&["secret", "sensitive", "confidential", "pii"]) {
            Confidentiality::Secret
        } else if has(&["internal"]) {
            Confidentiality::Internal
        } else {
            Confidentiality::Public
        };
        Self { outside, runs_code, confidentiality }
    }
}

/// Is told what an index reads, while the text is at hand: it is not kept.
pub trait Watch {
    /// A text or number of all of the content, or a name of a member that may hold a secret. Before any of its sentences.
    fn leaf(&mut self, leaf: &Leaf<'_>) {
        let _ = leaf;
    }

    /// A sentence; values that stand in it carry its number. `text` is in its plain form.
    fn sentence(&mut self, number: u16, text: &[u8]) {
        let _ = (number, text);
    }

    /// Whose word a value is, where another session of the run handed it over and it is known from there.
    fn handed(&self, hash: u64) -> Option<Integrity> {
        let _ = hash;
        None
    }
}

impl Watch for () {}

/// What a session has read, and from where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    pub(super) key: Key,
    /// Whether the key is set: that of its run, at the first step.
    keyed: bool,
    /// What user and operator wrote.
    pub(super) named: Table<32>,
    pub(super) authors: Sources,
    /// What anybody else wrote.
    pub(super) read: Table<64>,
    pub(super) sources: Sources,
    pub(super) paths: Paths,
    /// Something was read that is not kept: a value that is not found may still have come from it.
    pub(super) lossy: bool,
}

/// What a step brought in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Number of its source.
    pub source: u16,
    /// Values that were not known before.
    pub new: u32,
}

impl Index {
    /// Takes in what a step brings into the agent's view; `None` when it brings nothing. `watch` is told of everything on
    /// the way.
    pub fn ingest(
        &mut self,
        step: &Step<'_>,
        tool: ToolTraits,
        integrity: Integrity,
        bounds: &Bounds,
        watch: &mut dyn Watch,
    ) -> Option<Ingested> {
        // Of a step that brings nothing in itself why it failed was said by others all the same.
        let brings = Integrity::of(step, tool, true).is_some();
        let text = step.text.as_deref().filter(|it| brings && !it.is_empty());
        let output = step.output.as_ref().map(|it| it.get()).filter(|it| brings && *it != "null");
        let error = error_of(step).filter(|_| integrity > Integrity::System);
        if text.is_none() && output.is_none() && error.is_none() {
            return None;
        }
        self.open(step);
        // Secrets are looked for in all of it; values are kept of what is read.
        if let Some(output) = output {
            walk::all_leaves_and_names(output, NAME_MIN, &mut |it| tell(watch, it));
        }
        if let Some(text) = text {
            walk::all_text_and_names(text, NAME_MIN, &mut |it| tell(watch, it));
        }
        if let Some(error) = error {
            walk::all_text_and_names(error, usize::MAX, &mut |it| tell(watch, of_error(it)));
        }
        let source = self.source(step, tool, integrity, bounds);
        let depth = if integrity == Integrity::User { Depth::All } else { Depth::Rare };
        let key = self.key;
        let mut sources = [None; Integrity::COUNT];
        sources[integrity as usize] = Some(source);
        let (path, item) = (paths::NONE, 0);
        let filing = Filing { index: self, step, tool, integrity, sources, bounds, new: 0, path, item, watch };
        let mut scanner = Scanner::new(&key, depth, filing);
        let mut cut = step.output_cut.is_some() || step.text_cut.is_some();
        let mut leaf = |it: Leaf<'_>| {
            scanner.sink().enter(it);
            let is_prose = it.key.is_empty() && matches!(it.path, "" | ERROR_PATH);
            let flags = if is_prose { Flag::NONE } else { Flag::FIELD };
            scanner.text(it.text, flags);
            scanner.named(it.key.as_bytes(), it.text.as_bytes(), flags);
        };
        if let Some(output) = output {
            cut |= walk::leaves(output, &mut leaf);
        }
        if let Some(text) = text {
            cut |= walk::text(text, &mut leaf);
        }
        if let Some(error) = error {
            cut |= walk::text(error, &mut |it| leaf(of_error(it)));
        }
        let new = scanner.sink().new;
        self.lossy |= cut;
        Some(Ingested { source, new })
    }

    fn open(&mut self, step: &Step<'_>) {
        if !self.keyed {
            self.key = Key::of_run(&step.root_session_id);
            self.keyed = true;
        }
    }

    fn source(&mut self, step: &Step<'_>, tool: ToolTraits, integrity: Integrity, bounds: &Bounds) -> u16 {
        let name = step.tool.as_deref().unwrap_or_default();
        let source = Source {
            step: step.step_id.to_static(),
            tool: name[..name.floor_char_boundary(TOOL_MAX)].into(),
            integrity,
            confidentiality: tool.confidentiality,
        };
        if integrity <= Integrity::System {
            return self.authors.push(source, AUTHORS_MAX, bounds.sources_bytes_max).0;
        }
        let (number, forgot) = self.sources.push(source, bounds.sources_max, bounds.sources_bytes_max);
        self.lossy |= forgot;
        if self.sources.is_time_to_sweep() {
            let sources = &self.sources;
            self.read.sweep(|it| sources.age(it).is_some());
        }
        number
    }

    /// Whose word a value is, as far as it is known; of several the least trusted.
    pub(super) fn integrity_of(&self, hash: u64) -> Option<Integrity> {
        let named = self
            .named
            .find(hash)
            .next()
            .map(|it| self.authors.get(it.source).map_or(Integrity::User, |it| it.integrity));
        let read = self.read.find(hash).filter_map(|it| self.sources.get(it.source)).map(|it| it.integrity).max();
        // What its author wrote is theirs wherever it turns up again.
        named.or(read)
    }

    /// Whether something was read that is not kept any more: then what is not found counts as read.
    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Whether a step is among the sources that are kept.
    pub fn knows(&self, step: &StepId<'_>) -> bool {
        self.sources.of(step).is_some() || self.authors.of(step).is_some()
    }

    /// Who gave what a step brought in, as seen from a tool: that tool or its server, where one of them did and it is remembered.
    pub(crate) fn giver(&self, step: &StepId<'_>, tool: &str) -> Option<&'static str> {
        // A longer name is kept in part, and may be of another.
        let gave = Some(&*self.sources.of(step)?.tool).filter(|it| it.len() < TOOL_MAX)?;
        let is_server = tools::server(gave).is_some_and(|it| tools::server(tool) == Some(it));
        let is_tool = gave == tool && !tool.is_empty();
        is_server.then_some("server").or_else(|| is_tool.then_some("tool"))
    }

    /// Who of user and operator wrote a step, where it is remembered.
    pub(crate) fn author(&self, step: &StepId<'_>) -> Option<Integrity> {
        self.authors.of(step).map(|it| it.integrity)
    }

    fn shelves(&self) -> [(Shelf, &dyn Paged); 5] {
        let Self { named, authors, read, sources, paths, .. } = self;
        [
            (Shelf::Named, named),
            (Shelf::Authors, authors),
            (Shelf::Read, read),
            (Shelf::Sources, sources),
            (Shelf::Paths, paths),
        ]
    }

    /// Pages that are stored beside it, once all that changed is.
    pub(crate) fn held(&self) -> impl Iterator<Item = At> + use<> {
        pages::held(self.shelves())
    }

    /// Pages to load before it can be asked.
    pub(crate) fn missing(&self) -> impl Iterator<Item = At> + use<> {
        pages::missing(self.shelves())
    }

    pub(crate) fn is_whole(&self) -> bool {
        pages::are_whole([&self.named, &self.authors, &self.read, &self.sources, &self.paths])
    }

    pub(crate) fn attach(&mut self, (shelf, place): At, page: Option<Page>) {
        let shelf: &mut dyn Paged = match shelf {
            Shelf::Named => &mut self.named,
            Shelf::Authors => &mut self.authors,
            Shelf::Read => &mut self.read,
            Shelf::Sources => &mut self.sources,
            Shelf::Paths => &mut self.paths,
            _ => return,
        };
        pages::attach(shelf, place, page);
    }

    /// Hands out the pages that changed since the last call; `None` where there is none any more.
    pub(crate) fn drain(&mut self, f: &mut dyn FnMut(At, Option<PageRef<'_>>)) {
        pages::drain(Shelf::Named, &mut self.named, f);
        pages::drain(Shelf::Authors, &mut self.authors, f);
        pages::drain(Shelf::Read, &mut self.read, f);
        pages::drain(Shelf::Sources, &mut self.sources, f);
        pages::drain(Shelf::Paths, &mut self.paths, f);
    }

    /// Estimated memory beyond its own size, in bytes.
    pub fn bytes(&self) -> usize {
        self.named.bytes() + self.read.bytes() + self.authors.memory() + self.sources.memory() + self.paths.bytes()
    }
}

/// Why a step failed, where it says so.
pub(crate) fn error_of<'s>(step: &'s Step<'_>) -> Option<&'s str> {
    step.error.as_ref().and_then(|it| it.message.as_deref()).filter(|it| !it.is_empty())
}

/// What a step says of its failure, under its path.
const fn of_error(leaf: Leaf<'_>) -> Leaf<'_> {
    Leaf { path: if leaf.path.is_empty() { ERROR_PATH } else { leaf.path }, ..leaf }
}

/// A name is no value, but may be a secret. None is without a digit or what divides a user from a password, and most names are without
/// both.
fn tell(watch: &mut dyn Watch, leaf: Leaf<'_>) {
    if !leaf.is_name || leaf.text.bytes().any(|it| it.is_ascii_digit() || it == b':' || !it.is_ascii()) {
        watch.leaf(&leaf);
    }
}

/// Files what a scanner finds.
struct Filing<'i> {
    index: &'i mut Index,
    step: &'i Step<'i>,
    tool: ToolTraits,
    /// Whose word the content is, unless it is known better of a value.
    integrity: Integrity,
    /// The step as a source, once for each whose word some of it is.
    sources: [Option<u16>; Integrity::COUNT],
    bounds: &'i Bounds,
    new: u32,
    path: u16,
    item: u16,
    watch: &'i mut dyn Watch,
}

impl Filing<'_> {
    fn enter(&mut self, leaf: Leaf<'_>) {
        if self.integrity > Integrity::System {
            self.path = self.index.paths.number(leaf.path, self.bounds.paths_max);
            self.item = leaf.item;
        }
    }
}

impl Sink for Filing<'_> {
    fn atom(&mut self, atom: Atom) {
        let handed = if self.integrity > Integrity::System { self.watch.handed(atom.hash) } else { None };
        let integrity = handed.unwrap_or(self.integrity);
        let source = match self.sources[integrity as usize] {
            Some(source) => source,
            None => {
                let source = self.index.source(self.step, self.tool, integrity, self.bounds);
                self.sources[integrity as usize] = Some(source);
                source
            }
        };
        let sighting = Sighting::of(&atom, source, self.path, self.item);
        if integrity <= Integrity::System {
            // A trace is no authority.
            if !atom.flags.any(Flag::LOOSE | Flag::SAMPLED | Flag::PART) {
                // The oldest stay: a later message cannot push out what an earlier one named.
                self.index.named.put(atom.hash, sighting, self.bounds.named_max, |it| Some(u16::MAX - it));
            }
            return;
        }
        if atom.bits < GATE_BITS {
            return;
        }
        let sources = &self.index.sources;
        self.new += u32::from(self.index.read.find(atom.hash).next().is_none());
        let put = self.index.read.put(atom.hash, sighting, self.bounds.read_max, |it| sources.age(it));
        self.index.lossy |= put == Put::Lost;
    }

    fn sentence(&mut self, number: u16, text: &[u8]) {
        self.watch.sentence(number, text);
    }
}
