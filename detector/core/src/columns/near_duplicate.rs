//! # near_duplicate
//!
//! Calls of one tool whose arguments differ in a word or two, all with the same result: the agent rephrases and gets
//! nothing new. As built in it only watches, and would warn at the fourth, because the nearness is a heuristic.
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

use martingale_schemas::{Calibration, Column, Step};

use super::{BRIEF, Call, Levels, Saw, ordinal, shown_tool};

pub(super) fn observe(
    ring: &VecDeque<Call>,
    call: &Call,
    step: &Step<'_>,
    levels: &Levels,
    bits_max: u32,
) -> Option<Saw> {
    // Without words there is nothing to be near to.
    if call.simhash == 0 {
        return None;
    }
    let near = |it: &&Call| {
        it.tool == call.tool && it.result & (1 | BRIEF) == 1 && (it.simhash ^ call.simhash).count_ones() <= bits_max
    };
    let latest = ring.iter().rev().find(near)?;
    let same: Vec<&Call> = ring.iter().filter(near).filter(|it| it.result == latest.result).collect();
    let count = u32::try_from(same.len()).unwrap_or(u32::MAX).saturating_add(1);
    let (from, decision) = levels.reached(count)?;
    if same.iter().all(|it| it.key == call.key) {
        return None;
    }
    let message = format!(
        "{} is called for the {} time with nearly the same arguments; the calls before gave the same result.",
        shown_tool(step),
        ordinal(count)
    );
    let evidence = same.iter().map(|it| it.step.clone()).chain(std::iter::once(call.step.clone())).collect();
    Some(Saw { column: Column::Loop, decision, calibration: Calibration::Uncalibrated, count, from, evidence, message })
}
