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

use super::Session;
use crate::cmd::replay::Faults;
use crate::cmd::replay::normal::Normal;
use crate::cmd::replay::offline::Judge;
use crate::cmd::replay::source::Source;
use crate::cmd::replay::steps::each_step;

/// The sessions in the order in which they begin, and how many lines were rejected. All sessions are judged, since those of
/// a run concern each other; those that are not wanted are not kept.
pub(super) fn sessions(
    source: Source,
    normal: Option<Normal>,
    rules: Rules,
    wanted: &[String],
) -> Result<(Vec<Session>, u64)> {
    let arrival = Timestamp::from_micros(Clock::System.now_micros());
    let rules = match normal {
        Some(normal) => normal.into_rules(rules, arrival)?,
        None => rules,
    };
    let faults = Faults::new(source.progress());
    let mut judge = Judge::new(Arc::new(rules));
    let (mut sessions, mut places) = (Vec::new(), HashMap::new());
    let lines = each_step(source, arrival, &faults, |step| {
        let Some(judgement) = judge.judge(step) else { return Ok(()) };
        let id = step.session_id.as_str();
        if !wanted.is_empty() && wanted.iter().all(|it| it != id) {
            return Ok(());
        }
        let at = *places.entry(id.to_owned()).or_insert_with(|| {
            sessions.push(Session::new(id.to_owned()));
            sessions.len() - 1
        });
        let session: &mut Session = &mut sessions[at];
        session.decision = session.decision.max(judgement.decision);
        session.blame.observe(step, &judgement.findings);
        Ok(())
    })?;
    Ok((sessions, lines.rejected))
}
