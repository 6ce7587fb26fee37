//! `POST /v1/sql`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;

use super::encode::{self, Form};
use super::{Engine, Error};
use crate::http::{self, Failure};

/// Header of a CSV or Arrow answer whose rows beyond the limit were left out.
const TRUNCATED: &str = "martingale-truncated";

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    query: String,
}

/// Routes of SQL.
pub fn router(engine: Engine) -> Router {
    Router::new().route("/v1/sql", post(sql)).with_state(engine)
}

async fn sql(State(engine): State<Engine>, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    http::refuse_encoded(&headers)?;
    let body = http::body(body, engine.body_bytes_max()).await?;
    let request: Request = serde_json::from_slice(&body)
        .map_err(|error| Error::invalid(format!("send {{\"query\": \"SELECT …\"}}: {error}")))?;
    let form = Form::wanted(&headers);
    let table = engine.answer(&request.query).await?;
    let truncated = HeaderValue::from_static(if table.truncated { "true" } else { "false" });
    let kind = HeaderValue::from_static(match form {
        Form::Json => "application/json",
        Form::Csv => "text/csv; charset=utf-8",
        Form::Arrow => "application/vnd.apache.arrow.stream",
    });
    let mut response = Response::new(encode::body(&engine, table, form));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if form != Form::Json {
        response.headers_mut().insert(TRUNCATED, truncated);
    }
    Ok(response)
}

impl Form {
    fn wanted(headers: &HeaderMap) -> Self {
        match headers.get(ACCEPT).and_then(|it| it.to_str().ok()) {
            Some(accept) if accept.contains("application/vnd.apache.arrow.stream") => Self::Arrow,
            Some(accept) if accept.contains("text/csv") => Self::Csv,
            _ => Self::Json,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::Invalid { .. } => "invalid_query",
            Error::Forbidden { .. } => "read_only",
            Error::TimedOut { .. } => "timed_out",
            Error::TooLarge { .. } => "too_large",
            Error::CatchingUp => "catching_up",
            Error::Unreadable => "unreadable",
            Error::Damaged(_) => "damaged",
            Error::Internal(_) => "internal",
        };
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, reason, error.to_string())
    }
}
