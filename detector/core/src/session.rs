//! What is remembered of one session.

use martingale_schemas::{Kind, SessionId, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::columns::Calls;
use crate::halt::Halt;
use crate::policy::Progress;
use crate::recent::Recent;

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

/// How the producer's own numbering arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Largest `seq` seen.
    pub last: Option<u64>,
    /// Steps that came after one with a larger `seq`.
    pub late: u64,
    /// Numbers left out so far, not counting those that came late.
    pub missing: u64,
}

impl Sequence {
    fn add(&mut self, seq: u64) {
        match self.last {
            Some(last) if seq <= last => {
                self.late += 1;
                self.missing = self.missing.saturating_sub(u64::from(seq < last));
            }
            last => {
                let expected = last.map_or(seq, |it| it.saturating_add(1));
                self.missing = self.missing.saturating_add(seq.saturating_sub(expected));
                self.last = Some(seq);
            }
        }
    }
}

/// State of one session: everything about it that a later verdict may depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    /// Root of its run, once a step named it.
    pub(crate) root: Option<SessionId<'static>>,
    /// Steps down from the root.
    pub(crate) depth: u32,
    pub(crate) counts: Counts,
    pub(crate) sequence: Sequence,
    /// Event time of the first step, and the latest so far.
    pub(crate) started: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) ended: bool,
    pub(crate) halt: Option<Box<Halt>>,
    pub(crate) recent: Recent,
    pub(crate) calls: Calls,
    pub(crate) progress: Progress,
}

impl SessionState {
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
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
        self.counts.steps > 0 && self.root.as_ref().is_some_and(|it| it.as_str() == root.as_str())
    }

    /// Nothing worth storing.
    pub(crate) fn is_blank(&self) -> bool {
        !self.is_known() && self.halt.is_none()
    }

    /// Counts the step and moves time on. Time never goes back: a late step is judged at the time already reached.
    pub(crate) fn advance(&mut self, step: &Step<'_>) {
        if self.counts.steps == 0 {
            self.started = step.time;
            self.now = step.time;
        }
        self.now = self.now.max(step.time);
        self.counts.add(step);
        if let Some(seq) = step.seq {
            self.sequence.add(seq);
        }
    }

    /// After the session's end only what must outlive it is kept: its halt, its counts, and the ids of its steps, so that
    /// a resend is still a duplicate. A step that comes later is judged on fresh loop and policy state.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.calls = Calls::default();
        self.progress.end();
    }

    /// A person lifted the halt: what led to it is forgotten and budgets count from here, or the next step would bring
    /// the halt back.
    pub(crate) fn resume(&mut self) {
        self.halt = None;
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
            + self.halt.as_ref().map_or(0, |it| it.bytes())
            + self.recent.bytes()
            + self.calls.bytes()
            + self.progress.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn lateness_and_gaps_are_counted() {
        for (arrived, expected) in [
            (vec![0, 1, 2], (Some(2), 0, 0)),
            (vec![5, 6], (Some(6), 0, 0)),
            (vec![0, 3], (Some(3), 0, 2)),
            (vec![0, 3, 1], (Some(3), 1, 1)),
            (vec![0, 3, 1, 2], (Some(3), 2, 0)),
            (vec![2, 2], (Some(2), 1, 0)),
            (vec![0, u64::MAX, 1], (Some(u64::MAX), 1, u64::MAX - 2)),
        ] {
            let mut sequence = Sequence::default();
            arrived.iter().for_each(|it| sequence.add(*it));
            assert_eq!((sequence.last, sequence.late, sequence.missing), expected, "{arrived:?}");
        }
    }
}
