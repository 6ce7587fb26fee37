//! What the sessions of a run share: secrets that were read, and the first steps that brought in text of strangers and
//! what is to be kept. So a secret that one agent reads is known when another one sends it.

use martingale_schemas::{Kind, SessionId, Step, StepId};
use serde::{Deserialize, Serialize};

use super::atom::{Atom, Flag};
use super::index::{Index, ToolTraits, Watch};
use super::pages::{self, At, Page, PageRef, Paged, Shelf};
use super::paths;
use super::rarity::GATE_BITS;
use super::role::Role;
use super::scan::{Depth, Scanner, Sink};
use super::sent;
use super::sip::Key;
use super::source::{Confidentiality, Integrity, Source, Sources};
use super::table::{Sighting, Table};
use super::vault::{Leak, SHORT_MIN, Secret, Vault};
use super::walk::{self, Leaf};
use crate::secret::Named;

/// A step of some session of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub session: SessionId<'static>,
    pub step: StepId<'static>,
}

impl Mark {
    fn of(step: &Step<'_>) -> Self {
        Self { session: step.session_id.to_static(), step: step.step_id.to_static() }
    }
}

/// What the sessions of a run share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    vault: Vault,
    keyed: bool,
    /// Values that one session handed to another or wrote to memory, with whose word they are.
    handed: Table<16>,
    hands: Sources,
    /// The first step that read what anybody could have written.
    pub untrusted: Option<Mark>,
    /// The first step that read what must not leave.
    pub sensitive: Option<Mark>,
}

impl Shared {
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// How many secrets a limit made it forget or pass over since the last call.
    pub fn take_forgotten(&mut self) -> u64 {
        self.vault.take_forgotten().into()
    }

    /// Takes in what a step reads; to be told of its leaves while the index reads them.
    pub fn reading<'s>(&'s mut self, step: &'s Step<'s>, integrity: Integrity, tool: ToolTraits) -> Reading<'s> {
        if !self.keyed {
            self.vault = Vault::new(Key::of_run(&step.root_session_id));
            self.keyed = true;
        }
        if integrity == Integrity::Untrusted && self.untrusted.is_none() {
            self.untrusted = Some(Mark::of(step));
        }
        if tool.confidentiality == Confidentiality::Secret && integrity > Integrity::System && self.sensitive.is_none()
        {
            self.sensitive = Some(Mark::of(step));
        }
        Reading { shared: self, step, integrity, named: Named::default() }
    }

    /// Remembers what a step hands over to another agent or writes to memory, so that it keeps its label where it is read:
    /// what a stranger wrote is not trusted because an agent passed it on, and what the user wrote stays theirs.
    pub fn hand_over(&mut self, step: &Step<'_>, index: &Index) {
        let key = index.key;
        let mut hands = [None; Integrity::COUNT];
        let (handed, sources) = (&mut self.handed, &mut self.hands);
        let mut hand = |atom: Atom| {
            if atom.flags.any(Flag::LOOSE | Flag::SAMPLED) || atom.bits < GATE_BITS {
                return;
            }
            let Some(integrity) = index.integrity_of(atom.hash) else { return };
            let number = *hands[integrity as usize].get_or_insert_with(|| {
                // Who handed it over takes the place of a tool.
                let (step, tool) = (step.step_id.to_static(), step.session_id.as_str().into());
                let source = Source { step, tool, integrity, confidentiality: Confidentiality::Public };
                sources.push(source, HANDS_MAX, HANDS_BYTES_MAX).0
            });
            handed.put(atom.hash, Sighting::of(&atom, number, paths::NONE, 0), HANDED_MAX, |it| sources.age(it));
        };
        let mut scanner = Scanner::new(&key, Depth::Rare, Handing(&mut hand));
        let mut leaf = |it: Leaf<'_>| scanner.text(it.text, Flag::FIELD);
        let contents = [&step.input, &step.output].into_iter().flatten();
        contents.for_each(|it| _ = walk::leaves(it.get(), &mut leaf));
        if let Some(text) = step.text.as_deref() {
            walk::text(text, &mut leaf);
        }
        if self.hands.is_time_to_sweep() {
            self.handed.sweep(|it| self.hands.age(it).is_some());
        }
    }

    /// Values of a call that sessions of the run handed over and no author wrote, except what it only carries along.
    pub fn handed_to(&self, step: &Step<'_>, tool: ToolTraits, index: &Index) -> Vec<Handed> {
        let mut out = Vec::new();
        if self.hands.is_empty() {
            return out;
        }
        index.probe(step, tool, &mut |argument| {
            let is_carried = argument.role == Role::Content || argument.named || out.len() >= HANDED_SHOWN_MAX;
            if is_carried {
                return;
            }
            let read = argument.traces().next().map(|it| it.source.step.clone());
            let mut taken = Vec::new();
            let mut take = |atom: Atom| {
                let hands = self.handed.find(atom.hash).filter_map(|it| self.hands.get(it.source));
                taken.extend(hands.filter(|it| !it.tool.is_empty()));
            };
            let mut scanner = Scanner::new(&index.key, Depth::Rare, Handing(&mut take));
            scanner.text(argument.text, Flag::FIELD);
            taken.dedup_by_key(|it| std::ptr::from_ref(*it));
            out.extend(taken.into_iter().map(|it| Handed {
                argument: argument.shown_path(),
                session: SessionId::from(it.tool.to_string()),
                step: it.step.clone(),
                integrity: it.integrity,
                read: read.clone(),
            }));
        });
        out
    }

    /// Secrets in what a step sends.
    pub fn leaks(&self, step: &Step<'_>) -> Vec<Leak> {
        if self.vault.is_empty() {
            return Vec::new();
        }
        let mut search = self.vault.search();
        sent::leaves(step, SHORT_MIN, &mut |it| match it.is_name {
            true => search.name(it.path, it.item, it.text),
            false => search.argument(&it),
        });
        search.done()
    }

    /// The first secret that the run has read and that neither user nor operator wrote.
    pub(crate) fn secret_of_others(&self) -> Option<&Secret> {
        self.vault.secrets.iter().find(|it| !it.authored)
    }

    fn shelves(&self) -> [(Shelf, &dyn Paged); 3] {
        [(Shelf::Secrets, &self.vault), (Shelf::Handed, &self.handed), (Shelf::Hands, &self.hands)]
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
        pages::are_whole([&self.vault, &self.handed, &self.hands])
    }

    pub(crate) fn attach(&mut self, (shelf, place): At, page: Option<Page>) {
        let shelf: &mut dyn Paged = match shelf {
            Shelf::Secrets => &mut self.vault,
            Shelf::Handed => &mut self.handed,
            Shelf::Hands => &mut self.hands,
            _ => return,
        };
        pages::attach(shelf, place, page);
    }

    /// Hands out the pages that changed since the last call; `None` where there is none any more.
    pub(crate) fn drain(&mut self, f: &mut dyn FnMut(At, Option<PageRef<'_>>)) {
        pages::drain(Shelf::Secrets, &mut self.vault, f);
        pages::drain(Shelf::Handed, &mut self.handed, f);
        pages::drain(Shelf::Hands, &mut self.hands, f);
    }

    /// Estimated memory beyond its own size, in bytes.
    pub fn bytes(&self) -> usize {
        self.vault.bytes() + self.handed.bytes() + self.hands.memory()
    }
}

/// Whether a text that was handed to a session holds a value of a stranger, as far as its index knows whose it is.
pub(crate) fn is_strangers(text: &str, index: Option<&Index>) -> bool {
    let Some(index) = index else { return false };
    let mut is_theirs = false;
    let mut take = |atom: Atom| {
        let counts = !atom.flags.any(Flag::LOOSE | Flag::SAMPLED) && atom.bits >= GATE_BITS;
        is_theirs |= counts && index.integrity_of(atom.hash) == Some(Integrity::Untrusted);
    };
    Scanner::new(&index.key, Depth::Rare, Handing(&mut take)).text(text, Flag::NONE);
    is_theirs
}

/// Values handed over in a run. Full: as in [`super::Bounds::read_max`].
const HANDED_MAX: usize = 256;
/// Steps that handed something over, and bytes of their ids and of their sessions'. Full: the oldest is forgotten with its values, which then
/// are an agent's word.
const HANDS_MAX: usize = 32;
const HANDS_BYTES_MAX: usize = 4096;

/// Values told of one call.
const HANDED_SHOWN_MAX: usize = 16;

/// A value of a call that another session handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Path of the argument.
    pub argument: String,
    /// Who handed it over, and with which step.
    pub session: SessionId<'static>,
    pub step: StepId<'static>,
    /// Whose word it was there.
    pub integrity: Integrity,
    /// The step of the calling session that read it.
    pub read: Option<StepId<'static>>,
}

struct Handing<'h>(&'h mut dyn FnMut(Atom));

impl Sink for Handing<'_> {
    fn atom(&mut self, atom: Atom) {
        (self.0)(atom);
    }
}

/// Reads a step for secrets.
pub struct Reading<'s> {
    shared: &'s mut Shared,
    step: &'s Step<'s>,
    integrity: Integrity,
    named: Named,
}

impl Watch for Reading<'_> {
    fn handed(&self, hash: u64) -> Option<Integrity> {
        let handed = self.shared.handed.find(hash);
        handed.filter_map(|it| self.shared.hands.get(it.source)).map(|it| it.integrity).max()
    }

    fn leaf(&mut self, leaf: &Leaf<'_>) {
        let (step, authored) = (self.step, self.integrity <= Integrity::System);
        if authored {
            self.shared.vault.author(leaf.text);
        }
        let name = self.named.of(leaf.key, leaf.text);
        let found = self.shared.vault.learn(name, leaf.text, &|kind| Secret {
            kind,
            session: step.session_id.to_static(),
            step: step.step_id.to_static(),
            path: paths::with_item(leaf.path, leaf.item).into(),
            authored,
        });
        // What the user typed is theirs to give away.
        let counts = found > 0 && !authored && step.kind != Kind::UserMessage;
        if counts && self.shared.sensitive.is_none() {
            self.shared.sensitive = Some(Mark::of(step));
        }
    }
}
