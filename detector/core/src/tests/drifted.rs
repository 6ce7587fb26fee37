//! Recorded executions held against what other sessions of the same agent did: the figures of `docs/detection.md`.
//!
//! Sessions of an agent are dealt into five; each fifth is judged after the healthy ones of the other four were learnt.

use std::collections::BTreeMap;
use std::sync::Arc;

use martingale_schemas::{Calibration, Limits, Step, Timestamp, wire::StepV1};
use serde_json::Value;

use super::recorded::lines;
use crate::hash::hash_text;
use crate::testing::BEGIN;
use crate::{Detector, Learner, Rules};

pub(super) const FOLDS: u64 = 5;

pub(super) struct Recorded {
    pub(super) steps: Vec<String>,
    /// What must not be in one baseline with it; sessions are dealt by it.
    pub(super) group: String,
    fault: String,
    first_bad: Option<u64>,
    is_healthy: bool,
}

impl Recorded {
    pub(super) fn first_bad(&self) -> Option<u64> {
        self.first_bad
    }
}

/// What was said of a session.
#[derive(Default)]
struct Said {
    /// Scores by `seq`, and the worst finding: 0 none, 1 warned, 2 slowed.
    scores: Vec<(u64, f64)>,
    found: Vec<(u64, u8)>,
    calibrated: bool,
    /// Findings of any column, in any mode: `seq` and rule.
    any: Vec<(u64, String)>,
}

pub(super) fn step(line: &str) -> Step<'_> {
    StepV1::parse(line.as_bytes()).unwrap().check(Timestamp::from_micros(BEGIN), &Limits::DEFAULT).unwrap()
}

/// Sessions with their labels, dealt by `group`; those that failed without a fault are healthy where `failed` says so.
pub(super) fn recording(name: &str, failed: bool, group: impl Fn(&Value) -> String) -> Option<Vec<Recorded>> {
    let mut by_id: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines(name, "steps.jsonl.gz")? {
        by_id.entry(step(&line).session_id.to_string()).or_default().push(line);
    }
    let sessions = lines(name, "sessions.jsonl.gz")?.map(|line| {
        let session: Value = serde_json::from_str(&line).unwrap();
        let label = &session["label"];
        let first_bad = label["first_bad_step"].as_u64();
        Recorded {
            steps: by_id.remove(session["session_id"].as_str().unwrap()).unwrap_or_default(),
            group: group(&session),
            fault: label["fault_class"].as_str().unwrap_or("none").to_owned(),
            first_bad,
            is_healthy: first_bad.is_none() && (failed || label["failed"] != true),
        }
    });
    Some(sessions.collect())
}

/// Judges each session by what healthy sessions of other folds do.
fn judged(sessions: &[Recorded], rules: &dyn Fn() -> Rules) -> Vec<Said> {
    let fold_of = |it: &Recorded| hash_text(&it.group) / 2 % FOLDS;
    let mut said: Vec<Said> = sessions.iter().map(|_| Said::default()).collect();
    for fold in 0..FOLDS {
        let mut learner = Learner::default();
        let rules = rules();
        for session in sessions.iter().filter(|it| it.is_healthy && fold_of(it) != fold) {
            session.steps.iter().for_each(|line| learner.observe(&step(line), &rules));
        }
        let mut detector = Detector::new(Arc::new(rules.with_baselines(Arc::new(learner.finish()))));
        for (session, said) in sessions.iter().zip(&mut said).filter(|it| fold_of(it.0) == fold) {
            for line in &session.steps {
                let step = step(line);
                let Some(judgement) = detector.observe(&step).judgement() else { continue };
                let seq = step.seq.unwrap_or(0);
                said.scores.extend(judgement.scores.get("drift").map(|it| (seq, *it)));
                said.any.extend(judgement.findings.iter().map(|it| (seq, it.rule.to_string())));
                for finding in judgement.findings.iter().filter(|it| it.rule == "drift") {
                    said.found.push((seq, finding.decision as u8));
                    said.calibrated |= finding.calibration == Calibration::Conformal;
                }
            }
            detector.drain_changed(|_, _| {});
            detector.evict(0);
        }
    }
    said
}

fn most(said: &Said) -> f64 {
    said.scores.iter().map(|it| it.1).fold(0.0, f64::max)
}

/// Faults found, of all whose baseline is known, by the first step that is told of: alarms from the first bad step on, and
/// those before it.
fn found(
    sessions: &[(&Recorded, &Said)],
    first: impl Fn(&Said) -> Option<u64>,
) -> BTreeMap<String, (usize, usize, usize)> {
    let mut out: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    for (session, said) in sessions {
        let Some(first_bad) = session.first_bad else { continue };
        let (all, found, early) = out.entry(session.fault.clone()).or_default();
        *all += 1;
        match first(said) {
            Some(seq) if seq < first_bad => *early += 1,
            Some(_) => *found += 1,
            None => {}
        }
    }
    out
}

#[test]
fn faults_that_were_put_in() {
    let by_task = |it: &Value| format!("{}{}", it["agent_id"], it["info"]["split_key"]);
    let Some(sessions) = recording("sentinel", false, by_task) else { return };
    let said = judged(&sessions, &Rules::starter);
    let all: Vec<(&Recorded, &Said)> = sessions.iter().zip(&said).filter(|it| !it.1.scores.is_empty()).collect();
    let healthy: Vec<&(&Recorded, &Said)> = all.iter().filter(|it| it.0.is_healthy).collect();
    let mut scores: Vec<f64> = healthy.iter().map(|it| most(it.1)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    println!("{} of {} sessions have a baseline, {} of them healthy", all.len(), sessions.len(), healthy.len());
    for share in [1, 5, 10, 20] {
        let threshold = scores[scores.len() * share / 100];
        println!("at {share} % of healthy sessions, {threshold:.2} bits (all, found, told before it began):");
        let first = |it: &Said| it.scores.iter().find(|it| it.1 > threshold).map(|it| it.0);
        println!("    {:?}", found(&all, first));
    }
    for level in [1, 2] {
        let told = |it: &Said| it.found.iter().any(|it| it.1 >= level);
        let count = healthy.iter().filter(|it| told(it.1)).count();
        println!("as configured, level {level}: {count} of {} healthy sessions", healthy.len());
        let first = |it: &Said| it.found.iter().find(|it| it.1 >= level).map(|it| it.0);
        println!("    {:?}", found(&all, first));
    }
    product(&sessions, &said);
    let told = found(&all, |it| it.found.first().map(|it| it.0));
    assert!(told["looping"].1 * 2 > told["looping"].0, "{told:?}");
}

/// What all columns say together of every session, with a baseline or without.
fn product(sessions: &[Recorded], said: &[Said]) {
    let every: Vec<(&Recorded, &Said)> = sessions.iter().zip(said).collect();
    let healthy: Vec<&(&Recorded, &Said)> = every.iter().filter(|it| it.0.is_healthy).collect();
    let loops = ["repeat", "cycle", "near_duplicate", "no_progress"];
    for name in ["any rule", "drift", "loops", "drift or loops"] {
        let is_of = |rule: &str| match name {
            "any rule" => true,
            "drift" => rule == "drift",
            "loops" => loops.contains(&rule),
            _ => rule == "drift" || loops.contains(&rule),
        };
        let first = |it: &Said| it.any.iter().find(|it| is_of(&it.1)).map(|it| it.0);
        let alarmed = healthy.iter().filter(|it| first(it.1).is_some()).count();
        println!("all {} sessions, {name}: {alarmed} of {} healthy", every.len(), healthy.len());
        println!("    {:?}", found(&every, first));
    }
    let mut by_rule = BTreeMap::<&str, (usize, usize)>::new();
    for (session, said) in &every {
        let mut rules: Vec<&str> = said.any.iter().map(|it| it.1.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        for rule in rules {
            let (healthy, faulty) = by_rule.entry(rule).or_default();
            *healthy += usize::from(session.is_healthy);
            *faulty += usize::from(session.first_bad.is_some());
        }
    }
    println!("rules (healthy, faulty): {by_rule:?}");
}

/// Sessions of real work: how many are told of, where that should be 5 and 1 in 100 on the average over baselines. One way to
/// deal some fifty tasks into five parts says little, so there are several, as many as `MARTINGALE_DEALINGS` says.
#[test]
fn real_work_of_one_agent() {
    let asked =
        std::env::var("MARTINGALE_DEALINGS").ok().map(|it| it.parse::<u32>().expect("a number of ways to deal"));
    for (name, dealings) in [("taubench_airline", 10), ("swebench_gemini3", 1)] {
        let dealings = asked.unwrap_or(dealings);
        'dealt: for (dealt, by_task) in [("task", true), ("session", false)] {
            let mut warned = Vec::new();
            for dealing in 0..dealings {
                let group = |it: &Value| {
                    let info = &it["info"];
                    let task = info.get("task_id").unwrap_or_else(|| &info["instance_id"]);
                    let key = if by_task { task } else { &it["session_id"] };
                    format!("{dealing} {key}")
                };
                let Some(sessions) = recording(name, true, group) else { break 'dealt };
                let said = judged(&sessions, &|| Rules::starter().with_hijack(None));
                let told = |level| said.iter().filter(|it| it.found.iter().any(|it| it.1 >= level)).count();
                let calibrated = said.iter().filter(|it| it.calibrated).count();
                assert_eq!((told(2), calibrated), (0, told(1)), "{name}: too few for 1 in 100, enough for 5");
                warned.push(told(1) as f64 / sessions.len() as f64);
            }
            let mean = warned.iter().sum::<f64>() / f64::from(dealings);
            warned.sort_by(f64::total_cmp);
            println!("{name}, dealt by {dealt}: {mean:.3} warned of, {warned:.3?}");
            assert!(mean < 0.07, "{name}, dealt by {dealt}: {mean}");
        }
    }
}
