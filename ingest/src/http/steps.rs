//! `POST /v1/steps`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use martingale_schemas::{Reason, Rejection};
use serde::Serialize;

use super::split::{self, Piece, Whole};
use super::{Problem, json};
use crate::intake::{Envelope, Keep, Outcome, Taken};
use crate::metrics::Refused;
use crate::{Door, Parts, body};

const DOOR: Door = Door::HttpSteps;

pub(super) async fn post(State(parts): State<Arc<Parts>>, request: Request) -> Response {
    let since = Instant::now();
    let answer = take(&parts, request).await.unwrap_or_else(IntoResponse::into_response);
    parts.metrics.took(DOOR, since);
    answer
}

async fn take(parts: &Parts, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let retry_after = parts.config.retry_after_secs();
    let received = body::receive(&head.headers, body, &parts.config, &parts.budget).await.map_err(|fault| {
        parts.metrics.refused(DOOR, fault.cause());
        Problem::of_body(&fault, retry_after)
    })?;
    parts.metrics.body(DOOR, received.bytes.len());

    let pieces = match split::split(&received.bytes, is_ndjson(&head.headers), parts.config.request_steps_max) {
        Ok(pieces) => pieces,
        Err(whole) => return Err(refuse(parts, whole, &received.bytes).await),
    };
    let envelopes = pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Step(json) => Envelope::Step(Cow::Borrowed(json)),
            Piece::Broken { rejection, payload } => Envelope::Refused { rejection, payload: Cow::Borrowed(payload) },
        })
        .collect();
    let taken = parts.intake.take(DOOR, parts.now(), envelopes, Keep::DeadLetter).await;
    match &taken.failed {
        Some(error) => Err(Problem::of_log(error, retry_after)),
        None => Ok(answer(taken)),
    }
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        essence.as_str(),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines"
    )
}

/// A body that cannot be told apart into steps: one envelope, rejected whole.
async fn refuse(parts: &Parts, whole: Whole, bytes: &[u8]) -> Problem {
    let message = match whole {
        Whole::Empty => {
            parts.metrics.refused(DOOR, Refused::Body);
            return Problem::new(StatusCode::BAD_REQUEST, "empty", "the body is empty: send a step as a JSON object");
        }
        Whole::TooMany { max } => {
            parts.metrics.refused(DOOR, Refused::Body);
            let message = format!("the body has more than {max} steps: send them in several requests");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many", message);
        }
        Whole::NotJson(message) => message,
    };
    let rejection = Rejection::new(Reason::InvalidJson, message.clone());
    let envelope = Envelope::Refused { rejection, payload: Cow::Borrowed(bytes) };
    let taken = parts.intake.take(DOOR, parts.now(), vec![envelope], Keep::DeadLetter).await;
    match &taken.failed {
        Some(error) => Problem::of_log(error, parts.config.retry_after_secs()),
        None => Problem::new(StatusCode::BAD_REQUEST, Reason::InvalidJson.as_str(), message),
    }
}

#[derive(Serialize)]
struct Answer {
    accepted: u64,
    duplicate: u64,
    rejected: Vec<Rejected>,
}

#[derive(Serialize)]
struct Rejected {
    index: usize,
    #[serde(flatten)]
    rejection: Rejection,
}

fn answer(taken: Taken) -> Response {
    let tally = taken.tally();
    let rejected: Vec<Rejected> = taken
        .outcomes
        .into_iter()
        .enumerate()
        .filter_map(|(index, outcome)| match outcome {
            Outcome::Rejected(rejection) => Some(Rejected { index, rejection }),
            _ => None,
        })
        .collect();
    let none_taken = tally.accepted + tally.duplicate == 0 && !rejected.is_empty();
    let status = if none_taken { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    json(status, &Answer { accepted: tally.accepted, duplicate: tally.duplicate, rejected })
}
