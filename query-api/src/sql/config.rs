//! Limits of one query.

use martingale_platform::config::Span;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::config::{Invalid, at_least_one, some_time};

/// See `deploy/config.default.toml`, section `sql`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Longest query text, in bytes; beyond it the query is refused.
    pub query_bytes_max: usize,
    /// What all queries together hold in bytes, as far as they sort, group, join and look over windows, and answers until
    /// they are sent ([`super::memory`]). A query that needs more fails; nothing is spilled to disk.
    pub memory_bytes_max: usize,
    /// Most rows of an answer; the rest is left out and the answer says so.
    pub rows_max: usize,
    /// Most bytes of an answer, in memory; beyond it the query fails.
    pub answer_bytes_max: usize,
    /// Longest time of a query.
    pub time_max: Span,
    /// Most queries that run, or whose answers are not sent yet, at once; more wait, within their time.
    pub queries_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            query_bytes_max: 64 << 10,
            memory_bytes_max: 1 << 30,
            rows_max: 100_000,
            answer_bytes_max: 256 << 20,
            time_max: Span::from_millis(30_000),
            queries_max: 16,
        }
    }
}

impl Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[
            ("sql.query_bytes_max", self.query_bytes_max),
            ("sql.memory_bytes_max", self.memory_bytes_max),
            ("sql.rows_max", self.rows_max),
            ("sql.answer_bytes_max", self.answer_bytes_max),
            ("sql.queries_max", self.queries_max),
        ])?;
        // Who may run is counted by permits.
        if self.queries_max > Semaphore::MAX_PERMITS {
            let remedy = format!("set at most {}", Semaphore::MAX_PERMITS);
            return Err(Invalid::new("sql.queries_max", self.queries_max, remedy));
        }
        some_time(&[("sql.time_max", self.time_max)])
    }
}
