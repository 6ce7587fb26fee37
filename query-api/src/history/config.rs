//! Where history is kept, and when its newest rows leave memory.

use std::path::PathBuf;

use martingale_platform::config::Span;
use serde::{Deserialize, Serialize};

use super::location::{Location, Options};
use crate::config::{Invalid, at_least_one, some_time};

/// See `deploy/config.default.toml`, section `history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the Delta tables are, one folder a table.
    pub dir: Location,
    /// Of the client of the object store, where `dir` is a bucket.
    pub options: Options,
    /// Rows of all tables in memory, in bytes, that start a flush.
    pub flush_bytes: usize,
    /// Steps in memory that start a flush.
    pub flush_steps: usize,
    /// Age of the oldest row in memory that starts a flush.
    pub flush_age: Span,
    /// Most bytes of rows in memory. When a flush does not keep up, reading stops here until it has: rows become visible
    /// later, none is lost.
    pub memory_bytes_max: usize,
    /// Longest time that a row that was read stays invisible while more rows come in.
    pub publish_every: Span,
    /// Commits to a table between two compactions of it.
    pub compact_every: u64,
    /// How often the tables are looked at that other processes write. Their newest rows are in memory until then.
    pub follow_every: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/history").into(),
            options: Options::default(),
            flush_bytes: 64 << 20,
            flush_steps: 200_000,
            flush_age: Span::from_millis(30_000),
            memory_bytes_max: 256 << 20,
            publish_every: Span::from_millis(50),
            compact_every: 64,
            follow_every: Span::from_millis(5_000),
        }
    }
}

impl Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[
            ("history.flush_bytes", self.flush_bytes),
            ("history.flush_steps", self.flush_steps),
            ("history.compact_every", usize::try_from(self.compact_every).unwrap_or(usize::MAX)),
        ])?;
        some_time(&[("history.flush_age", self.flush_age), ("history.follow_every", self.follow_every)])?;
        if self.dir.folder().is_some() && !self.options.0.is_empty() {
            let names = self.options.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let remedy = "remove it: options are for a bucket, and `history.dir` is a folder";
            return Err(Invalid::new("history.options", names, remedy));
        }
        if self.memory_bytes_max < self.flush_bytes {
            let remedy = format!(
                "set at least `history.flush_bytes`, {}, or reading stops before a flush begins",
                self.flush_bytes
            );
            return Err(Invalid::new("history.memory_bytes_max", self.memory_bytes_max, remedy));
        }
        Ok(())
    }
}
