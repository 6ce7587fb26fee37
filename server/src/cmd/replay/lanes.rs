//! Which of several connections a line is sent on.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use martingale_schemas::wire::StepV1;
use martingale_schemas::{Step, ids};

/// The lane of each session: that of its run when it is first seen, and the same from then on. So the lines of a run go one
/// after the other, and whatever a session tells later, none of its lines overtakes another.
#[derive(Debug)]
pub(super) struct Lanes {
    count: u64,
    hasher: BuildHasherDefault<DefaultHasher>,
    /// By a digest, so that names are not kept.
    of: HashMap<[u8; 16], usize>,
}

impl Lanes {
    pub(super) fn new(count: usize) -> Self {
        Self { count: count as u64, hasher: BuildHasherDefault::default(), of: HashMap::new() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of the number of lanes")]
    pub(super) fn of(&mut self, step: &Step<'_>) -> usize {
        let of_run = || (self.hasher.hash_one(step.root_session_id.as_str()) % self.count) as usize;
        *self.of.entry(digest(step.session_id.as_str())).or_insert_with(of_run)
    }

    /// Of a line that is no step, or that the server will refuse: after what its session sent before.
    pub(super) fn of_refused(&self, line: &[u8]) -> usize {
        let session = StepV1::parse(line).ok().and_then(|it| it.fields.session_id);
        session.and_then(|it| self.of.get(&digest(&it.0)).copied()).unwrap_or(0)
    }

    /// Sessions seen.
    pub(super) fn sessions(&self) -> u64 {
        self.of.len() as u64
    }
}

fn digest(session: &str) -> [u8; 16] {
    ids::digest(&[session.as_bytes()])
}

#[cfg(test)]
mod tests {
    use martingale_schemas::{Limits, Timestamp};

    use super::{Lanes, StepV1};

    #[test]
    fn the_lines_of_a_session_share_a_lane() {
        let line = |session: &str, more: &str| {
            format!(r#"{{"session_id":"{session}","kind":"plan","agent":{{"id":"a"}}{more}}}"#).into_bytes()
        };
        let mut lanes = Lanes::new(1 << 20);
        let mut of = |json: &[u8]| {
            let step = StepV1::parse(json).and_then(|it| it.check(Timestamp::from_micros(0), &Limits::DEFAULT));
            lanes.of(&step.expect("a step"))
        };
        let run = of(&line("root", ""));
        assert_eq!(of(&line("kid", r#","root_session_id":"root""#)), run);
        let own = of(&line("late", ""));
        assert_ne!(own, run, "or the next line shows nothing");
        assert_eq!(of(&line("late", r#","root_session_id":"root""#)), own);
        for (json, expected) in [
            (line("kid", r#","root_session_id":"elsewhere""#), run),
            (line("late", r#","kind":"dance""#), 0),
            (line("late", r#","time":"never""#), own),
            (line("unseen", r#","time":"never""#), 0),
            (b"no step".to_vec(), 0),
        ] {
            assert_eq!(lanes.of_refused(&json), expected, "{}", String::from_utf8_lossy(&json));
        }
        assert_eq!(lanes.sessions(), 3);
    }
}
