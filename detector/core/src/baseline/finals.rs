//! What an agent's sessions used in all, for how many of them went beyond a budget.
//!
//! Totals only grow. So of past sessions that came as far as this one, those count whose total is at least what this one has
//! used by now, and nothing of how they came there need be kept.

use martingale_schemas::{Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::reservoir::Reservoir;
use crate::session::{Counts, Measure, span};

/// Sessions of one agent whose totals are kept; of more a sample. One that was taken as over and went on counts as two.
const SESSIONS_MAX: usize = 256;

/// In the order of [`Measure`], which is part of the stored form, with the names by which they are told.
const TOTALS: [(Measure, &str); 5] = [
    (Measure::Steps, "steps"),
    (Measure::ToolCalls, "tool_calls"),
    (Measure::Tokens, "tokens"),
    (Measure::MicroUsd, "cost_usd"),
    (Measure::Micros, "wall_s"),
];

/// What sessions of an agent used in all, of one measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Total {
    pub measure: &'static str,
    /// Half of the sessions used no more, and of 100 95.
    pub median: f64,
    pub p95: f64,
}

/// Totals of sessions that are over, each measure ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finals([Vec<u64>; TOTALS.len()]);

impl Finals {
    /// How many sessions they are of.
    pub(super) fn sessions(&self) -> usize {
        self.0[0].len()
    }

    /// What they used, one for each measure; none of no session.
    pub(super) fn totals(&self) -> Vec<Total> {
        let total = |(all, (measure, name)): (&Vec<u64>, (Measure, _))| {
            let least_of = |percent: usize| all.get((all.len() * percent).div_ceil(100).checked_sub(1)?).copied();
            let shown = |percent| least_of(percent).map(|it| measure.shown(it));
            Some(Total { measure: name, median: shown(50)?, p95: shown(95)? })
        };
        self.0.iter().zip(TOTALS).filter_map(total).collect()
    }

    /// Of how many sessions that used at least `used`, and how many of these used more than `limit`.
    pub(crate) fn beyond(&self, measure: Measure, used: u64, limit: u64) -> (usize, usize) {
        let all = &self.0[measure as usize];
        let (came, went) = (all.partition_point(|it| *it < used), all.partition_point(|it| *it <= limit));
        (all.len() - came, all.len() - went.max(came))
    }
}

/// What one session has used so far.
#[derive(Debug, Default)]
pub(super) struct Used {
    counts: Counts,
    began: Timestamp,
    now: Timestamp,
}

impl Used {
    pub(super) fn begin(step: &Step<'_>) -> Self {
        Self { began: step.time, now: step.time, counts: Counts::default() }
    }

    pub(super) fn add(&mut self, step: &Step<'_>) {
        self.counts.add(step);
        self.now = self.now.max(step.time);
    }
}

/// The sample as it is drawn.
#[derive(Debug, Default)]
pub(super) struct Drawn(Reservoir<[u64; TOTALS.len()], SESSIONS_MAX>);

impl Drawn {
    pub(super) fn push(&mut self, it: &Used) {
        let Counts { steps, tool_calls, tokens, micro_usd, errors: _ } = it.counts;
        self.0.push([steps, tool_calls, tokens, micro_usd, span(it.began, it.now)]);
    }

    pub(super) fn learn(&self) -> Finals {
        let ascending = |at: usize| {
            let mut all: Vec<u64> = self.0.kept().iter().map(|it| it[at]).collect();
            all.sort_unstable();
            all
        };
        Finals([0, 1, 2, 3, 4].map(ascending))
    }
}

#[cfg(test)]
mod tests {
    use martingale_schemas::Timestamp;

    use super::{Drawn, Finals, SESSIONS_MAX, Used};
    use crate::session::{Counts, Measure};

    fn finals(tokens: &[u64]) -> Finals {
        let mut drawn = Drawn::default();
        for tokens in tokens {
            let counts = Counts { tokens: *tokens, ..Counts::default() };
            drawn.push(&Used { counts, ..Used::default() });
        }
        drawn.learn()
    }

    #[test]
    fn of_those_that_came_as_far() {
        let finals = finals(&[30, 10, 20, 20, 50]);
        for (used, limit, expected) in [
            (0, 20, (5, 2)),
            (10, 20, (5, 2)),
            (11, 20, (4, 2)),
            (20, 20, (4, 2)),
            (21, 29, (2, 2)),
            (30, 30, (2, 1)),
            (31, 30, (1, 1)),
            (51, 30, (0, 0)),
            (0, u64::MAX, (5, 0)),
            (u64::MAX, 0, (0, 0)),
        ] {
            assert_eq!(finals.beyond(Measure::Tokens, used, limit), expected, "{used} {limit}");
        }
        assert_eq!(finals.beyond(Measure::Steps, 0, 0), (5, 0));
        assert_eq!(Finals::default().beyond(Measure::Steps, 0, 0), (0, 0));
    }

    #[test]
    fn what_most_of_them_used() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        for (tokens, expected) in [
            (&[][..], None),
            (&[7], Some((7.0, 7.0))),
            (&[9, 1], Some((1.0, 9.0))),
            (&[30, 10, 20], Some((20.0, 30.0))),
            (&hundred, Some((50.0, 95.0))),
        ] {
            let finals = finals(tokens);
            let totals = finals.totals();
            let of = |name: &str| totals.iter().find(|it| it.measure == name).map(|it| (it.median, it.p95));
            assert_eq!((finals.sessions(), of("tokens")), (tokens.len(), expected), "{tokens:?}");
            assert_eq!(of("steps"), expected.map(|_| (0.0, 0.0)), "{tokens:?}");
        }
        // In the units of budgets: dollars and seconds.
        let mut drawn = Drawn::default();
        let counts = Counts { micro_usd: 1_500_000, ..Counts::default() };
        drawn.push(&Used { counts, now: Timestamp::from_micros(2_500_000), ..Used::default() });
        let totals = drawn.learn().totals();
        assert_eq!([totals[3].median, totals[4].median], [1.5, 2.5], "{totals:?}");
    }

    #[test]
    fn the_sample_is_bounded() {
        let finals = finals(&vec![7; SESSIONS_MAX * 4]);
        assert_eq!(finals.beyond(Measure::Tokens, 7, 6), (SESSIONS_MAX, SESSIONS_MAX));
    }
}
