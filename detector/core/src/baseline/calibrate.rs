//! What the sessions that were learnt from reach themselves, in a second reading of them.
//!
//! They were dealt into two halves, run by run. Each session is judged, step by step as the detector judges one that the user
//! speaks to, by what the other half taught: so a request that recurs is judged by other sessions of it, as the next one will
//! be, and one that came once by sessions of other requests alone. What is judged later is held against both halves, and so
//! mostly known better than what calibrates.
//!
//! Also sessions that teach nothing are judged ([`ReadFor::Calibration`](super::ReadFor)), each by the half that its run is not in:
//! a share that is stated of all sessions is one of all.
//!
//! Left out are the steps of which no rate is stated ([`hijack::is_calibrated`]), and sessions of no other.

use std::collections::HashMap;

use martingale_schemas::{Kind, SessionId, Step};

use super::open::Open;
use super::{Baselines, agent, half};
use crate::Rules;
use crate::hijack::ordinary::Sample;
use crate::hijack::{self, Meanings, Memory};
use crate::run::parent_of;
use crate::tools::{Defined, Tools};

/// Judges the sessions of the first reading: the same steps, in the same order.
#[derive(Debug)]
pub struct Calibrator {
    baselines: Baselines,
    pub(super) halves: [Baselines; 2],
    tools: Tools,
    meanings: Meanings,
    open: Open<Judged>,
    reached: HashMap<u64, Sample>,
}

/// A session that is judged.
#[derive(Debug, Default)]
struct Judged {
    agent: u64,
    half: usize,
    /// No other agent started it.
    is_root: bool,
    ended: bool,
    memory: Memory,
    defined: Defined,
    highest: i32,
}

impl Calibrator {
    pub(super) fn new(baselines: Baselines, halves: [Baselines; 2]) -> Self {
        let (tools, meanings) = Default::default();
        Self { baselines, halves, tools, meanings, open: Open::default(), reached: HashMap::new() }
    }

    /// Takes the next step of its session.
    pub fn observe(&mut self, step: &Step<'_>, rules: &Rules) {
        self.score(step, rules);
    }

    /// The same; answers the score of a step that counts.
    pub(super) fn score(&mut self, step: &Step<'_>, rules: &Rules) -> Option<i32> {
        let begin = || {
            let (agent, half, is_root) = (agent(step), half(step), parent_of(step).is_none());
            Judged { agent, half, is_root, ..Judged::default() }
        };
        let (judged, closed) = self.open.of(step, begin)?;
        let others = self.halves[1 - judged.half].of(judged.agent);
        judged.defined.take_in(step);
        let tool = self.tools.of(step, &rules.catalogue, &judged.defined, rules.limits.tools_max);
        let score = hijack::score(step, &tool, (&mut judged.memory, &mut self.meanings), others);
        let score = score.filter(|_| judged.is_root && hijack::is_calibrated(step, judged.ended));
        judged.highest = judged.highest.max(score.unwrap_or(0));
        judged.ended |= step.kind == Kind::SessionEnd;
        closed.into_iter().for_each(|it| close(&mut self.reached, &it));
        score
    }

    /// Takes in what a session reached that is known to be over.
    pub fn end(&mut self, session: &SessionId<'_>) {
        if let Some(session) = self.open.end(session) {
            close(&mut self.reached, &session);
        }
    }

    /// The baselines, with what their sessions reach.
    #[must_use]
    pub fn finish(mut self) -> Baselines {
        self.open.finish().for_each(|it| close(&mut self.reached, &it));
        for (agent, sample) in self.reached {
            if let Some(profile) = self.baselines.agents.get_mut(&agent) {
                profile.hijack = Some(Box::new(sample.learn()));
            }
        }
        self.baselines
    }
}

fn close(reached: &mut HashMap<u64, Sample>, session: &Judged) {
    let sample = reached.entry(session.agent).or_default();
    if session.is_root {
        sample.push(session.memory.request_print(), session.highest);
    }
}
