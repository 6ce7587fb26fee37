//! The core over files in one process: decode, check, drop duplicates, judge.
//!
//! Deterministic where the steps carry their time. Those that carry none all get the time at which the replay began, as
//! if they had arrived at once.
//!
//! Every session's state and the identity of every step (16 bytes) stay in memory to the end: ten million steps of a
//! hundred thousand sessions take about a gigabyte.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use martingale_detector_core::{Detector, Learner, Observed, Rules};
use martingale_platform::clock::Clock;
use martingale_schemas::lineage::Lineages;
use martingale_schemas::{Step, Timestamp, ids};

use super::line::{self, Line};
use super::source::Source;
use super::summary::Decisions;
use super::tally::{Found, Tally};
use super::{Faults, Outcomes, Sessions, Summary, lineages};

/// Steps between two updates of the progress bar.
pub(crate) const TELL_EVERY: u64 = 8_192;

pub(super) fn run(
    mut source: Source,
    baselines: Option<Source>,
    rules: Rules,
    mut out: Option<BufWriter<File>>,
) -> Result<Summary> {
    let arrival = Timestamp::from_micros(Clock::System.now_micros());
    let rules = match baselines {
        Some(source) => learn(source, rules, arrival)?,
        None => rules,
    };
    let progress = source.progress();
    let mut judge = Judge::new(Arc::new(rules));
    let mut lineages = Lineages::default();
    let mut sessions = Sessions::default();
    let faults = Faults::new(progress.clone());
    let (mut steps, mut outcomes, mut decisions, mut findings) =
        (0, Outcomes::default(), Decisions::default(), Tally::default());
    let mut json = Vec::new();
    let begun = Instant::now();
    while let Some(place) = source.next_line(&mut json)? {
        steps += 1;
        if steps % TELL_EVERY == 0 {
            progress.set_message(format!("{steps} steps"));
        }
        let step = match lineages::read(&mut lineages, &json, arrival) {
            Ok(step) => step,
            Err(rejection) => {
                outcomes.rejected += 1;
                faults.tell(&place, &rejection.message);
                continue;
            }
        };
        let Some(judgement) = judge.judge(&step) else {
            outcomes.duplicate += 1;
            continue;
        };
        let session = ids::digest(&[step.session_id.as_str().as_bytes()]);
        sessions.insert(session);
        outcomes.accepted += 1;
        decisions.count(judgement.decision);
        findings.count(session, judgement.findings.iter().map(Found::from));
        if let Some(out) = &mut out {
            let line = Line {
                session_id: &step.session_id,
                seq: step.seq,
                step_id: &step.step_id,
                decision: judgement.decision,
                scores: &judgement.scores,
                findings: &judgement.findings,
            };
            line::write(out, &line)?;
        }
    }
    let took = begun.elapsed();
    progress.finish_and_clear();
    if let Some(mut out) = out {
        out.flush()?;
    }
    Ok(Summary { sessions: sessions.len() as u64, steps, took, decisions, findings, outcomes })
}

/// The same rules, held against what these sessions did. A line that is no step is told and left out.
pub(crate) fn learn(source: Source, rules: Rules, arrival: Timestamp) -> Result<Rules> {
    let faults = Faults::new(source.progress());
    learn_some(source, rules, arrival, &faults, |_| true)
}

/// The same of those steps that are wanted.
pub(crate) fn learn_some(
    mut source: Source,
    rules: Rules,
    arrival: Timestamp,
    faults: &Faults,
    is_wanted: impl Fn(&Step<'_>) -> bool,
) -> Result<Rules> {
    let progress = source.progress();
    let (mut learner, mut seen, mut json, mut steps) = (Learner::default(), HashSet::new(), Vec::new(), 0_u64);
    let mut lineages = Lineages::default();
    while let Some(place) = source.next_line(&mut json)? {
        steps += 1;
        if steps % TELL_EVERY == 0 {
            progress.set_message(format!("learning: {steps} steps"));
        }
        match lineages::read(&mut lineages, &json, arrival) {
            Ok(step) if is_wanted(&step) && seen.insert(step.key()) => learner.observe(&step, &rules),
            Ok(_) => {}
            Err(rejection) => faults.tell(&place, &rejection.message),
        }
    }
    progress.finish_and_clear();
    Ok(rules.with_baselines(Arc::new(learner.finish())))
}

/// A detector without a log: what is not in memory was never there.
pub(crate) struct Judge {
    detector: Detector,
    seen: HashSet<[u8; 16]>,
}

impl Judge {
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self { detector: Detector::new(rules), seen: HashSet::new() }
    }

    /// The judgement of a step, or nothing when it came before.
    pub(crate) fn judge(&mut self, step: &Step<'_>) -> Option<martingale_detector_core::Judgement> {
        if !self.seen.insert(step.key()) {
            return None;
        }
        loop {
            let absent = self.detector.absent(step);
            if absent.is_empty() {
                break;
            }
            for key in absent {
                self.detector.load(key, None);
            }
        }
        match self.detector.observe(step) {
            Observed::Judged(judgement) => Some(judgement),
            Observed::Duplicate => None,
        }
    }
}
