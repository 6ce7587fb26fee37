//! An entry of the state store: a version, the tick of its last use ([`crate::idle`]), then the core's state in postcard.
//!
//! Every version ever written stays readable; `detector/fixtures/state` holds bytes of each.

use bytes::{BufMut, Bytes, BytesMut};
use martingale_detector_core::{State, StateRef, StateV1};

/// 1: a session in one piece. 2: its histories in parts, which are entries of their own. 3: and what it was asked and read, as
/// hijack scoring needs it.
const VERSION: u8 = 3;
const HEADER_BYTES: usize = 1 + size_of::<i64>();
/// First byte of the state of a session.
const SESSION: u8 = 0;

/// An entry whose state has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Tick of the last use.
    pub(crate) used: i64,
    version: u8,
    body: &'a [u8],
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "it has version {found}, this program reads up to {VERSION}: start the newer program again, or empty the state"
    )]
    Newer { found: u8 },
    #[error("it has {bytes} bytes, too few for its header: restore the data folder")]
    Short { bytes: usize },
    #[error("it is damaged: restore the data folder")]
    Damaged(#[source] postcard::Error),
}

pub(crate) fn encode(used: i64, state: &StateRef<'_>) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(512);
    out.push(VERSION);
    out.extend_from_slice(&used.to_le_bytes());
    postcard::to_extend(state, out).map(Bytes::from).map_err(Error::Damaged)
}

pub(crate) fn read(bytes: &[u8]) -> Result<Entry<'_>, Error> {
    match bytes.first() {
        None | Some(0) => Err(Error::Short { bytes: bytes.len() }),
        Some(&found) if found > VERSION => Err(Error::Newer { found }),
        Some(_) => {
            let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(Error::Short { bytes: bytes.len() })?;
            let mut used = [0; size_of::<i64>()];
            used.copy_from_slice(&header[1..]);
            Ok(Entry { used: i64::from_le_bytes(used), version: header[0], body })
        }
    }
}

impl Entry<'_> {
    pub(crate) fn state(self) -> Result<State, Error> {
        let longer;
        let (state, rest) = match self.version {
            1 => postcard::take_from_bytes(self.body).map(|(StateV1(state), rest)| (state, rest)),
            // The last field came later: a zero says that there is nothing in it.
            2 if self.body.first() == Some(&SESSION) => {
                longer = [self.body, &[0]].concat();
                postcard::take_from_bytes(&longer)
            }
            _ => postcard::take_from_bytes(self.body),
        }
        .map_err(Error::Damaged)?;
        if rest.is_empty() { Ok(state) } else { Err(Error::Damaged(postcard::Error::DeserializeBadEncoding)) }
    }

    /// The same state, used at another tick.
    pub(crate) fn used_at(self, tick: i64) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.body.len());
        out.put_u8(self.version);
        out.put_i64_le(tick);
        out.put_slice(self.body);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use martingale_detector_core::{Detector, Observed, Rules};
    use martingale_schemas::{Control, Step};

    use super::*;

    const USED: i64 = 1_767_225_600_000_000;

    /// Entries in which as much as possible has happened, by their keys: of sessions long enough to have parts when `long`.
    fn entries(long: bool) -> BTreeMap<String, Bytes> {
        let mut detector = Detector::new(Arc::new(Rules::starter()));
        for n in 0..if long { 80 } else { 8 } {
            let (kind, session) = (["tool_call", "tool_result"][n % 2], ["root", "child"][(n / 4).min(1)]);
            let step = format!(
                r#"{{"session_id":"{session}","root_session_id":"root","parent_session_id":{parent},"step_id":"s{n}","seq":{n},
                "time":"2026-01-01T00:00:{n:02}Z","kind":"{kind}","agent":{{"id":"a"}},"tool":"read_secret","input":{{"n":1}},
                "output":{{"mail":"user{n}@example.com","password":"hunter22x"}},"usage":{{"input_tokens":3,"cost_usd":0.5}}}}"#,
                parent = if session == "root" { "null" } else { "\"root\"" },
                n = n % 60,
            );
            let step = step.replace(&format!("\"s{}\"", n % 60), &format!("\"s{n}\""));
            let step = Step::from_log(step.as_bytes()).expect("a step");
            while let Some(key) = detector.absent(&step).pop() {
                detector.load(key, None);
            }
            detector.observe(&step);
        }
        let halt = r#"{"control_id":"c","action":"halt","scope":{"type":"session","session_id":"child"},
            "time":"2026-01-01T00:00:00Z","by":"ada","reason":"to look","state":"requested"}"#;
        let halt: Control = serde_json::from_str(halt).expect("a control");
        detector.apply(&halt);
        let mut entries = BTreeMap::new();
        detector.drain_changed(|key, state| {
            let name = String::from_utf8(key.to_bytes()).expect("text").replace('/', "_");
            entries.insert(name, encode(USED, &state.expect("worth storing")).expect("encodes"));
        });
        entries
    }

    fn fixture(version: u8, name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "fixtures", "state", &format!("v{version}_{name}.bin")].iter().collect()
    }

    fn stored(version: u8, name: &str) -> Vec<u8> {
        let path = fixture(version, name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Bytes that were written once are read for ever, and as long as the version stands the same state is written as the
    /// same bytes. A new version adds its files (`WRITE_FIXTURES=1`) and leaves the old ones as they are.
    #[test]
    fn what_is_written_is_fixed() {
        let entries = entries(true);
        let names: Vec<&str> = entries.keys().map(String::as_str).collect();
        let of = |owner: &str, pages: &[(char, usize)]| -> Vec<String> {
            pages
                .iter()
                .flat_map(|(shelf, count)| (0..*count).map(move |it| format!("p_{owner}_{shelf}{it:02}")))
                .collect()
        };
        let parts = [
            of("child", &[('c', 4), ('l', 4), ('p', 1), ('r', 2), ('s', 5), ('t', 1), ('v', 3)]),
            of("root", &[('e', 1), ('l', 1), ('p', 1), ('s', 1), ('t', 1), ('v', 1)]),
        ]
        .concat();
        let heads = ["r_root", "s_child", "s_root"];
        assert_eq!(names, parts.iter().map(String::as_str).chain(heads).collect::<Vec<_>>());
        for (name, bytes) in entries {
            let path = fixture(VERSION, &name);
            if std::env::var_os("WRITE_FIXTURES").is_some() && !path.exists() {
                std::fs::write(&path, &bytes).expect("fixture");
            }
            let stored = stored(VERSION, &name);
            assert_eq!(bytes, stored, "{name}: the layout of state changed, so must its version");
            let entry = read(&stored).expect("a header");
            assert_eq!(entry.used, USED);
            entry.state().expect("a state");
        }
    }

    /// A session that an earlier version stored goes on as it was: its halts stand, and what it writes is of today.
    #[test]
    fn earlier_versions_stay_readable() {
        for version in 1..VERSION {
            let mut detector = Detector::new(Arc::new(Rules::starter()));
            let step = r#"{"session_id":"child","root_session_id":"root","parent_session_id":"root","step_id":"next",
                "time":"2026-01-01T00:01:00Z","kind":"tool_result","agent":{"id":"a"},"tool":"f","output":"to the next one"}"#;
            let step = Step::from_log(step.as_bytes()).expect("a step");
            let mut loaded = 0;
            while let Some(key) = detector.absent(&step).pop() {
                let name = String::from_utf8(key.to_bytes()).expect("text").replace('/', "_");
                let stored = stored(version, &name);
                let entry = read(&stored).expect("a header");
                assert_eq!((entry.used, entry.version), (USED, version));
                let again = entry.used_at(7);
                assert_eq!(
                    (read(&again).expect("a header").used, &again[HEADER_BYTES..]),
                    (7, &stored[HEADER_BYTES..])
                );
                detector.load(key, Some(entry.state().expect("a state")));
                loaded += 1;
            }
            assert!(loaded >= 2, "{loaded}");
            assert!(detector.standing(&step).is_some(), "the halt of version {version}");
            assert!(matches!(detector.observe(&step), Observed::Judged(it) if it.decision.stops()));
            let mut keys = Vec::new();
            detector.drain_changed(|key, state| {
                let bytes = encode(USED, &state.expect("worth storing")).expect("encodes");
                read(&bytes).expect("a header").state().expect("a state");
                keys.push(String::from_utf8(key.to_bytes()).expect("text"));
            });
            // Sentences of before version 3 are not known; what is read from now on is.
            assert!(["p/child/l00", "s/child", "r/root"].iter().all(|it| keys.iter().any(|key| key == it)), "{keys:?}");
        }
    }

    #[test]
    fn an_entry_is_used_again_without_reading_its_state() {
        for (name, entry) in entries(false) {
            let again = read(&entry).expect("a header").used_at(7);
            let again = read(&again).expect("a header");
            assert_eq!(again.used, 7, "{name}");
            assert_eq!(again.state().expect("a state"), read(&entry).expect("a header").state().expect("a state"));
        }
    }

    #[test]
    fn bytes_of_anybody_do_not_panic() {
        for whole in entries(true).into_values().chain([stored(1, "s_child").into()]) {
            for end in 0..whole.len() {
                assert!(
                    read(&whole[..end]).map_or(true, |it| it.state().is_err()),
                    "{end} bytes are not a whole entry"
                );
            }
            let mut longer = whole.to_vec();
            longer.push(0);
            assert!(read(&longer).expect("a header").state().is_err());
        }
    }
}
