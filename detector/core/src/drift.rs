//! The column `drift`: whether a session still works as this agent's sessions do.
//!
//! Ten streams of a session are followed, each by itself: the order of what is done, the shape and size of arguments and
//! results, latency, tokens, cost, errors, how much of what is said the user said too, how much stood nowhere before, and how
//! results are laid out, as a whole and sign after sign. Each is held against the chances that a baseline gives it, by betting
//! ([`memory`]); how far the bets of ordinary sessions come is learnt with the baseline ([`learn`]), and what comes farther is
//! told, with the step at which it began. Without a baseline nothing is said.
//!
//! It is no signal of an attack: an injected call uses the tools of the agent, and an honest task that is new looks new.
//! Wrong when the mix of tasks, the season or the version changes: then it is right that something changed, and nothing may
//! be wrong.
//!
//! Cost: a few lookups for each stream that a step shows, and one pass over what is said and read.

mod heard;
mod layout;
pub(crate) mod learn;
mod memory;
mod model;
mod reading;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use martingale_schemas::{Assumption, Bound, Calibration, Column, Decision, Finding, Kind, Severity, Step, StepId};
use serde::{Deserialize, Serialize};

pub(crate) use heard::Heard;
pub(crate) use memory::Memory;
use model::{Model, ModelV1};
pub(crate) use reading::Reading;
use reading::Stream;

use crate::baseline::Profile;
use crate::conformal;
use crate::policy::CoreRule;
use crate::quote::quoted;
use crate::sink::{self, Ground};
use crate::tools::Tool;

/// Chances, in a thousand, with which a session of the baseline's kind is warned of, and is slowed down.
const WARNED: usize = 50;
const SLOWED: usize = 10;
/// Distinct requests among the calibrating sessions from which on their figures are taken as a rate: sessions asked the
/// same resemble each other.
const REQUESTS_MIN: u32 = 30;
/// Steps after a session was slowed down in which a call that cannot be taken back is asked about, and that step itself.
const ASKED_STEPS: u8 = 5;

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

/// As the first version of baselines stored it. Nothing is held against it any more.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(Default, Serialize))]
#[cfg_attr(not(test), expect(dead_code, reason = "read to know where it ends"))]
pub(crate) struct StandardV1 {
    model: ModelV1,
    ranges: [f64; 7],
    reached: Vec<f64>,
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

    fn slowed(&self) -> Option<Level> {
        self.passed_by(SLOWED).map(|from| Level { decision: Decision::Throttle, chance: SLOWED, from })
    }

    /// The worst level that lies below.
    fn level(&self, beyond: f64) -> Option<Level> {
        let level = |decision, chance, from| Level { decision, chance, from };
        let slowed = self.slowed();
        let warned = match self.passed_by(WARNED) {
            Some(from) => Some(level(Decision::Warn, WARNED, from)),
            // Too few for that: farther than any of them, by a bit for each time that chance would have to be halved, and
            // one more, as nobody has seen how it goes on there.
            None => self.reached.last().map(|from| {
                let chance = 1000 / (self.reached.len() + 1) + 1;
                level(Decision::Warn, chance, from + bits(2.0 * chance as f64 / WARNED as f64))
            }),
        };
        [slowed, warned].into_iter().flatten().find(|it| beyond > it.from)
    }

    /// How far a session is beyond the ranges: of the two streams that are farthest, together.
    fn beyond(&self, memory: &Memory) -> Beyond {
        let mut out = Beyond::default();
        for (stream, range) in Stream::ALL.into_iter().zip(self.ranges) {
            let bits = bits(memory.evidence(stream)) - range;
            if bits > out.worst.0 {
                out = Beyond { worst: (bits, stream), second: Some(out.worst).filter(|it| it.0 > 0.0) };
            } else if bits > out.second.map_or(0.0, |it| it.0) {
                out.second = Some((bits, stream));
            }
        }
        out
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

/// Streams beyond their ranges, in bits.
#[derive(Clone, Copy, Debug)]
struct Beyond {
    worst: (f64, Stream),
    second: Option<(f64, Stream)>,
}

impl Default for Beyond {
    fn default() -> Self {
        Self { worst: (0.0, Stream::Order), second: None }
    }
}

impl Beyond {
    /// A fault mostly shows in more than one stream, chance mostly in one.
    fn bits(&self) -> f64 {
        self.worst.0 + self.second.map_or(0.0, |it| it.0)
    }

    /// What of the session departs, in words.
    fn said(&self) -> String {
        match self.second {
            None => format!("{} is", self.worst.1.said()),
            Some((_, second)) => format!("{} and {} are", self.worst.1.said(), second.said()),
        }
    }
}

/// What the column says of a step.
#[derive(Debug)]
pub(crate) struct Scored {
    /// Bits beyond the ranges of the two worst streams; 0 within all.
    pub(crate) score: f64,
    /// A level that is passed now.
    pub(crate) passed: Option<Finding>,
    /// The call cannot be taken back, and a person is to be asked; and whether more than the name of its tool says so.
    pub(crate) asked: Option<(bool, Finding)>,
}

/// How far a session departs from what its agent does. One that was under way when its agent first had a baseline is not watched:
/// nobody knows what it did and read before, and its next act would be taken for its first.
pub(crate) fn watch(
    step: &Step<'_>,
    tool: &Tool,
    memory: &mut Option<Box<Memory>>,
    began_before: bool,
    profile: &Profile,
) -> Option<Scored> {
    let standard = profile.drift()?;
    if memory.is_none() && began_before {
        return None;
    }
    let memory = memory.get_or_insert_default();
    let reading = Reading::next(step, &mut memory.heard)?;
    if !memory.take(&standard.model, &reading, &step.step_id) {
        return None;
    }
    let beyond = standard.beyond(memory);
    let level = standard.level(beyond.bits()).filter(|it| it.decision as u8 > memory.told);
    memory.asking = memory.asking.saturating_sub(1);
    if let Some(level) = level {
        memory.told = level.decision as u8;
        if level.decision == Decision::Throttle {
            memory.asking = 1 + ASKED_STEPS;
        }
    }
    let held = Held { step, standard, beyond, sessions_per_day: profile.sessions_per_day() };
    let passed = level.map(|it| held.passed(it, memory));
    let asked = standard.slowed().filter(|_| memory.asking > 0 && step.kind == Kind::ToolCall).and_then(|level| {
        let (ground, what) = sink::is_final(step, tool)?;
        Some((ground == Ground::Stated, held.asked(level, memory, (ground, what))))
    });
    Some(Scored { score: beyond.bits(), passed, asked })
}

/// A step held against a standard.
struct Held<'h, 's> {
    step: &'h Step<'s>,
    standard: &'h Standard,
    beyond: Beyond,
    sessions_per_day: Option<f64>,
}

impl Held<'_, '_> {
    /// The session is beyond a level for the first time.
    fn passed(&self, level: Level, memory: &Memory) -> Finding {
        let (score, began_at) = (self.beyond.bits(), self.began_at(memory));
        let message = format!(
            "Since step {began_at} or a step or two around it, {} not as in the {} sessions that were learnt: {score:.1} bits beyond what they reach, {:.1} are ordinary.",
            self.beyond.said(),
            self.standard.learnt,
            level.from,
        );
        self.finding(level, level.decision, began_at, &message)
    }

    /// It was slowed down not long ago, and this call cannot be taken back.
    fn asked(&self, level: Level, memory: &Memory, (ground, what): (Ground, &str)) -> Finding {
        let by = ground.guessed().map_or(String::new(), |it| format!(", by {it},"));
        let message = format!(
            "{}{by} {what}, {} steps or fewer after the session came {:.1} bits or more beyond what the {} sessions that were learnt reach.",
            quoted(self.step.tool.as_deref().unwrap_or("a tool"), 60),
            ASKED_STEPS,
            level.from,
            self.standard.learnt,
        );
        self.finding(level, Decision::StepUp, self.began_at(memory), &message)
    }

    /// Where the stream that tells most began to.
    fn began_at(&self, memory: &Memory) -> StepId<'static> {
        memory.start(self.beyond.worst.1).cloned().unwrap_or_else(|| self.step.step_id.to_static())
    }

    fn finding(&self, level: Level, decision: Decision, began_at: StepId<'static>, message: &str) -> Finding {
        let this = self.step.step_id.to_static();
        let evidence = if began_at == this { vec![this] } else { vec![began_at.clone(), this] };
        let bound = self.standard.bound(&level, self.sessions_per_day);
        let stated = bound.as_ref().map_or_else(
            || {
                format!(
                    "None or few of {} sessions of {} requests came so far: too few to say how often that happens.",
                    self.standard.reached.len(),
                    self.standard.requests
                )
            },
            conformal::said,
        );
        Finding {
            column: Column::Drift,
            rule: Cow::Borrowed(CoreRule::Drift.id()),
            severity: if decision == Decision::Warn { Severity::Low } else { Severity::Medium },
            mode: CoreRule::Drift.default_mode(),
            decision,
            score: self.beyond.bits(),
            calibration: if bound.is_some() { Calibration::Conformal } else { Calibration::Uncalibrated },
            bound,
            evidence,
            message: format!("{message} {stated}"),
            began_at,
            notify: Vec::new(),
        }
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
