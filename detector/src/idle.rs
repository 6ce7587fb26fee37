//! When a silent session is forgotten.
//!
//! The log's time of a partition (the latest `appended_at` seen) is cut into ticks of an eighth of the idle time. An entry
//! of state carries the tick of its last use, and is forgotten when more than the idle time lies between that tick and
//! the current one. A batch never spans two ticks, and memory is emptied when the tick changes, so whatever is in memory
//! was used in the current tick and only what is loaded has to be checked. That makes forgetting a function of the log:
//! it does not matter when the sweep comes by, nor what was in memory. A time of last use for each session, the obvious
//! way, costs a map as large as the cache and a write for each step.

/// The log's time of one partition, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogTime {
    idle_micros: i64,
    tick_micros: i64,
    /// Beginning of the current tick.
    tick: i64,
}

const TICKS_IN_IDLE: i64 = 8;

impl LogTime {
    /// `tick` is where time stood at the last commit.
    pub(crate) fn new(idle_micros: i64, tick: i64) -> Self {
        Self { idle_micros, tick_micros: (idle_micros / TICKS_IN_IDLE).max(1), tick }
    }

    pub(crate) const fn tick(self) -> i64 {
        self.tick
    }

    /// Beginning of the tick that a record appended then belongs to. Never before the current one: a clock that was set
    /// back does not make sessions younger.
    pub(crate) fn tick_of(self, appended_at: i64) -> i64 {
        appended_at.saturating_sub(appended_at.rem_euclid(self.tick_micros)).max(self.tick)
    }

    pub(crate) const fn advance_to(&mut self, tick: i64) {
        self.tick = tick;
    }

    pub(crate) const fn is_over(self, used: i64) -> bool {
        self.tick.saturating_sub(used) > self.idle_micros
    }
}

#[cfg(test)]
mod tests {
    use super::LogTime;

    #[test]
    fn forgotten_no_earlier_than_idle_and_an_eighth_later_at_most() {
        for (last, now, over) in [
            (0, 0, false),
            (0, 800, false),
            (99, 899, false),
            (0, 899, false),
            // The gap is 801, the least that counts.
            (99, 900, true),
            (0, 900, true),
            (199, 999, false),
            (199, 1_000, true),
        ] {
            let mut time = LogTime::new(800, 0);
            let used = time.tick_of(last);
            time.advance_to(time.tick_of(now));
            assert_eq!(time.is_over(used), over, "last {last}, now {now}");
        }
    }

    #[test]
    fn time_does_not_go_back() {
        let mut time = LogTime::new(800, 0);
        time.advance_to(time.tick_of(1_234));
        assert_eq!(
            (time.tick(), time.tick_of(5), time.tick_of(1_299), time.tick_of(1_300)),
            (1_200, 1_200, 1_200, 1_300)
        );
        let mut extreme = LogTime::new(i64::MAX, i64::MIN);
        extreme.advance_to(extreme.tick_of(i64::MIN));
        assert!(!extreme.is_over(i64::MAX));
    }
}
