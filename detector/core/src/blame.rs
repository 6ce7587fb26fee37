//! Where a session that failed went wrong: its steps, the most suspect first, each with its reasons.
//!
//! Signal: who acted, how much a step brought in, how early it came, which request was the first to fail, and where the
//! detector's own findings began. A sum of few numbers, each of which pushes one way only (`blame/weights.json`, fitted by
//! `blame/fit.py`); no model, and no words or names of anybody's agents.
//!
//! Wrong when: the mistake is one of meaning (a misread table, a rule not followed), which nothing here can see. People who
//! label the same recordings agree on one step in three; `docs/detection.md` has the figures, beside those of always naming
//! the same step. So it is a list to read from the top, and never a verdict: nothing is decided by it.
//!
//! Cost: every word of a step is hashed once; one entry for each different word of the session.

mod reason;
mod row;
#[cfg(test)]
mod tests;
mod trail;
mod weigh;

use std::cmp::Reverse;

use martingale_schemas::{Finding, Kind, Step, StepId};

pub use reason::Reason;
pub use row::BLAME_NUMBERS;

use row::Row;
use trail::Trail;

/// Follows one session, and says at its end where it went wrong.
///
/// Bounded: of a session with more than 100,000 steps, those after are not ranked; words are remembered up to a million.
#[derive(Debug, Default)]
pub struct Blame {
    trail: Trail,
}

/// A step, and what speaks for and against blaming it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub step_id: StepId<'static>,
    pub seq: Option<u64>,
    /// Place in the session, from 0.
    pub index: usize,
    pub kind: Kind,
    /// Who acted, where several do.
    pub actor: Option<Box<str>>,
    pub tool: Option<Box<str>>,
    /// Thousandths of a log-odds against the other steps of this session. It ranks them; it is comparable between sessions
    /// as little as it is a probability.
    pub score: i32,
    /// What speaks for it and then what speaks against it, the strongest first.
    pub reasons: Vec<Reason>,
}

impl Blame {
    /// Takes the next step of the session, with what the detector found at it. A step that came before is passed over.
    pub fn observe(&mut self, step: &Step<'_>, findings: &[Finding]) {
        self.trail.observe(step, findings);
    }

    /// Every step, the most suspect first; of equals the earlier.
    #[must_use]
    pub fn suspects(&self) -> Vec<Suspect> {
        let rows = row::rows(&self.trail);
        let largest = reason::largest(&self.trail);
        let mut suspects: Vec<Suspect> = self
            .trail
            .acts()
            .iter()
            .zip(&rows)
            .enumerate()
            .map(|(index, (act, row))| Suspect {
                step_id: act.step_id.clone(),
                seq: act.seq,
                index,
                kind: act.kind,
                actor: act.actor.clone(),
                tool: act.tool.clone(),
                score: weigh::score(row),
                reasons: reason::reasons(&self.trail, index, row, &largest),
            })
            .collect();
        suspects.sort_by_key(|it| (Reverse(it.score), it.index));
        suspects
    }

    /// The numbers of each step in the order of the session, named by [`BLAME_NUMBERS`]: for whoever fits the weights.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        row::rows(&self.trail)
    }
}
