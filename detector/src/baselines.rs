//! Baselines as they are stored ([`martingale_schemas::baselines`]), with the core's baselines in postcard.

use martingale_detector_core::{Baselines, BaselinesV1, BaselinesV2};
use martingale_schemas::BaselinesId;
use martingale_schemas::baselines::{Stored, Unread};

/// 1: the first. 2: more streams of drift, how suspect its sessions look, and when an agent's first and last began.
/// 3: and what they used in all.
const VERSION: u8 = 3;

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
        2 => postcard::from_bytes(stored.body).map(|BaselinesV2(it)| it),
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
    use std::path::PathBuf;

    use martingale_detector_core::{Learner, Rules};
    use martingale_schemas::baselines::MAGIC;
    use martingale_schemas::{Limits, Step, StepReader, Timestamp};

    use super::*;

    /// Later than every step, none of which is then taken for one of the future.
    const ARRIVED: Timestamp = Timestamp::from_micros(1_772_000_000_000_000);

    /// Sessions of two agents that ask, call and read, four a day; read twice.
    fn learnt() -> Baselines {
        let (mut learner, rules) = (Learner::default(), Rules::starter());
        each_step(|step| learner.observe(step, &rules));
        let mut calibrator = learner.into_calibrator();
        each_step(|step| calibrator.observe(step, &rules));
        calibrator.finish()
    }

    fn each_step(mut f: impl FnMut(&Step<'_>)) {
        let reader = StepReader::new(true, &Limits::DEFAULT);
        for session in 0..40 {
            let agent = if session % 2 == 0 { "even" } else { "odd" };
            let day = session / 4 + 1;
            for (kind, more) in [
                ("user_message", format!(r#","text":"Mail the report of {day} to ada@example.com""#)),
                ("tool_call", r#","tool":"read_file","input":{"path":"report.txt"}"#.to_owned()),
                ("tool_result", format!(r#","tool":"read_file","output":"sales rose by {session} points""#)),
                ("tool_call", r#","tool":"send_mail","input":{"to":"ada@example.com"}"#.to_owned()),
            ] {
                let line = format!(
                    r#"{{"session_id":"s{session}","kind":"{kind}","agent":{{"id":"{agent}"}},"environment":"production","time":"2026-01-{day:02}T00:00:00Z"{more}}}"#
                );
                f(&reader.read(b"key", line.as_bytes(), ARRIVED).expect("a step"));
            }
        }
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
        for it in profiles {
            let (drift, hijack) =
                (it.drift_calibration().expect("enough"), it.hijack_calibration().expect("read twice"));
            assert_eq!((drift.calibrating, hijack.calibrating, hijack.requests, hijack.warn), (5, 20, 10, None));
            assert_eq!(it.sessions_per_day(), Some(19.0 / 9.0));
        }
    }

    /// Files of every version stay readable, and say what they said. A new version adds its file (`WRITE_FIXTURES=1`).
    #[test]
    fn files_of_every_version_are_read() {
        let file = |version: u8| -> PathBuf {
            [env!("CARGO_MANIFEST_DIR"), "fixtures", "baselines", &format!("v{version}.bin")].iter().collect()
        };
        if std::env::var_os("WRITE_FIXTURES").is_some() && !file(VERSION).exists() {
            std::fs::write(file(VERSION), write_baselines(&learnt()).expect("written")).expect("fixture");
        }
        for version in 1..=VERSION {
            let bytes = std::fs::read(file(version)).expect("a fixture");
            assert_eq!(bytes[MAGIC.len()], version);
            let (read, _) = read_baselines(&bytes).expect("read");
            let profiles = read.profiles();
            let shown: Vec<_> = profiles
                .iter()
                .map(|it| (it.agent(), it.environment(), it.sessions(), it.requests(), it.tools()))
                .collect();
            let of = |agent| (agent, Some("production"), 20, 10, 2);
            assert_eq!(shown, [of("even"), of("odd")], "version {version}");
            for it in profiles {
                assert_eq!(
                    it.drift_calibration().map(|it| (it.learnt, it.calibrating)),
                    (version > 1).then_some((15, 5))
                );
                let hijack = it.hijack_calibration().map(|it| (it.calibrating, it.requests));
                assert_eq!(hijack, (version > 1).then_some((20, 10)), "version {version}");
                assert_eq!(it.sessions_per_day(), (version > 1).then_some(19.0 / 9.0), "version {version}");
            }
            let again = write_baselines(&read).expect("written");
            if version == VERSION {
                assert_eq!(again, bytes, "the layout of baselines changed, so must their version");
            } else {
                assert_eq!(read_baselines(&again).expect("read").0, read, "version {version} is kept as the newest");
            }
        }
    }

    #[test]
    fn learning_the_same_twice_gives_the_same_bytes() {
        assert_eq!(write_baselines(&learnt()).expect("written"), write_baselines(&learnt()).expect("written"));
    }

    #[test]
    fn what_is_not_as_it_was_written_is_refused() {
        let bytes = write_baselines(&learnt()).expect("written");
        let newer = Stored::new(VERSION + 1, Stored::read(&bytes).expect("read").body).to_bytes();
        let mut renamed = bytes.clone();
        renamed[MAGIC.len()] = VERSION + 1;
        let mut flipped = bytes.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        let mut nameless = bytes.clone();
        nameless[MAGIC.len()] = 0;
        for (bytes, said) in [
            (&b"{\"session_id\":\"s\"}"[..], "no baselines"),
            (b"", "no baselines"),
            (&newer, "version 4"),
            (&renamed, "damaged"),
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
