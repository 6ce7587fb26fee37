//! Files of history that are not what its tables say: looked for at start, and when a query fails.

use std::collections::HashMap;
use std::fmt;

use deltalake::DeltaTableError;
use serde::de::IgnoredAny;

use super::Snapshot;
use super::place::Place;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Missing,
    Length { is: u64, was: u64 },
}

impl Damage {
    /// Compares the files of a version with what is in the place: that they are there, and as long as they were. One listing
    /// for each table, a thousand files at a time in a bucket.
    pub(super) async fn find(place: &Place, snapshot: &Snapshot) -> Result<Option<Self>, object_store::Error> {
        let mut found: Option<Self> = None;
        for (table, seen) in Table::ALL.into_iter().zip(&snapshot.tables) {
            let listed = place.list(table.name()).await?;
            let there: HashMap<&str, u64> =
                listed.iter().filter_map(|it| Some((it.location.filename()?, it.size))).collect();
            for file in seen.stored.snapshot.log_data().iter() {
                let name = file.path();
                let was = u64::try_from(file.size()).unwrap_or(0);
                let Some(how) = How::of(there.get(&*name).copied(), was) else { continue };
                match &mut found {
                    Some(first) => first.files += 1,
                    None => found = Some(Self { files: 1, file: format!("{}/{name}", table.name()), was, how }),
                }
            }
        }
        Ok(found)
    }

    /// Whether the first damaged file still is, and still is one of its table's: one question, whatever the number of files.
    pub(super) async fn stands(&self, place: &Place, snapshot: &Snapshot) -> Result<bool, object_store::Error> {
        let Some((table, name)) = self.file.split_once('/') else { return Ok(false) };
        let seen = Table::ALL.into_iter().zip(&snapshot.tables).find(|(it, _)| it.name() == table);
        let is_read = seen.is_some_and(|(_, it)| it.stored.snapshot.log_data().iter().any(|it| &*it.path() == name));
        Ok(is_read && How::of(place.length(&self.file).await?, self.was).is_some())
    }
}

impl How {
    const fn of(is: Option<u64>, was: u64) -> Option<Self> {
        match is {
            Some(is) if is == was => None,
            Some(is) => Some(Self::Length { is, was }),
            None => Some(Self::Missing),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file `{}` of history ", self.file)?;
        match &self.how {
            How::Missing => write!(f, "is missing")?,
            How::Length { is, was } => write!(f, "has {is} bytes and was written with {was}")?,
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
pub(super) async fn broken_entry(place: &Place, table: &str) -> Result<Option<String>, object_store::Error> {
    let log = format!("{table}/_delta_log");
    let listed = place.list(&log).await?;
    let mut names: Vec<&str> = listed.iter().filter_map(|it| it.location.filename()).collect();
    names.retain(|it| it.ends_with(".json"));
    names.sort_unstable();
    for name in names {
        let entry = format!("{log}/{name}");
        if !is_json(&place.read(&entry).await?.unwrap_or_default()) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Whether each line of a text is JSON, and there is one.
fn is_json(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).peekable();
    lines.peek().is_some() && lines.all(|line| serde_json::from_slice::<IgnoredAny>(line).is_ok())
}
