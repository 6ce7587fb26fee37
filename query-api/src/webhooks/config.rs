//! The endpoint and how stubbornly it is called.

use std::path::PathBuf;

use martingale_platform::config::Span;
use serde::{Deserialize, Serialize};

use super::Secret;
use super::address::checked;
use crate::config::{Invalid, at_least_one, some_time};

/// See `deploy/config.default.toml`, section `webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where halts and alerts are sent; empty for nowhere.
    pub url: String,
    /// `whsec_` and 24 to 64 bytes in base64. Better in `secret_file` or the environment than in a file others read.
    pub secret: Option<Secret>,
    /// File that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// Whether private, loopback and link-local addresses may be called.
    pub allow_private: bool,
    /// Longest time of one attempt.
    pub timeout: Span,
    /// Wait before each attempt, counted from the one before; up to a fifth more at random, so that many deliveries do
    /// not come back at once. After the last the delivery has failed.
    pub retries: Vec<Span>,
    /// An endpoint that failed all this time is disabled until a delivery is retried by hand.
    pub disable_after: Span,
    /// Deliveries that may wait. Beyond it halts wait on the log instead, and alerts do not change state.
    pub pending_max: usize,
    /// Settled deliveries that are kept for `GET /v1/deliveries`, the oldest forgotten first.
    pub kept_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        const SECOND: u64 = 1_000;
        const MINUTE: u64 = 60 * SECOND;
        const HOUR: u64 = 60 * MINUTE;
        let retries = [0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR];
        Self {
            url: String::new(),
            secret: None,
            secret_file: None,
            allow_private: false,
            timeout: Span::from_millis(20 * SECOND),
            retries: retries.map(Span::from_millis).to_vec(),
            disable_after: Span::from_millis(5 * 24 * HOUR),
            pending_max: 1_000,
            kept_max: 1_000,
        }
    }
}

/// Why the endpoint cannot be used as configured. No message shows the secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("`webhook.url` \"{url}\" is no address: {why}")]
    Url { url: String, why: String },
    #[error("`webhook.url` is set but there is no secret: set `webhook.secret` or `webhook.secret_file`")]
    NoSecret,
    #[error("both `webhook.secret` and `webhook.secret_file` are set: keep one")]
    TwoSecrets,
    #[error("`webhook.secret_file` {path} cannot be read")]
    SecretFile { path: String, source: std::io::Error },
    #[error("the webhook secret is not `whsec_` and 24 to 64 bytes in base64: make one with `openssl rand -base64 32`")]
    Secret,
    #[error("`webhook.retries` is empty: give at least one wait, as [\"0s\"]")]
    NoRetries,
    #[error(transparent)]
    Value(#[from] Invalid),
    #[error("the HTTP client of the webhook cannot be made")]
    Client(#[source] reqwest::Error),
}

impl Config {
    /// Reads no file: what `secret_file` holds is looked at when webhooks are opened.
    ///
    /// # Errors
    /// [`ConfigError`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        some_time(&[("webhook.timeout", self.timeout)])?;
        at_least_one(&[("webhook.pending_max", self.pending_max)])?;
        if self.retries.is_empty() {
            return Err(ConfigError::NoRetries);
        }
        if self.url.is_empty() {
            return Ok(());
        }
        checked(&self.url, self.allow_private)?;
        match (&self.secret, &self.secret_file) {
            (Some(_), Some(_)) => Err(ConfigError::TwoSecrets),
            (None, None) => Err(ConfigError::NoSecret),
            (Some(secret), None) => super::send::signer(secret).map(drop).ok_or(ConfigError::Secret),
            (None, Some(_)) => Ok(()),
        }
    }

    /// The secret from wherever it is configured.
    pub(super) fn secret(&self) -> Result<Secret, ConfigError> {
        match (&self.secret, &self.secret_file) {
            (Some(_), Some(_)) => Err(ConfigError::TwoSecrets),
            (Some(secret), None) => Ok(secret.clone()),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map(|text| Secret::new(text.trim().to_owned()))
                .map_err(|source| ConfigError::SecretFile { path: path.display().to_string(), source }),
            (None, None) => Err(ConfigError::NoSecret),
        }
    }
}
