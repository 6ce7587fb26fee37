//! Sessions of files, judged in this process.
//!
//! Each stays in memory to the end: an entry for each different word of it, some ten kilobytes for a session of fifty
//! steps.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use martingale_detector_core::Rules;
use martingale_platform::clock::Clock;
use martingale_schemas::Timestamp;
use martingale_schemas::lineage::Lineages;

use super::Session;
use crate::cmd::replay::offline::{Judge, learn};
use crate::cmd::replay::source::Source;
use crate::cmd::replay::{Faults, lineages};

/// The sessions in the order in which they begin, and how many lines were rejected. All sessions are judged, since those of
/// a run concern each other; those that are not wanted are not kept.
pub(super) fn sessions(
    mut source: Source,
    baselines: Option<Source>,
    rules: Rules,
    wanted: &[String],
) -> Result<(Vec<Session>, u64)> {
    let arrival = Timestamp::from_micros(Clock::System.now_micros());
    let rules = match baselines {
        Some(source) => learn(source, rules, arrival)?,
        None => rules,
    };
    let progress = source.progress();
    let faults = Faults::new(progress.clone());
    let (mut judge, mut lineages) = (Judge::new(Arc::new(rules)), Lineages::default());
    let (mut sessions, mut places, mut rejected) = (Vec::new(), HashMap::new(), 0);
    let mut json = Vec::new();
    while let Some(place) = source.next_line(&mut json)? {
        let step = match lineages::read(&mut lineages, &json, arrival) {
            Ok(step) => step,
            Err(rejection) => {
                rejected += 1;
                faults.tell(&place, &rejection.message);
                continue;
            }
        };
        let Some(judgement) = judge.judge(&step) else { continue };
        let id = step.session_id.as_str();
        if !wanted.is_empty() && wanted.iter().all(|it| it != id) {
            continue;
        }
        let at = *places.entry(id.to_owned()).or_insert_with(|| {
            sessions.push(Session::new(id.to_owned()));
            sessions.len() - 1
        });
        let session: &mut Session = &mut sessions[at];
        session.decision = session.decision.max(judgement.decision);
        session.blame.observe(&step, &judgement.findings);
    }
    progress.finish_and_clear();
    Ok((sessions, rejected))
}
