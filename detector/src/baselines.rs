//! Baselines as they are stored ([`martingale_schemas::baselines`]), with the core's baselines in postcard.

use martingale_detector_core::{Baselines, BaselinesV1};
use martingale_schemas::BaselinesId;
use martingale_schemas::baselines::{Stored, Unread};

/// 1: the first. 2: more streams of drift.
const VERSION: u8 = 2;

/// Why a file of baselines cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BaselinesError {
    #[error("it holds no baselines: make it with `martingale baseline learn`")]
    Foreign,
    #[error(
        "its baselines have version {found}, this program reads up to {VERSION}: run the newer program, or learn them anew"
    )]
    Newer { found: u8 },
    #[error("it is damaged: learn the baselines anew")]
    Damaged(#[source] Option<postcard::Error>),
}

/// Bytes of a file.
///
/// # Errors
/// [`BaselinesError::Damaged`] for baselines that have no stored form; there are none.
pub fn write_baselines(baselines: &Baselines) -> Result<Vec<u8>, BaselinesError> {
    let body = postcard::to_allocvec(baselines).map_err(|error| BaselinesError::Damaged(Some(error)))?;
    Ok(Stored::new(VERSION, &body).to_bytes())
}

/// What [`write_baselines`] wrote, and its name.
///
/// # Errors
/// When it is something else, of a newer version, or not as it was written.
pub fn read_baselines(bytes: &[u8]) -> Result<(Baselines, BaselinesId), BaselinesError> {
    let stored = Stored::read(bytes)?;
    if stored.version > VERSION {
        return Err(BaselinesError::Newer { found: stored.version });
    }
    let baselines = match stored.version {
        1 => postcard::from_bytes(stored.body).map(|BaselinesV1(it)| it),
        _ => postcard::from_bytes(stored.body),
    };
    Ok((baselines.map_err(|error| BaselinesError::Damaged(Some(error)))?, stored.id))
}

impl From<Unread> for BaselinesError {
    fn from(why: Unread) -> Self {
        match why {
            Unread::Foreign => Self::Foreign,
            Unread::Damaged => Self::Damaged(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use martingale_detector_core::{Learner, Rules};
    use martingale_schemas::baselines::MAGIC;
    use martingale_schemas::{Limits, StepReader, Timestamp};

    use super::*;

    /// Sessions of two agents that ask, call and read.
    fn learnt() -> Baselines {
        let (mut learner, rules) = (Learner::default(), Rules::starter());
        let reader = StepReader::new(true, &Limits::DEFAULT);
        for session in 0..40 {
            let agent = if session % 2 == 0 { "even" } else { "odd" };
            for (kind, more) in [
                ("user_message", r#","text":"Mail the report to ada@example.com""#.to_owned()),
                ("tool_call", r#","tool":"read_file","input":{"path":"report.txt"}"#.to_owned()),
                ("tool_result", format!(r#","tool":"read_file","output":"sales rose by {session} points""#)),
                ("tool_call", r#","tool":"send_mail","input":{"to":"ada@example.com"}"#.to_owned()),
            ] {
                let line = format!(
                    r#"{{"session_id":"s{session}","kind":"{kind}","agent":{{"id":"{agent}"}},"environment":"production","time":"2026-01-01T00:00:00Z"{more}}}"#
                );
                let step = reader.read(b"key", line.as_bytes(), Timestamp::from_micros(0)).expect("a step");
                learner.observe(&step, &rules);
            }
        }
        learner.finish()
    }

    #[test]
    fn what_is_written_is_read_and_named_by_its_content() {
        let baselines = learnt();
        let bytes = write_baselines(&baselines).expect("written");
        let (read, id) = read_baselines(&bytes).expect("read");
        assert_eq!(read, baselines);
        assert_eq!(write_baselines(&read).expect("written"), bytes);
        assert_eq!(id.to_string().len(), 32);
        let profiles = read.profiles();
        let shown: Vec<_> =
            profiles.iter().map(|it| (it.agent(), it.environment(), it.sessions(), it.tools())).collect();
        assert_eq!(shown, [("even", Some("production"), 20, 2), ("odd", Some("production"), 20, 2)]);
        assert!(profiles.iter().all(|it| it.drift_calibration().is_some_and(|it| it.calibrating == 5)));
    }

    #[test]
    fn learning_the_same_twice_gives_the_same_bytes() {
        assert_eq!(write_baselines(&learnt()).expect("written"), write_baselines(&learnt()).expect("written"));
    }

    #[test]
    fn what_is_not_as_it_was_written_is_refused() {
        let bytes = write_baselines(&learnt()).expect("written");
        let mut newer = bytes.clone();
        newer[MAGIC.len()] = VERSION + 1;
        let mut flipped = bytes.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        let mut nameless = bytes.clone();
        nameless[MAGIC.len()] = 0;
        for (bytes, said) in [
            (&b"{\"session_id\":\"s\"}"[..], "no baselines"),
            (b"", "no baselines"),
            (&newer, "version 3"),
            (&flipped, "damaged"),
            (&nameless, "damaged"),
            (MAGIC, "damaged"),
            (&bytes[..bytes.len() - 1], "damaged"),
        ] {
            let error = read_baselines(bytes).expect_err("refused");
            assert!(error.to_string().contains(said), "{error} for {} bytes", bytes.len());
        }
    }
}
