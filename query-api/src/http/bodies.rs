//! Bodies of requests, read whole before a route sees them: limited in bytes, in time and all together.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use martingale_platform::budget::{Budget, Share};
use martingale_platform::config::Span;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Failure, with_causes};

/// See `deploy/config.default.toml`, section `requests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A body that has not come whole by then is answered 408.
    pub body_timeout: Span,
    /// Bodies of all requests in progress together, in bytes; beyond it 429.
    pub inflight_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { body_timeout: Span::from_millis(30_000), inflight_bytes_max: 128 * 1024 * 1024 }
    }
}

/// What the layer needs.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    budget: Budget,
    timeout: Duration,
    /// Largest body that any route takes.
    bytes_max: usize,
}

impl Bodies {
    pub(crate) fn new(config: &Config, bytes_max: usize) -> Self {
        Self { budget: Budget::new(config.inflight_bytes_max), timeout: config.body_timeout.0, bytes_max }
    }

    async fn whole(&self, body: Body, share: &mut Share) -> Result<Bytes, Failure> {
        let read = async {
            let mut stream = body.into_data_stream();
            let mut whole = BytesMut::new();
            while let Some(frame) = stream.next().await {
                let frame = frame.map_err(|error| {
                    let message = format!("the body ended early: {}", with_causes(&error));
                    Failure::new(StatusCode::BAD_REQUEST, "incomplete", message)
                })?;
                if whole.len() + frame.len() > self.bytes_max {
                    return Err(super::too_large(self.bytes_max));
                }
                share.grow(frame.len()).map_err(|_| Failure::busy("too many bytes in progress: ask again later"))?;
                whole.extend_from_slice(&frame);
            }
            Ok(whole.freeze())
        };
        tokio::time::timeout(self.timeout, read).await.unwrap_or_else(|_| {
            let message = format!("the body did not come whole within {:?}: send it faster", self.timeout);
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message))
        })
    }
}

/// When the head of a request was here: what is promised about its answer counts from then on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) Instant);

impl<S: Sync> FromRequestParts<S> for Arrived {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self(Instant::now())))
    }
}

/// The layer. A body counts against the budget until its request is answered.
pub(crate) async fn whole(State(bodies): State<Bodies>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Arrived(Instant::now()));
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let mut share = bodies.budget.share();
    match bodies.whole(body, &mut share).await {
        Ok(bytes) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(failure) => failure.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(config: &Config, body: Body) -> u16 {
        let layer = axum::middleware::from_fn_with_state(Bodies::new(config, 10), whole);
        let router: Router = Router::new().route("/", post(async |body: Bytes| body)).layer(layer);
        let request = Request::post("/").body(body).expect("request");
        router.oneshot(request).await.expect("infallible").status().as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_comes_whole_in_time_and_within_the_budget_or_not_at_all() {
        let never = Body::from_stream(
            futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))])
                .chain(futures::stream::pending()),
        );
        let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
        let little = Config { inflight_bytes_max: 4, ..Config::default() };
        for (what, config, body, expected) in [
            ("empty", Config::default(), Body::empty(), 200),
            ("as long as may be", Config::default(), Body::from("0123456789"), 200),
            ("longer", Config::default(), Body::from("0123456789x"), 413),
            ("never ends", Config::default(), never, 408),
            ("breaks", Config::default(), broken, 400),
            ("beyond the budget", little.clone(), Body::from("01234"), 429),
            ("within the budget", little, Body::from("0123"), 200),
        ] {
            assert_eq!(status(&config, body).await, expected, "{what}");
        }
    }
}
