//! A total of a session or of its run: what it may come to, and in how many steps it does.

use martingale_schemas::Timestamp;

use super::misnomers;
use crate::baseline::Finals;
use crate::condition::amount;
use crate::pace::Pace;
use crate::session::{Counts, Measure, span};
use crate::yaml::{Faults, Object};

const MEASURES: [(&str, Measure); 5] = [
    ("steps", Measure::Steps),
    ("tool_calls", Measure::ToolCalls),
    ("tokens", Measure::Tokens),
    ("cost_usd", Measure::MicroUsd),
    ("wall", Measure::Micros),
];

/// Furthest that a budget may look ahead, in steps: what a pace of the latest steps says of more is worth nothing.
const FORECAST_MAX: i64 = 1000;

#[derive(Debug)]
pub(crate) struct Budget {
    measure: Measure,
    pub(super) limit: u64,
    pub(super) warn_at: Option<u64>,
    /// Its end is told when it is so many steps away.
    forecast: Option<u64>,
    pub(super) of_run: bool,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "limits are above 0 and far below 2^52"
)]
pub(super) fn read(it: &mut Object<'_>, faults: &mut Faults<'_>) -> Option<Budget> {
    let mut limits = Vec::new();
    for (name, measure) in MEASURES {
        if it.get(name).is_none() {
            continue;
        }
        let limit = match measure {
            Measure::Micros => it.span(name, faults).map(|it| it as u64),
            Measure::MicroUsd => it.amount(name, faults).map(|it| (it * 1e6).round() as u64),
            _ => it.whole(name, 1..=i64::MAX, faults).map(|it| it as u64),
        };
        limits.push((measure, limit));
    }
    if limits.len() != 1 {
        let known = MEASURES.map(|(name, _)| name).join(", ");
        it.fault("", format!("has {} limits: write exactly one of {known}", limits.len()), faults);
    }
    let share = it.amount("warn_at", faults);
    if share.is_some_and(|it| it >= 1.0) {
        it.fault("warn_at", "is a share of the limit: write a number below 1, as 0.8", faults);
    }
    let forecast = it.whole("forecast", 1..=FORECAST_MAX, faults).map(|it| it as u64);
    if let (Some(steps), [(Measure::Steps, Some(limit))]) = (forecast, limits.as_slice())
        && steps >= *limit
    {
        let message = format!("looks {steps} steps ahead, and the whole budget is {limit}: write fewer");
        it.fault("forecast", message, faults);
    }
    let of_run = it.word("of", &[("session", false), ("run", true)], faults).unwrap_or(false);
    it.finish_knowing(misnomers::BUDGET, faults);
    let (measure, limit) = limits.pop()?;
    let limit = limit?;
    // The least whole amount that is that share; what floating point adds to a product is no part of it.
    let warn_at = share.map(|it| (limit as f64 * it * (1.0 - 1e-12)).ceil() as u64);
    Some(Budget { measure, limit, warn_at, forecast, of_run })
}

impl Budget {
    /// What was used since `base`.
    pub(super) fn used(&self, counts: Counts, base: Counts, (now, since): (Timestamp, Timestamp)) -> u64 {
        let of = |it: Counts| match self.measure {
            Measure::Steps => it.steps,
            Measure::ToolCalls => it.tool_calls,
            Measure::Tokens => it.tokens,
            Measure::MicroUsd => it.micro_usd,
            Measure::Micros => 0,
        };
        match self.measure {
            Measure::Micros => span(since, now),
            _ => of(counts).saturating_sub(of(base)),
        }
    }

    /// Whether nothing can be said yet, as of most steps.
    pub(super) fn is_quiet(&self, used: u64) -> bool {
        used <= self.limit && self.warn_at.is_none_or(|it| used < it) && self.forecast.is_none()
    }

    /// In about how many steps the rest is used up, where that is no more than is looked ahead.
    pub(super) fn ends_in(&self, used: u64, pace: &Pace) -> Option<u64> {
        let ahead = self.forecast?;
        pace.steps_to_use(self.measure, self.limit.saturating_sub(used)).filter(|it| *it <= ahead)
    }

    /// What became of past sessions that had used as much.
    pub(super) fn past(&self, used: u64, finals: &Finals) -> Option<Past> {
        self.forecast?;
        let (sessions, beyond) = finals.beyond(self.measure, used, self.limit);
        (sessions > 0).then_some(Past { sessions, beyond })
    }

    /// In the unit a person reads.
    pub(super) fn shown(&self, amount: u64) -> f64 {
        self.measure.shown(amount)
    }

    /// How much is used, of what.
    pub(super) fn told(&self, used: u64) -> String {
        let unit = match self.measure {
            Measure::Steps => "steps",
            Measure::ToolCalls => "tool calls",
            Measure::Tokens => "tokens",
            Measure::MicroUsd => "USD",
            Measure::Micros => "seconds",
        };
        format!("{} of {} {unit} are used", amount(self.shown(used)), amount(self.shown(self.limit)))
    }

    /// The same, and what is foretold. An extrapolation and a count, and told as such: nothing here is a probability.
    pub(super) fn foretold(&self, used: u64, it: &Foretold<'_>) -> String {
        let pace = match it.ends_in {
            None => String::new(),
            Some((0, _)) => "; whatever comes goes beyond".to_owned(),
            Some((steps, pace)) => {
                let whose = if self.of_run { "the run's" } else { "its" };
                let count = if steps == 1 { "one step".to_owned() } else { format!("{steps} steps") };
                let micros = match self.measure {
                    Measure::Micros => self.limit.saturating_sub(used),
                    _ => pace.time_of(steps),
                };
                let time = in_words(micros).map_or(String::new(), |it| format!(" or {it}"));
                format!("; at the pace of {whose} latest steps the rest is used up in about {count}{time}")
            }
        };
        let past = it.past.map_or(String::new(), |Past { sessions, beyond }| {
            format!(
                " Of {sessions} past sessions of this agent that used as much or more, {beyond} went beyond the limit."
            )
        });
        format!("{}{pace}.{past}", self.told(used))
    }
}

/// Why a budget is told before its end.
pub(super) struct Foretold<'p> {
    /// In about how many steps it ends, at this pace.
    pub(super) ends_in: Option<(u64, &'p Pace)>,
    pub(super) past: Option<Past>,
}

/// Sessions of the baseline that came as far as this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    sessions: usize,
    /// Those of them that used more than the limit.
    beyond: usize,
}

/// Fewer sessions say nothing of the next one.
const SESSIONS_MIN: usize = 20;

impl Past {
    /// Whether more than half of enough went beyond.
    pub(super) const fn is_usual(self) -> bool {
        self.sessions >= SESSIONS_MIN && self.beyond > self.sessions / 2
    }
}

/// A span of at least a second, in its largest unit of which there are two.
fn in_words(micros: u64) -> Option<String> {
    const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let seconds = micros / 1_000_000;
    let (size, unit) = UNITS.into_iter().find(|(size, _)| seconds >= 2 * size || *size == 1)?;
    match seconds / size {
        0 => None,
        1 => Some(format!("one {unit}")),
        count => Some(format!("{count} {unit}s")),
    }
}
