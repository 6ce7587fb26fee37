//! What an agent does when nothing is wrong, conditioned on what it was asked.
//!
//! A profile holds counts of sessions, never text: in how many sessions a tool was called, an argument came from the user or
//! from a result of which tool, a sentence was read, a value was used; over all requests and for each distinct request.
//! Sessions of every version of an agent share one profile, so that a new version starts from its predecessors'.

mod calibrate;
mod finals;
mod learn;
mod open;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use martingale_schemas::{Step, Timestamp};
use serde::{Deserialize, Serialize};

pub use calibrate::Calibrator;
pub(crate) use finals::Finals;
pub use finals::Total;
pub use learn::Learner;
pub use stored::{BaselinesV1, BaselinesV2};

use crate::drift::{DriftCalibration, Standard};
use crate::hash::{hash_text, mix};
use crate::hijack::HijackCalibration;
use crate::hijack::embed::{self, Vector};
use crate::hijack::ordinary::Ordinary;

/// Distinct requests of one agent. Full: a session of a new one is counted with the nearest that is kept.
const REQUESTS_MAX: usize = 4096;
/// Counts kept over all requests of an agent, and of one request. Full: what is new is not counted, and so stays new.
const COUNTS_MAX: usize = 1 << 20;
const REQUEST_COUNTS_MAX: usize = 2048;
/// Tools of an agent that have a usage of their own, whatever names callers make up. Full: a new one has none, and is judged by it
/// as one that was never called; that it was is counted with the rest.
const TOOLS_MAX: usize = 1024;
/// Agents. Full: others have no baseline.
const AGENTS_MAX: usize = 4096;
/// Requests this close to the nearest one count as the same, in thousandths.
const NEAR: i32 = 30;
/// Steps of a histogram of thousandths.
pub(crate) const BINS: usize = 17;

/// What is counted. Stored in fingerprints: a variant keeps its number.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum What {
    Tool = 1,
    Argument = 2,
    Origin = 3,
    Source = 4,
    Value = 5,
    Sentence = 6,
    /// A value in any argument, where the user had not named it.
    Anywhere = 7,
}

/// Fingerprint of something counted.
pub(crate) fn key(what: What, parts: &[u64]) -> u64 {
    parts.iter().fold(what as u64, |key, it| mix(key, *it))
}

/// In how many sessions something was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sessions: u32,
    seen: HashMap<u64, u32>,
    /// Most sessions that agree on the value of an argument, and most calls of a tool in a session.
    most: HashMap<u64, u32>,
}

impl Counts {
    pub(crate) fn of(&self, key: u64) -> u32 {
        self.seen.get(&key).copied().unwrap_or(0)
    }

    pub(crate) fn most(&self, key: u64) -> u32 {
        self.most.get(&key).copied().unwrap_or(0)
    }

    /// Answers the new count; nothing when there is no room.
    fn add(&mut self, key: u64, max: usize) -> u32 {
        if self.seen.len() >= max && !self.seen.contains_key(&key) {
            return 0;
        }
        let count = self.seen.entry(key).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn at_least(&mut self, key: u64, count: u32, max: usize) {
        if self.most.len() < max || self.most.contains_key(&key) {
            let most = self.most.entry(key).or_default();
            *most = count.max(*most);
        }
    }
}

/// Sessions that asked the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    vector: Vector,
    pub(crate) counts: Counts,
}

/// How a tool is called over all requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) sessions: u32,
    user_to_tool: i64,
    /// Sessions by the strongest command sign of a call.
    commands: [u32; BINS],
}

impl Usage {
    pub(crate) fn user_to_tool(&self) -> i32 {
        i32::try_from(self.user_to_tool / i64::from(self.sessions.max(1))).unwrap_or(0)
    }

    /// Sessions with a sign at least this strong.
    pub(crate) fn as_strong(&self, command: i32) -> u32 {
        self.commands[bin(command)..].iter().sum()
    }
}

pub(crate) fn bin(thousandths: i32) -> usize {
    usize::try_from(thousandths.max(0)).unwrap_or(0).div_ceil(64).min(BINS - 1)
}

/// Whose behaviour it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Who {
    agent: String,
    environment: Option<String>,
}

/// Behaviour of one agent in one environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    who: Who,
    pub(crate) all: Counts,
    commands: [u32; BINS],
    usage: HashMap<u64, Usage>,
    requests: Vec<Request>,
    by_print: HashMap<u64, usize>,
    /// How its sessions proceed; `None` while there are too few.
    drift: Option<Box<Standard>>,
    /// How suspect its sessions look; `None` where they were read once only.
    hijack: Option<Box<Ordinary>>,
    /// When its first and its last session began, by their own times.
    began: Option<(Timestamp, Timestamp)>,
    /// What its sessions used in all.
    pub(crate) finals: Finals,
}

/// The requests nearest to one, together.
#[derive(Debug)]
pub(crate) struct Near<'a> {
    pub(crate) requests: Vec<&'a Request>,
    /// Likeness of the nearest, in thousandths.
    pub(crate) likeness: i32,
    /// Likeness of the nearest in which the tool was called.
    pub(crate) with_tool: Option<i32>,
}

impl Near<'_> {
    pub(crate) fn sum(&self, f: impl Fn(&Counts) -> u32) -> u32 {
        self.requests.iter().map(|it| f(&it.counts)).fold(0, u32::saturating_add)
    }
}

impl Profile {
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.who.agent
    }

    #[must_use]
    pub fn environment(&self) -> Option<&str> {
        self.who.environment.as_deref()
    }

    /// Distinct tools that were called, as far as there is room for them.
    #[must_use]
    pub fn tools(&self) -> usize {
        self.usage.len()
    }

    /// What the column `drift` holds a session against; `None` while there are too few sessions to learn from.
    #[must_use]
    pub fn drift_calibration(&self) -> Option<DriftCalibration> {
        self.drift().map(Standard::about)
    }

    /// What the column `hijack` holds a session against; `None` where the sessions were not read a second time.
    #[must_use]
    pub fn hijack_calibration(&self) -> Option<HijackCalibration> {
        self.hijack().map(Ordinary::about)
    }

    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.all.sessions
    }

    /// Of how many sessions it is kept what they used in all, and how much that was: what budgets with a forecast ask.
    #[must_use]
    pub fn totals(&self) -> (usize, Vec<Total>) {
        (self.finals.sessions(), self.finals.totals())
    }

    /// How many sessions began a day, between the first and the last; `None` for less than a day. Those that calibrate and were not
    /// learnt from count as well, as long as all that calibrate are kept: of more a sample is.
    #[must_use]
    pub fn sessions_per_day(&self) -> Option<f64> {
        const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;
        let (first, last) = self.began?;
        let span = last.micros_since(first);
        let calibrating = self.hijack().map_or(0, |it| u32::try_from(it.about().calibrating).unwrap_or(u32::MAX));
        let spans = f64::from(self.all.sessions.max(calibrating).saturating_sub(1));
        (span >= DAY_MICROS).then(|| spans * DAY_MICROS as f64 / span as f64)
    }

    /// Distinct requests.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn drift(&self) -> Option<&Standard> {
        self.drift.as_deref()
    }

    pub(crate) fn hijack(&self) -> Option<&Ordinary> {
        self.hijack.as_deref()
    }

    pub(crate) fn has_read(&self, sentence: u64) -> bool {
        self.all.of(key(What::Sentence, &[sentence])) > 0
    }

    pub(crate) fn usage(&self, tool: u64) -> Option<&Usage> {
        self.usage.get(&tool)
    }

    /// Sessions in which some call had a sign at least this strong.
    pub(crate) fn as_strong(&self, command: i32) -> u32 {
        self.commands[bin(command)..].iter().sum()
    }

    #[cfg(test)]
    pub(crate) fn of_ordinary(ordinary: Ordinary) -> Self {
        Self { hijack: Some(Box::new(ordinary)), ..Self::default() }
    }

    /// A flat scan: 128 bytes a request, some tens of microseconds for the most that are kept.
    pub(crate) fn near(&self, request: &Vector, tool: u64) -> Near<'_> {
        let tool = key(What::Tool, &[tool]);
        let likeness: Vec<i32> = self.requests.iter().map(|it| embed::likeness(&it.vector, request)).collect();
        let best = likeness.iter().copied().max().unwrap_or(0);
        let pairs = || likeness.iter().copied().zip(&self.requests);
        Near {
            requests: pairs().filter(|it| it.0 >= best - NEAR).map(|it| it.1).collect(),
            likeness: best,
            with_tool: pairs().filter(|it| it.1.counts.of(tool) > 0).map(|it| it.0).max(),
        }
    }
}

/// What a session of a baseline is read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFor {
    #[default]
    Both,
    /// It is counted, and no rate rests on it.
    Learning,
    /// It is judged by what others taught and teaches nothing. A rate that is stated of all sessions has to know also those
    /// that nobody wants to learn from.
    Calibration,
}

impl ReadFor {
    #[must_use]
    pub fn learns(self) -> bool {
        self != Self::Calibration
    }

    #[must_use]
    pub fn calibrates(self) -> bool {
        self != Self::Learning
    }
}

/// Baselines of many agents. Serialised, equal ones are equal bytes; a change of any field is a new version for whoever
/// writes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "stored::Stored", try_from = "stored::Stored")]
pub struct Baselines {
    agents: HashMap<u64, Profile>,
}

impl Baselines {
    /// Agents that there is room for.
    pub const AGENTS_MAX: usize = AGENTS_MAX;

    /// The profile of an agent in its environment, by their [`agent`].
    pub(crate) fn of(&self, agent: u64) -> Option<&Profile> {
        self.agents.get(&agent)
    }

    /// Every profile, by agent and environment.
    #[must_use]
    pub fn profiles(&self) -> Vec<&Profile> {
        let mut all: Vec<&Profile> = self.agents.values().collect();
        all.sort_by(|a, b| a.who.cmp(&b.who));
        all
    }

    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.agents.values().map(|it| u64::from(it.all.sessions)).sum()
    }
}

/// Key of a step's agent in its environment. A session has one profile, that of its first step's, whichever agents its later steps are
/// of: who learns, calibrates and judges ask for it at the first step alone.
pub(crate) fn agent(step: &Step<'_>) -> u64 {
    mix(hash_text(step.agent.id.as_str()), hash_text(step.environment.as_deref().unwrap_or_default()))
}

/// Which half of the runs a step's is in.
fn half(step: &Step<'_>) -> usize {
    usize::from(mix(hash_text(step.root_session_id.as_str()), 3).is_multiple_of(2))
}

impl Who {
    fn of(step: &Step<'_>) -> Self {
        Self { agent: step.agent.id.as_str().to_owned(), environment: step.environment.as_deref().map(str::to_owned) }
    }
}
