//! Everything that is asked of the system: enforcement (gate, stream, controls, webhooks, alerts) and history (SQL,
//! sessions, why).
//!
//! Enforcement follows the log by [`feed`] and never asks history; history follows the log by itself. Both meet here, in
//! one router and one set of tasks.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

pub mod alerts;
mod baselines;
pub mod config;
pub mod controls;
pub mod feed;
mod fresh;
pub mod gate;
pub mod health;
pub mod history;
pub mod http;
mod lead;
mod metrics;
pub mod openapi;
/// Taken in as a file: as a feature of the platform crate it would have everything above that compiled twice.
#[cfg(test)]
#[allow(dead_code, unreachable_pub, clippy::print_stderr)]
#[path = "../../platform/src/testing.rs"]
mod services;
pub mod sessions;
pub mod sql;
mod store;
pub mod stream;
pub mod tables;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod verdicts;
pub mod webhooks;
#[cfg(test)]
mod world;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use martingale_platform::clock::Clock;
use martingale_platform::log::{self, Log};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Limits, Redact, StepReader};
use prometheus::Registry;
use tokio::task::{JoinError, JoinHandle, JoinSet};

pub use config::Config;
pub use http::bodies::Config as RequestsConfig;

use crate::http::with_causes;

/// What the service is made of. `history` is opened, not running.
pub struct Parts {
    pub log: Arc<dyn Log>,
    pub history: Arc<history::History>,
    pub engine: sql::Engine,
    pub clock: Clock,
    pub registry: Registry,
    /// The same that ingest checks by.
    pub limits: Limits,
    /// What is done to checked steps before they are put on the log.
    pub redact: Option<Arc<dyn Redact>>,
    /// Readiness of what else runs in this process.
    pub checks: Vec<health::Check>,
}

/// The running service.
pub struct QueryApi {
    router: Router,
    tasks: JoinSet<()>,
    history: JoinHandle<Result<(), history::Error>>,
}

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration cannot work")]
    Config(#[from] config::Error),
    #[error("the log cannot be used")]
    Log(#[from] log::Error),
    #[error("webhooks cannot work")]
    Webhooks(#[from] webhooks::Error),
    #[error("alerts cannot work")]
    Alerts(#[from] alerts::Error),
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    #[error("history stopped")]
    History(#[from] history::Error),
    #[error("a task broke off")]
    Task(#[from] JoinError),
}

impl QueryApi {
    /// Opens every part, then starts what follows the log. The router may be served from here on.
    ///
    /// # Errors
    /// [`Error`] when a part cannot be opened: a wrong configuration, a wrong alert rule, a log that cannot be read.
    pub async fn start(config: Config, parts: Parts, shutdown: Shutdown) -> Result<Self, Error> {
        config.validate()?;
        let Parts { log, history, engine, clock, registry, limits, redact, mut checks } = parts;
        let metrics = metrics::Metrics::new(&registry)?;
        let mut tasks = JoinSet::new();

        let bodies = http::bodies::Bodies::new(&config.requests, limits.step_bytes_max);
        let requests = config.requests;
        let board = controls::Board::new(log.partitions(), config.controls.controls_max);
        let feed =
            feed::Feed::start(Arc::clone(&log), board, &config.gate, metrics.clone(), &shutdown, &mut tasks).await?;
        let lead = lead::Lead {
            webhook: config.webhook,
            alerts: config.alerts,
            log: Arc::clone(&log),
            engine: engine.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        let (webhooks, alerts) = lead.start(&shutdown, &mut tasks).await?;

        let trouble = Arc::new(Mutex::new(None));
        let followed = tokio::spawn(keep_history(Arc::clone(&history), Arc::clone(&trouble), shutdown.clone()));

        let baselines = Arc::new(baselines::Baselines::new(Arc::clone(&log), Arc::clone(&feed), clock.clone()));
        let controls = controls::Controls {
            baselines: Arc::clone(&baselines),
            config: config.controls,
            log: Arc::clone(&log),
            feed: Arc::clone(&feed),
            clock: clock.clone(),
            id_bytes_max: limits.id_bytes_max,
        };
        let gate = gate::Gate {
            config: config.gate,
            log: Arc::clone(&log),
            feed: Arc::clone(&feed),
            clock,
            reader: StepReader::new(log.is_open(), &limits),
            limits,
            redact,
            metrics: metrics.clone(),
        };
        let streams = stream::Streams::new(config.stream, Arc::clone(&log), Arc::clone(&feed), shutdown, metrics);
        let verdicts = verdicts::Verdicts { config: config.verdicts, log: Arc::clone(&log) };
        checks.push(health::Check::new("feed", move || feed.trouble()));
        checks.push(health::Check::new("history", move || {
            let ended = trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let trouble = ended.or_else(|| history.trouble().map(ToOwned::to_owned));
            trouble.or_else(|| history.damage().map(|it| it.to_string()))
        }));
        let router = Router::new()
            .merge(gate::router(Arc::new(gate)))
            .merge(controls::router(Arc::new(controls)))
            .merge(stream::router(Arc::new(streams)))
            .merge(verdicts::router(Arc::new(verdicts)))
            .merge(webhooks::router(webhooks))
            .merge(alerts::router(alerts))
            .merge(health::router(log, registry, checks))
            .merge(sessions::router(engine.clone()))
            .merge(sql::router(engine))
            .merge(openapi::router())
            .layer(axum::middleware::from_fn_with_state(bodies, http::bodies::whole))
            .merge(baselines::router(baselines, &requests));
        Ok(Self { router: http::with_fallbacks(router), tasks, history: followed })
    }

    /// All routes of the service. It has the fallback for unknown paths, so routes merged into it must have none.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Returns when every task has ended, which they do on shutdown, or as soon as one ended otherwise.
    ///
    /// # Errors
    /// When history or a task ended otherwise.
    pub async fn join(mut self) -> Result<(), Error> {
        let mut history_runs = true;
        loop {
            tokio::select! {
                ended = &mut self.history, if history_runs => {
                    ended??;
                    history_runs = false;
                }
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => ended?,
                    None if history_runs => return Ok((&mut self.history).await??),
                    None => return Ok(()),
                },
            }
        }
    }
}

async fn keep_history(
    history: Arc<history::History>,
    trouble: Arc<Mutex<Option<String>>>,
    shutdown: Shutdown,
) -> Result<(), history::Error> {
    let ended = history.run(shutdown.clone()).await;
    let why = match &ended {
        Err(error) => with_causes(error),
        Ok(()) => "it has ended".to_owned(),
    };
    if !shutdown.is_stopping() {
        tracing::error!(error = %why, "history stopped");
    }
    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    ended
}
