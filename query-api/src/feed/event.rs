//! Records of `verdicts` and `controls`, decoded only as far as somebody asks.

use std::borrow::Cow;

use bytes::Bytes;
use martingale_platform::log::{Offset, Partition, Record, Topic};
use martingale_schemas::{Control, Decision, Position, topics};
use serde::Deserialize;

use crate::stream::Told;

/// Records of one read, for streams.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
    /// Where reading goes on after it.
    pub(crate) next: Offset,
    pub(crate) events: Vec<Event>,
    /// What streams tell of it, rendered for the first of those that tell the same.
    pub(crate) told: Told,
}

/// One record with what filters look at.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) offset: Offset,
    pub(crate) head: Head,
    pub(crate) value: Bytes,
}

#[derive(Debug)]
pub(crate) enum Head {
    Verdict(VerdictHead),
    Control(Box<Control>),
}

/// What of a verdict decides who hears it.
#[derive(Debug, Deserialize)]
pub(crate) struct VerdictHead {
    pub(crate) session_id: Box<str>,
    pub(crate) root_session_id: Box<str>,
    pub(crate) agent_id: Box<str>,
    pub(crate) position: Position,
    pub(crate) decision: Decision,
}

impl Batch {
    /// A record that cannot be read is left out, and said.
    pub(crate) fn decode(topic: Topic, partition: Partition, next: Offset, records: Vec<Record>) -> Self {
        let events = records.into_iter().filter_map(|record| Event::decode(topic, record)).collect();
        Self { topic, partition, next, events, told: Told::default() }
    }
}

impl Event {
    fn decode(topic: Topic, record: Record) -> Option<Self> {
        let head = match topic {
            topics::VERDICTS => serde_json::from_slice(&record.value).map(Head::Verdict),
            _ => serde_json::from_slice(&record.value).map(|control| Head::Control(Box::new(control))),
        };
        let head =
            head.inspect_err(|error| tracing::warn!(topic, offset = %record.offset, %error, "record unreadable"));
        Some(Self { offset: record.offset, head: head.ok()?, value: record.value })
    }
}

/// Identity of the step a verdict is about. A verdict's id is its step's key in hexadecimal behind `v-`, and it is the
/// record's first field, so that this is a comparison and 32 digits, not a parse.
pub(crate) fn step_key(verdict: &[u8]) -> Option<[u8; 16]> {
    const FIRST: &[u8] = b"{\"verdict_id\":\"v-";
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        verdict_id: Cow<'a, str>,
    }
    if let Some(digits) = verdict.strip_prefix(FIRST)
        && let Some(key) = digits.get(..32).and_then(from_hex)
    {
        return Some(key);
    }
    // Written by other hands, in another order.
    let id: Id<'_> = serde_json::from_slice(verdict).ok()?;
    id.verdict_id.strip_prefix("v-").filter(|digits| digits.len() == 32).and_then(|digits| from_hex(digits.as_bytes()))
}

fn from_hex(digits: &[u8]) -> Option<[u8; 16]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut key = [0; 16];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(key)
}

/// Where the step of a verdict stands.
pub(super) fn position(verdict: &[u8]) -> Option<Position> {
    #[derive(Deserialize)]
    struct At {
        position: Position,
    }
    serde_json::from_slice::<At>(verdict).ok().map(|it| it.position)
}

#[cfg(test)]
mod tests {
    use martingale_schemas::{SessionId, StepId, VerdictId, ids};

    use super::step_key;

    #[test]
    fn the_step_is_read_from_the_verdict_id_wherever_it_stands() {
        let (session, step) = (SessionId::from("s"), StepId::from("1"));
        let id = VerdictId::of(&session, &step);
        let key = Some(ids::step_key(&session, &step));
        for (json, expected) in [
            (format!("{{\"verdict_id\":\"{id}\",\"a\":1}}"), key),
            (format!("{{ \"a\":1, \"verdict_id\" : \"{id}\"}}"), key),
            (format!("{{\"verdict_id\":\"{}\"}}", id.as_str().to_uppercase()), None),
            ("{\"verdict_id\":\"v-12\"}".to_owned(), None),
            ("{\"verdict_id\":\"v-".to_owned(), None),
            ("[]".to_owned(), None),
        ] {
            assert_eq!(step_key(json.as_bytes()), expected, "{json}");
        }
    }
}
