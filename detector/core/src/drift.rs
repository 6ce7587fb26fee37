//! The column `drift`: whether a session still works as this agent's sessions do.
//!
//! Seven streams of a session are followed, each by itself: the order of what is done, the shape and size of arguments and
//! results, latency, tokens, cost, errors, and how much it takes up the user's words. Each is held against the chances that
//! a baseline gives it, by betting ([`memory`]); how far the bets of ordinary sessions come is learnt with the baseline
//! ([`learn`]), and what comes farther is told, with the step at which it began. Without a baseline nothing is said.
//!
//! It is no signal of an attack: an injected call uses the tools of the agent, and an honest task that is new looks new.
//! Wrong when the mix of tasks, the season or the version changes: then it is right that something changed, and nothing may
//! be wrong.
//!
//! Cost: a few lookups for each stream that a step shows, and one pass over the arguments of a call.

pub(crate) mod learn;
mod memory;
mod model;
mod reading;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use martingale_schemas::{Assumption, Bound, Calibration, Column, Decision, Finding, Severity, Step};
use serde::{Deserialize, Serialize};

pub(crate) use memory::Memory;
use model::Model;
use reading::Stream;
pub(crate) use reading::{Heard, Reading};

use crate::baseline::Profile;
use crate::conformal;
use crate::policy::CoreRule;

/// Chances, in a thousand, with which a session of the baseline's kind is warned of, and is slowed down.
const WARNED: usize = 50;
const SLOWED: usize = 10;
/// Distinct requests among the calibrating sessions from which on their figures are taken as a rate: sessions asked the
/// same resemble each other.
const REQUESTS_MIN: u32 = 30;

/// What sessions of one agent are held against.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standard {
    model: Model,
    /// What each stream reaches in ordinary sessions, in bits.
    ranges: [f64; Stream::ALL.len()],
    /// How far each calibrating session came beyond them, ascending.
    reached: Vec<f64>,
    /// Sessions it was learnt from, and distinct requests among those that calibrate.
    learnt: u32,
    requests: u32,
}

/// What the figures of a baseline rest on, and where they begin to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftCalibration {
    /// Sessions that were learnt from, and others that calibrate.
    pub learnt: u32,
    pub calibrating: usize,
    /// Distinct requests among those that calibrate.
    pub requests: u32,
    /// Bits beyond the ordinary from which on a session is warned of, and slowed down; `None` where too few calibrate.
    pub warn_bits: Option<f64>,
    pub throttle_bits: Option<f64>,
    /// Whether the rates are stated: enough sessions, of enough requests.
    pub is_calibrated: bool,
}

/// A level that a session passed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level {
    decision: Decision,
    /// Chance to pass it, in a thousand, if all sessions are of one kind.
    chance: usize,
    from: f64,
}

impl Standard {
    /// What at most this many of a thousand sessions pass; `None` where there are too few sessions to say.
    fn passed_by(&self, thousandths: usize) -> Option<f64> {
        let rank = ((self.reached.len() + 1) * (1000 - thousandths)).div_ceil(1000);
        self.reached.get(rank.checked_sub(1)?).copied()
    }

    pub(crate) fn about(&self) -> DriftCalibration {
        let (warn_bits, throttle_bits) = (self.passed_by(WARNED), self.passed_by(SLOWED));
        DriftCalibration {
            learnt: self.learnt,
            calibrating: self.reached.len(),
            requests: self.requests,
            warn_bits,
            throttle_bits,
            is_calibrated: warn_bits.is_some() && self.requests >= REQUESTS_MIN,
        }
    }

    /// The worst level that lies below.
    fn level(&self, beyond: f64) -> Option<Level> {
        let level = |decision, chance, from| Level { decision, chance, from };
        let slowed = self.passed_by(SLOWED).map(|from| level(Decision::Throttle, SLOWED, from));
        let warned = match self.passed_by(WARNED) {
            Some(from) => Some(level(Decision::Warn, WARNED, from)),
            // Too few for that: farther than any of them.
            None => self.reached.last().map(|from| level(Decision::Warn, 1000 / (self.reached.len() + 1) + 1, *from)),
        };
        [slowed, warned].into_iter().flatten().find(|it| beyond > it.from)
    }

    /// How far the worst stream is beyond its range, in bits, and which it is.
    fn beyond(&self, memory: &Memory) -> (f64, Stream) {
        let mut worst = (0.0, Stream::Order);
        for (stream, range) in Stream::ALL.into_iter().zip(self.ranges) {
            let beyond = bits(memory.evidence(stream)) - range;
            if beyond > worst.0 {
                worst = (beyond, stream);
            }
        }
        worst
    }

    /// `None` where too few sessions, or too few requests, calibrate.
    fn bound(&self, level: &Level, sessions_per_day: Option<f64>) -> Option<Bound> {
        let at_most = level.chance as f64 / 1000.0;
        (level.chance <= WARNED && self.requests >= REQUESTS_MIN).then(|| Bound {
            at_most,
            threshold: level.from,
            sessions: u32::try_from(self.reached.len()).unwrap_or(u32::MAX),
            requests: self.requests,
            assumes: Assumption::Exchangeable,
            alarms_per_day: sessions_per_day.map(|it| it * at_most),
        })
    }
}

/// What the column says of a step.
#[derive(Debug)]
pub(crate) struct Scored {
    /// Bits beyond the range of the worst stream; 0 within it.
    pub(crate) score: f64,
    pub(crate) finding: Option<Finding>,
}

/// Takes in a step of a session that has a baseline.
pub(crate) fn observe(step: &Step<'_>, memory: &mut Memory, profile: &Profile) -> Option<Scored> {
    let standard = profile.drift()?;
    let reading = Reading::next(step, &mut memory.heard)?;
    if !memory.take(&standard.model, &reading, &step.step_id) {
        return None;
    }
    let (score, stream) = standard.beyond(memory);
    let level = standard.level(score).filter(|it| it.decision as u8 > memory.told);
    let finding = level.map(|level| {
        memory.told = level.decision as u8;
        let bound = standard.bound(&level, profile.sessions_per_day());
        finding(step, memory, standard, (score, stream), level, bound)
    });
    Some(Scored { score, finding })
}

fn finding(
    step: &Step<'_>,
    memory: &Memory,
    standard: &Standard,
    (score, stream): (f64, Stream),
    level: Level,
    bound: Option<Bound>,
) -> Finding {
    let this = step.step_id.to_static();
    let began_at = memory.start(stream).unwrap_or(&this).clone();
    let evidence = if began_at == this { vec![this] } else { vec![began_at.clone(), this] };
    let stated = bound.as_ref().map_or_else(
        || {
            format!(
                "None or few of {} sessions of {} requests came so far: too few to say how often that happens.",
                standard.reached.len(),
                standard.requests
            )
        },
        conformal::said,
    );
    Finding {
        column: Column::Drift,
        rule: Cow::Borrowed(CoreRule::Drift.id()),
        severity: if level.decision == Decision::Throttle { Severity::Medium } else { Severity::Low },
        mode: CoreRule::Drift.default_mode(),
        decision: level.decision,
        score,
        calibration: if bound.is_some() { Calibration::Conformal } else { Calibration::Uncalibrated },
        bound,
        evidence,
        message: format!(
            "Since step {began_at} or a step or two around it, {} is not as in the {} sessions that were learnt: {score:.1} bits beyond what they reach, {:.1} are ordinary. {stated}",
            stream.said(),
            standard.learnt,
            level.from,
        ),
        began_at,
        notify: Vec::new(),
    }
}

/// Logarithm to base 2 of a positive number, to within 0.09 and never decreasing: straight between powers of two, so that it
/// is the same on every machine.
fn bits(number: f64) -> f64 {
    let raw = number.to_bits();
    let exponent = i32::try_from(raw >> 52 & 0x7ff).unwrap_or(0) - 1023;
    let fraction = f64::from_bits(raw & ((1 << 52) - 1) | 1023 << 52) - 1.0;
    f64::from(exponent) + fraction
}
