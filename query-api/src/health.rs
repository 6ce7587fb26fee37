//! `/healthz`, `/readyz`, `/metrics`, the same for every role.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use martingale_platform::log::{self, Log, Partition};
use martingale_schemas::topics;
use prometheus::{Registry, TextEncoder};
use serde_json::json;

use crate::http::{Failure, with_causes};

/// Longest time the log may take to answer where it stands.
const LOG_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A part of the process, and how to ask why it is not ready.
pub struct Check {
    part: &'static str,
    trouble: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Check {
    /// `trouble` answers at once, with a sentence for people or nothing.
    pub fn new(part: &'static str, trouble: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { part, trouble: Box::new(trouble) }
    }
}

/// What readiness is made of, beside the log itself.
struct Health {
    log: Arc<dyn Log>,
    registry: Registry,
    checks: Vec<Check>,
}

/// The three paths of a process that is made of these parts.
pub fn router(log: Arc<dyn Log>, registry: Registry, checks: Vec<Check>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Health { log, registry, checks }))
}

/// The process answers: nothing else is claimed.
async fn alive() -> Response {
    Json(json!({ "alive": true })).into_response()
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let log = match tokio::time::timeout(LOG_ANSWERS_WITHIN, health.log_answers()).await {
        Ok(Ok(())) => health.log.healthy().err(),
        Ok(Err(error)) => Some(with_causes(&error)),
        Err(_) => Some(format!("it does not answer within {LOG_ANSWERS_WITHIN:?}")),
    };
    let others = health.checks.iter().map(|it| (it.part, (it.trouble)()));
    let checks: Vec<_> = std::iter::once(("log", log)).chain(others).collect();
    let ready = checks.iter().all(|(_, trouble)| trouble.is_none());
    let shown: serde_json::Map<_, _> = checks
        .into_iter()
        .map(|(part, trouble)| (part.to_owned(), json!(trouble.unwrap_or_else(|| "ok".to_owned()))))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "checks": shown }))).into_response()
}

async fn metrics(State(health): State<Arc<Health>>) -> Result<Response, Failure> {
    let text = TextEncoder::new()
        .encode_to_string(&health.registry.gather())
        .map_err(|error| Failure::unavailable(with_causes(&error)))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

impl Health {
    /// The log's own word first: where nobody answers, each question would take its whole time.
    async fn log_answers(&self) -> Result<(), log::Error> {
        if self.log.healthy().is_err() {
            return Ok(());
        }
        for partition in (0..self.log.partitions()).map(Partition) {
            self.log.bounds(topics::STEPS, partition).await?;
        }
        Ok(())
    }
}
