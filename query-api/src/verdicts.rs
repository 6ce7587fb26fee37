//! `GET /v1/verdicts`: the verdicts as they stand on the log, page after page, one JSON object a line.
//!
//! A page is bounded, so its cursor is known before its first byte is sent; whoever follows the cursors sees each
//! verdict of the log once, in the order of each partition.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::future::select_all;
use martingale_platform::config::Span;
use martingale_platform::log::{self, Bounds, Log, Partition, ReadLimit};
use martingale_schemas::topics;
use serde::{Deserialize, Serialize};

use crate::config::{Invalid, at_least_one};
use crate::http::{Failure, Fields};
use crate::stream::{After, Cursor};

/// Where to go on, in the answer.
const CURSOR: HeaderName = HeaderName::from_static("martingale-cursor");

/// See `deploy/config.default.toml`, section `verdicts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most verdicts of one page.
    pub limit_max: usize,
    /// Most bytes of one page; it holds at least one verdict.
    pub page_bytes_max: usize,
    /// Longest `wait` a reader at the end may ask for.
    pub wait_max: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { limit_max: 10_000, page_bytes_max: 16 << 20, wait_max: Span::from_millis(30_000) }
    }
}

impl Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[("verdicts.limit_max", self.limit_max), ("verdicts.page_bytes_max", self.page_bytes_max)])
    }
}

pub(crate) struct Verdicts {
    pub(crate) config: Config,
    pub(crate) log: Arc<dyn Log>,
}

pub(crate) fn router(verdicts: Arc<Verdicts>) -> Router {
    Router::new().route("/v1/verdicts", get(page)).with_state(verdicts)
}

async fn page(State(verdicts): State<Arc<Verdicts>>, mut fields: Fields) -> Result<Response, Failure> {
    const LIMIT: usize = 1_000;
    let partitions = verdicts.log.partitions() as usize;
    let after = fields.take::<String>("after")?.unwrap_or_else(|| "start".to_owned());
    let after =
        After::parse(&after, partitions).map_err(|message| Failure::field("after", "invalid_value", message))?;
    let limit = fields.take::<usize>("limit")?.unwrap_or(LIMIT).min(verdicts.config.limit_max).max(1);
    let wait = fields.take::<Span>("wait")?.unwrap_or_default().0.min(verdicts.config.wait_max.0);
    fields.finish(&["after", "limit", "wait"])?;

    let (mut cursor, bounds) = after.on(&*verdicts.log, &[topics::VERDICTS]).await?;
    within(&cursor, &bounds)?;
    let lines = verdicts.read(&mut cursor, &bounds, limit, wait).await?;
    let body =
        lines.into_iter().flat_map(|line| [line, Bytes::from_static(b"\n")]).map(Ok::<_, std::convert::Infallible>);
    let headers = [(CURSOR, cursor.to_string()), (header::CONTENT_TYPE, "application/x-ndjson".to_owned())];
    Ok((headers, Body::from_stream(futures::stream::iter(body))).into_response())
}

/// A cursor behind what is kept, or ahead of what was ever written, is said: neither is an empty page.
fn within(cursor: &Cursor, bounds: &[Bounds]) -> Result<(), Failure> {
    for (partition, (next, bounds)) in cursor.0.iter().zip(bounds).enumerate() {
        if *next < bounds.start {
            return Err(expired(bounds));
        }
        if *next > bounds.end {
            let message = format!(
                "offset {next} of partition {partition} lies behind the end of the log, {}: the cursor comes from another log",
                bounds.end
            );
            return Err(Failure::field("after", "invalid_value", message));
        }
    }
    Ok(())
}

fn expired(bounds: &Bounds) -> Failure {
    let message = format!(
        "verdicts before offset {} have been removed by retention: go on with `after=start`, or ask SQL for the older ones",
        bounds.start
    );
    Failure { field: Some("after".into()), ..Failure::new(StatusCode::GONE, "expired", message) }
}

impl Verdicts {
    /// Some records of each partition in turn, so that a busy one does not hold up the others.
    async fn read(
        &self,
        cursor: &mut Cursor,
        bounds: &[Bounds],
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Bytes>, Failure> {
        const TURN: usize = 512;
        let deadline = tokio::time::Instant::now() + wait;
        let mut grown: Vec<_> = (0..cursor.0.len()).map(|at| self.log.grown(topics::VERDICTS, partition(at))).collect();
        let (mut lines, mut bytes) = (Vec::new(), 0);
        loop {
            grown.iter_mut().for_each(tokio::sync::watch::Receiver::mark_unchanged);
            let mut at_end = true;
            for (at, next) in cursor.0.iter_mut().enumerate() {
                if lines.len() >= limit || bytes >= self.config.page_bytes_max {
                    return Ok(lines);
                }
                let room = ReadLimit {
                    records_max: TURN.min(limit - lines.len()),
                    bytes_max: self.config.page_bytes_max - bytes,
                };
                let records = match self.log.read(topics::VERDICTS, partition(at), *next, room).await {
                    Ok(records) => records,
                    Err(log::Error::Expired { start, .. }) => {
                        return Err(expired(&Bounds { start, ..bounds[at] }));
                    }
                    Err(error) => return Err(error.into()),
                };
                for record in records {
                    at_end = false;
                    *next = record.offset.next();
                    bytes += record.value.len() + 1;
                    lines.push(record.value);
                }
            }
            if at_end && !lines.is_empty() {
                return Ok(lines);
            }
            if at_end {
                let growth = select_all(grown.iter_mut().map(|it| Box::pin(it.changed())));
                match tokio::time::timeout_at(deadline, growth).await {
                    Ok((Ok(()), ..)) => {}
                    // No more time, or the log is closed.
                    _ => return Ok(lines),
                }
            }
        }
    }
}

fn partition(at: usize) -> Partition {
    Partition(u32::try_from(at).unwrap_or(u32::MAX))
}
