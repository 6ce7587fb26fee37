//! OTLP over HTTP: `/v1/traces` and `/v1/logs`, protobuf and JSON, answered in the encoding of the request.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::status::{
    Encoding, INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, Status, UNAUTHENTICATED, UNAVAILABLE,
    UNIMPLEMENTED,
};
use super::{Partial, Signal};
use crate::http::Problem;
use crate::metrics::Refused;
use crate::{Parts, body};

pub(crate) fn router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route(
            "/v1/traces",
            post(async |State(parts): State<Arc<Parts>>, request: Request| {
                answer(&parts, Signal::Traces, request).await
            }),
        )
        .route(
            "/v1/logs",
            post(async |State(parts): State<Arc<Parts>>, request: Request| answer(&parts, Signal::Logs, request).await),
        )
        .fallback(unknown_path)
        .method_not_allowed_fallback(other_method)
        .with_state(parts)
}

async fn unknown_path(request: Request) -> Response {
    let encoding = encoding(request.headers()).unwrap_or(Encoding::Json);
    let message = "no such path: OTLP is taken at /v1/traces and /v1/logs";
    failed(encoding, StatusCode::NOT_FOUND, NOT_FOUND, message.to_owned())
}

async fn other_method(request: Request) -> Response {
    let encoding = encoding(request.headers()).unwrap_or(Encoding::Json);
    failed(encoding, StatusCode::METHOD_NOT_ALLOWED, UNIMPLEMENTED, "OTLP is sent with POST".to_owned())
}

/// What is answered to a request that is turned away before it is read, in its encoding.
pub fn refusal(headers: &HeaderMap, status: StatusCode, message: &str) -> Response {
    let code = if status == StatusCode::UNAUTHORIZED { UNAUTHENTICATED } else { PERMISSION_DENIED };
    failed(encoding(headers).unwrap_or(Encoding::Json), status, code, message.to_owned())
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    Encoding::of(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

async fn answer(parts: &Parts, signal: Signal, request: Request) -> Response {
    let since = Instant::now();
    let answer = match encoding(request.headers()) {
        Some(encoding) => match take(parts, signal, encoding, request).await {
            Ok(partial) => respond(encoding, StatusCode::OK, encoding.write_answer(signal, partial)),
            Err(problem) => refused(encoding, problem),
        },
        None => {
            parts.metrics.refused(signal.door(), Refused::Body);
            let message = "content-type is not known: send `application/x-protobuf` or `application/json`".to_owned();
            failed(Encoding::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT, message)
        }
    };
    parts.metrics.took(signal.door(), since);
    answer
}

async fn take(parts: &Parts, signal: Signal, encoding: Encoding, request: Request) -> Result<Partial, Problem> {
    let (head, body) = request.into_parts();
    let received = body::receive(&head.headers, body, &parts.config, &parts.budget).await.map_err(|fault| {
        parts.metrics.refused(signal.door(), fault.cause());
        Problem::of_body(&fault, parts.config.retry_after_secs())
    })?;
    super::take(parts, signal, encoding, received).await
}

fn refused(encoding: Encoding, problem: Problem) -> Response {
    let mut response = failed(encoding, problem.status, code(&problem), problem.message);
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn code(problem: &Problem) -> i32 {
    match problem.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => RESOURCE_EXHAUSTED,
        StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ => INVALID_ARGUMENT,
    }
}

fn failed(encoding: Encoding, status: StatusCode, code: i32, message: String) -> Response {
    respond(encoding, status, encoding.write(&Status { code, message }))
}

fn respond(encoding: Encoding, status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()))], body).into_response()
}
