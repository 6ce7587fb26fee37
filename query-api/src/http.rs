//! What all answers share: one shape of errors, and query strings read with the field, the value and the remedy.

pub mod bodies;

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use martingale_platform::log;
use martingale_schemas::rejection::shown;
use martingale_schemas::{Reason, Rejection};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Seconds a client is asked to wait when a limit is reached.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An answer that is an error: `{"error":{"reason","field"?,"message"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    #[serde(skip)]
    pub status: StatusCode,
    pub reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    pub message: String,
}

impl Failure {
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason: Cow::Borrowed(reason), field: None, message: message.into() }
    }

    /// 400 for one field of a request.
    pub fn field(field: impl Into<Cow<'static, str>>, reason: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, reason, message) }
    }

    #[must_use]
    pub fn of_field(self, field: &'static str) -> Self {
        Self { field: Some(Cow::Borrowed(field)), ..self }
    }

    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no {what} \"{}\"", shown(id)))
    }

    /// 429: a limit of this server is reached, nothing was done.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Shape<'f> {
            error: &'f Failure,
        }
        let mut response = (self.status, Json(Shape { error: &self })).into_response();
        may_retry(&mut response);
        response
    }
}

/// Says when to ask again, where asking again may help.
pub(crate) fn may_retry(response: &mut Response) {
    if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self {
            status: match rejection.reason {
                Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            },
            reason: Cow::Borrowed(rejection.reason.as_str()),
            field: rejection.field,
            message: rejection.message,
        }
    }
}

impl From<log::Error> for Failure {
    fn from(error: log::Error) -> Self {
        match error {
            log::Error::Full { .. } => Self::busy(error.to_string()),
            log::Error::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()),
            _ => Self::unavailable(with_causes(&error)),
        }
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

fn too_large(bytes_max: usize) -> Failure {
    let message = format!("the body is too large: at most {bytes_max} bytes are taken");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

/// # Errors
/// When the body is compressed: where little is sent, nothing is unpacked.
pub(crate) fn refuse_encoded(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(coding) =
        headers.get(header::CONTENT_ENCODING).filter(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity"))
    else {
        return Ok(());
    };
    let message = format!("content-encoding {coding:?} is not taken here: send the body as it is");
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message))
}

/// The body, at most `bytes_max` long. [`bodies::whole`] has read it.
pub(crate) async fn body(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|_| too_large(bytes_max))
}

/// What answers paths and methods that nobody has. No router that has it too can be merged in.
pub fn with_fallbacks(router: Router) -> Router {
    router.fallback(no_such_path).method_not_allowed_fallback(no_such_method)
}

async fn no_such_path(uri: Uri) -> Failure {
    let path = shown(uri.path());
    Failure::new(StatusCode::NOT_FOUND, "not_found", format!("no path \"{path}\": GET /openapi.json lists them"))
}

/// For routers that are merged into one with [`with_fallbacks`].
pub async fn no_such_method(uri: Uri) -> Failure {
    let message = format!("\"{}\" does not take this method: GET /openapi.json lists what it takes", shown(uri.path()));
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// The fields of a query string, taken one by one; what nobody takes is an error.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// A field that may come once.
    pub(crate) fn take<T>(&mut self, field: &'static str) -> Result<Option<T>, Failure>
    where
        T: FromStr<Err: Display>,
    {
        let Some(at) = self.0.iter().position(|(name, _)| name == field) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(name, _)| name == field) {
            return Err(Failure::field(field, "duplicate_field", format!("`{field}` comes twice: send it once")));
        }
        value.parse().map(Some).map_err(|error| {
            Failure::field(field, "invalid_value", format!("`{field}` is \"{}\": {error}", shown(&value)))
        })
    }

    /// # Errors
    /// When a field is left that this path does not know.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Failure> {
        let Some((name, _)) = self.0.into_iter().next() else { return Ok(()) };
        let message = format!("unknown field \"{}\": expected {}", shown(&name), known.join(", "));
        Err(Failure::field(name, "unknown_field", message))
    }
}

impl<S: Sync> FromRequestParts<S> for Fields {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let axum::extract::Query(fields) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, "invalid_value", error.to_string()))?;
        Ok(Self(fields))
    }
}

/// Parts of a path, with a refusal in the shape of all others.
#[derive(Debug)]
pub(crate) struct Segments<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(it)) => Ok(Self(it)),
            Err(error) => Err(Failure::new(StatusCode::BAD_REQUEST, "invalid_path", error.body_text())),
        }
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of characters.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
        rest = after;
    }
    text.len() >= rest.len() && text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::Request;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::{Fields, Segments, glob, no_such_method};

    #[tokio::test]
    async fn every_refusal_has_the_same_shape() {
        let router: Router = Router::new()
            .route("/v1/{id}/{step}", get(async |Segments((id, _)): Segments<(String, String)>| id))
            .method_not_allowed_fallback(no_such_method);
        for (method, path, status, reason) in [
            ("GET", "/v1/%ff/1", 400, "invalid_path"),
            ("GET", "/v1/a/%c3%28", 400, "invalid_path"),
            ("DELETE", "/v1/a/b", 405, "method_not_allowed"),
        ] {
            let request = Request::builder().method(method).uri(path).body(axum::body::Body::empty()).expect("request");
            let response = router.clone().oneshot(request).await.expect("infallible");
            assert_eq!(response.status().as_u16(), status, "{method} {path}");
            let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("body");
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["error"]["reason"], reason, "{method} {path}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("support-*", "support-eu", true),
            ("support-*", "sales-eu", false),
            ("*-eu", "support-eu", true),
            ("a*a", "a", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn query_fields_name_field_value_and_remedy() {
        let fields = |pairs: &[(&str, &str)]| Fields(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect());
        let error = fields(&[("limit", "many")]).take::<usize>("limit").unwrap_err();
        assert_eq!((error.reason.as_ref(), error.field.as_deref()), ("invalid_value", Some("limit")));
        assert!(error.message.contains("\"many\""), "{}", error.message);
        let error = fields(&[("limit", "1"), ("limit", "2")]).take::<usize>("limit").unwrap_err();
        assert_eq!(error.reason, "duplicate_field");
        let error = fields(&[("limt", "1")]).finish(&["limit"]).unwrap_err();
        assert_eq!(error.message, "unknown field \"limt\": expected limit");
        assert_eq!(fields(&[("limit", "7")]).take::<usize>("limit").expect("reads"), Some(7));
    }
}
