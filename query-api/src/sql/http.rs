//! `POST /v1/sql`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde::Deserialize;

use super::{Answer, Engine, Error, Table};
use crate::http::Failure;

/// Header of a CSV or Arrow answer whose rows beyond the limit were left out.
const TRUNCATED: &str = "martingale-truncated";

/// What is asked.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    query: String,
}

enum Form {
    Json,
    Csv,
    Arrow,
}

/// Routes of SQL.
pub fn router(engine: Engine) -> Router {
    Router::new().route("/v1/sql", post(sql)).with_state(engine)
}

async fn sql(State(engine): State<Engine>, headers: HeaderMap, body: Bytes) -> Result<Response, Failure> {
    let request: Request = serde_json::from_slice(&body)
        .map_err(|error| Error::invalid(format!("send {{\"query\": \"SELECT …\"}}: {error}")))?;
    let form = Form::wanted(&headers);
    let table = engine.answer(&request.query).await?;
    let truncated = HeaderValue::from_static(if table.truncated { "true" } else { "false" });
    Ok(match form {
        Form::Json => Json(json(table)?).into_response(),
        Form::Csv => {
            let csv = json(table)?.to_csv();
            (
                [(CONTENT_TYPE.as_str(), HeaderValue::from_static("text/csv; charset=utf-8")), (TRUNCATED, truncated)],
                csv,
            )
                .into_response()
        }
        Form::Arrow => {
            let stream = table.to_arrow().map_err(Error::internal)?;
            let kind = HeaderValue::from_static("application/vnd.apache.arrow.stream");
            ([(CONTENT_TYPE.as_str(), kind), (TRUNCATED, truncated)], stream).into_response()
        }
    })
}

fn json(table: Table) -> Result<Answer, Error> {
    Answer::try_from(table).map_err(Error::internal)
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
            Error::Internal(_) => "internal",
        };
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, reason, error.to_string())
    }
}
