//! What ordinary sessions of an agent reach in this column, and from where on it speaks of one.
//!
//! Each session of a baseline, and each that was not learnt from for its score alone, is judged as the product does it, by what other sessions taught
//! ([`crate::baseline::Calibrator`]); its figure is its highest score. A level is the score that a stated share of sessions
//! passes at most, each distinct request weighing one ([`crate::conformal`]), and none is below the one from which
//! [`HijackRules`] warn: where ordinary sessions stay far below that, to go as low as the share allows finds hardly more and
//! alarms on many more of them (`docs/detection.md`). With too few requests for a share nothing is stated.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use martingale_schemas::{Assumption, Bound, Decision};
use serde::{Deserialize, Serialize};

use super::HijackRules;
use crate::baseline::Profile;
use crate::conformal::threshold;
use crate::reservoir::Reservoir;

/// Shares of sessions that are warned of, and of which a person is asked, at most.
pub(crate) const WARNED: f64 = 0.05;
pub(crate) const ASKED: f64 = 0.01;
/// Sessions of an agent that calibrate; of more a sample.
const SESSIONS_MAX: usize = 2048;

/// Highest scores of sessions, with what was asked, while they are gathered.
#[derive(Debug, Default)]
pub(crate) struct Sample(Reservoir<(u64, i32), SESSIONS_MAX>);

impl Sample {
    pub(crate) fn push(&mut self, request: u64, highest: i32) {
        self.0.push((request, highest));
    }

    pub(crate) fn learn(self) -> Ordinary {
        let mut by_request: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        for (request, highest) in self.0.into_kept() {
            by_request.entry(request).or_default().push(highest);
        }
        by_request.values_mut().for_each(|it| it.sort_unstable());
        Ordinary::from(by_request.into_values().collect::<Vec<_>>())
    }
}

/// What sessions reach, and the levels that follow from it. Stored are the scores alone, by request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Vec<i32>>", into = "Vec<Vec<i32>>")]
pub(crate) struct Ordinary {
    reached: Vec<Vec<i32>>,
    /// In thousandths: passed by so few. `None` where too few requests calibrate.
    warned: Option<f64>,
    asked: Option<f64>,
}

impl From<Vec<Vec<i32>>> for Ordinary {
    fn from(mut reached: Vec<Vec<i32>>) -> Self {
        reached.retain(|it| !it.is_empty());
        let scores: Vec<Vec<f64>> = reached.iter().map(|it| it.iter().map(|it| f64::from(*it)).collect()).collect();
        let (warned, asked) = (threshold(&scores, WARNED), threshold(&scores, ASKED));
        Self { reached, warned, asked }
    }
}

impl From<Ordinary> for Vec<Vec<i32>> {
    fn from(it: Ordinary) -> Self {
        it.reached
    }
}

/// What the figures of a baseline rest on, and where they begin to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HijackCalibration {
    /// Sessions that calibrate, and distinct requests among them.
    pub calibrating: usize,
    pub requests: usize,
    /// Scores from which on the column speaks, none below its fixed level; `None` where too few requests calibrate.
    pub warn: Option<f64>,
    pub ask: Option<f64>,
}

impl Ordinary {
    pub(crate) fn about(&self) -> HijackCalibration {
        let spoken = |level: f64| level.max(f64::from(HijackRules::DEFAULT.warn)) / 1000.0;
        HijackCalibration {
            calibrating: self.reached.iter().map(Vec::len).sum(),
            requests: self.reached.len(),
            warn: self.warned.map(spoken),
            ask: self.asked.map(spoken),
        }
    }

    /// The rarest level that a score is above, with its share.
    fn passed(&self, score: f64) -> Option<(f64, f64)> {
        let levels = [(self.asked, ASKED), (self.warned, WARNED)];
        levels.into_iter().find_map(|(level, share)| Some((level.filter(|it| score > *it)?, share)))
    }
}

/// What is to be done about a score, and what is stated of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) score: i32,
    pub(super) decision: Decision,
    pub(super) bound: Option<Bound>,
}

impl HijackRules {
    /// `None` for what is not told of.
    pub(super) fn told(&self, score: i32, profile: Option<&Profile>) -> Option<Told> {
        let ordinary = profile.and_then(Profile::hijack);
        let [floor, fixed] = [self.warn, self.ask].map(|it| f64::from(it) - 1.0);
        let warned = ordinary.and_then(|it| it.warned).unwrap_or(floor).max(floor);
        // Also a fixed level for asking is not below one that was calibrated for warning.
        let asked = ordinary.and_then(|it| it.asked).unwrap_or(fixed).max(warned);
        let decision = match f64::from(score) {
            score if score > asked => Decision::StepUp,
            score if score > warned => Decision::Warn,
            _ => return None,
        };
        let bound = profile.zip(ordinary).and_then(|(profile, it)| it.bound(score, profile, self.warn));
        Some(Told { score, decision, bound })
    }
}

impl Ordinary {
    /// Nothing below `floor` is told of, so that the level named is not below it.
    fn bound(&self, score: i32, profile: &Profile, floor: i32) -> Option<Bound> {
        let (level, at_most) = self.passed(f64::from(score))?;
        let about = self.about();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(Bound {
            at_most,
            threshold: level.max(f64::from(floor)) / 1000.0,
            sessions: count(about.calibrating),
            requests: count(about.requests),
            assumes: Assumption::Exchangeable,
            alarms_per_day: profile.sessions_per_day().map(|it| it * at_most),
        })
    }
}
