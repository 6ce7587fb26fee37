use axum::routing::get;
use martingale_platform::shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;

/// An answer that takes longer than a connection may be silent.
const LONG: Duration = Duration::from_secs(60);

fn router() -> Router {
    let slow = async || {
        tokio::time::sleep(LONG).await;
        "done"
    };
    Router::new().route("/slow", get(slow))
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_say_what_it_wants_is_closed() {
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for begins in [b"".as_slice(), b"P", b"PRI * HTTP/2.0\r\n", settings, b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"]
    {
        let (mut caller, stream) = tokio::io::duplex(4096);
        caller.write_all(begins).await.expect("room");
        let (_trigger, stop) = shutdown::channel();
        let begun = Instant::now();
        let ended = tokio::time::timeout(LONG, converse(stream, router(), stop)).await;
        let what = String::from_utf8_lossy(begins);
        assert!(ended.is_ok(), "{what:?} is never closed");
        assert_eq!(begun.elapsed().as_secs(), FIRST_HEAD_TIMEOUT.as_secs(), "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_asked_is_answered_however_long_it_takes() {
    let (mut caller, stream) = tokio::io::duplex(4096);
    let (_trigger, stop) = shutdown::channel();
    tokio::spawn(converse(stream, router(), stop));
    caller.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("room");
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_one_that_has_not_asked() {
    for begins in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let (mut caller, stream) = tokio::io::duplex(4096);
        caller.write_all(begins.as_bytes()).await.expect("room");
        let (trigger, stop) = shutdown::channel();
        trigger.stop();
        let begun = Instant::now();
        let ended = tokio::time::timeout(LONG, converse(stream, router(), stop)).await;
        assert!(ended.is_ok() && begun.elapsed().is_zero(), "{begins:?} after {:?}", begun.elapsed());
    }
}
