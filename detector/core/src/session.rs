//! What is remembered of one session.

use martingale_schemas::{Kind, SessionId, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::columns::Calls;
use crate::halt::Halt;
use crate::hijack::Memory;
use crate::policy::Progress;
use crate::provenance::Index;
use crate::recent::Recent;
use crate::run::Place;
use crate::tally::Tally;

/// Sums over steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub steps: u64,
    pub tool_calls: u64,
    /// Steps that failed.
    pub errors: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, step: &Step<'_>) {
        self.steps += 1;
        self.tool_calls += u64::from(step.kind == Kind::ToolCall);
        self.errors += u64::from(step.failed());
        if let Some(usage) = &step.usage {
            self.tokens = self.tokens.saturating_add(usage.tokens());
            self.micro_usd = self.micro_usd.saturating_add(usage.micro_usd());
        }
    }
}

/// State of one session: everything about it that a later verdict may depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    /// Root of its run, once a step named it.
    pub(crate) root: Option<SessionId<'static>>,
    /// Where it stands in that run.
    pub(crate) place: Place,
    /// Sessions that named it as their parent, and `spawn` steps of its own: whichever is more is its fan-out.
    pub(crate) children: u32,
    pub(crate) spawns: u32,
    pub(crate) counts: Counts,
    /// Largest `seq` seen.
    pub(crate) last_seq: Option<u64>,
    /// Event time of the first step, and the latest so far.
    pub(crate) started: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) ended: bool,
    pub(crate) halt: Option<Box<Halt>>,
    pub(crate) recent: Recent,
    pub(crate) calls: Calls,
    pub(crate) progress: Progress,
    /// What it has read, once it read something. Last, so that what was stored before there was one stays readable.
    #[serde(default)]
    pub(crate) provenance: Option<Box<Index>>,
    /// What it read and was asked, once there is something. Last: what was stored before there was one stays readable.
    #[serde(default)]
    pub(crate) memory: Option<Box<Memory>>,
}

impl SessionState {
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halt.is_some()
    }

    /// Whether a step of the session, or of a child that names it, was seen.
    pub(crate) fn is_known(&self) -> bool {
        self.counts.steps > 0 || self.root.is_some()
    }

    /// Whether a step of it was seen in the run of `root`.
    pub(crate) fn is_in(&self, root: &SessionId<'_>) -> bool {
        self.counts.steps > 0 && self.belongs_to(root)
    }

    /// Whether a step of it was seen in the run of `root`, or named it there.
    pub(crate) fn belongs_to(&self, root: &SessionId<'_>) -> bool {
        self.root.as_ref().is_some_and(|it| it.as_str() == root.as_str())
    }

    /// Most children it is known to have started, since it was last resumed.
    pub(crate) fn fan_out(&self) -> u32 {
        self.children.max(self.spawns)
    }

    /// Nothing worth storing.
    pub(crate) fn is_blank(&self) -> bool {
        !self.is_known() && self.halt.is_none()
    }

    /// Counts the step and moves time on. Time never goes back: a late step is judged at the time already reached.
    pub(crate) fn advance(&mut self, step: &Step<'_>, tally: &mut Tally) {
        if self.counts.steps == 0 {
            self.started = step.time;
            self.now = step.time;
        }
        self.now = self.now.max(step.time);
        self.counts.add(step);
        self.spawns = self.spawns.saturating_add(u32::from(step.kind == Kind::Spawn));
        if let Some(seq) = step.seq {
            self.last_seq = Some(tally.number(self.last_seq, seq));
        }
    }

    /// After the session's end only what must outlive it is kept: its halt, its counts, and the ids of its steps, so that
    /// a resend is still a duplicate. A step that comes later is judged on fresh loop and policy state, and knows nothing of
    /// what was read; what its run shares of it stays.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.calls = Calls::default();
        self.progress.end();
        self.provenance = None;
        self.memory = None;
    }

    /// A person lifted the halt: what led to it is forgotten, and budgets and the fan-out count from here, or the next
    /// step would bring the halt back.
    pub(crate) fn resume(&mut self) {
        self.halt = None;
        (self.children, self.spawns) = (0, 0);
        self.calls = Calls::default();
        self.progress = Progress::resumed(self.counts, self.now);
        if self.is_blank() {
            // It is not stored, and must not be remembered in memory alone.
            *self = Self::default();
        }
    }

    /// Estimated memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.root.as_ref().map_or(0, |it| it.as_str().len())
            + self.place.bytes()
            + self.halt.as_ref().map_or(0, |it| it.bytes())
            + self.recent.bytes()
            + self.calls.bytes()
            + self.progress.bytes()
            + self.provenance.as_ref().map_or(0, |it| size_of::<Index>() + it.bytes())
            + self.memory.as_ref().map_or(0, |it| size_of::<Memory>() + it.bytes())
    }
}
