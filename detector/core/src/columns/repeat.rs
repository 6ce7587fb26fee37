//! # repeat
//!
//! The same tool was called with the same arguments and gave the same result, again and again; as built in: warn at the
//! third call, ask at the fourth, halt at the sixth. The decision falls on the call, before it runs.
//!
//! Signal: the results are equal, so calling again cannot help. Exact counts and not a decaying average: a slow loop
//! trips like a fast one. A new result of the same call starts the count anew, and so do more than
//! `between_max` other calls in between (agents that work for a hundred steps look things up again) and a message of the
//! user. So does one call in between that gave what the session had not seen before (turn the page, look, turn the page), or
//! that was not made before and may change something (edit, check, edit something else, check). The same calls over and
//! over are new once.
//!
//! Wrong when a person or another system changes the world meanwhile (waiting for a deployment): label such tools
//! `poll`. Calls that wait by their own words ([`super::waits`]), or with such a call in between, only warn, at the last
//! count, because nothing proves them useless. So do calls without a result, unless two others gave the same one. A call that was
//! not let through has none, and does not count beside those: the agent may ask again. A person's yes to it starts the count anew.
//!
//! Misses an agent that is stuck beside something that always changes: a clock between two equal calls is new each time.
//!
//! Cost: one hash of the arguments and a scan back over few calls, for each of these one over those before it.

use std::collections::VecDeque;

use martingale_schemas::{Calibration, Column, Step, StepId};

use super::{APPROVED, BRIEF, Call, Levels, REFUSED, Saw, ordinal, shown_tool};

/// Calls that must have given the same result before it is a fact that calling again does not help.
pub(super) const ANSWERED_MIN: usize = 2;

pub(super) fn observe(
    ring: &VecDeque<Call>,
    call: &Call,
    step: &Step<'_>,
    levels: &Levels,
    between_max: usize,
) -> Option<Saw> {
    let mut same: Vec<&Call> = Vec::new();
    let latest = ring.iter().rev().find(|it| it.key == call.key && !it.is_open()).map_or(0, |it| it.result);
    let (mut between, mut result) = (0, 0);
    let (mut waits, mut waited) = (call.waits(), false);
    for (at, earlier) in ring.iter().enumerate().rev() {
        if earlier.key != call.key {
            between += 1;
            if between > between_max || is_new(ring, at, earlier, latest) {
                break;
            }
            waited |= earlier.waits();
            continue;
        }
        if earlier.is(APPROVED) {
            break;
        }
        if !earlier.is_open() {
            if result != 0 && result != earlier.result {
                break;
            }
            result = earlier.result;
        }
        waits |= waited;
        between = 0;
        same.push(earlier);
    }
    let with_result = same.iter().filter(|it| !it.is_open()).count();
    let answered = with_result >= ANSWERED_MIN && !waits;
    // Beside results one that was not let through proves nothing, and is no step nearer to a halt.
    let refused = same.iter().filter(|it| answered && it.is(REFUSED)).count();
    let count = u32::try_from(same.len() - refused).unwrap_or(u32::MAX).saturating_add(1);
    let (from, decision) = if answered { levels.reached(count)? } else { levels.reached_unanswered(count)? };
    let (tool, nth, before) = (shown_tool(step), ordinal(count), count - 1);
    let results = match with_result {
        0 => format!("no result of the {before} calls before was reported"),
        all if all == same.len() => format!("the {before} calls before gave the same result"),
        some if some + refused == same.len() => format!("the {before} calls before that ran gave the same result"),
        some => format!("of the {before} calls before, {some} gave the same result and the others none"),
    };
    let message = format!("{tool} is called for the {nth} time with the same arguments; {results}.");
    let evidence: Vec<StepId<'static>> =
        same.iter().rev().map(|it| it.step.clone()).chain(std::iter::once(call.step.clone())).collect();
    let calibration = if answered { Calibration::Fact } else { Calibration::Uncalibrated };
    Some(Saw { column: Column::Loop, decision, calibration, count, from, evidence, message })
}

/// Whether after the call at `at` the world may be another, or the session knows more than before it. `repeated`: result of the
/// call that is repeated. Another call that was answered with the same sentence, mostly an error, changed nothing.
fn is_new(ring: &VecDeque<Call>, at: usize, call: &Call, repeated: u64) -> bool {
    let before = || ring.iter().take(at);
    let is_same = !call.is_open() && call.result == repeated && call.result & BRIEF == 0;
    !is_same && call.changes() && !call.is(REFUSED) && before().all(|it| it.key != call.key)
        || !call.is_open() && before().all(|it| it.result != call.result)
}
