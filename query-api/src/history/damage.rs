//! Files of history that are not what its tables say: looked for at start, and when a query fails.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use deltalake::DeltaTableError;
use serde::de::IgnoredAny;

use super::Snapshot;
use crate::tables::Table;

/// The first damaged file, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub(super) files: usize,
    /// Table and name. Where the folder is, is not for everybody who may ask.
    file: String,
    /// Its length when it was written.
    was: u64,
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Missing,
    Length { is: u64, was: u64 },
    Unreadable(ErrorKind),
}

impl Damage {
    /// Compares the files of a version with what is in the folder: that they are there, and as long as they were.
    pub(super) fn find(dir: &Path, snapshot: &Snapshot) -> Option<Self> {
        let mut found: Option<Self> = None;
        for (table, seen) in Table::ALL.into_iter().zip(&snapshot.tables) {
            for file in seen.stored.snapshot.log_data().iter() {
                let name = file.path();
                let was = u64::try_from(file.size()).unwrap_or(0);
                let Some(how) = How::of(&dir.join(table.name()).join(&*name), was) else { continue };
                match &mut found {
                    Some(first) => first.files += 1,
                    None => found = Some(Self { files: 1, file: format!("{}/{name}", table.name()), was, how }),
                }
            }
        }
        found
    }

    /// Whether the first damaged file still is, and still is one of its table's: one look at the disk, whatever the number of
    /// files.
    pub(super) fn stands(&self, dir: &Path, snapshot: &Snapshot) -> bool {
        let Some((table, name)) = self.file.split_once('/') else { return false };
        let seen = Table::ALL.into_iter().zip(&snapshot.tables).find(|(it, _)| it.name() == table);
        let is_read = seen.is_some_and(|(_, it)| it.stored.snapshot.log_data().iter().any(|it| &*it.path() == name));
        is_read && How::of(&dir.join(&self.file), self.was).is_some()
    }
}

impl How {
    fn of(file: &Path, was: u64) -> Option<Self> {
        match std::fs::metadata(file) {
            Ok(it) if it.len() == was => None,
            Ok(it) => Some(Self::Length { is: it.len(), was }),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(Self::Missing),
            Err(error) => Some(Self::Unreadable(error.kind())),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file `{}` of history ", self.file)?;
        match &self.how {
            How::Missing => write!(f, "is missing")?,
            How::Length { is, was } => write!(f, "has {is} bytes and was written with {was}")?,
            How::Unreadable(kind) => write!(f, "cannot be read ({kind})")?,
        }
        if self.files > 1 {
            write!(f, ", and {} more are damaged", self.files - 1)?;
        }
        write!(f, ": restore it from a backup; its rows cannot be asked for until then")
    }
}

/// What Delta says, without the backtrace that it carries in its text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Said(String);

impl Said {
    pub(super) fn of(error: &DeltaTableError) -> Self {
        let text = error.to_string();
        let said: Vec<&str> = text.lines().take_while(|line| !line.trim_start().starts_with("0: ")).collect();
        Self(said.join("\n").trim_end().to_owned())
    }
}

/// The first entry of a table's log that is no JSON, else the log itself.
pub(super) fn broken_entry(folder: &Path) -> PathBuf {
    let log = folder.join("_delta_log");
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(&log).into_iter().flatten().flatten().map(|it| it.path()).collect();
    entries.retain(|it| it.extension().is_some_and(|it| it == "json"));
    entries.sort();
    entries.into_iter().find(|it| !is_json(it)).unwrap_or(log)
}

/// Whether each line of a file is JSON, and there is one.
fn is_json(entry: &Path) -> bool {
    let text = std::fs::read(entry).unwrap_or_default();
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).peekable();
    lines.peek().is_some() && lines.all(|line| serde_json::from_slice::<IgnoredAny>(line).is_ok())
}
