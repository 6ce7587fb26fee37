//! # near_duplicate
//!
//! Calls of one tool whose arguments differ in a word or two, all with the same result: the agent rephrases and gets
//! nothing new. Warns at the fourth; never more, because the threshold is a heuristic.
//!
//! Signal: Hamming distance of 64-bit simhashes over the words of the arguments. Short arguments that differ in a word
//! are far apart, so only long ones can be near: `{"id": 1}` and `{"id": 2}` never are.
//!
//! Results of a few bytes ("ok", "") do not count: long scripts that print nothing are no repetition.
//!
//! Wrong for tools that answer many requests with the same sentence when their arguments are long.
//!
//! Cost: a few operations for each word of the arguments, one comparison for each remembered call.

use std::collections::VecDeque;

use martingale_schemas::{Calibration, Column, Decision, Finding, Severity, Step};

use super::{BRIEF, Call, LoopRules, Saw, ordinal, shown_tool};

pub(super) fn observe(ring: &VecDeque<Call>, call: &Call, step: &Step<'_>, rules: &LoopRules) -> Option<Finding> {
    // Without words there is nothing to be near to.
    if call.simhash == 0 {
        return None;
    }
    let near = |it: &&Call| {
        it.tool == call.tool
            && it.result & (1 | BRIEF) == 1
            && (it.simhash ^ call.simhash).count_ones() <= rules.near_bits_max
    };
    let latest = ring.iter().rev().find(near)?;
    let same: Vec<&Call> = ring.iter().filter(near).filter(|it| it.result == latest.result).collect();
    let count = u32::try_from(same.len()).unwrap_or(u32::MAX).saturating_add(1);
    if count < rules.near_warn || same.iter().all(|it| it.key == call.key) {
        return None;
    }
    let message = format!(
        "{} is called for the {} time with nearly the same arguments; the calls before gave the same result.",
        shown_tool(step),
        ordinal(count)
    );
    let evidence = same.iter().map(|it| it.step.clone()).chain(std::iter::once(call.step.clone())).collect();
    Some(
        Saw {
            column: Column::Loop,
            rule: "near_duplicate",
            severity: Severity::Low,
            decision: Decision::Warn,
            calibration: Calibration::Uncalibrated,
            score: count,
            evidence,
            message,
        }
        .finding(),
    )
}
