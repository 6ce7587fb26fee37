//! # cycle
//!
//! The same calls were made in the same order again and again, with the same results; as built in, of 2 to 8 calls: warn
//! at the third round, ask at the fourth. A plain repetition is left to `repeat`.
//!
//! Signal: whole rounds with equal results; one new result anywhere in the last rounds and it is no cycle.
//!
//! Wrong for deliberate polling of several sources: label one of the tools `poll`. Where not every result was reported, or
//! one of the calls waits ([`super::waits`]), nothing proves the rounds useless: it warns at the last count and never more.
//!
//! Cost: the first comparison for each length fails almost always; at most three rounds of eight calls are compared.

use std::collections::VecDeque;

use martingale_schemas::{Calibration, Column};

use super::{Call, Levels, Saw, ordinal};

pub(super) fn observe(ring: &VecDeque<Call>, call: &Call, levels: &Levels, length_max: usize) -> Option<Saw> {
    // Whoever goes on because somebody says "continue" goes round all the same.
    let ring: Vec<&Call> = ring.iter().filter(|it| it.is_call() && !it.was_refused()).collect();
    let (first, last) = (levels.first() as usize, levels.last() as usize);
    let (length, rounds) = (2..=length_max).find_map(|length| {
        let rounds = rounds(&ring, call, length, last);
        (rounds >= first).then_some((length, rounds))
    })?;
    // This call and those before it, as far as they were compared; this one has no result yet.
    let compared = || ring.iter().rev().take(length * rounds - 1);
    let answered = compared().all(|it| !it.is_open());
    let proves = answered && !call.waits() && !compared().any(|it| it.waits());
    let count = u32::try_from(rounds).unwrap_or(u32::MAX);
    let (from, decision) = if proves { levels.reached(count)? } else { levels.reached_unanswered(count)? };
    // The last two rounds show it; more of the same shows no more.
    let shown = ring.iter().skip(ring.len().saturating_sub(2 * length - 1)).map(|it| it.step.clone());
    let evidence = shown.chain(std::iter::once(call.step.clone())).collect();
    let results = if answered { "with the same results" } else { "and not all of their results were reported" };
    let message =
        format!("The same {length} calls are made in the same order for the {} time, {results}.", ordinal(count));
    let calibration = if proves { Calibration::Fact } else { Calibration::Uncalibrated };
    Some(Saw { column: Column::Loop, decision, calibration, count, from, evidence, message })
}

/// Whole rounds of `length` calls that end with this one.
fn rounds(ring: &[&Call], call: &Call, length: usize, rounds_max: usize) -> usize {
    let back =
        |n: usize| if n == 0 { Some(call) } else { ring.len().checked_sub(n).and_then(|at| ring.get(at).copied()) };
    let same = |n: usize| match (back(n), back(n + length)) {
        // This call has no result yet, so only its arguments can be compared.
        (Some(later), Some(earlier)) => later.key == earlier.key && (n == 0 || later.result == earlier.result),
        _ => false,
    };
    let equal = (0..length * (rounds_max - 1)).take_while(|n| same(*n)).count();
    let varied = || (1..length).any(|n| back(n).is_some_and(|it| it.key != call.key));
    if equal >= length && varied() { equal / length + 1 } else { 1 }
}
