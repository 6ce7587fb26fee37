//! OTLP over HTTP: `/v1/traces` and `/v1/logs`, protobuf and JSON, answered in the encoding of the request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use martingale_platform::log;
use martingale_schemas::{Reason, Rejection};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};

use super::status::{Encoding, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, Status, UNAVAILABLE};
use super::{Partial, aside, of_logs, of_traces};
use crate::http::Problem;
use crate::intake::{Envelope, Keep};
use crate::metrics::Refused;
use crate::{Door, Parts, body};

pub(crate) fn router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route(
            "/v1/traces",
            post(async |State(parts): State<Arc<Parts>>, request: Request| {
                answer(&parts, Door::OtlpTraces, request).await
            }),
        )
        .route(
            "/v1/logs",
            post(async |State(parts): State<Arc<Parts>>, request: Request| {
                answer(&parts, Door::OtlpLogs, request).await
            }),
        )
        .fallback(unknown_path)
        .with_state(parts)
}

async fn unknown_path(request: Request) -> Response {
    let encoding = encoding(request.headers()).unwrap_or(Encoding::Json);
    let message = "no such path: OTLP is taken at /v1/traces and /v1/logs";
    failed(encoding, StatusCode::NOT_FOUND, NOT_FOUND, message.to_owned())
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    Encoding::of(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

async fn answer(parts: &Parts, door: Door, request: Request) -> Response {
    let since = Instant::now();
    let answer = match encoding(request.headers()) {
        Some(encoding) => take(parts, door, encoding, request).await,
        None => {
            parts.metrics.refused(door, Refused::Body);
            let message = "content-type is not known: send `application/x-protobuf` or `application/json`".to_owned();
            failed(Encoding::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT, message)
        }
    };
    parts.metrics.took(door, since);
    answer
}

async fn take(parts: &Parts, door: Door, encoding: Encoding, request: Request) -> Response {
    let retry_after = parts.config.retry_after_secs();
    let (head, body) = request.into_parts();
    let received = match body::receive(&head.headers, body, &parts.config, &parts.budget).await {
        Ok(received) => received,
        Err(fault) => {
            parts.metrics.refused(door, fault.cause());
            return problem(encoding, Problem::of_body(&fault, retry_after));
        }
    };
    parts.metrics.body(door, received.bytes.len());

    let bytes = received.bytes.len();
    let limits = parts.config.limits.clone();
    let read = aside(bytes, move || {
        let steps = match door {
            Door::OtlpLogs => encoding.read(&received.bytes).map(|request| of_logs(&request, &limits)),
            _ => encoding.read(&received.bytes).map(|request| of_traces(&request, &limits)),
        };
        (received, steps)
    });
    // Held until the end: its bytes count against the budget.
    let (received, steps) = match read.await {
        Ok(read) => read,
        Err(error) => return busy(encoding, &error, retry_after),
    };
    let steps = match steps {
        Ok(steps) => steps,
        Err(message) => return unreadable(parts, door, encoding, message, &received.bytes).await,
    };
    let answer = super::take(parts, door, steps).await.map(|partial| match door {
        Door::OtlpLogs => encoding.write(&logs_answer(partial)),
        _ => encoding.write(&traces_answer(partial)),
    });
    match answer {
        Ok(body) => respond(encoding, StatusCode::OK, body),
        Err(error) => busy(encoding, &error, retry_after),
    }
}

pub(super) fn traces_answer(partial: Partial) -> ExportTraceServiceResponse {
    let partial_success = (partial.rejected > 0)
        .then_some(ExportTracePartialSuccess { rejected_spans: partial.rejected, error_message: partial.message });
    ExportTraceServiceResponse { partial_success }
}

pub(super) fn logs_answer(partial: Partial) -> ExportLogsServiceResponse {
    let partial_success = (partial.rejected > 0)
        .then_some(ExportLogsPartialSuccess { rejected_log_records: partial.rejected, error_message: partial.message });
    ExportLogsServiceResponse { partial_success }
}

/// A body that is no OTLP: one envelope, rejected whole.
async fn unreadable(parts: &Parts, door: Door, encoding: Encoding, message: String, bytes: &[u8]) -> Response {
    let rejection = Rejection::new(Reason::InvalidOtlp, message.clone());
    let envelope = Envelope::Refused { rejection, payload: Cow::Borrowed(bytes) };
    let taken = parts.intake.take(door, parts.now(), vec![envelope], Keep::DeadLetter).await;
    match &taken.failed {
        Some(error) => busy(encoding, error, parts.config.retry_after_secs()),
        None => failed(encoding, StatusCode::BAD_REQUEST, INVALID_ARGUMENT, message),
    }
}

fn busy(encoding: Encoding, error: &log::Error, retry_after: u64) -> Response {
    problem(encoding, Problem::of_log(error, retry_after))
}

fn problem(encoding: Encoding, problem: Problem) -> Response {
    let code = match problem.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => RESOURCE_EXHAUSTED,
        StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ => INVALID_ARGUMENT,
    };
    let mut response = failed(encoding, problem.status, code, problem.message);
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn failed(encoding: Encoding, status: StatusCode, code: i32, message: String) -> Response {
    respond(encoding, status, encoding.write(&Status { code, message }))
}

fn respond(encoding: Encoding, status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()))], body).into_response()
}
