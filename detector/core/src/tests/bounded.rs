//! Ordinary sessions of recordings, and how many of them the column `hijack` tells of: the figures of `docs/detection.md`.
//!
//! Sessions are dealt into five; each fifth is judged after the other four were learnt and read once more.

use std::sync::Arc;

use martingale_schemas::{Calibration, Decision};
use serde_json::Value;

use super::drifted::{FOLDS, Recorded, recording, step};
use crate::hash::hash_text;
use crate::{Detector, Learner, Rules};

/// Sessions, and those of which somebody is warned or asked; how many of these have a bound.
#[derive(Debug, Default)]
struct Told {
    sessions: usize,
    warned: usize,
    asked: usize,
    bounded: usize,
}

/// Judges each session by what those of other folds do.
fn told(sessions: &[Recorded], fold_of: impl Fn(&Recorded) -> u64) -> Told {
    let mut told = Told::default();
    for fold in 0..FOLDS {
        let (mut learner, rules) = (Learner::default(), Rules::starter());
        let learnt = || sessions.iter().filter(|it| fold_of(it) != fold).flat_map(|it| &it.steps);
        learnt().for_each(|line| learner.observe(&step(line), &rules));
        let mut calibrator = learner.into_calibrator();
        learnt().for_each(|line| calibrator.observe(&step(line), &rules));
        let baselines = calibrator.finish();
        baselines.profiles().iter().for_each(|it| println!("    {:?}", it.hijack_calibration()));
        let mut detector = Detector::new(Arc::new(rules.with_baselines(Arc::new(baselines))));
        for session in sessions.iter().filter(|it| fold_of(it) == fold) {
            let (mut worst, mut bounded) = (Decision::Allow, false);
            for line in &session.steps {
                let Some(judgement) = detector.observe(&step(line)).judgement() else { continue };
                for finding in judgement.findings.iter().filter(|it| it.rule == "hijack") {
                    worst = worst.max(finding.decision);
                    bounded |= finding.calibration == Calibration::Conformal;
                }
            }
            told.sessions += 1;
            told.warned += usize::from(worst >= Decision::Warn);
            told.asked += usize::from(worst >= Decision::StepUp);
            told.bounded += usize::from(bounded);
            detector.drain_changed(|_, _| {});
            detector.evict(0);
        }
    }
    told
}

/// The four suites as one agent: each alone has eight to eleven requests, which is too few.
fn as_one(mut recorded: Recorded) -> Recorded {
    for line in &mut recorded.steps {
        for suite in ["banking", "slack", "travel", "workspace"] {
            *line = line.replace(&format!(r#""id":"agentdojo-{suite}""#), r#""id":"agentdojo""#);
        }
    }
    recorded
}

#[test]
fn ordinary_sessions_of_recordings() {
    for (name, task) in
        [("agentdojo_official", "split_key"), ("taubench_airline", "task_id"), ("swebench_gemini3", "instance_id")]
    {
        let task_of = |it: &Value| {
            let info = &it["info"];
            let is_ordinary = info.get("variant").is_none_or(|it| it == "benign");
            if is_ordinary { format!("{}/{}", info[task], it["session_id"]) } else { String::new() }
        };
        let Some(sessions) = recording(name, true, task_of) else { continue };
        let sessions: Vec<Recorded> = sessions.into_iter().filter(|it| !it.group.is_empty()).map(as_one).collect();
        for (dealt, by_task) in [("session", false), ("task", true)] {
            let told = told(&sessions, |it| {
                let task = it.group.rsplit_once('/').map_or("", |it| it.0);
                let dealt = if by_task { task } else { &it.group };
                hash_text(dealt) / 2 % FOLDS
            });
            println!("{name}, dealt by {dealt}: {told:?}");
            assert!(told.warned * 100 <= told.sessions * 8, "{name}: {told:?}");
        }
    }
}
