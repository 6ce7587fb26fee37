//! Tool calls, told by the model that asks, by the span that executes, and by every history after: one step.
//!
//! An id is not enough to know a call by: many frameworks number the calls of a turn from 0. So the identity is trace,
//! id, tool, arguments as JSON with sorted names, and among equal ones in a history the number. A span that executes
//! knows no history. It joins
//!
//! 1. the latest request for it by a model call of the same trace in the same OTLP request: same id, tool and arguments;
//!    or same id and tool, when the span has no arguments;
//! 2. else the first request that its own id, tool and arguments make, which a model call in another OTLP request has;
//! 3. else, when it has no arguments, none: it is a step of its own.

use std::collections::{HashMap, VecDeque};

use martingale_schemas::hidden::is_hidden;
use martingale_schemas::ids;
use serde_json::Value;

type Digest = [u8; 16];

/// What tells a call, and with it its result, from all others of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// `nth` among equal calls, from 1.
    pub(super) fn of(trace: &str, id: &str, name: Option<&str>, arguments: Option<&Value>, nth: u32) -> Self {
        Self::derived(id, &[trace.as_bytes(), &digest(id, name, arguments), &nth.to_le_bytes()])
    }

    /// For the result of a call that nothing else is known of.
    pub(super) fn of_result(trace: &str, id: &str, response: Option<&Value>) -> Self {
        let shown = response.map(Value::to_string).unwrap_or_default();
        Self::derived(id, &[trace.as_bytes(), id.as_bytes(), shown.as_bytes()])
    }

    /// Begins with the id where that can be read.
    fn derived(id: &str, parts: &[&[u8]]) -> Self {
        const READABLE_BYTES_MAX: usize = 88;
        let readable = id.len() <= READABLE_BYTES_MAX && !id.chars().any(|it| it.is_control() || is_hidden(it));
        Self(ids::derive(&if readable { format!("{id}:") } else { String::new() }, parts))
    }

    pub(super) fn call(&self) -> String {
        format!("call:{}", self.0)
    }

    pub(super) fn result(&self) -> String {
        format!("result:{}", self.0)
    }
}

/// Of a call without its trace and number. No arguments and empty ones are the same.
pub(super) fn digest(id: &str, name: Option<&str>, arguments: Option<&Value>) -> Digest {
    let empty = |it: &&Value| it.is_null() || it.as_object().is_some_and(serde_json::Map::is_empty);
    let shown = arguments.filter(|it| !empty(it)).map(Value::to_string).unwrap_or_default();
    ids::digest(&[id.as_bytes(), name.unwrap_or_default().as_bytes(), shown.as_bytes()])
}

/// Calls that models asked for, as far as the OTLP request at hand was mapped. Of an id the oldest give way, and calls
/// beyond the limit of all are not noted: a span then joins as it does when the model's request came apart.
#[derive(Debug, Default)]
pub(super) struct Asked {
    requests: HashMap<(String, String), VecDeque<Request>>,
    noted: usize,
}

const NOTED_MAX: usize = 10_000;
const OF_ONE_ID_MAX: usize = 64;

#[derive(Debug)]
struct Request {
    name: Option<String>,
    digest: Digest,
    key: Key,
}

impl Asked {
    pub(super) fn note(&mut self, trace: &str, id: &str, name: Option<&str>, arguments: Option<&Value>, key: &Key) {
        if self.noted >= NOTED_MAX {
            return;
        }
        let requests = self.requests.entry((trace.to_owned(), id.to_owned())).or_default();
        // A history tells the calls before it again.
        if requests.iter().any(|it| it.key == *key) {
            return;
        }
        if requests.len() >= OF_ONE_ID_MAX {
            requests.pop_front();
            self.noted -= 1;
        }
        let digest = digest(id, name, arguments);
        requests.push_back(Request { name: name.map(str::to_owned), digest, key: key.clone() });
        self.noted += 1;
    }

    pub(super) fn latest(&self, trace: &str, id: &str) -> Option<(Option<String>, Key)> {
        let last = self.requests.get(&(trace.to_owned(), id.to_owned()))?.back()?;
        Some((last.name.clone(), last.key.clone()))
    }

    /// The key of a call as the span that executes it knows it.
    pub(super) fn executed(&self, trace: &str, id: &str, name: Option<&str>, arguments: Option<&Value>) -> Option<Key> {
        let requests = self.requests.get(&(trace.to_owned(), id.to_owned()));
        let latest = |is: &dyn Fn(&&Request) -> bool| requests?.iter().rev().find(is).map(|it| it.key.clone());
        match arguments {
            Some(_) => {
                let digest = digest(id, name, arguments);
                latest(&|it| it.digest == digest).or_else(|| Some(Key::of(trace, id, name, arguments, 1)))
            }
            None => latest(&|it| name.is_none() || it.name.as_deref() == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Asked, Key, NOTED_MAX, OF_ONE_ID_MAX};

    #[test]
    fn what_is_noted_is_bounded_and_the_latest_of_an_id_stays() {
        let mut asked = Asked::default();
        for n in 0..2 * NOTED_MAX {
            let (own, arguments) = (n.to_string(), Value::from(n));
            for id in ["0", &own] {
                let key = Key::of("t", id, Some("w"), Some(&arguments), 1);
                asked.note("t", id, Some("w"), Some(&arguments), &key);
            }
        }
        let all: usize = asked.requests.values().map(std::collections::VecDeque::len).sum();
        assert_eq!((all, asked.noted), (NOTED_MAX, NOTED_MAX));
        let of_one = asked.requests.values().map(std::collections::VecDeque::len).max();
        assert_eq!(of_one, Some(OF_ONE_ID_MAX));
        assert!(asked.latest("t", "7").is_some() && asked.latest("t2", "7").is_none());
    }
}
