//! Which log the tables were made from: offsets say so only when the tables are further than the log.

use super::Error;
use super::place::Place;

/// Holds the identity of the log, beside the tables.
const FILE: &str = "LOG";

/// Compares the log with the one that the place was begun for, if it names one. Whether it does.
pub(super) async fn check(place: &Place, log: Option<&str>) -> Result<bool, Error> {
    let Some(text) = place.read(FILE).await.map_err(|error| place.failed(&error))? else { return Ok(false) };
    let made_from = String::from_utf8_lossy(&text).trim().to_owned();
    if log == Some(&made_from) {
        return Ok(true);
    }
    let log = log.unwrap_or("one of another kind, without an identity").to_owned();
    Err(Error::OtherLog { place: place.to_string(), made_from, log })
}

/// A place that names no log, which is a new one or one of an older release, is this log's from now on. Called when nothing
/// else speaks against that: it cannot be taken back.
pub(super) async fn claim(place: &Place, log: Option<&str>) -> Result<(), Error> {
    let Some(log) = log else { return Ok(()) };
    if check(place, Some(log)).await? {
        return Ok(());
    }
    match place.make(FILE, &format!("{log}\n")).await {
        // Another process was faster; for which log, is there to read.
        Err(object_store::Error::AlreadyExists { .. }) => check(place, Some(log)).await.map(drop),
        other => other.map_err(|error| place.failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::location::Location;

    async fn place(folder: std::path::PathBuf) -> Place {
        let io = tokio::runtime::Handle::current();
        Place::open(&Location::from(folder), &Default::default(), io).await.expect("opens")
    }

    #[tokio::test]
    async fn a_folder_belongs_to_the_log_it_was_begun_for() {
        let parent = tempfile::tempdir().expect("a folder");
        let dir = place(parent.path().join("history")).await;
        let mut claimed = Vec::new();
        for (log, good) in
            [(None, true), (Some("a"), true), (Some("a"), true), (Some("b"), false), (None, false), (Some("a"), true)]
        {
            let mut outcome = check(&dir, log).await.map(drop);
            if outcome.is_ok() {
                outcome = claim(&dir, log).await;
            }
            assert_eq!(outcome.is_ok(), good, "{log:?} after {claimed:?}: {outcome:?}");
            claimed.push(log);
        }
        let said = check(&dir, Some("b")).await.expect_err("another").to_string();
        for part in [&*dir.to_string(), "log a", "log is b", "restore", "move"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        std::fs::create_dir_all(parent.path().join("odd/LOG")).expect("a folder in the way");
        let odd = place(parent.path().join("odd")).await;
        assert!(matches!(claim(&odd, Some("a")).await, Err(Error::Folder { .. })));
    }
}
