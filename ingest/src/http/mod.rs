//! HTTP: steps in, and the dead letters.
//!
//! `POST /v1/steps` takes one step as a JSON object, several as a JSON array, or NDJSON, and answers
//! `{"accepted":n,"duplicate":n,"rejected":[{"index":i,"reason":…,"field":…,"message":…}]}` once all that was accepted
//! is durable. `index` counts the steps of the request from 0, blank lines left out. Status:
//!
//! | status | when |
//! |---|---|
//! | 200 | something was accepted or is a duplicate, or the request held no step |
//! | 400 | every step was rejected, or the body as a whole is no JSON (then `{"error":…}`) |
//! | 408 | the body came too slowly |
//! | 413 | the body, inflated or not, or the number of its steps is over a limit; none was taken |
//! | 415 | unknown `content-encoding` |
//! | 429 | back-pressure, with `Retry-After`: send it all again; what was taken already is a duplicate then |
//! | 503 | the log cannot be written, with `Retry-After` |
//!
//! Every other answer than the one above is `{"error":{"reason":…,"message":…}}`.

mod dead_letters;
mod split;
mod steps;

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use martingale_platform::log;
use serde::Serialize;

use crate::{Parts, body};

pub(crate) use dead_letters::Known;

pub(crate) fn router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/v1/steps", post(steps::post))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/replay", post(dead_letters::replay))
        .with_state(parts)
}

/// An answer that is not the one asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), retry_after: None }
    }

    pub(crate) fn of_body(fault: &body::Fault, retry_after: u64) -> Self {
        let (status, reason) = match fault {
            body::Fault::TooLarge { .. } | body::Fault::Inflates { .. } | body::Fault::Expands { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            body::Fault::UnknownEncoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_encoding"),
            body::Fault::Broken { .. } => (StatusCode::BAD_REQUEST, "broken_encoding"),
            body::Fault::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            body::Fault::Disconnected(_) => (StatusCode::BAD_REQUEST, "incomplete"),
            body::Fault::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        };
        let retry_after = matches!(fault, body::Fault::Busy).then_some(retry_after);
        Self { status, reason, message: fault.to_string(), retry_after }
    }

    pub(crate) fn of_log(error: &log::Error, retry_after: u64) -> Self {
        let (status, reason) = match error {
            log::Error::Full { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "log_unavailable"),
        };
        Self { status, reason, message: error.to_string(), retry_after: Some(retry_after) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Answer<'a> {
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            reason: &'a str,
            message: &'a str,
        }

        let mut response = json(self.status, &Answer { error: Error { reason: self.reason, message: &self.message } });
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(crate) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    // Cannot fail: answers are plain structs with string keys.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
