//! Which log the tables were made from: offsets say so only when the tables are further than the log.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::Error;

/// Holds the identity of the log, in the folder of the tables.
const FILE: &str = "LOG";

/// Compares the log with the one that the folder was begun for. A folder that names none, which is a new one or one of an
/// older release, is this log's from now on.
pub(super) fn claim(dir: &Path, log: Option<&str>) -> Result<(), Error> {
    let Some(log) = log else { return Ok(()) };
    let fail = |source| Error::Folder { folder: dir.to_owned(), source };
    match fs::read_to_string(dir.join(FILE)) {
        Ok(made_from) if made_from.trim() == log => Ok(()),
        Ok(made_from) => {
            let (folder, made_from) = (dir.to_owned(), made_from.trim().to_owned());
            Err(Error::OtherLog { folder, made_from, log: log.to_owned() })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => write(dir, log).map_err(fail),
        Err(error) => Err(fail(error)),
    }
}

fn write(dir: &Path, log: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let draft = dir.join("LOG.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{log}")?;
    file.sync_all()?;
    fs::rename(draft, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_the_log_it_was_begun_for() {
        let parent = tempfile::tempdir().expect("a folder");
        let dir = parent.path().join("history");
        let mut claimed = Vec::new();
        for (log, good) in [(None, true), (Some("a"), true), (Some("a"), true), (Some("b"), false), (Some("a"), true)] {
            let outcome = claim(&dir, log);
            assert_eq!(outcome.is_ok(), good, "{log:?} after {claimed:?}: {outcome:?}");
            claimed.push(log);
        }
        let said = claim(&dir, Some("b")).expect_err("another").to_string();
        for part in [&*dir.display().to_string(), "log a", "log is b", "restore", "move"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        fs::create_dir_all(parent.path().join("odd/LOG")).expect("a folder in the way");
        assert!(matches!(claim(&parent.path().join("odd"), Some("a")), Err(Error::Folder { .. })));
    }
}
