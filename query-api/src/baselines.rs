//! Baselines on the log: `GET /v1/baselines`, `POST /v1/baselines`, `GET /v1/baselines/{id}`. To use them is an order
//! ([`crate::controls`]). What is in them only detectors know; here they are bytes with a name that follows from them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use martingale_platform::log::{Log, blob};
use martingale_schemas::baselines::{Stored, Unread};
use martingale_schemas::rejection::shown;
use martingale_schemas::{BaselinesId, ControlAction, ControlId, Scope, Timestamp, topics};
use schemars::JsonSchema;
use serde::Serialize;

use crate::feed::Feed;
use crate::http::bodies::{self, Bodies};
use crate::http::{self, Failure, Segments};

/// Largest baselines that are taken, in bytes.
pub(crate) const BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) struct Baselines {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) feed: Arc<Feed>,
}

/// Its bodies are larger than those of all other routes, so they have a budget of their own.
pub(crate) fn router(baselines: Arc<Baselines>, requests: &bodies::Config) -> Router {
    let bodies = Bodies::new(requests, BYTES_MAX);
    Router::new()
        .route("/v1/baselines", get(list).post(put))
        .route("/v1/baselines/{id}", get(one))
        .with_state(baselines)
        .layer(axum::middleware::from_fn_with_state(bodies, bodies::whole))
}

/// Baselines on the log, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Listed {
    baselines: Vec<OnLog>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct OnLog {
    baselines_id: BaselinesId,
    bytes: u64,
    /// When they were put there.
    published: Timestamp,
    /// Whether steps are held against them. Of none where that was ordered before the oldest control that is kept.
    in_use: bool,
    /// The last order to use them that was followed, if it is among the controls that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_by: Option<Use>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Use {
    control_id: ControlId<'static>,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What was put.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Put {
    baselines_id: BaselinesId,
    bytes: u64,
}

async fn list(State(baselines): State<Arc<Baselines>>) -> Result<Json<Listed>, Failure> {
    // Those that no detector could read are not followed.
    let mut followed = baselines.feed.board().newest(usize::MAX, |it| *it == Scope::Tenant);
    followed.retain(|it| it.known);
    let now = followed.first().map(|it| it.action);
    let mut found = Vec::new();
    for blob in blob::list(&*baselines.log, topics::BASELINES).await?.into_iter().rev() {
        let Ok(baselines_id) = blob.name.parse::<BaselinesId>() else { continue };
        let used = followed.iter().find(|it| it.action == ControlAction::UseBaselines { baselines_id });
        let used_by =
            used.cloned().map(|it| Use { control_id: it.control_id, time: it.time, by: it.by, reason: it.reason });
        let published = Timestamp::from_micros(blob.put_at);
        let in_use = now == Some(ControlAction::UseBaselines { baselines_id });
        found.push(OnLog { baselines_id, bytes: blob.bytes, published, in_use, used_by });
    }
    Ok(Json(Listed { baselines: found }))
}

async fn put(State(baselines): State<Arc<Baselines>>, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    http::refuse_encoded(&headers)?;
    let body = http::body(body, BYTES_MAX).await?;
    let id = Stored::read(&body).map_err(refused)?.id;
    blob::put(&*baselines.log, topics::BASELINES, &id.to_string(), &body).await?;
    Ok((StatusCode::CREATED, Json(Put { baselines_id: id, bytes: body.len() as u64 })).into_response())
}

fn refused(why: Unread) -> Failure {
    let message = match why {
        Unread::Foreign => "the body holds no baselines: send a file that `martingale baseline learn` wrote",
        Unread::Damaged => "the baselines are damaged: send the file as `martingale baseline learn` wrote it",
    };
    Failure::new(StatusCode::BAD_REQUEST, "invalid_value", message)
}

async fn one(State(baselines): State<Arc<Baselines>>, Segments(id): Segments<String>) -> Result<Response, Failure> {
    let name = named(&id)?.to_string();
    let stored = blob::get(&*baselines.log, topics::BASELINES, &name).await?;
    let stored = stored.ok_or_else(|| missing(&id))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], stored).into_response())
}

/// Whether they are there to be used.
///
/// # Errors
/// Where they are not, with what to do.
pub(crate) async fn are_there(log: &dyn Log, id: BaselinesId) -> Result<(), Failure> {
    let name = id.to_string();
    let is_there = blob::list(log, topics::BASELINES).await?.iter().any(|it| it.name == name);
    if is_there { Ok(()) } else { Err(missing(&name)) }
}

/// # Errors
/// For what names no baselines, with the remedy.
pub(crate) fn named(id: &str) -> Result<BaselinesId, Failure> {
    id.parse().map_err(|error| {
        let message = format!("`baselines_id` is \"{}\": {error}; GET /v1/baselines lists those there are", shown(id));
        Failure::field("baselines_id", "invalid_value", message)
    })
}

fn missing(id: &str) -> Failure {
    let message = format!(
        "no baselines \"{}\" on the log: GET /v1/baselines lists those there are, POST /v1/baselines puts others there",
        shown(id)
    );
    Failure::new(StatusCode::NOT_FOUND, "not_found", message).of_field("baselines_id")
}
