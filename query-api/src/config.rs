//! Configuration of this crate: one section for each part, and what may not stand in it.

#[cfg(test)]
mod tests;

use std::fmt::Display;

use martingale_platform::config::Span;
use serde::{Deserialize, Serialize};

use crate::http::bodies;
use crate::{alerts, controls, gate, stream, verdicts, webhooks};

/// Everything the enforcing side can be told. History and SQL have their own (`history::Config`, `sql::Config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub requests: bodies::Config,
    pub gate: gate::Config,
    pub controls: controls::Config,
    pub stream: stream::Config,
    pub verdicts: verdicts::Config,
    pub webhook: webhooks::Config,
    pub alerts: alerts::Config,
}

/// A value that cannot work: its key, what it is, what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {value}: {remedy}")]
pub struct Invalid {
    key: &'static str,
    value: String,
    remedy: String,
}

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Value(#[from] Invalid),
    #[error(transparent)]
    Webhook(#[from] webhooks::ConfigError),
}

impl Invalid {
    pub(crate) fn new(key: &'static str, value: impl Display, remedy: impl Into<String>) -> Self {
        Self { key, value: value.to_string(), remedy: remedy.into() }
    }
}

impl Config {
    /// Looks at every section; reads no file and opens no socket.
    ///
    /// # Errors
    /// [`Error`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        self.requests.validate()?;
        self.gate.validate()?;
        self.controls.validate()?;
        self.stream.validate()?;
        self.verdicts.validate()?;
        self.webhook.validate()?;
        Ok(self.alerts.validate()?)
    }
}

impl bodies::Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        some_time(&[("requests.body_timeout", self.body_timeout)])?;
        at_least_one(&[("requests.inflight_bytes_max", self.inflight_bytes_max)])
    }
}

impl gate::Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        some_time(&[("gate.timeout", self.timeout)])?;
        at_least_one(&[("gate.waiting_max", self.waiting_max), ("gate.remembered_max", self.remembered_max)])?;
        if self.overrides.iter().any(|it| it.agent.is_empty()) {
            return Err(Invalid::new("gate.overrides.agent", "\"\"", "name an agent, or `*` for every one"));
        }
        Ok(())
    }
}

/// Counts and sizes that nothing fits into when they are 0.
pub(crate) fn at_least_one(counts: &[(&'static str, usize)]) -> Result<(), Invalid> {
    match counts.iter().find(|(_, value)| *value == 0) {
        Some((key, value)) => Err(Invalid::new(key, value, "set at least 1")),
        None => Ok(()),
    }
}

/// Times that nothing is done within when they are 0.
pub(crate) fn some_time(spans: &[(&'static str, Span)]) -> Result<(), Invalid> {
    match spans.iter().find(|(_, span)| span.0.is_zero()) {
        Some((key, span)) => Err(Invalid::new(key, span, "set a span such as 5s")),
        None => Ok(()),
    }
}
