//! # no_progress
//!
//! Tool results in a row were all seen before in this session: whatever the agent varies, it learns nothing. As built in
//! it only watches, and would warn at the eighth, and once for every eight. What is more than a warning is said each time.
//!
//! Signal: results equal to one among the remembered calls. Results of a few bytes ("ok", "[]") are neither progress nor
//! its absence, because writes that succeed all answer alike.
//!
//! Wrong for agents that verify: re-reading what they wrote gives known results for a while.
//!
//! Cost: one hash of the result and a scan of the remembered calls.

use martingale_schemas::{Calibration, Column, Decision, Step, StepId};

use super::{Levels, Saw};

/// `stale` results in a row were seen before, this one, which `seen` gave, among them.
pub(super) fn observe(stale: u32, seen: &StepId<'static>, step: &Step<'_>, levels: &Levels) -> Option<Saw> {
    let (from, decision) = levels.reached(stale)?;
    if decision <= Decision::Warn && !stale.is_multiple_of(levels.first()) {
        return None;
    }
    Some(Saw {
        column: Column::Progress,
        decision,
        calibration: Calibration::Uncalibrated,
        count: stale,
        from,
        evidence: vec![seen.clone(), step.step_id.to_static()],
        message: format!("The last {stale} tool results brought nothing that this session had not seen before."),
    })
}
