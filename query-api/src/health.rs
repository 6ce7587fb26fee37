//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};
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

use crate::feed::Feed;
use crate::history::History;
use crate::http::{Failure, with_causes};

/// Longest time the log may take to answer where it stands.
const LOG_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What readiness is made of.
pub(crate) struct Health {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) registry: Registry,
    pub(crate) history: Arc<History>,
    /// Why history does not run any more.
    pub(crate) history_ended: Arc<Mutex<Option<String>>>,
}

pub(crate) fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
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
    let ended = health.history_ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let history = ended.or_else(|| health.history.trouble().map(ToOwned::to_owned));
    let history = history.or_else(|| health.history.damage().map(|it| it.to_string()));
    let checks = [("log", log), ("feed", health.feed.trouble()), ("history", history)];
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
    async fn log_answers(&self) -> Result<(), log::Error> {
        for partition in (0..self.log.partitions()).map(Partition) {
            self.log.bounds(topics::STEPS, partition).await?;
        }
        Ok(())
    }
}
