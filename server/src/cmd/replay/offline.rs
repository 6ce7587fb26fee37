//! The core over files in one process: decode, check, drop duplicates, judge.
//!
//! Deterministic where the steps carry their time. Those that carry none all get the time at which the replay began, as
//! if they had arrived at once.
//!
//! Every session's state and the identity of every step (16 bytes) stay in memory to the end: ten million steps of a
//! hundred thousand sessions take about a gigabyte.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use martingale_detector_core::{Baselines, Detector, Learner, Observed, Rules};
use martingale_platform::clock::Clock;
use martingale_schemas::{Step, Timestamp, ids};

use super::line::{self, Line};
use super::normal::Normal;
use super::source::Source;
use super::steps::{Lines, each_step};
use super::summary::Decisions;
use super::tally::{Found, Tally};
use super::{Faults, Outcomes, Results, Sessions, Summary};
use crate::output::note;

pub(super) fn run(source: Source, normal: Option<Normal>, rules: Rules, out: Option<Results>) -> Result<Summary> {
    let arrival = Timestamp::from_micros(Clock::System.now_micros());
    let rules = match normal {
        Some(normal) => normal.into_rules(rules, arrival)?,
        None => rules,
    };
    let (mut results, mut out) = (out, None);
    let mut judge = Judge::new(Arc::new(rules));
    let mut sessions = Sessions::default();
    let faults = Faults::new(source.progress());
    let (mut outcomes, mut decisions, mut findings) = (Outcomes::default(), Decisions::default(), Tally::default());
    let begun = Instant::now();
    let lines = each_step(source, arrival, &faults, |step| {
        let Some(judgement) = judge.judge(step) else {
            outcomes.duplicate += 1;
            return Ok(());
        };
        let session = ids::digest(&[step.session_id.as_str().as_bytes()]);
        sessions.insert(session);
        outcomes.accepted += 1;
        decisions.count(judgement.decision);
        findings.count(session, judgement.findings.iter().map(Found::from));
        if let Some(results) = results.take() {
            out = Some(results.begin()?);
        }
        if let Some(out) = &mut out {
            line::write(out, &Line::of(step, &judgement))?;
        }
        Ok(())
    })?;
    outcomes.rejected = lines.rejected;
    let took = begun.elapsed();
    let out = match results {
        Some(results) => Some(results.begin()?),
        None => out,
    };
    if let Some(mut out) = out {
        out.flush()?;
    }
    Ok(Summary { sessions: sessions.len() as u64, steps: lines.read, took, decisions, findings, outcomes })
}

/// What the sessions of the wanted steps did; read a second time, where the files allow it, for what these sessions reach
/// themselves. `title`: for whom, before what is done, beside the bar.
pub(crate) fn learn_some(
    source: Source,
    title: &str,
    rules: &Rules,
    arrival: Timestamp,
    faults: &Faults,
    is_wanted: impl Fn(&Step<'_>) -> bool,
) -> Result<(Baselines, Lines)> {
    let (mut learner, mut seen) = (Learner::default(), HashSet::new());
    let lasting = source.lasting();
    source.progress().set_prefix(format!("{title}learning: "));
    let lines = each_step(source, arrival, faults, |step| {
        if is_wanted(step) && seen.insert(step.key()) {
            learner.observe(step, rules);
        }
        Ok(())
    })?;
    let Some(files) = lasting else {
        note("the steps cannot be read twice, so no rate is known of hijack: name files to have one");
        return Ok((learner.finish(), lines));
    };
    let again = Source::open(&files)?;
    again.progress().set_prefix(format!("{title}calibrating: "));
    let silent = Faults::told_before(again.progress());
    let mut calibrator = learner.into_calibrator();
    seen.clear();
    let read = each_step(again, arrival, &silent, |step| {
        if is_wanted(step) && seen.insert(step.key()) {
            calibrator.observe(step, rules);
        }
        Ok(())
    })?;
    if read != lines {
        let (before, now) = (lines.read, read.read);
        bail!("the files had {before} lines and now have {now}: they are read twice, so name files that stay");
    }
    Ok((calibrator.finish(), lines))
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
