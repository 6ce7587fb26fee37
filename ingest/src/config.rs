//! Limits of the doors, chosen in one place.

use martingale_platform::config::Span;
use martingale_schemas::Limits;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::otlp::topic;

/// How much ingest takes, and what happens beyond it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Limits of one step.
    pub limits: Limits,
    /// Topics of others that carry OTLP, where the log is on Kafka.
    pub kafka: topic::Topics,
    /// Largest body as it is sent, in bytes; beyond it 413, and reading stops there. Also the largest gRPC message.
    pub body_bytes_max: usize,
    /// Largest body after decompression, in bytes; beyond it 413, and inflating stops there. Also the most that the values
    /// of one span are unpacked to.
    pub inflated_bytes_max: usize,
    /// All requests in progress together, inflated and read, in bytes; beyond it 429, and 413 for one that would not fit
    /// alone.
    pub inflight_bytes_max: usize,
    /// Most steps of one request; beyond it 413 and none of them is taken. Of OTLP, the spans that fit are.
    pub request_steps_max: usize,
    /// A body that has not come whole by then is answered 408.
    pub body_timeout: Span,
    /// What `Retry-After` says on 429 and 503, rounded up to whole seconds.
    pub retry_after: Span,
    /// Records of one append to the log; a larger request is appended in several.
    pub append_records_max: usize,
    /// Bytes of one append to the log.
    pub append_bytes_max: usize,
    /// Longest payload a dead letter keeps, in bytes; a longer one is cut and cannot be replayed.
    pub dead_letter_bytes_max: usize,
    /// Most dead letters of one page, and of one call to replay them.
    pub dead_letters_page_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            kafka: topic::Topics::default(),
            body_bytes_max: 16 * 1024 * 1024,
            inflated_bytes_max: 64 * 1024 * 1024,
            inflight_bytes_max: 256 * 1024 * 1024,
            request_steps_max: 100_000,
            body_timeout: Span::from_millis(30_000),
            retry_after: Span::from_millis(1_000),
            append_records_max: 2_000,
            append_bytes_max: 4 * 1024 * 1024,
            dead_letter_bytes_max: 64 * 1024,
            dead_letters_page_max: 1_000,
        }
    }
}

impl Config {
    /// # Errors
    /// [`Error::Config`] naming the value that cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        let positive = [
            ("body_bytes_max", self.body_bytes_max),
            ("request_steps_max", self.request_steps_max),
            ("append_records_max", self.append_records_max),
            ("append_bytes_max", self.append_bytes_max),
            ("dead_letter_bytes_max", self.dead_letter_bytes_max),
            ("dead_letters_page_max", self.dead_letters_page_max),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::Config(format!("`{name}` is 0: set at least 1")));
        }
        let (body, inflated, inflight) = (self.body_bytes_max, self.inflated_bytes_max, self.inflight_bytes_max);
        if inflated < body {
            return Err(Error::Config(format!(
                "`inflated_bytes_max` is {inflated}: set at least `body_bytes_max`, {body}"
            )));
        }
        if inflight < inflated {
            return Err(Error::Config(format!(
                "`inflight_bytes_max` is {inflight}: set at least `inflated_bytes_max`, {inflated}, or the largest body is never taken"
            )));
        }
        // Permits of the budget are counted in 32 bits.
        if u32::try_from(inflated).is_err() {
            return Err(Error::Config(format!("`inflated_bytes_max` is {inflated}: set at most {}", u32::MAX)));
        }
        Ok(())
    }

    /// `Retry-After` in seconds, at least 1.
    pub(crate) fn retry_after_secs(&self) -> u64 {
        self.retry_after.0.as_millis().div_ceil(1_000).clamp(1, 86_400).try_into().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn the_default_is_valid_and_what_cannot_work_is_named() {
        assert!(Config::default().validate().is_ok());
        type Breaks = fn(&mut Config);
        let broken: [(&str, Breaks); 4] = [
            ("body_bytes_max", |it| it.body_bytes_max = 0),
            ("inflated_bytes_max", |it| it.inflated_bytes_max = 1),
            ("inflight_bytes_max", |it| it.inflight_bytes_max = 1),
            ("append_records_max", |it| it.append_records_max = 0),
        ];
        for (field, breaks) in broken {
            let mut config = Config::default();
            breaks(&mut config);
            let message = config.validate().expect_err(field).to_string();
            assert!(message.contains(field), "{message}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = serde_json::from_str::<Config>(r#"{"body_bytes": 1}"#).expect_err("unknown").to_string();
        assert!(error.contains("body_bytes"), "{error}");
        let config: Config = serde_json::from_str(r#"{"body_timeout": "5s"}"#).expect("known");
        assert_eq!(config.body_timeout.to_string(), "5s");
    }
}
