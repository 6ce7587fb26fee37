//! Steps that brought values in, the latest ones.

use std::collections::VecDeque;

use martingale_schemas::{Kind, Step, StepId};
use serde::{Deserialize, Serialize};

use super::index::ToolTraits;

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
            Kind::ToolResult if !tool.open_world => Some(Self::Record),
            Kind::ToolResult | Kind::Retrieval | Kind::MemoryRead => Some(Self::Untrusted),
            _ => None,
        }
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
    /// The tool that answered; empty for a message.
    pub tool: Box<str>,
    pub integrity: Integrity,
    pub confidentiality: Confidentiality,
}

/// The latest sources, by number. Full: the oldest is forgotten, and its values with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sources {
    ring: VecDeque<Source>,
    /// Number of the next one.
    next: u32,
    bytes: u32,
}

impl Sources {
    /// Takes a source in; its number, and whether an older one had to go.
    pub(super) fn push(&mut self, source: Source, count_max: usize, bytes_max: usize) -> (u16, bool) {
        self.bytes += weight(&source);
        self.ring.push_back(source);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let mut forgot = false;
        while self.ring.len() > count_max.max(1) || (self.bytes as usize > bytes_max && self.ring.len() > 1) {
            if let Some(gone) = self.ring.pop_front() {
                self.bytes -= weight(&gone);
            }
            forgot = true;
        }
        ((number & 0xffff) as u16, forgot)
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

    pub(super) fn has(&self, step: &StepId<'_>) -> bool {
        self.ring.iter().any(|it| it.step.as_str() == step.as_str())
    }

    /// Whether the numbers are about to come round: time to forget what hangs on forgotten ones.
    pub(super) fn is_time_to_sweep(&self) -> bool {
        self.next.is_multiple_of(1 << 14)
    }

    pub(super) fn memory(&self) -> usize {
        self.ring.capacity() * size_of::<Source>() + self.bytes as usize
    }
}

fn weight(source: &Source) -> u32 {
    u32::try_from(source.step.as_str().len() + source.tool.len()).unwrap_or(u32::MAX)
}
