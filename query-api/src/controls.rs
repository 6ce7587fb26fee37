//! Halting, resuming and granting by hand: `POST /v1/controls`, `GET /v1/controls`, `GET /v1/controls/{id}`, `GET /v1/grants`.
//!
//! An order goes to every partition, since only the detectors know where a session lives, and is answered once each of
//! them has applied it: every step judged from then on is judged under it. It lives on the log and in the detectors'
//! state, so nothing here has to be kept across a restart.

mod board;
mod flow;
mod granted;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{Append, Appended, Log, Partition};
use martingale_schemas::{Control, ControlAction, ControlId, ControlState, Timestamp, ids, topics};
use serde::{Deserialize, Serialize};

use crate::baselines::Baselines;
use crate::config::{Invalid, at_least_one, some_time};
use crate::feed::Feed;
use crate::fresh;
use crate::http::{self, Failure, Fields, Segments};

#[cfg(test)]
pub(crate) use board::Progress;
pub use board::{Board, Given};
pub(crate) use granted::Grants;
use request::Request;

/// See `deploy/config.default.toml`, section `controls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a request waits until every partition has applied it; then it is answered 202 and goes on.
    pub timeout: Span,
    /// Newest controls kept in memory for lists and look-ups. An older one that is ordered again is answered 202 after
    /// `timeout`, though it holds.
    pub controls_max: usize,
    /// Largest request, in bytes.
    pub body_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout: Span::from_millis(5_000), controls_max: 10_000, body_bytes_max: 64 * 1024 }
    }
}

impl Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        some_time(&[("controls.timeout", self.timeout)])?;
        at_least_one(&[("controls.controls_max", self.controls_max), ("controls.body_bytes_max", self.body_bytes_max)])
    }
}

/// The door for orders.
pub(crate) struct Controls {
    pub(crate) config: Config,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) baselines: Arc<Baselines>,
    pub(crate) clock: Clock,
    pub(crate) id_bytes_max: usize,
}

pub(crate) fn router(controls: Arc<Controls>) -> Router {
    Router::new()
        .route("/v1/controls", get(list).post(give))
        .route("/v1/controls/{id}", get(one))
        .route("/v1/grants", get(grants))
        .with_state(controls)
}

async fn give(
    State(controls): State<Arc<Controls>>,
    headers: axum::http::HeaderMap,
    body: axum::body::Body,
) -> Result<Response, Failure> {
    http::refuse_encoded(&headers)?;
    let body = http::body(body, controls.config.body_bytes_max).await?;
    let granted = |id: &str| controls.feed.board().granted(id);
    let now = Timestamp::from_micros(controls.clock.now_micros());
    let request = Request::parse(&body, controls.id_bytes_max, &flow::Ground { now, granted: &granted })?;
    let given = controls.give(request).await?;
    let status = if given.is_applied() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(given)).into_response())
}

async fn list(State(controls): State<Arc<Controls>>, mut fields: Fields) -> Result<Json<List>, Failure> {
    const LIMIT: usize = 100;
    let limit = fields.take::<usize>("limit")?.unwrap_or(LIMIT);
    let session = fields.take::<String>("session_id")?;
    let root = fields.take::<String>("root_session_id")?;
    fields.finish(&["limit", "session_id", "root_session_id"])?;
    let ids: Vec<String> = [session, root].into_iter().flatten().collect();
    let controls =
        controls.feed.board().newest(limit, |scope| ids.is_empty() || ids.iter().any(|id| scope.key() == id));
    Ok(Json(List { controls }))
}

async fn one(State(controls): State<Arc<Controls>>, Segments(id): Segments<String>) -> Result<Json<Given>, Failure> {
    controls.feed.board().get(&id).map(Json).ok_or_else(|| Failure::not_found("control", &id))
}

async fn grants(State(controls): State<Arc<Controls>>) -> Json<Grants> {
    Json(controls.feed.board().grants(Timestamp::from_micros(controls.clock.now_micros())))
}

/// Controls, newest first.
#[derive(Debug, Serialize)]
struct List {
    controls: Vec<Given>,
}

impl Controls {
    async fn give(&self, request: Request) -> Result<Given, Failure> {
        if let ControlAction::UseBaselines { baselines_id } = request.action {
            self.baselines.are_there(baselines_id).await?;
        }
        let now = Timestamp::from_micros(self.clock.now_micros());
        let id = request.control_id.clone().unwrap_or_else(|| fresh::id("c-", now));
        let mut changes = self.feed.board().changes();
        let known = self.feed.board().get(&id);
        let is_grant = |it: &&Given| request.lasts && matches!(it.action, ControlAction::Grant { .. });
        let control = Control {
            control_id: ControlId::from(id.clone()),
            // One that lasts for a while lasts from when it was given first.
            action: known.as_ref().filter(is_grant).map_or(request.action, |it| it.action),
            scope: request.scope,
            time: now,
            by: request.by,
            reason: request.reason,
            state: ControlState::Requested,
        };
        if let Some(standing) = &known {
            same_order(standing, &control)?;
        }
        let is_new = self.append(&control, known.as_ref()).await? && known.is_none();
        // Whether it was appended or stood there already, the board hears of it from the log.
        let applied = async {
            loop {
                changes.mark_unchanged();
                let standing = self.feed.board().get(&id);
                if standing.as_ref().is_some_and(Given::is_applied) || changes.changed().await.is_err() {
                    return standing;
                }
            }
        };
        let timeout: Duration = self.config.timeout.0;
        let standing = match tokio::time::timeout(timeout, applied).await {
            Ok(standing) => standing,
            Err(_) => self.feed.board().get(&id),
        };
        let standing = standing.unwrap_or_else(|| Given::requested(&control, self.log.partitions()));
        // A request of the same id may have come first while this one was on its way.
        same_order(&standing, &control)?;
        Ok(if is_new { standing } else { standing.again() })
    }

    /// Puts it where it is not known to be, and answers whether it was put anywhere. A log that knows its duplicates leaves out
    /// the rest; one that does not would hand out an order a second time, after others that came in between.
    async fn append(&self, control: &Control, standing: Option<&Given>) -> Result<bool, Failure> {
        let value = Bytes::from(serde_json::to_vec(control).map_err(|error| Failure::unavailable(error.to_string()))?);
        let id = control.control_id.as_str().as_bytes();
        let append = |partition: u32| {
            Append::new(topics::CONTROLS, Bytes::copy_from_slice(id), value.clone())
                .to_partition(Partition(partition))
                .with_id(ids::digest(&[b"control", id, &partition.to_le_bytes()]))
        };
        let is_held = |partition: &u32| standing.is_some_and(|it| it.is_held(Partition(*partition)));
        let missing: Vec<Append> = (0..self.log.partitions()).filter(|it| !is_held(it)).map(append).collect();
        if missing.is_empty() {
            return Ok(false);
        }
        Ok(self.log.append(missing).await?.iter().any(|it| matches!(it, Appended::At(_))))
    }
}

/// An id stands for one order: another under the same id is a mistake of the caller.
fn same_order(standing: &Given, control: &Control) -> Result<(), Failure> {
    if standing.action == control.action && standing.scope == control.scope {
        return Ok(());
    }
    let message = format!(
        "control \"{}\" is a {} of {} \"{}\" already: send another `control_id`, or none",
        standing.control_id,
        standing.action.as_str(),
        standing.scope.as_str(),
        standing.scope.name()
    );
    Err(Failure { field: Some("control_id".into()), ..Failure::new(StatusCode::CONFLICT, "conflict", message) })
}
