use martingale_platform::config::Span;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Limits of the detector. Each holds for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most steps that are judged before their verdicts are committed. A step alone is judged alone: batches form only
    /// where steps already wait.
    pub batch_steps_max: usize,
    /// Most bytes of steps in a batch; a single step may be larger.
    pub batch_bytes_max: usize,
    /// Most sessions kept in memory between batches. The others are read from the state store when their next step
    /// comes, so this bounds memory and never what is remembered.
    pub sessions_in_memory_max: usize,
    /// How long a session may be silent, by the time the log takes steps in, until it is forgotten. It is forgotten no
    /// earlier and at most an eighth later; a step that still comes starts the session anew. A session above one that goes on
    /// is not silent, and a halt that stands is never forgotten.
    pub session_idle: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_steps_max: 2_048,
            batch_bytes_max: 4 << 20,
            sessions_in_memory_max: 50_000,
            session_idle: Span::from_millis(24 * 3_600_000),
        }
    }
}

impl Config {
    /// # Errors
    /// [`Error::Config`] with the field that does not hold.
    pub fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("batch_steps_max", self.batch_steps_max),
            ("batch_bytes_max", self.batch_bytes_max),
            ("sessions_in_memory_max", self.sessions_in_memory_max),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::Config { field, value: "0".to_owned(), remedy: "set at least 1" });
        }
        if self.session_idle.0.is_zero() {
            let value = self.session_idle.to_string();
            return Err(Error::Config { field: "session_idle", value, remedy: "set a span such as 24h" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_nothing_are_refused() {
        assert!(Config::default().validate().is_ok());
        let broken = [
            ("batch_steps_max", Config { batch_steps_max: 0, ..Config::default() }),
            ("batch_bytes_max", Config { batch_bytes_max: 0, ..Config::default() }),
            ("sessions_in_memory_max", Config { sessions_in_memory_max: 0, ..Config::default() }),
            ("session_idle", Config { session_idle: Span::from_millis(0), ..Config::default() }),
        ];
        for (field, config) in broken {
            let message = config.validate().expect_err(field).to_string();
            assert!(message.starts_with(&format!("detector `{field}` is 0")), "{message}");
        }
    }
}
