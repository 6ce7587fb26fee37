//! An entry of the state store: a version, the tick of its last use ([`crate::idle`]), then the core's state in postcard.
//!
//! Every version ever written stays readable; `detector/fixtures/state` holds bytes of each.

use bytes::{BufMut, Bytes, BytesMut};
use martingale_detector_core::State;

const VERSION: u8 = 3;
const HEADER_BYTES: usize = 1 + size_of::<i64>();

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

pub(crate) fn encode(used: i64, state: &State) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    out.extend_from_slice(&used.to_le_bytes());
    postcard::to_extend(state, out).map(Bytes::from).map_err(Error::Damaged)
}

pub(crate) fn read(bytes: &[u8]) -> Result<Entry<'_>, Error> {
    match bytes.first() {
        None | Some(0) => Err(Error::Short { bytes: bytes.len() }),
        Some(&found) if found > VERSION => Err(Error::Newer { found }),
        Some(&version) => {
            let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(Error::Short { bytes: bytes.len() })?;
            let mut used = [0; size_of::<i64>()];
            used.copy_from_slice(&header[1..]);
            Ok(Entry { used: i64::from_le_bytes(used), version, body })
        }
    }
}

/// What older versions lack at the end: a single zero for each field that came later, which is one with nothing in it. The
/// second version has what was read, of sessions and of runs; the third what a session was asked and read as sentences.
fn missing(version: u8, variant: Option<&u8>) -> &'static [u8] {
    match (version, variant) {
        (1, Some(0)) => &[0, 0],
        (1, _) | (2, Some(0)) => &[0],
        _ => &[],
    }
}

impl Entry<'_> {
    pub(crate) fn state(self) -> Result<State, Error> {
        let missing = missing(self.version, self.body.first());
        let padded = (!missing.is_empty()).then(|| [self.body, missing].concat());
        let body = padded.as_deref().unwrap_or(self.body);
        let (state, rest) = postcard::take_from_bytes(body).map_err(Error::Damaged)?;
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
    use std::path::PathBuf;
    use std::sync::Arc;

    use martingale_detector_core::{Detector, Rules, StateKey};
    use martingale_schemas::{Control, Step};

    use super::*;

    /// States in which as much as possible has happened.
    fn states() -> Vec<(StateKey, State)> {
        let mut detector = Detector::new(Arc::new(Rules::starter()));
        for n in 0..8 {
            let (kind, session) = (["tool_call", "tool_result"][n % 2], ["root", "child"][n / 4]);
            let step = format!(
                r#"{{"session_id":"{session}","root_session_id":"root","parent_session_id":{parent},"step_id":"s{n}","seq":{n},
                "time":"2026-01-01T00:00:0{n}Z","kind":"{kind}","agent":{{"id":"a"}},"tool":"read_secret","input":{{"n":1}},
                "output":"AKIA","usage":{{"input_tokens":3,"cost_usd":0.5}}}}"#,
                parent = if session == "root" { "null" } else { "\"root\"" },
            );
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
        let mut states = Vec::new();
        detector.drain_changed(|key, state| states.push((key.clone(), state.expect("worth storing").clone())));
        states
    }

    fn fixture(version: u8, key: &StateKey) -> PathBuf {
        let name = String::from_utf8(key.to_bytes()).expect("text").replace('/', "_");
        [env!("CARGO_MANIFEST_DIR"), "fixtures", "state", &format!("v{version}_{name}.bin")].iter().collect()
    }

    /// What earlier versions wrote: the same sessions, without some of what they read.
    #[test]
    fn earlier_versions_are_read() {
        for (version, (key, now)) in
            [1, 2].into_iter().flat_map(|it| states().into_iter().map(move |state| (it, state)))
        {
            let stored = std::fs::read(fixture(version, &key)).expect("a fixture");
            let entry = read(&stored).expect("a header");
            let state = entry.state().expect("a state");
            assert_eq!(state.is_halted(), now.is_halted(), "{key:?}");
            let bytes = encode(7, &state).expect("encodes");
            let again = read(&bytes).expect("a header").state().expect("a state");
            assert_eq!(again, state, "{key:?}");
            let later = entry.used_at(7);
            assert_eq!(read(&later).expect("a header").state().expect("a state"), state, "{key:?}");
        }
    }

    /// Bytes that were written once are read for ever, and as long as the version stands the same state is written as the
    /// same bytes. A new version adds its files (`WRITE_FIXTURES=1`) and leaves the old ones as they are.
    #[test]
    fn every_version_stays_readable() {
        for (key, state) in states() {
            let path = fixture(VERSION, &key);
            let bytes = encode(1_767_225_600_000_000, &state).expect("encodes");
            if std::env::var_os("WRITE_FIXTURES").is_some() && !path.exists() {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
                std::fs::write(&path, &bytes).expect("fixture");
            }
            let stored = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let entry = read(&stored).expect("a header");
            assert_eq!(entry.used, 1_767_225_600_000_000);
            // Some of a state is derived and not stored, so what is stored is compared.
            let again = encode(entry.used, &entry.state().expect("a state")).expect("encodes");
            assert_eq!(again, stored, "{key:?}");
            assert_eq!(bytes, stored, "{key:?}: the layout of state changed, so must its version");
        }
    }

    #[test]
    fn an_entry_is_used_again_without_reading_its_state() {
        for (_, state) in states() {
            let entry = encode(5, &state).expect("encodes");
            assert_eq!(read(&entry).expect("a header").used_at(7), encode(7, &state).expect("encodes"));
        }
    }

    #[test]
    fn bytes_of_anybody_do_not_panic() {
        let whole = encode(5, &states()[0].1).expect("encodes");
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).map_or(true, |it| it.state().is_err()), "{end} bytes are not a whole entry");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert!(read(&longer).expect("a header").state().is_err());
    }
}
