//! What becomes of a body that its request's answer did not wait for.
//!
//! Its connection is closed, and the answer says so: a client that does not know would send its next request into the close.
//! But most clients send all of a body before they read an answer, and a close under way resets the connection: they
//! would see a broken pipe in place of a 413. So the rest is taken off their hands, and thrown away, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::Body as _;
use tokio::runtime::Handle;

use super::hooked::{Hook, hooked};

/// Most bytes of a body that are thrown away. One that says that more of it is to come is not read on at all.
const REST_BYTES_MAX: u64 = 128 << 20;
/// Longest time that it may take: as long as a connection's first head.
const REST_TIME_MAX: Duration = super::FIRST_HEAD_TIMEOUT;

/// The layer. HTTP/2 needs none of it: there a body ends with its stream, and the connection goes on.
pub(super) async fn closes(request: Request, next: Next) -> Response {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let whole = Arc::new(AtomicBool::new(false));
    // Who waits for a word before the body sends none when there is none.
    let coming = !request.headers().contains_key(header::EXPECT);
    let noted = Noted { whole: Arc::clone(&whole), coming };
    let mut response = next.run(request.map(|body| hooked(body, noted))).await;
    if !whole.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

struct Noted {
    whole: Arc<AtomicBool>,
    /// Whether the caller sends the body already.
    coming: bool,
}

impl Hook for Noted {
    fn asked(&mut self) {
        self.coming = true;
    }

    fn ended(&mut self) {
        self.whole.store(true, Ordering::Relaxed);
    }

    fn left(&mut self, rest: Body) {
        let more = rest.size_hint().lower();
        if self.coming
            && !self.whole.load(Ordering::Relaxed)
            && more <= REST_BYTES_MAX
            && let Ok(runtime) = Handle::try_current()
        {
            // The connection stays open for as long as somebody reads, and takes this with it when it ends.
            runtime.spawn(tokio::time::timeout(REST_TIME_MAX, throw_away(rest)));
        }
    }
}

async fn throw_away(mut rest: Body) {
    let mut bytes = 0;
    while bytes <= REST_BYTES_MAX {
        match std::future::poll_fn(|context| std::pin::Pin::new(&mut rest).poll_frame(context)).await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |it| it.len() as u64),
            Some(Err(_)) | None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Bytes;
    use axum::http::StatusCode;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
    /// What a caller has who sends `head` and `body` whole before it reads, or how far it came.
    async fn plain_client(router: Router, head: &str, body: usize) -> Result<String, usize> {
        let (mut caller, stream) = tokio::io::duplex(4096);
        let (_trigger, stop) = martingale_platform::shutdown::channel();
        tokio::spawn(crate::serve::converse(stream, router, stop));
        caller.write_all(head.as_bytes()).await.expect("room");
        let piece = vec![b'x'; 64 << 10];
        let mut sent = 0;
        while sent < body {
            let piece = &piece[..piece.len().min(body - sent)];
            if caller.write_all(piece).await.is_err() {
                return Err(sent);
            }
            sent += piece.len();
        }
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("an answer");
        Ok(answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_all_before_it_reads_has_its_answer() {
        const MANY: usize = 16 << 20;
        let refuses = async || (StatusCode::PAYLOAD_TOO_LARGE, "too large");
        let peeks = async |request: Request| {
            let mut body = request.into_body();
            let first = std::future::poll_fn(|it| std::pin::Pin::new(&mut body).poll_frame(it)).await;
            assert!(first.is_some_and(|it| it.is_ok()));
            (StatusCode::PAYLOAD_TOO_LARGE, "too large")
        };
        let router: Router = Router::new()
            .route("/refuses", post(refuses))
            .route("/peeks", post(peeks))
            .layer(axum::middleware::from_fn(closes));
        for path in ["/refuses", "/peeks"] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {MANY}\r\n\r\n");
            let answer = plain_client(router.clone(), &head, MANY).await.expect("everything was taken");
            assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("too large"), "{path}: {answer}");
        }

        // Beyond the bound, declared or not, nobody waits for it: of what is declared nothing is read.
        let more = usize::try_from(REST_BYTES_MAX).expect("a size") + 1;
        let head = format!("POST /refuses HTTP/1.1\r\nHost: a\r\nContent-Length: {more}\r\n\r\n");
        let sent = plain_client(router.clone(), &head, more).await.expect_err("closed");
        assert!(sent < 1 << 20, "{sent}");
        let head = format!("POST /refuses HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", 4 * more);
        let sent = plain_client(router.clone(), &head, 4 * more).await.expect_err("closed");
        assert!(sent >= more - 1 && sent < more + (1 << 20), "{sent}");

        // One that sends nothing more is waited for so long, and one that waits for a word is told the answer alone.
        let begun = tokio::time::Instant::now();
        let head = format!("POST /refuses HTTP/1.1\r\nHost: a\r\nContent-Length: {MANY}\r\n\r\n");
        let answer = plain_client(router.clone(), &head, 0).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 413") && begun.elapsed() <= 2 * REST_TIME_MAX, "{:?}", begun.elapsed());
        let head = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let begun = tokio::time::Instant::now();
        let answer = plain_client(router, &head, 0).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 413") && begun.elapsed().is_zero(), "{answer} {:?}", begun.elapsed());
    }
}
