//! Where history is kept, and when its newest rows leave memory.

use std::path::PathBuf;

use martingale_platform::config::Span;
use serde::{Deserialize, Serialize};

use crate::config::{Invalid, at_least_one, some_time};

/// See `deploy/config.default.toml`, section `history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the Delta tables, one folder a table.
    pub dir: PathBuf,
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/history"),
            flush_bytes: 64 << 20,
            flush_steps: 200_000,
            flush_age: Span::from_millis(30_000),
            memory_bytes_max: 256 << 20,
            publish_every: Span::from_millis(50),
            compact_every: 64,
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
        some_time(&[("history.flush_age", self.flush_age)])?;
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
