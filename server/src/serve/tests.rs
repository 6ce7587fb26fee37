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
    Router::new().route("/slow", get(slow)).route("/", get(async || "now"))
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

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_half_a_head() {
    let answered = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT".as_slice();
    for begins in [b"GET / HT".as_slice(), b"GET / HTTP/1.1\r\nHost: a\r\n", answered] {
        let (mut caller, stream) = tokio::io::duplex(4096);
        caller.write_all(begins).await.expect("room");
        let (trigger, stop) = shutdown::channel();
        let served = tokio::spawn(converse(stream, router(), stop));
        // Time stands still until everybody waits: the head is read by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        trigger.stop();
        let begun = Instant::now();
        served.await.expect("ends");
        assert!(begun.elapsed() <= LINGER_MAX, "{:?} after {:?}", String::from_utf8_lossy(begins), begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_under_way_outlives_the_stop() {
    let (mut caller, stream) = tokio::io::duplex(4096);
    let (trigger, stop) = shutdown::channel();
    tokio::spawn(converse(stream, router(), stop));
    caller.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    tokio::time::sleep(Duration::from_secs(1)).await;
    trigger.stop();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
}

/// Its body is in the connection's buffer, whole, long before its caller has it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_taken_slowly_outlives_the_stop() {
    const BYTES: usize = 1 << 20;
    let router = Router::new().route("/", get(async || "x".repeat(BYTES)));
    let (mut caller, stream) = tokio::io::duplex(4096);
    let (trigger, stop) = shutdown::channel();
    tokio::spawn(converse(stream, router, stop));
    caller.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    let (mut taken, mut chunk) = (Vec::new(), vec![0; BYTES / 16]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    trigger.stop();
    loop {
        // Less than it may linger, and far more in all.
        tokio::time::sleep(LINGER_MAX / 2).await;
        let mut read = 0;
        while read < chunk.len() {
            match caller.read(&mut chunk[read..]).await.expect("an answer") {
                0 => break,
                more => read += more,
            }
        }
        taken.extend_from_slice(&chunk[..read]);
        if read == 0 {
            break;
        }
    }
    assert!(taken.starts_with(b"HTTP/1.1 200") && taken.len() > BYTES, "{} bytes", taken.len());
}

/// One request over HTTP/2 and then nothing but answers to pings.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_although_it_answers_pings() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    // GET, /, http, authority a, on stream 1, whole.
    const ASKS: [u8; 15] = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x86, 0x41, 1, b'a'];
    const PING: u8 = 6;
    let (mut caller, stream) = tokio::io::duplex(4096);
    let begins = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &SETTINGS, &SETTINGS_ACK, &ASKS].concat();
    caller.write_all(&begins).await.expect("room");
    let (_trigger, stop) = shutdown::channel();
    let begun = Instant::now();
    let served = tokio::spawn(converse(stream, router(), stop));
    let (mut pings, mut head) = (0, [0; 9]);
    while caller.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
        caller.read_exact(&mut payload).await.expect("a whole frame");
        if head[3] == PING && head[4] == 0 {
            pings += 1;
            head[4] = 1;
            // Who is being closed may not take it any more.
            let _ = caller.write_all(&[head.as_slice(), &payload].concat()).await;
        }
    }
    served.await.expect("ends");
    let lived = begun.elapsed();
    assert!(pings > 1 && lived >= IDLE_MAX && lived <= IDLE_MAX + 2 * LINGER_MAX, "{pings} pings, {lived:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_before_any_route_is_refused_in_the_same_form() {
    let line = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let long = "x".repeat(70_000);
    let many: String = (0..200).map(|n| format!("h{n}: x\r\n")).collect();
    for (request, status, reason) in [
        (line(&format!("/{long}"), ""), 414, "uri_too_long"),
        (line("/", &format!("h: {}\r\n", long.repeat(8))), 431, "head_too_large"),
        (line("/", &many), 431, "head_too_large"),
        (line("/", "a b c\r\n"), 400, "malformed_request"),
    ] {
        let (mut caller, stream) = tokio::io::duplex(1 << 20);
        caller.write_all(request.as_bytes()).await.expect("room");
        let (_trigger, stop) = shutdown::channel();
        tokio::spawn(converse(stream, router(), stop));
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"]["reason"], reason, "{body}");
        assert!(body["error"]["message"].is_string(), "{body}");
    }
}
