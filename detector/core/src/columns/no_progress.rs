//! # no_progress
//!
//! Eight tool results in a row were all seen before in this session: whatever the agent varies, it learns nothing.
//! Warns once for every eight; never more.
//!
//! Signal: results equal to one among the remembered calls. Results of a few bytes ("ok", "[]") are neither progress nor
//! its absence, because writes that succeed all answer alike.
//!
//! Wrong for agents that verify: re-reading what they wrote gives known results for a while.
//!
//! Cost: one hash of the result and a scan of the remembered calls.

use martingale_schemas::{Calibration, Column, Decision, Finding, Severity, Step, StepId};

use super::{LoopRules, Saw};

pub(super) fn observe(
    stale: &mut u32,
    seen: Option<StepId<'static>>,
    brief: bool,
    step: &Step<'_>,
    rules: &LoopRules,
) -> Option<Finding> {
    if brief {
        return None;
    }
    let Some(seen) = seen else {
        *stale = 0;
        return None;
    };
    *stale = stale.saturating_add(1);
    if *stale < rules.stale_warn || !stale.is_multiple_of(rules.stale_warn) {
        return None;
    }
    Some(
        Saw {
            column: Column::Progress,
            rule: "no_progress",
            severity: Severity::Low,
            decision: Decision::Warn,
            calibration: Calibration::Uncalibrated,
            score: *stale,
            evidence: vec![seen, step.step_id.to_static()],
            message: format!("The last {stale} tool results brought nothing that this session had not seen before."),
        }
        .finding(),
    )
}
