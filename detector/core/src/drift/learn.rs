//! Learning a baseline for drift, and what its own sessions reach.
//!
//! Of every four sessions two, drawn by a fixed hash, are learnt from; the other two calibrate: what is told of them was
//! never fitted to them. Where half of the sessions are too few to state a rate, only one of four calibrates. A session that is
//! read for one of both alone ([`ReadFor`]) is passed over where its place is the other, so that those that calibrate are drawn
//! of all. How far the streams of one agent run apart from session to session differs by stream (its latency may follow the
//! hour, its order of tools not), so each stream has its own range, learnt by judging each part of the sessions learnt from by
//! a model of the others. A session's figure is how far the two worst streams ever were beyond theirs, together.
//!
//! The bound: of n calibrating sessions the k-th largest figure, k = ⌈(n + 1)(1 − α)⌉ from below, is passed by a new session
//! with a chance of at most α, whatever the dependence inside a session, if that session is exchangeable with them (split
//! conformal; Vovk et al.). It is an average over draws of the calibrating sessions, and it breaks where sessions stop to be
//! alike: another mix of tasks, another season, another version.

use martingale_schemas::StepId;

use super::memory::{Memory, STEPS_MAX};
use super::model::Model;
use super::reading::{Reading, Stream};
use super::{Standard, bits};
use crate::baseline::ReadFor;
use crate::hash::mix;
use crate::reservoir::Reservoir;

/// Sessions that an agent's baseline is learnt from; of more a sample.
pub(crate) const SESSIONS_MAX: usize = 2048;
/// Fewer sessions say nothing of an agent.
const SESSIONS_MIN: usize = 8;
/// And of them, so many that are learnt from.
const LEARNT_MIN: usize = 6;
/// From so many on, half of them are the nineteen that it takes to state a rate of 5 %.
const STATED_MIN: usize = 38;
/// Parts of what is learnt from, for the ranges.
const PARTS: usize = 4;
/// Steps of all agents together. Full: sessions that come later are not learnt from.
pub(crate) const READINGS_MAX: usize = 1 << 22;
/// Of the sessions learnt from, in a thousand, this many stay within the range of a stream.
const WITHIN: usize = 900;

/// A session that is learnt from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// Fingerprint of what was asked: sessions asked the same are one cluster.
    pub(crate) request: u64,
    pub(crate) read_for: ReadFor,
    readings: Vec<Reading>,
}

impl Past {
    pub(crate) fn len(&self) -> usize {
        self.readings.len()
    }

    #[cfg(test)]
    pub(super) fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Takes in the next step, if it says anything.
    pub(crate) fn extend(&mut self, reading: Option<Reading>) {
        if self.readings.len() < STEPS_MAX as usize {
            self.readings.extend(reading);
        }
    }
}

/// Sessions of one agent, before anything is worked out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Reservoir<Past, SESSIONS_MAX>);

impl Sessions {
    /// Answers the one that is not kept, if there is one.
    pub(crate) fn push(&mut self, session: Past) -> Option<Past> {
        if session.readings.is_empty() { None } else { self.0.push(session) }
    }

    /// `None` while there are too few.
    pub(crate) fn learn(&self) -> Option<Standard> {
        let kept = self.0.kept();
        if kept.len() < SESSIONS_MIN {
            return None;
        }
        let calibrate = if kept.len() < STATED_MIN { 1 } else { 2 };
        let (mut learnt, mut calibrating) = (Vec::new(), Vec::new());
        for (block, sessions) in kept.chunks(4).enumerate() {
            let turn = mix(block as u64, 1) % 4;
            for (session, place) in sessions.iter().zip(turn..) {
                match place % 4 < calibrate {
                    true if session.read_for.calibrates() => calibrating.push(session),
                    false if session.read_for.learns() => learnt.push(session),
                    _ => {}
                }
            }
        }
        if learnt.len() < LEARNT_MIN {
            return None;
        }
        let ranges = ranges(&learnt);
        let model = Model::fit(readings(&learnt));
        let mut standard = Standard { model, ranges, ..Standard::default() };
        standard.learnt = u32::try_from(learnt.len()).unwrap_or(u32::MAX);
        standard.reached = calibrating.iter().map(|it| standard.farthest(it)).collect();
        standard.reached.sort_by(f64::total_cmp);
        let mut requests: Vec<u64> = calibrating.iter().map(|it| it.request).collect();
        requests.sort_unstable();
        requests.dedup();
        standard.requests = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        Some(standard)
    }
}

fn readings<'p>(sessions: &'p [&'p Past]) -> impl Iterator<Item = &'p [Reading]> + Clone {
    sessions.iter().map(|it| it.readings.as_slice())
}

/// What each stream of one part reaches under a model of the others.
fn ranges(learnt: &[&Past]) -> [f64; Stream::ALL.len()] {
    let mut reached: [Vec<f64>; Stream::ALL.len()] = Default::default();
    for part in 0..PARTS {
        let others: Vec<&Past> = learnt.iter().enumerate().filter(|it| it.0 % PARTS != part).map(|it| *it.1).collect();
        let model = Model::fit(readings(&others));
        for session in learnt.iter().skip(part).step_by(PARTS) {
            let mut most = [0.0_f64; Stream::ALL.len()];
            each_step(&model, session, |memory| {
                for stream in Stream::ALL {
                    let most = &mut most[stream as usize];
                    *most = most.max(bits(memory.evidence(stream)));
                }
            });
            reached.iter_mut().zip(most).for_each(|(reached, most)| reached.push(most));
        }
    }
    reached.map(|mut reached| {
        reached.sort_by(f64::total_cmp);
        reached.get((reached.len() * WITHIN).div_ceil(1000).saturating_sub(1)).copied().unwrap_or(0.0)
    })
}

fn each_step(model: &Model, session: &Past, mut f: impl FnMut(&Memory)) {
    let (mut memory, nowhere) = (Memory::default(), StepId::from(""));
    for reading in &session.readings {
        memory.take(model, reading, &nowhere);
        f(&memory);
    }
}

impl Standard {
    /// How far a session ever came beyond the ranges.
    pub(super) fn farthest(&self, session: &Past) -> f64 {
        let mut most = 0.0_f64;
        each_step(&self.model, session, |memory| most = most.max(self.beyond(memory).bits()));
        most
    }

    /// How far beyond them it is after each of its readings.
    #[cfg(test)]
    pub(crate) fn after_each(&self, session: &Past) -> Vec<f64> {
        let mut all = Vec::new();
        each_step(&self.model, session, |memory| all.push(self.beyond(memory).bits()));
        all
    }
}
