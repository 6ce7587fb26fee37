//! One delivery and the endpoint, as values: what an attempt does to them.

use martingale_platform::config::Span;
use martingale_schemas::{Timestamp, ids};
use serde::{Deserialize, Serialize};

use super::message::{Message, Topic};

/// Version of the kept form of deliveries and endpoints; `fixtures/delivery` and `fixtures/endpoint` hold each.
pub(crate) const VERSION: u32 = 1;

/// Longest wait an endpoint may ask for by `Retry-After`.
const RETRY_AFTER_MICROS_MAX: i64 = 24 * 3_600 * 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: Topic,
    pub(crate) created_at: Timestamp,
    pub(crate) payload: String,
    /// Attempts of this round; a retry by hand begins another.
    pub(crate) attempts: usize,
    /// Which round. Not kept: an attempt does not outlive its process.
    #[serde(skip)]
    round: u32,
    #[serde(flatten)]
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_attempt: Option<Attempt>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    Pending { next_at: Timestamp },
    Delivered { at: Timestamp },
    Failed { at: Timestamp, why: String },
}

/// How the last attempt went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// What the endpoint answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered {
        status: u16,
    },
    /// 410: never again.
    Gone,
    /// Any other status; redirects too, since they would lead past the check of the address.
    Refused {
        status: u16,
        retry_after: Option<Span>,
    },
    /// No answer.
    Unreachable {
        error: String,
    },
}

/// What is known of the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// First failure since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disabled: Option<Disabled>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disabled {
    pub(crate) at: Timestamp,
    pub(crate) why: String,
}

impl Delivery {
    pub(crate) fn new(message: Message, now: Timestamp) -> Self {
        let Message { id, kind, payload } = message;
        let state = State::Pending { next_at: now };
        Self { id, kind, created_at: now, payload, attempts: 0, round: 0, state, last_attempt: None }
    }

    pub(crate) const fn next_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending { next_at } => Some(next_at),
            State::Delivered { .. } | State::Failed { .. } => None,
        }
    }

    /// What an attempt leaves behind that was begun when the delivery stood as `begun`. `waits` are the waits before each
    /// attempt. False when a retry by hand has begun another round since: the outcome is noted and decides nothing.
    pub(crate) fn attempted(&mut self, begun: &Self, outcome: &Outcome, now: Timestamp, waits: &[Span]) -> bool {
        let (status, error) = match outcome {
            Outcome::Delivered { status } => (Some(*status), None),
            Outcome::Gone => (Some(410), None),
            Outcome::Refused { status, .. } => (Some(*status), None),
            Outcome::Unreachable { error } => (None, Some(error.clone())),
        };
        self.last_attempt = Some(Attempt { at: now, status, error });
        if begun.round != self.round {
            return false;
        }
        self.attempts += 1;
        let asked = match outcome {
            Outcome::Refused { retry_after: Some(wait), .. } => wait.as_micros().min(RETRY_AFTER_MICROS_MAX),
            _ => 0,
        };
        self.state = match (outcome, waits.get(self.attempts)) {
            (Outcome::Delivered { .. }, _) => State::Delivered { at: now },
            (Outcome::Gone, _) => State::Failed { at: now, why: "the endpoint answered 410 Gone".to_owned() },
            (_, Some(wait)) => State::Pending { next_at: now.plus_micros(self.jittered(*wait).max(asked)) },
            (_, None) => State::Failed { at: now, why: format!("{} attempts failed", self.attempts) },
        };
        true
    }

    pub(crate) fn fail(&mut self, why: &str, now: Timestamp) {
        self.state = State::Failed { at: now, why: why.to_owned() };
    }

    /// Begins the attempts again.
    pub(crate) fn retry(&mut self, now: Timestamp) {
        self.attempts = 0;
        self.round = self.round.wrapping_add(1);
        self.state = State::Pending { next_at: now };
    }

    /// Up to a fifth more, drawn from the delivery's own id: spread over deliveries, and the same after a restart.
    fn jittered(&self, wait: Span) -> i64 {
        let [low, high, ..] = ids::digest(&[self.id.as_bytes(), &self.attempts.to_le_bytes()]);
        let share = i64::from(u16::from_le_bytes([low, high]));
        let wait = wait.as_micros();
        wait.saturating_add((wait / 5).saturating_mul(share) / i64::from(u16::MAX))
    }
}

impl Endpoint {
    pub(crate) fn attempted(&mut self, outcome: &Outcome, now: Timestamp, disable_after: Span) {
        if matches!(outcome, Outcome::Delivered { .. }) {
            *self = Self::default();
            return;
        }
        let since = *self.failing_since.get_or_insert(now);
        let why = if *outcome == Outcome::Gone {
            "it answered 410 Gone".to_owned()
        } else if now.micros_since(since) >= disable_after.as_micros() {
            format!("it has failed since {since}")
        } else {
            return;
        };
        self.disabled.get_or_insert(Disabled { at: now, why });
    }
}

#[cfg(test)]
mod tests {
    use martingale_platform::config::Span;
    use martingale_schemas::Timestamp;

    use super::super::Config;
    use super::{Delivery, Endpoint, Outcome, State, VERSION};
    use crate::store;
    use crate::webhooks::message::{Message, Topic};

    const SECOND: i64 = 1_000_000;

    fn delivery() -> Delivery {
        let message = Message { id: "msg_1".into(), kind: Topic::SessionHalted, payload: "{}".into() };
        Delivery::new(message, Timestamp::from_micros(0))
    }

    fn attempt(delivery: &mut Delivery, outcome: &Outcome, now: Timestamp) -> bool {
        let begun = delivery.clone();
        delivery.attempted(&begun, outcome, now, &Config::default().retries)
    }

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::Refused { status, retry_after: retry_after.map(|it| Span::from_millis(it * 1_000)) }
    }

    #[test]
    fn attempts_follow_the_schedule_and_end() {
        let mut delivery = delivery();
        let mut now = Timestamp::from_micros(0);
        for wait in [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000] {
            assert!(attempt(&mut delivery, &refused(500, None), now));
            let next = delivery.next_at().expect("another attempt");
            let waited = next.micros_since(now);
            assert!((wait * SECOND..=wait * SECOND * 6 / 5).contains(&waited), "{wait} {waited}");
            now = next;
        }
        attempt(&mut delivery, &Outcome::Unreachable { error: "refused".into() }, now);
        assert_eq!(delivery.state, State::Failed { at: now, why: "8 attempts failed".into() });
        delivery.retry(now);
        assert_eq!((delivery.next_at(), delivery.attempts), (Some(now), 0));
    }

    #[test]
    fn an_attempt_of_an_earlier_round_decides_nothing() {
        let at = Timestamp::from_micros;
        for outcome in [Outcome::Delivered { status: 200 }, Outcome::Gone, refused(500, None)] {
            let mut delivery = delivery();
            let begun = delivery.clone();
            delivery.retry(at(5));
            assert!(!delivery.attempted(&begun, &outcome, at(7), &Config::default().retries));
            assert_eq!((delivery.next_at(), delivery.attempts), (Some(at(5)), 0), "{outcome:?}");
            assert_eq!(delivery.last_attempt.map(|it| it.at), Some(at(7)));
        }
    }

    #[test]
    fn what_an_answer_means() {
        let now = Timestamp::from_micros(0);
        let after = |outcome: &Outcome| {
            let mut delivery = delivery();
            attempt(&mut delivery, outcome, now);
            delivery
        };
        assert_eq!(after(&Outcome::Delivered { status: 204 }).state, State::Delivered { at: now });
        assert!(matches!(after(&Outcome::Gone).state, State::Failed { .. }));
        let waits_for = |outcome| after(&outcome).next_at().expect("pending").micros_since(now);
        assert_eq!(waits_for(refused(429, Some(120))), 120 * SECOND, "asked for longer than the schedule");
        assert!(waits_for(refused(503, Some(1))) >= 5 * SECOND, "never sooner than the schedule");
        assert_eq!(waits_for(refused(503, Some(u64::from(u32::MAX)))), 24 * 3_600 * SECOND, "not for ever");
        assert!(waits_for(refused(302, None)) >= 5 * SECOND, "a redirect is a failure");
    }

    #[test]
    fn an_endpoint_is_disabled_by_410_or_by_five_days_of_failure() {
        let day = 24 * 3_600 * SECOND;
        let at = Timestamp::from_micros;
        let disable_after = Config::default().disable_after;
        let failure = refused(500, None);
        let mut endpoint = Endpoint::default();
        endpoint.attempted(&failure, at(day), disable_after);
        endpoint.attempted(&failure, at(6 * day - 1), disable_after);
        assert_eq!((endpoint.failing_since, endpoint.disabled.is_some()), (Some(at(day)), false));
        endpoint.attempted(&failure, at(6 * day), disable_after);
        assert!(endpoint.disabled.is_some());
        endpoint.attempted(&Outcome::Delivered { status: 200 }, at(7 * day), disable_after);
        assert_eq!(endpoint, Endpoint::default());
        endpoint.attempted(&Outcome::Gone, at(8 * day), disable_after);
        assert!(endpoint.disabled.is_some());
    }

    #[test]
    fn what_was_kept_once_is_read_for_ever() {
        let at = |seconds: i64| Timestamp::from_micros(1_767_225_600_000_000 + seconds * SECOND);
        let told = |id: &str, kind, outcomes: &[Outcome]| {
            let message = Message { id: id.into(), kind, payload: r#"{"type":"session.halted"}"#.into() };
            let mut delivery = Delivery::new(message, at(0));
            for (seconds, outcome) in (1..).zip(outcomes) {
                attempt(&mut delivery, outcome, at(seconds));
            }
            delivery
        };
        let refused = || refused(500, Some(3));
        let unreachable = || Outcome::Unreachable { error: "refused".into() };
        let deliveries = [
            told("msg_1", Topic::SessionHalted, &[]),
            told("msg_2", Topic::SessionHalted, &[refused(), unreachable()]),
            told("msg_3", Topic::AlertFiring, &[unreachable(), Outcome::Delivered { status: 204 }]),
            told("msg_4", Topic::AlertResolved, &[Outcome::Gone]),
        ];
        store::check_fixture("delivery", VERSION, &deliveries);

        let mut endpoints = [Endpoint::default(), Endpoint::default(), Endpoint::default()];
        endpoints[1].attempted(&refused(), at(1), Config::default().disable_after);
        endpoints[2].attempted(&Outcome::Gone, at(2), Config::default().disable_after);
        store::check_fixture("endpoint", VERSION, &endpoints);
    }
}
