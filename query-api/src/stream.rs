//! `GET /v1/stream`: verdicts and controls as they happen, as server-sent events.
//!
//! A stream reads the log from its cursor to the end, then listens to the feed; when it falls behind what the feed keeps
//! in memory, it reads the log again. So nothing is lost, nothing piles up for a slow reader, and a reader that comes
//! back with `Last-Event-ID` goes on where it was. What retention removed meanwhile is announced as an event `lost`.
//!
//! Agents wait for their verdicts on the same threads. So what one record of the feed brings is rendered once for all
//! streams that tell the same of it ([`told`]), goes out in one piece, and a stream that reads the log gives way after
//! each read.

mod cursor;
mod filter;
mod follower;
#[cfg(test)]
mod tests;
mod told;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use martingale_platform::config::Span;
use martingale_platform::log::Log;
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::Decision;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::config::{Invalid, at_least_one};
use crate::feed::Feed;
use crate::http::{Failure, Fields};
use crate::metrics::Metrics;

pub(crate) use cursor::{After, Cursor};
use filter::Filter;
use follower::Follower;
pub(crate) use told::Told;

/// Shortest `heartbeat`.
const HEARTBEAT_MIN: Span = Span::from_millis(1_000);

/// See `deploy/config.default.toml`, section `stream`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most streams at once; beyond it a request is refused with 429.
    pub streams_max: usize,
    /// Silence after which a comment and the cursor are sent.
    pub heartbeat: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { streams_max: 1_000, heartbeat: Span::from_millis(15_000) }
    }
}

impl Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.heartbeat < HEARTBEAT_MIN {
            let remedy = format!("set at least {HEARTBEAT_MIN}, or streams carry little else");
            return Err(Invalid::new("stream.heartbeat", self.heartbeat, remedy));
        }
        at_least_one(&[("stream.streams_max", self.streams_max)])
    }
}

pub(crate) struct Streams {
    config: Config,
    log: Arc<dyn Log>,
    feed: Arc<Feed>,
    shutdown: Shutdown,
    metrics: Metrics,
    room: Arc<Semaphore>,
}

impl Streams {
    pub(crate) fn new(
        config: Config,
        log: Arc<dyn Log>,
        feed: Arc<Feed>,
        shutdown: Shutdown,
        metrics: Metrics,
    ) -> Self {
        let room = Arc::new(Semaphore::new(config.streams_max.min(Semaphore::MAX_PERMITS)));
        Self { config, log, feed, shutdown, metrics, room }
    }
}

pub(crate) fn router(streams: Arc<Streams>) -> Router {
    Router::new().route("/v1/stream", get(open)).with_state(streams)
}

async fn open(
    State(streams): State<Arc<Streams>>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, Failure> {
    let filter = Filter {
        session_id: fields.take("session_id")?,
        root_session_id: fields.take("root_session_id")?,
        agent: fields.take("agent")?,
        min_decision: fields.take("min_decision")?.unwrap_or(Decision::Warn),
    };
    let after = fields.take::<String>("after")?;
    fields.finish(&["session_id", "root_session_id", "agent", "min_decision", "after"])?;
    // What the browser sends when it reconnects goes before what its page was opened with.
    let (field, text) = match headers.get("last-event-id") {
        Some(id) => ("last-event-id", String::from_utf8_lossy(id.as_bytes()).into_owned()),
        None => ("after", after.unwrap_or_else(|| "end".to_owned())),
    };
    let parts = 2 * streams.log.partitions() as usize;
    let after = After::parse(&text, parts).map_err(|message| Failure::field(field, "invalid_value", message))?;

    let permit = Arc::clone(&streams.room).try_acquire_owned().map_err(|_| {
        Failure::busy(format!("{} streams are open, as many as may (`stream.streams_max`)", streams.config.streams_max))
    })?;
    let follower = Follower::open(
        Arc::clone(&streams.log),
        &streams.feed,
        after,
        filter,
        streams.config.heartbeat.0,
        streams.shutdown.clone(),
        streams.metrics.clone(),
    )
    .await?;
    let blocks = futures::stream::unfold((follower, permit), |(mut follower, permit)| async move {
        let blocks = follower.next().await?;
        Some((Ok::<_, Infallible>(blocks), (follower, permit)))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(blocks)).into_response())
}
