//! The configuration: the embedded default file, then `--config FILE`, then `MARTINGALE__SECTION__KEY`, then flags.
//!
//! The default file names every key, so it is the documentation and also the list of keys that exist: a key it does not
//! hold is refused with the nearest one that it does.

mod dump;
mod layer;
mod sections;

use std::path::PathBuf;

use figment::Figment;
use martingale_platform::log::{EmbeddedConfig, KafkaConfig};
use martingale_query_api as query_api;
use serde::{Deserialize, Serialize};

pub(crate) use layer::Layer;
pub(crate) use sections::{Auth, Baselines, Capturing, Policies, Role, Server, Telemetry};

/// What `martingale up` starts from; see the comments in it.
pub(crate) const DEFAULT: &str = include_str!("../../deploy/config.default.toml");

/// Everything an operator can choose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) auth: Auth,
    pub(crate) telemetry: Telemetry,
    pub(crate) policies: Policies,
    pub(crate) baselines: Baselines,
    pub(crate) capture: Capturing,
    pub(crate) log: EmbeddedConfig,
    pub(crate) kafka: KafkaConfig,
    pub(crate) ingest: martingale_ingest::Config,
    pub(crate) detector: martingale_detector::Config,
    pub(crate) learning: martingale_detector::Learning,
    pub(crate) requests: query_api::RequestsConfig,
    pub(crate) gate: query_api::gate::Config,
    pub(crate) controls: query_api::controls::Config,
    pub(crate) stream: query_api::stream::Config,
    pub(crate) verdicts: query_api::verdicts::Config,
    pub(crate) webhook: query_api::webhooks::Config,
    pub(crate) alerts: query_api::alerts::Config,
    pub(crate) history: query_api::history::Config,
    pub(crate) sql: query_api::sql::Config,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("configuration file {} cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{name}: {message}")]
    Syntax { name: String, message: String },
    #[error("unknown key `{key}` in {name}{}", suggestion.as_ref().map(|it| format!(": did you mean `{it}`?")).unwrap_or_default())]
    UnknownKey { key: String, name: String, suggestion: Option<String> },
    #[error("`{key}` in {name}: {message}")]
    Value { key: String, name: String, message: String },
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Merges the layers over the default file, in their order, and checks what came out.
    ///
    /// # Errors
    /// [`Error`] with the key and where it stands.
    pub(crate) fn from_layers(layers: &[Layer]) -> Result<Self, Error> {
        let default = Layer::default_values()?;
        let known = Layer::known_keys()?;
        let mut figment = Figment::from(&default);
        for layer in layers {
            layer.refuse_unknown(&known)?;
            figment = figment.merge(layer);
        }
        let mut config: Self = figment.extract().map_err(|error| layer::value_error(&error))?;
        config.derive();
        config.validate()?;
        Ok(config)
    }

    /// Log and history live in the data folder unless they were given places of their own.
    fn derive(&mut self) {
        if self.log.dir == EmbeddedConfig::default().dir {
            self.log.dir = self.server.data.join("log");
        }
        if self.history.dir == query_api::history::Config::default().dir {
            self.history.dir = self.server.data.join("history").into();
        }
    }

    /// Whether the log is on Kafka; else it is in the data folder.
    pub(crate) fn on_kafka(&self) -> bool {
        !self.kafka.brokers.trim().is_empty()
    }

    fn validate_log(&self) -> Result<(), Error> {
        let roles = &self.server.roles;
        if roles.is_empty() {
            return Err(Error::Invalid("server.roles is empty: name ingest, detector, query-api or several".into()));
        }
        if !self.on_kafka() {
            if let Some(missing) = Role::ALL.into_iter().find(|it| !roles.contains(it)) {
                return Err(Error::Invalid(format!(
                    "without the role {} nobody would go on with what this process does, since its log is a folder of its \
                     own: set kafka.brokers (--kafka) so that other processes have the same log, or leave server.roles \
                     (--role) as it is",
                    missing.as_str()
                )));
            }
            return self.log.validate().map_err(|error| Error::Invalid(error.to_string()));
        }
        if !cfg!(feature = "kafka") {
            return Err(Error::Invalid(
                "kafka.brokers is set, and this binary was built without Kafka: build it with the feature `kafka`, as \
                 `cargo run -- up --kafka …` and `cargo build` do and `cargo martingale` does not, or leave kafka.brokers empty for the log in the data folder"
                    .into(),
            ));
        }
        self.kafka.validate().map_err(|error| Error::Invalid(error.to_string()))
    }

    /// What the query side takes as one.
    pub(crate) fn query_api(&self) -> query_api::Config {
        query_api::Config {
            requests: self.requests.clone(),
            gate: self.gate.clone(),
            controls: self.controls.clone(),
            stream: self.stream.clone(),
            verdicts: self.verdicts.clone(),
            webhook: self.webhook.clone(),
            alerts: self.alerts.clone(),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        self.server.validate()?;
        self.auth.validate()?;
        if self.server.has(Role::Ingest) || self.server.has(Role::QueryApi) {
            self.capture.redactor(&self.ingest.limits)?;
        }
        let invalid = |error: &dyn std::error::Error| Error::Invalid(error.to_string());
        self.validate_log()?;
        self.ingest.validate().map_err(|error| invalid(&error))?;
        self.detector.validate().map_err(|error| invalid(&error))?;
        self.learning.validate().map_err(|error| invalid(&error))?;
        self.query_api().validate().map_err(|error| invalid(&error))?;
        self.history.validate().map_err(|error| invalid(&error))?;
        self.sql.validate().map_err(|error| invalid(&error))
    }

    /// The configuration as a file that [`Self::from_layers`] takes, with secrets masked.
    #[must_use]
    pub(crate) fn dump(&self) -> String {
        dump::toml(self)
    }
}

#[cfg(test)]
mod tests;
