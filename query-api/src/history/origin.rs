//! Which log the tables were made from: offsets say so only when the tables are further than the log.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use martingale_platform::files;

use super::Error;

/// Holds the identity of the log, in the folder of the tables.
const FILE: &str = "LOG";

/// Compares the log with the one that the folder was begun for, if it names one. Whether it does.
pub(super) fn check(dir: &Path, log: Option<&str>) -> Result<bool, Error> {
    match fs::read_to_string(dir.join(FILE)) {
        Ok(made_from) if log == Some(made_from.trim()) => Ok(true),
        Ok(made_from) => {
            let (folder, made_from) = (dir.to_owned(), made_from.trim().to_owned());
            let log = log.unwrap_or("one of another kind, without an identity").to_owned();
            Err(Error::OtherLog { folder, made_from, log })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Folder { folder: dir.to_owned(), source }),
    }
}

/// A folder that names no log, which is a new one or one of an older release, is this log's from now on. Called when nothing
/// else speaks against that: it cannot be taken back.
pub(super) fn claim(dir: &Path, log: Option<&str>) -> Result<(), Error> {
    match log {
        Some(log) if !check(dir, Some(log))? => {
            write(dir, log).map_err(|source| Error::Folder { folder: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn write(dir: &Path, log: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    files::replace(dir, FILE, &format!("{log}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_the_log_it_was_begun_for() {
        let parent = tempfile::tempdir().expect("a folder");
        let dir = parent.path().join("history");
        let mut claimed = Vec::new();
        for (log, good) in
            [(None, true), (Some("a"), true), (Some("a"), true), (Some("b"), false), (None, false), (Some("a"), true)]
        {
            let outcome = check(&dir, log).and_then(|_| claim(&dir, log));
            assert_eq!(outcome.is_ok(), good, "{log:?} after {claimed:?}: {outcome:?}");
            claimed.push(log);
        }
        let said = check(&dir, Some("b")).expect_err("another").to_string();
        for part in [&*dir.display().to_string(), "log a", "log is b", "restore", "move"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        fs::create_dir_all(parent.path().join("odd/LOG")).expect("a folder in the way");
        assert!(matches!(check(&parent.path().join("odd"), Some("a")), Err(Error::Folder { .. })));
    }
}
