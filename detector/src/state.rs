//! An entry of the state store: a version, the tick of its last use ([`crate::idle`]), then the core's state in postcard.
//!
//! Every version ever written stays readable; `detector/fixtures/state` holds bytes of each.

use bytes::{BufMut, Bytes, BytesMut};
use martingale_detector_core::{Part, PartState, State, StateKey, StateRef, StateV1};
use postcard::ser_flavors::Flavor;

/// 1: a session in one piece. 2: its histories in parts, which are entries of their own. 3: and what it was asked and read, as
/// hijack scoring needs it. 4: and how far it departs from its agent's baseline. 5: and which other runs it
/// stands in. 6: and what it, and its run, was granted. 7: more streams of drift, and which words it has met.
/// 8: and whether calls that cannot be taken back are asked about, how fast it and its run use
/// what budgets are about, and what definitions of tools it has shown warn of. 9: and which of its calls may change
/// something, in a bit that said nothing before. 10: and whose baseline a session is held against, where one that began
/// before is held against none; and which of its calls wait for somebody else, in a bit that said nothing before. Until 32
/// more calls are made, `repeat` and `cycle` may count fewer of those of before, or only warn of them. In place of a result
/// that is still to come stand marks of a call (it was given an address of the web, it was not let through, a person said yes to it): of
/// calls of before there are none.
const VERSION: u8 = 10;
/// The latest that brought fields.
const FIELDS: u8 = 10;
const HEADER_BYTES: usize = 1 + size_of::<i64>();
/// First byte of the state of a session, and of a run.
const SESSION: u8 = 0;
const RUN: u8 = 1;

/// Most bytes that an earlier version lacks.
const LATER_MAX: usize = 16;

/// How many zeros stand for the fields that came after a version, at the end of a session or of a run.
fn later(version: u8, kind: Option<&u8>) -> usize {
    // One field a version from 3 to 6 in a session, and one in a run with the last of them; with version 8 a pace of five numbers
    // in each, and definitions in a session; with version 10 one more in a session.
    let since = |later: u8, fields: usize| if version < later { fields } else { 0 };
    match kind {
        Some(&SESSION) => usize::from(6_u8.saturating_sub(version)) + since(8, 6) + since(10, 1),
        Some(&RUN) => since(6, 1) + since(8, 5),
        _ => 0,
    }
}

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
    #[error("it is not in the store, and the head of its session or run says that it is: restore the data folder")]
    Missing,
    #[error("it holds something else than its key says: restore the data folder")]
    Misplaced,
}

/// Appends the entry of a state to `out`. `used`: the tick of its last use.
///
/// # Errors
/// [`Error::Damaged`] for a state that has no stored form; there is none.
pub fn write(used: i64, state: &StateRef<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    out.push(VERSION);
    out.extend_from_slice(&used.to_le_bytes());
    postcard::serialize_with_flavor(state, Tail(out)).map_err(Error::Damaged)
}

/// The end of a vector. Postcard's own for anything that can be extended adds one byte after the other.
struct Tail<'v>(&'v mut Vec<u8>);

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        match bytes {
            // Most numbers: no call to copy one byte.
            [byte] => self.0.push(*byte),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
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

/// What the store has under a key. A head that is not there was never written or is forgotten; a part is written and
/// removed in one commit with the head that names it, so one that is not there is lost, and with it what was decided.
pub(crate) fn stored<'a>(key: &StateKey<'_>, bytes: Option<&'a [u8]>) -> Result<Option<Entry<'a>>, Error> {
    match (key, bytes) {
        (_, Some(bytes)) => read(bytes).map(Some),
        (StateKey::Session(_) | StateKey::Run(_) | StateKey::Tenant, None) => Ok(None),
        (StateKey::Part(..), None) => Err(Error::Missing),
    }
}

impl Entry<'_> {
    /// The state, if it is one of the kind that belongs under the key.
    pub(crate) fn state_of(self, key: &StateKey<'_>) -> Result<State, Error> {
        let state = self.state()?;
        let belongs = match (key, &state) {
            (StateKey::Session(_), State::Session(_))
            | (StateKey::Run(_), State::Run(_))
            | (StateKey::Tenant, State::Tenant(_)) => true,
            (StateKey::Part(_, part), State::Part(it)) => matches!(
                (part, it),
                (Part::Recent(_), PartState::Recent(_))
                    | (Part::Calls(_), PartState::Calls(_))
                    | (Part::Values(..), PartState::Values(_))
            ),
            (StateKey::Session(_) | StateKey::Run(_) | StateKey::Part(..) | StateKey::Tenant, _) => false,
        };
        if belongs { Ok(state) } else { Err(Error::Misplaced) }
    }

    pub(crate) fn state(self) -> Result<State, Error> {
        let longer;
        let (state, rest) = match self.version {
            1 => postcard::take_from_bytes(self.body).map(|(StateV1(state), rest)| (state, rest)),
            // The last fields came later: a zero says that there is nothing in one.
            2..FIELDS => {
                longer = [self.body, &[0; LATER_MAX][..later(self.version, self.body.first())]].concat();
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

    use martingale_detector_core::{Detector, Learner, Observed, Rules};
    use martingale_schemas::{Control, Decision, Step};

    use super::*;

    const USED: i64 = 1_767_225_600_000_000;

    fn encode(used: i64, state: &StateRef<'_>) -> Bytes {
        let mut out = Vec::new();
        write(used, state, &mut out).expect("encodes");
        out.into()
    }

    /// Four steps of a session, and from then on those of one that it started.
    fn step(n: usize) -> String {
        let (kind, session) = (["tool_call", "tool_result"][n % 2], ["root", "child"][(n / 4).min(1)]);
        let parent = if session == "root" { "null" } else { "\"root\"" };
        let second = n % 60;
        format!(
            r#"{{"session_id":"{session}","root_session_id":"root","parent_session_id":{parent},"step_id":"s{n}","seq":{second},
            "time":"2026-01-01T00:00:{second:02}Z","kind":"{kind}","agent":{{"id":"a"}},"tool":"read_secret","input":{{"n":1}},
            "principal":{{"id":"agent","on_behalf_of":"ada","scopes":["records:read","mail:*"]}},
            "output":{{"mail":"user{second}@example.com","password":"hunter22x"}},"usage":{{"input_tokens":3,"cost_usd":0.5}}}}"#
        )
    }

    /// Entries in which as much as possible has happened, by their keys: of sessions long enough to have parts when `long`.
    fn entries(long: bool) -> BTreeMap<String, Bytes> {
        let (mut learner, rules) = (Learner::default(), Rules::starter());
        for n in 0..16 * 8 {
            let json = step(n % 8).replace("_id\":\"", &format!("_id\":\"{}-", n / 8));
            learner.observe(&Step::from_log(json.as_bytes()).expect("a step"), &rules);
        }
        let mut detector = Detector::new(Arc::new(rules.with_baselines(Arc::new(learner.finish()))));
        for n in 0..if long { 80 } else { 8 } {
            let step = step(n);
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
            entries.insert(name, encode(USED, &state.expect("worth storing")));
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

    /// What is read of a session that the first version stored, member by member.
    #[test]
    fn the_first_version_is_read_in_full() {
        let counts =
            serde_json::json!({"steps": 4, "tool_calls": 2, "errors": 0, "tokens": 12, "micro_usd": 2_000_000});
        let of_run =
            serde_json::json!({"steps": 8, "tool_calls": 4, "errors": 0, "tokens": 24, "micro_usd": 4_000_000});
        let at = |second: u8| format!("2026-01-01T00:00:0{second}Z");
        let halt = serde_json::json!({"of": "child", "since": at(0),
            "cause": {"Control": {"control_id": "c", "by": "ada", "reason": "to look"}}});
        let null = serde_json::Value::Null;
        for (name, kind, members) in [
            (
                "s_root",
                "Session",
                vec![
                    ("/root", "root".into()),
                    ("/place", serde_json::json!({"depth": 0, "line": []})),
                    ("/children", 1.into()),
                    ("/spawns", 0.into()),
                    ("/counts", counts.clone()),
                    ("/last_seq", 3.into()),
                    ("/started", at(0).into()),
                    ("/now", at(3).into()),
                    ("/ended", false.into()),
                    ("/halt", null.clone()),
                    ("/recent/0", 4.into()),
                    ("/calls/0", 2.into()),
                    ("/calls/2/0/1", "s0".into()),
                    ("/calls/2/1/1", "s2".into()),
                    ("/provenance", null.clone()),
                ],
            ),
            (
                "s_child",
                "Session",
                vec![
                    ("/root", "root".into()),
                    ("/place", serde_json::json!({"depth": 1, "line": []})),
                    ("/children", 0.into()),
                    ("/spawns", 0.into()),
                    ("/counts", counts),
                    ("/last_seq", 7.into()),
                    ("/started", at(4).into()),
                    ("/now", at(7).into()),
                    ("/ended", false.into()),
                    ("/halt", halt.clone()),
                    ("/recent/0", 4.into()),
                    ("/calls/0", 2.into()),
                    ("/calls/2/0/1", "s4".into()),
                    ("/calls/2/1/1", "s6".into()),
                    ("/provenance", null.clone()),
                ],
            ),
            (
                "r_root",
                "Run",
                vec![
                    ("/counts", of_run),
                    ("/base/steps", 0.into()),
                    ("/base_time", null.clone()),
                    ("/started", at(0).into()),
                    ("/now", at(7).into()),
                    ("/sessions_total", 2.into()),
                    ("/depth", 1.into()),
                    ("/halt", null.clone()),
                    ("/halted", 1.into()),
                    ("/members/0/depth", 1.into()),
                    ("/members/0/halt", halt),
                    ("/members/1/depth", 0.into()),
                    ("/members/1/halt", null.clone()),
                    ("/shared", null),
                ],
            ),
        ] {
            let stored = stored(1, name);
            let entry = read(&stored).expect("a header");
            assert_eq!(entry.used, USED);
            let again = entry.used_at(7);
            assert_eq!((read(&again).expect("a header").used, &again[HEADER_BYTES..]), (7, &stored[HEADER_BYTES..]));
            let state = serde_json::to_value(entry.state().expect("a state")).expect("JSON");
            for (member, expected) in members {
                assert_eq!(state.pointer(&format!("/{kind}{member}")), Some(&expected), "{name}{member}");
            }
        }
    }

    /// A session that the first version stored goes on as it was: its steps are known, its halt stands, and written anew
    /// and read back it is the same.
    #[test]
    fn what_the_first_version_stored_goes_on() {
        let mut detector = Detector::new(Arc::new(Rules::starter()));
        for name in ["s/root", "s/child", "r/root"] {
            let key = StateKey::from_bytes(name.as_bytes()).expect("a key");
            let state = read(&stored(1, &name.replace('/', "_"))).expect("a header").state_of(&key).expect("a state");
            detector.load(key, Some(state));
        }
        let judge = |detector: &mut Detector, step: &str| {
            let step = Step::from_log(step.as_bytes()).expect("a step");
            assert_eq!(detector.absent(&step), [], "all that is needed is there");
            detector.observe(&step)
        };
        for n in 0..8 {
            assert!(matches!(judge(&mut detector, &step(n)), Observed::Duplicate), "step {n} is known");
        }
        let next = |n: usize| step(n).replace(&format!("\"s{n}\""), "\"next\"");
        for (n, expected) in [(3, Decision::Allow), (7, Decision::Halt)] {
            let Observed::Judged(judgement) = judge(&mut detector, &next(n)) else { panic!("a new step after {n}") };
            assert_eq!(judgement.decision, expected, "after {n}: {:?}", judgement.findings);
        }
        let mut changed = 0;
        detector.drain_changed(|key, state| {
            let state = state.expect("worth storing");
            let bytes = encode(7, &state);
            let entry = read(&bytes).expect("a header");
            let again = serde_json::to_value(entry.state_of(key).expect("a state")).expect("JSON");
            assert_eq!(again, serde_json::to_value(state.to_state()).expect("JSON"), "{key:?}");
            changed += 1;
        });
        assert!(changed >= 3, "{changed}");
    }

    #[test]
    fn a_part_that_is_not_there_and_an_entry_under_another_key_are_told() {
        let [session, run, recent, calls] = ["s/child", "r/root", "p/child/r00", "p/child/c00"]
            .map(|it| StateKey::from_bytes(it.as_bytes()).expect("a key"));
        for (key, is_told) in [(&session, false), (&run, false), (&recent, true), (&calls, true)] {
            let found = super::stored(key, None);
            assert_eq!(matches!(found, Err(Error::Missing)), is_told, "{key:?}: {found:?}");
        }
        let entries = entries(true);
        let of = |key: &StateKey<'_>| String::from_utf8(key.to_bytes()).expect("text").replace('/', "_");
        for key in [&session, &run, &recent, &calls] {
            for other in [&session, &run, &recent, &calls] {
                let read = read(&entries[&of(other)]).expect("a header").state_of(key);
                let fits = read.is_ok();
                assert_eq!(fits, key == other, "{other:?} under {key:?}");
                assert!(fits || matches!(read, Err(Error::Misplaced)));
            }
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
                let bytes = encode(USED, &state.expect("worth storing"));
                read(&bytes).expect("a header").state().expect("a state");
                keys.push(String::from_utf8(key.to_bytes()).expect("text"));
            });
            // Sentences of before version 3 are not known; what is read from now on is.
            let sentences = if version < 3 { "p/child/l00" } else { "p/child/l03" };
            assert!([sentences, "s/child", "r/root"].iter().all(|it| keys.iter().any(|key| key == it)), "{keys:?}");
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
