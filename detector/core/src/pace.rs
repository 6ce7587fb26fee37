//! How fast a session or a run uses what budgets are about: so much a step, the latest steps counting most.
//!
//! The mean of the first steps, then one that forgets: each step moves it by a sixteenth of the difference, so that half of
//! it rests on the latest eleven. One dear step among cheap ones moves it little, a change of pace within a dozen steps much.
//! In whole numbers, so that every machine forecasts the same. Rejected: all that was used by all steps, which a session that
//! turns wasteful after hundreds of steps hardly changes.

use serde::{Deserialize, Serialize};

use crate::session::{Counts, Measure};

/// Steps that weigh alike; from then on each new one has this share.
const STEPS: u8 = 16;
/// Steps before anything is foretold: the first ones, a prompt and an order, say little of those that follow.
const STEPS_MIN: u8 = 8;
/// A pace is kept in so many parts of what it counts, 2^12: a call in each hundredth step is still seen.
const PART_BITS: u32 = 12;
/// What one step counts for at most: a thousand million dollars, or 35 years.
const AMOUNT_MAX: u64 = 1 << 50;

/// Use of the latest steps, each in parts a step. Fixed size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// Steps it rests on, up to [`STEPS`].
    steps: u8,
    tool_calls: u64,
    tokens: u64,
    micro_usd: u64,
    micros: u64,
}

impl Pace {
    /// Takes in a step by what it used alone, and the time since the one before.
    pub(crate) fn add(&mut self, step: Counts, micros: u64) {
        self.steps = self.steps.saturating_add(1).min(STEPS);
        let steps = u64::from(self.steps);
        toward(&mut self.tool_calls, step.tool_calls, steps);
        toward(&mut self.tokens, step.tokens, steps);
        toward(&mut self.micro_usd, step.micro_usd, steps);
        // Between so many steps lies one span less.
        toward(&mut self.micros, micros, steps.saturating_sub(1).max(1));
    }

    /// In how many steps so much is used up; `None` where that cannot be said: too few steps, or none that uses any.
    pub(crate) fn steps_to_use(&self, of: Measure, amount: u64) -> Option<u64> {
        let pace = match of {
            // One a step, known from the first on.
            Measure::Steps => return Some(amount),
            Measure::ToolCalls => self.tool_calls,
            Measure::Tokens => self.tokens,
            Measure::MicroUsd => self.micro_usd,
            Measure::Micros => self.micros,
        };
        if self.steps < STEPS_MIN || pace == 0 {
            return None;
        }
        let steps = (u128::from(amount) << PART_BITS).div_ceil(u128::from(pace));
        Some(u64::try_from(steps).unwrap_or(u64::MAX))
    }

    /// How long so many steps take, in microseconds.
    pub(crate) fn time_of(&self, steps: u64) -> u64 {
        let micros = (u128::from(self.micros) * u128::from(steps)) >> PART_BITS;
        u64::try_from(micros).unwrap_or(u64::MAX)
    }
}

/// Moves a pace by one of so many parts of its difference to an amount, rounded to the nearest.
fn toward(pace: &mut u64, amount: u64, parts: u64) {
    let amount = amount.min(AMOUNT_MAX) << PART_BITS;
    let by = (pace.abs_diff(amount) + parts / 2) / parts;
    *pace = if amount > *pace { *pace + by } else { *pace - by };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AMOUNT_MAX, Pace};
    use crate::session::{Counts, Measure};

    /// After steps that used these many tokens, a second apart.
    fn after(tokens: impl IntoIterator<Item = u64>) -> Pace {
        let mut pace = Pace::default();
        for (at, tokens) in tokens.into_iter().enumerate() {
            pace.add(Counts { tokens, ..Counts::default() }, if at == 0 { 0 } else { 1_000_000 });
        }
        pace
    }

    #[test]
    fn in_how_many_steps_a_thousand_tokens_are_used() {
        let steady = |count: usize| vec![50; count];
        let cases: [(&str, Vec<u64>, Option<u64>); 10] = [
            ("nothing is said of few steps", steady(7), None),
            ("the eighth is enough", steady(8), Some(20)),
            ("it stays", steady(1000), Some(20)),
            ("nothing is used", vec![0; 20], None),
            ("one in ten", [0, 0, 0, 0, 0, 0, 0, 0, 0, 500].repeat(10), Some(16)),
            ("a dear step among cheap ones", [steady(30), vec![500]].concat(), Some(13)),
            ("and eleven steps later", [steady(30), vec![500], steady(11)].concat(), Some(16)),
            ("three dear steps", [steady(30), vec![500; 3]].concat(), Some(8)),
            ("it drops", [vec![500; 30], steady(30)].concat(), Some(9)),
            ("and is forgotten", [vec![500; 30], steady(200)].concat(), Some(20)),
        ];
        for (case, tokens, expected) in cases {
            assert_eq!(after(tokens).steps_to_use(Measure::Tokens, 1000), expected, "{case}");
        }
    }

    #[test]
    fn what_is_left_and_what_it_takes() {
        let pace = after(vec![50; 20]);
        for (left, steps) in [(0, 0), (1, 1), (50, 1), (51, 2), (u64::MAX, u64::MAX / 50 + 1)] {
            assert_eq!(pace.steps_to_use(Measure::Tokens, left), Some(steps), "{left}");
        }
        assert_eq!(Pace::default().steps_to_use(Measure::Steps, 7), Some(7), "a step is a step");
        assert_eq!(pace.steps_to_use(Measure::Micros, 10_000_000), Some(10));
        assert_eq!((pace.time_of(90), pace.time_of(u64::MAX)), (90_000_000, u64::MAX));
        assert_eq!(pace.steps_to_use(Measure::MicroUsd, 5), None);
    }

    proptest! {
        /// Whatever is sent, the pace lies between the least and the most that a step used, and nothing overflows.
        #[test]
        fn it_lies_within_what_steps_used(tokens in prop::collection::vec(any::<u64>(), 8..100)) {
            let pace = after(tokens.iter().copied());
            let clamped = tokens.iter().map(|it| (*it).min(AMOUNT_MAX));
            let (least, most) = (clamped.clone().min().unwrap_or(0), clamped.max().unwrap_or(0));
            let steps = pace.steps_to_use(Measure::Tokens, AMOUNT_MAX).unwrap_or(u64::MAX);
            prop_assert!(steps >= AMOUNT_MAX.checked_div(most).unwrap_or(0));
            prop_assert!(steps <= AMOUNT_MAX.checked_div(least).map_or(u64::MAX, |it| it + 1));
        }
    }
}
