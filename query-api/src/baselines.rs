//! Baselines on the log: `GET /v1/baselines`, `POST /v1/baselines`, `GET` and `DELETE /v1/baselines/{id}`. To use them is an order
//! ([`crate::controls`]). What is in them only detectors know; here they are bytes with a name that follows from them.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use martingale_platform::clock::Clock;
use martingale_platform::log::{self, Log, blob};
use martingale_schemas::baselines::{Stored, Unread};
use martingale_schemas::rejection::shown;
use martingale_schemas::{BaselinesId, ControlAction, ControlId, Scope, Timestamp, topics};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::controls::Given;
use crate::feed::Feed;
use crate::http::bodies::{self, Bodies};
use crate::http::{self, Failure, Segments};

/// Largest baselines that are taken, in bytes.
pub(crate) const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Baselines that no order has used, and their bytes. Full: another is refused, until one is used or removed. What is ordered has
/// somebody who answers for it, and a server that learns removes the oldest of them.
const UNUSED_MAX: usize = 8;
const UNUSED_BYTES_MAX: u64 = 4 * BYTES_MAX as u64;

pub(crate) struct Baselines {
    log: Arc<dyn Log>,
    feed: Arc<Feed>,
    clock: Clock,
    /// Held while one is put: what is there is counted before.
    index: Mutex<blob::Index>,
}

impl Baselines {
    pub(crate) fn new(log: Arc<dyn Log>, feed: Arc<Feed>, clock: Clock) -> Self {
        Self { log, feed, clock, index: Mutex::default() }
    }

    async fn listed(&self) -> Result<Vec<blob::Blob>, log::Error> {
        Ok(self.index.lock().await.refresh(&*self.log, topics::BASELINES).await?.to_vec())
    }

    /// Orders to use baselines that hold or may still, the newest first: those that no detector could read are not followed.
    fn ordered(&self) -> Vec<Given> {
        let mut ordered = self.feed.board().newest(usize::MAX, |it| *it == Scope::Tenant);
        ordered.retain(|it| it.known || !it.is_applied());
        ordered
    }

    /// Those that some partition has followed.
    fn followed(&self) -> Vec<Given> {
        self.ordered().into_iter().filter(|it| it.known).collect()
    }

    /// Whether they are there to be used.
    ///
    /// # Errors
    /// Where they are not, with what to do.
    pub(crate) async fn are_there(&self, id: BaselinesId) -> Result<(), Failure> {
        self.find(id).await.map(drop)
    }

    async fn find(&self, id: BaselinesId) -> Result<blob::Blob, Failure> {
        let name = id.to_string();
        self.listed().await?.into_iter().find(|it| it.name == name).ok_or_else(|| missing(&name))
    }
}

/// Its bodies are larger than those of all other routes, so they have a budget of their own.
pub(crate) fn router(baselines: Arc<Baselines>, requests: &bodies::Config) -> Router {
    let bodies = Bodies::new(requests, BYTES_MAX);
    Router::new()
        .route("/v1/baselines", get(list).post(put))
        .route("/v1/baselines/{id}", get(one).delete(remove))
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
    let followed = baselines.followed();
    let now = followed.first().map(|it| it.action);
    let mut found = Vec::new();
    for blob in baselines.listed().await?.into_iter().rev() {
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
    let (log, name) = (&*baselines.log, id.to_string());
    let mut index = baselines.index.lock().await;
    let listed = index.refresh(log, topics::BASELINES).await?;
    if listed.iter().all(|it| it.name != name) {
        there_is_room(listed, &baselines.followed(), body.len() as u64)?;
    }
    index.sweep(log, topics::BASELINES, baselines.clock.now_micros()).await?;
    blob::put(log, topics::BASELINES, &name, &body).await?;
    drop(index);
    Ok((StatusCode::CREATED, Json(Put { baselines_id: id, bytes: body.len() as u64 })).into_response())
}

fn refused(why: Unread) -> Failure {
    let message = match why {
        Unread::Foreign => "the body holds no baselines: send a file that `martingale baseline learn` wrote",
        Unread::Damaged => "the baselines are damaged: send the file as `martingale baseline learn` wrote it",
    };
    Failure::new(StatusCode::BAD_REQUEST, "invalid_value", message)
}

/// # Errors
/// Where those that no order has used leave no room, with what to do.
fn there_is_room(listed: &[blob::Blob], followed: &[Given], more: u64) -> Result<(), Failure> {
    let is_used = |name: &str| followed.iter().any(|it| used_by(it).is_some_and(|id| id.to_string() == name));
    let unused = listed.iter().filter(|it| !is_used(&it.name));
    let (count, bytes) = unused.fold((0, 0), |(count, bytes), it| (count + 1, bytes + it.bytes));
    if count < UNUSED_MAX && bytes + more <= UNUSED_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "{count} baselines of {bytes} bytes are on the log that no order has used, and at most {UNUSED_MAX} of {UNUSED_BYTES_MAX} bytes \
         are kept: remove one with DELETE /v1/baselines/{{id}}, or order one to be used; GET /v1/baselines lists them"
    );
    Err(Failure::new(StatusCode::CONFLICT, "too_many", message))
}

fn used_by(order: &Given) -> Option<BaselinesId> {
    match order.action {
        ControlAction::UseBaselines { baselines_id } => Some(baselines_id),
        _ => None,
    }
}

async fn remove(
    State(baselines): State<Arc<Baselines>>,
    Segments(id): Segments<String>,
) -> Result<StatusCode, Failure> {
    let id = named(&id)?;
    let blob = baselines.find(id).await?;
    let ordered = baselines.ordered();
    let why = if ordered.is_empty() && !baselines.feed.board().has_all() {
        "which baselines are used was ordered before the oldest order that is kept: order again those that are to be used, then remove \
         others"
    } else if may_be_held(&ordered, id) {
        "these baselines are used, or were ordered last: order others, and remove these when every partition has applied that"
    } else {
        blob::remove(&*baselines.log, topics::BASELINES, &blob).await?;
        return Ok(StatusCode::NO_CONTENT);
    };
    Err(Failure::new(StatusCode::CONFLICT, "conflict", why).of_field("baselines_id"))
}

/// Whether some partition may hold steps against them: until every one has applied a later order.
fn may_be_held(ordered: &[Given], id: BaselinesId) -> bool {
    let since = ordered.iter().position(Given::is_applied).unwrap_or(ordered.len());
    ordered.iter().take(since + 1).any(|it| used_by(it) == Some(id))
}

async fn one(State(baselines): State<Arc<Baselines>>, Segments(id): Segments<String>) -> Result<Response, Failure> {
    let name = named(&id)?.to_string();
    let stored = blob::get(&*baselines.log, topics::BASELINES, &name).await?;
    let stored = stored.ok_or_else(|| missing(&id))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], stored).into_response())
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
