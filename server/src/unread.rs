//! A connection on which a body was left unread is closed, and its answer says so: a client that does not know would send
//! its next request into the close.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as _, Frame, SizeHint};

/// The layer. HTTP/2 needs none of it: there a body ends with its stream, and the connection goes on.
pub(crate) async fn closes(request: Request, next: Next) -> Response {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let whole = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| Body::new(Noted { body, whole: Arc::clone(&whole) }));
    let mut response = next.run(request).await;
    if !whole.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that notes when it was read to its end.
struct Noted {
    body: Body,
    whole: Arc<AtomicBool>,
}

impl http_body::Body for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.whole.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_to_a_body_that_was_not_read_closes_its_connection() {
        let router: Router = Router::new()
            .route("/reads", post(async |body: Bytes| body))
            .route("/refuses", post(async || StatusCode::PAYLOAD_TOO_LARGE))
            .layer(axum::middleware::from_fn(closes));
        for (path, version, body, closed) in [
            ("/reads", Version::HTTP_11, "x", false),
            ("/refuses", Version::HTTP_11, "x", true),
            ("/refuses", Version::HTTP_11, "", false),
            ("/refuses", Version::HTTP_2, "x", false),
        ] {
            let request = Request::post(path).version(version).body(Body::from(body)).expect("request");
            let response = router.clone().oneshot(request).await.expect("infallible");
            let said = response.headers().get(header::CONNECTION).is_some_and(|it| it == "close");
            assert_eq!(said, closed, "{path} {version:?} {body:?}");
        }
    }
}
