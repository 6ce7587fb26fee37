//! # repeat
//!
//! The same tool was called with the same arguments and gave the same result, again and again: warn at the third call,
//! ask at the fourth, halt at the sixth. The decision falls on the call, before it runs.
//!
//! Signal: the results are equal, so calling again cannot help. Exact counts and not a decaying average: a slow loop
//! trips like a fast one. A new result of the same call starts the count anew, and so do more than
//! `repeat_between_max` other calls in between: agents that work for a hundred steps look things up again.
//!
//! Wrong when a person or another system changes the world meanwhile (waiting for a deployment): label such tools
//! `poll`. Calls that never reported a result count as well, but only to warn, because nothing proves them useless.
//!
//! Cost: one hash of the arguments and a scan back over few calls.

use std::collections::VecDeque;

use martingale_schemas::{Calibration, Column, Decision, Finding, Severity, Step, StepId};

use super::{Call, LoopRules, Saw, ordinal, shown_tool};

pub(super) fn observe(ring: &VecDeque<Call>, call: &Call, step: &Step<'_>, rules: &LoopRules) -> Option<Finding> {
    let mut same: Vec<&Call> = Vec::new();
    let mut between = 0;
    for earlier in ring.iter().rev() {
        if earlier.key != call.key {
            between += 1;
            if between > rules.repeat_between_max {
                break;
            }
            continue;
        }
        if same.last().is_some_and(|it| it.result != earlier.result) {
            break;
        }
        between = 0;
        same.push(earlier);
    }
    let count = u32::try_from(same.len()).unwrap_or(u32::MAX).saturating_add(1);
    let answered = same.first().is_some_and(|it| it.result != 0);
    let (decision, severity) = match count {
        n if n < rules.repeat_warn => return None,
        n if n >= rules.repeat_halt && answered => (Decision::Halt, Severity::High),
        n if n >= rules.repeat_halt => (Decision::Warn, Severity::Low),
        _ if !answered => return None,
        n if n >= rules.repeat_step_up => (Decision::StepUp, Severity::Medium),
        _ => (Decision::Warn, Severity::Low),
    };
    let (tool, nth, before) = (shown_tool(step), ordinal(count), count - 1);
    let message = if answered {
        format!(
            "{tool} is called for the {nth} time with the same arguments; the {before} calls before gave the same result."
        )
    } else {
        format!(
            "{tool} is called for the {nth} time with the same arguments; no result of the {before} calls before was reported."
        )
    };
    let evidence: Vec<StepId<'static>> =
        same.iter().rev().map(|it| it.step.clone()).chain(std::iter::once(call.step.clone())).collect();
    let calibration = if answered { Calibration::Fact } else { Calibration::Uncalibrated };
    Some(
        Saw { column: Column::Loop, rule: "repeat", severity, decision, calibration, score: count, evidence, message }
            .finding(),
    )
}
