//! Steps that brought values in, the latest ones.

use std::collections::VecDeque;

use martingale_schemas::{Kind, Step, StepId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::index::{TOOL_MAX, ToolTraits};
use super::pages::{Page, PageRef, Paged, Pages};

/// Whose word it is, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Integrity {
    /// The person the agent works for.
    User,
    /// Who set the agent up.
    System,
    /// Another agent of the run that started this one or handed over to it.
    Agent,
    /// A field of a record that one of the operator's own tools gave.
    Record,
    /// Anything else an agent read.
    Untrusted,
}

impl Integrity {
    pub(super) const COUNT: usize = 5;

    /// Whose word the content of a step is; `None` when it brings nothing in: what the model itself says is made of what
    /// it read, and raises nothing. `is_root`: a message of the user is one, and not what another agent wrote.
    #[must_use]
    pub fn of(step: &Step<'_>, tool: ToolTraits, is_root: bool) -> Option<Self> {
        match step.kind {
            Kind::SystemPrompt if is_root => Some(Self::System),
            Kind::UserMessage if is_root => Some(Self::User),
            Kind::SystemPrompt | Kind::UserMessage => Some(Self::Agent),
            Kind::ToolResult | Kind::Error => Some(Self::of_tool(tool)),
            Kind::Retrieval | Kind::MemoryRead => Some(Self::Untrusted),
            _ => None,
        }
    }

    /// Whose word it is what a tool gives, or that and why it failed; of a step without a tool, what runs the agent.
    #[must_use]
    pub const fn of_tool(tool: ToolTraits) -> Self {
        if tool.outside { Self::Untrusted } else { Self::Record }
    }
}

/// How closely it is to be kept, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Confidentiality {
    #[default]
    Public,
    Internal,
    Secret,
}

/// One step that brought values in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub step: StepId<'static>,
    /// The tool that answered; empty for a message. Of what was handed over, the session that did.
    pub tool: Box<str>,
    pub integrity: Integrity,
    pub confidentiality: Confidentiality,
}

/// Sources of one page, and places for pages. So many are part of the stored form.
const PAGE: u32 = 8;
const PLACES: u32 = 16;
/// A shelf holds no more: the oldest page may be begun, and the latest.
const COUNT_MAX: usize = (PAGE * (PLACES - 1)) as usize;

/// The latest sources, by number. Full: the oldest is forgotten, and its values with it. Serialised is how many there
/// are; they are in pages.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sources {
    ring: VecDeque<Source>,
    /// Number of the next one.
    next: u32,
    bytes: u32,
    pages: Pages,
}

impl Sources {
    /// Takes a source in; its number, and whether an older one had to go.
    pub(super) fn push(&mut self, source: Source, count_max: usize, bytes_max: usize) -> (u16, bool) {
        self.bytes += weight(&source);
        if self.ring.len() == self.ring.capacity() {
            self.ring.reserve_exact(PAGE as usize / 2);
        }
        self.ring.push_back(source);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.pages.touch(place(number));
        let mut forgot = false;
        while self.ring.len() > count_max.clamp(1, COUNT_MAX)
            || (self.bytes as usize > bytes_max && self.ring.len() > 1)
        {
            if let Some(gone) = self.ring.pop_front() {
                self.bytes -= weight(&gone);
            }
            if self.first().is_multiple_of(PAGE) {
                self.pages.touch(place(self.first().wrapping_sub(1)));
            }
            forgot = true;
        }
        ((number & 0xffff) as u16, forgot)
    }

    /// Number of the oldest one.
    fn first(&self) -> u32 {
        self.next.wrapping_sub(u32::try_from(self.ring.len()).unwrap_or(0))
    }

    /// Number of the first one that is kept of each page.
    fn begins(&self) -> impl Iterator<Item = u32> + use<> {
        let (mut at, next) = (self.first(), self.next);
        std::iter::from_fn(move || {
            let begin = (at != next).then_some(at)?;
            let end = at.wrapping_add(PAGE - at % PAGE);
            at = if next.wrapping_sub(at) < PAGE - at % PAGE { next } else { end };
            Some(begin)
        })
    }

    /// How many sources came after this one; `None` when it is forgotten.
    #[expect(clippy::cast_possible_truncation, reason = "numbers are compared modulo 2¹⁶")]
    pub(super) fn age(&self, number: u16) -> Option<u16> {
        let age = (self.next as u16).wrapping_sub(1).wrapping_sub(number);
        (usize::from(age) < self.ring.len()).then_some(age)
    }

    pub(super) fn get(&self, number: u16) -> Option<&Source> {
        let age = usize::from(self.age(number)?);
        self.ring.get(self.ring.len() - 1 - age)
    }

    /// A step among them.
    pub(super) fn of(&self, step: &StepId<'_>) -> Option<&Source> {
        self.ring.iter().find(|it| it.step.as_str() == step.as_str())
    }

    /// Tools that are told apart by their names and of which results are kept.
    pub(super) fn tools(&self) -> Vec<&str> {
        let names = self.ring.iter().map(|it| &*it.tool).filter(|it| !it.is_empty() && it.len() < TOOL_MAX);
        let mut tools: Vec<&str> = names.collect();
        tools.sort_unstable();
        tools.dedup();
        tools
    }

    /// Whether the numbers are about to come round: time to forget what hangs on forgotten ones.
    pub(super) fn is_time_to_sweep(&self) -> bool {
        self.next.is_multiple_of(1 << 14)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    pub(super) fn memory(&self) -> usize {
        self.ring.capacity() * size_of::<Source>() + self.bytes as usize
    }
}

impl Paged for Sources {
    fn pages(&self) -> &Pages {
        &self.pages
    }

    fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    fn held(&self) -> u64 {
        self.begins().fold(0, |bits, it| bits | 1 << place(it))
    }

    fn page(&self, at: usize) -> PageRef<'_> {
        let Some(begin) = self.begins().find(|it| place(*it) == at) else { return PageRef::Sources(0, Vec::new()) };
        let own = self.ring.iter().skip(begin.wrapping_sub(self.first()) as usize).take((PAGE - begin % PAGE) as usize);
        PageRef::Sources(begin, own.collect())
    }

    fn put_back(&mut self, at: usize, page: Page) {
        let Page::Sources(number, sources) = page else { return };
        for (n, source) in (0_u32..).zip(sources).take(PAGE as usize) {
            let number = number.wrapping_add(n);
            let age = number.wrapping_sub(self.first());
            if let Some(it) = self.ring.get_mut(age as usize).filter(|it| place(number) == at && it.is_unread()) {
                self.bytes += weight(&source);
                *it = source;
            }
        }
    }
}

impl Serialize for Sources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.next, self.ring.len()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (next, count): (u32, usize) = Deserialize::deserialize(deserializer)?;
        if count > COUNT_MAX {
            return Err(serde::de::Error::custom("more sources than a shelf holds"));
        }
        let mut sources = Self { ring: vec![Source::unread(); count].into(), next, ..Self::default() };
        sources.pages = Pages::stored(sources.held());
        Ok(sources)
    }
}

const fn place(number: u32) -> usize {
    (number / PAGE % PLACES) as usize
}

impl Source {
    /// Stands for one whose page was not read: anybody's word.
    fn unread() -> Self {
        let (step, tool) = (StepId::from(String::new()), Box::default());
        Self { step, tool, integrity: Integrity::Untrusted, confidentiality: Confidentiality::Public }
    }

    fn is_unread(&self) -> bool {
        self.step.as_str().is_empty()
    }
}

fn weight(source: &Source) -> u32 {
    u32::try_from(source.step.as_str().len() + source.tool.len()).unwrap_or(u32::MAX)
}
