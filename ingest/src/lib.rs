//! The doors of Martingale: HTTP and OTLP in, checked steps on the log out.
//!
//! ```text
//! POST /v1/steps ─ body ─ split ───────────┐
//! OTLP gRPC, HTTP ─ decode ─ map to steps ─┼─▶ intake: check → append → outcome ─▶ log: steps
//! dead letters, replayed ──────────────────┘        └ rejected ─▶ log: dead_letter
//! ```
//!
//! **Invariant:** every envelope ends in exactly one [`Outcome`], counted in one place ([`intake`]), and nothing is
//! acknowledged before it is durable.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

mod body;
mod config;
mod dead_letter;
mod http;
pub mod intake;
mod lineages;
mod metrics;
mod otlp;

use std::sync::Arc;

use axum::Router;
use martingale_platform::clock::Clock;
use martingale_platform::log::Log;
use martingale_schemas::{Redact, Timestamp};
use prometheus::Registry;
use tonic::service::Routes;

pub use config::Config;
pub use intake::Outcome;
pub use metrics::Door;
pub use otlp::http::refusal as otlp_refusal;
pub use otlp::topic::{Later, Topics};

use intake::Intake;
use martingale_platform::budget::Budget;
use metrics::Metrics;

/// Why ingest cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("ingest: {0}")]
    Config(String),
    #[error("ingest: metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Everything the doors share. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) intake: Intake,
    pub(crate) budget: Budget,
    pub(crate) letters: tokio::sync::Mutex<http::Known>,
}

impl Ingest {
    /// `redact`: what is done to checked steps before they are put on the log.
    ///
    /// # Errors
    /// When the configuration cannot work or the metrics are registered already.
    pub fn new(
        config: Config,
        log: Arc<dyn Log>,
        clock: Clock,
        registry: &Registry,
        redact: Option<Arc<dyn Redact>>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let metrics = Metrics::register(registry)?;
        let intake = Intake::new(&config, Arc::clone(&log), metrics.clone(), redact);
        let budget = Budget::new(config.inflight_bytes_max);
        Ok(Self(Arc::new(Parts { config, log, clock, metrics, intake, budget, letters: Default::default() })))
    }

    /// `POST /v1/steps`, `GET /v1/dead-letters`, `POST /v1/dead-letters/replay`.
    pub fn http_router(&self) -> Router {
        http::router(Arc::clone(&self.0))
    }

    /// `POST /v1/traces`, `POST /v1/logs` (OTLP over HTTP); any other path answers 404 in OTLP's way.
    pub fn otlp_http_router(&self) -> Router {
        otlp::http::router(Arc::clone(&self.0))
    }

    /// The OTLP gRPC services for traces and logs.
    #[must_use]
    pub fn otlp_grpc(&self) -> Routes {
        otlp::grpc::routes(&self.0)
    }
}

impl Parts {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now_micros())
    }
}

#[cfg(test)]
mod tests;
