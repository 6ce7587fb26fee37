//! What must not be taken, or not whole.

use std::convert::Infallible;
use std::io::Write as _;

use axum::body::{Body, Bytes};
use serde_json::{Value, json};

use super::{Bench, step};

/// One body: what each of its steps ends as, and what becomes a dead letter.
#[track_caller]
fn good(fields: &str) -> String {
    format!(r#"{{"session_id":"s-1","kind":"plan","agent":{{"id":"a"}}{fields}}}"#)
}

#[tokio::test]
async fn each_fault_is_named() {
    let long = "x".repeat(129);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let big = "x".repeat(5 << 20);
    let cases: Vec<(String, &str)> = vec![
        ("{\"session_id\": ".into(), "0 invalid_json session_id"),
        ("{\"mine\": tru}".into(), "0 invalid_json"),
        ("[[]]".into(), "0 not_an_object"),
        ("[\"text\"]".into(), "0 not_an_object"),
        ("[null]".into(), "0 not_an_object"),
        ("42".into(), "0 not_an_object"),
        ("{}".into(), "0 missing_field session_id"),
        (r#"{"session_id":"s"}"#.into(), "0 missing_field kind"),
        (r#"{"session_id":"s","kind":"plan"}"#.into(), "0 missing_field agent.id"),
        (good(r#","seq":"one""#), "0 wrong_type seq"),
        (good(r#","agent":1"#), "0 duplicate_field agent"),
        (good(r#","text":{}"#), "0 wrong_type text"),
        (r#"{"session_id":"s","kind":"dance","agent":{"id":"a"}}"#.into(), "0 unknown_kind kind"),
        (format!(r#"{{"session_id":"{long}","kind":"plan","agent":{{"id":"a"}}}}"#), "0 too_long session_id"),
        (r#"{"session_id":"","kind":"plan","agent":{"id":"a"}}"#.into(), "0 invalid_id session_id"),
        (r#"{"session_id":"a\u0000b","kind":"plan","agent":{"id":"a"}}"#.into(), "0 invalid_id session_id"),
        (good(r#","tool":"a\u0000b""#), "0 invalid_value tool"),
        (good(r#","time":"yesterday""#), "0 invalid_time time"),
        (good(r#","kind":"plan""#), "0 duplicate_field kind"),
        (good(&format!(r#","input":{deep}"#)), "0 too_deep input"),
        (good(&format!(r#","mine":{deep}"#)), "0 too_deep attributes"),
        (good(&format!(r#","text":"{big}""#)), "0 too_large"),
        (good(r#","duration_ms":-1"#), "0 invalid_value duration_ms"),
        (good(r#","status":"fine""#), "0 invalid_value status"),
    ];
    for (body, expected) in cases {
        let bench = Bench::new();
        let shown: String = body.chars().take(80).collect();
        let reply = bench.steps(body).await;
        assert_eq!(reply.summary(), (400, 0, 0, vec![expected.to_owned()]), "{shown}");
        assert_eq!(bench.outcomes("http_steps"), [0, 0, 1, 0, 0], "{shown}");
        let letters = bench.records("dead_letter").await;
        let reason = expected.split(' ').nth(1).expect("a reason");
        assert_eq!((letters.len(), letters[0]["reason"].as_str()), (1, Some(reason)), "{shown}");
        assert_eq!(bench.count("martingale_ingest_rejected_total", &[("reason", reason)]), 1, "{shown}");
    }
}

#[tokio::test]
async fn invalid_utf8_is_rejected_and_kept_as_it_was() {
    let bench = Bench::new();
    let body = b"{\"session_id\":\"s\xff\",\"kind\":\"plan\",\"agent\":{\"id\":\"a\"}}".to_vec();
    assert_eq!(bench.steps(body).await.summary(), (400, 0, 0, vec!["0 invalid_utf8".to_owned()]));
    let letters = bench.records("dead_letter").await;
    assert_eq!(letters[0]["payload_is_base64"], true);
}

#[tokio::test]
async fn absurd_times_are_clamped_and_flagged() {
    let bench = Bench::new();
    let body = format!(
        "[{},{}]",
        good(r#","step_id":"1","time":"9999-01-01T00:00:00Z""#),
        good(r#","step_id":"2","time":"0001-01-01T00:00:00Z""#)
    );
    assert_eq!(bench.steps(body).await.summary(), (200, 2, 0, vec![]));
    for record in bench.records("steps").await {
        assert_eq!(record["time"], "2026-01-31T12:00:00Z");
        assert!(record["time_clamped_from"].is_string(), "{record}");
    }
}

#[tokio::test]
async fn one_bad_element_costs_only_itself() {
    let bench = Bench::new();
    let body = format!(r#"[{}, {{"a":tru}}, 7, {}, , {}]"#, step("1"), step("2"), step("3"));
    let rejected = ["1 invalid_json", "2 not_an_object", "4 invalid_json"].map(str::to_owned);
    assert_eq!(bench.steps(body).await.summary(), (200, 3, 0, rejected.to_vec()));
    let lines = format!("{}\n{{\"a\":\n{}\nnot json\n", step("4"), step("5"));
    let rejected = ["1 invalid_json", "3 invalid_json"].map(str::to_owned);
    assert_eq!(bench.steps(lines).await.summary(), (200, 2, 0, rejected.to_vec()));
    let cut = format!("[{},{}", step("6"), &step("7")[..20]);
    assert_eq!(bench.steps(cut).await.summary(), (200, 1, 0, vec!["1 invalid_json".to_owned()]));
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_whole() {
    for (body, letters) in [("hello, world", 1), ("\u{0}{}", 1), ("", 0), (" \n", 0)] {
        let bench = Bench::new();
        let reply = bench.steps(body).await;
        assert_eq!(reply.status.as_u16(), 400, "{body:?}");
        assert!(
            reply.json()["error"]["message"].as_str().is_some_and(|it| it.contains("JSON object")),
            "{}",
            reply.json()
        );
        assert_eq!(bench.records("dead_letter").await.len(), letters, "{body:?}");
        assert_eq!(bench.outcomes("http_steps"), [0, 0, letters as u64, 0, 0]);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn broken_encodings_are_told_apart() {
    let whole = gzip(step("1").as_bytes());
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 0xff;
    let zstd = zstd::encode_all(step("1").as_bytes(), 3).expect("memory");
    let cases: [(&str, &[u8], u16, &str); 9] = [
        ("gzip", b"not gzip at all", 400, "broken_encoding"),
        ("gzip", &whole[..whole.len() / 2], 400, "broken_encoding"),
        ("gzip", &whole[..whole.len() - 4], 400, "broken_encoding"),
        ("gzip", &flipped, 400, "broken_encoding"),
        ("zstd", b"not zstd at all", 400, "broken_encoding"),
        ("zstd", &zstd[..zstd.len() - 3], 400, "broken_encoding"),
        ("br", b"{}", 415, "unknown_encoding"),
        ("gzip, zstd", b"{}", 415, "unknown_encoding"),
        ("gzip", b"", 400, "broken_encoding"),
    ];
    for (encoding, body, status, reason) in cases {
        let bench = Bench::new();
        let reply = bench.post("/v1/steps", &[("content-encoding", encoding)], body.to_vec()).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["reason"]),
            (status, &json!(reason)),
            "{encoding} {body:?}"
        );
        assert_eq!(bench.records("steps").await.len(), 0);
    }
}

#[tokio::test]
async fn zip_bombs_stop_at_the_limit() {
    let zeros = vec![b' '; 8 << 20];
    let bombs = [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 19).expect("memory"))];
    for (encoding, body) in bombs {
        let bench = Bench::with(|config| (config.body_bytes_max, config.inflated_bytes_max) = (1 << 20, 2 << 20));
        // In pieces, so that the limit is met before the end: what was read by then is not the size of the body.
        let sent = body.len();
        let pieces: Vec<_> = body.chunks(64).map(|it| Ok::<_, Infallible>(Bytes::copy_from_slice(it))).collect();
        let body = Body::from_stream(futures::stream::iter(pieces));
        let reply = bench.post("/v1/steps", &[("content-encoding", encoding)], body).await;
        assert_eq!(reply.status.as_u16(), 413);
        let message = reply.json()["error"]["message"].as_str().expect("a message").to_owned();
        let first = message.split_once("its first ").and_then(|(_, it)| it.split_once(" bytes")).expect("a number").0;
        assert!(first.parse::<usize>().expect("a number") < sent, "{sent}: {message}");
        assert!(message.contains("more than 2097152 bytes") && message.contains("send less at a time"), "{message}");
    }
}

#[tokio::test]
async fn a_zstd_window_that_asks_for_gigabytes_is_refused() {
    // A frame header: no single segment, no checksum, window descriptor for 2 GiB, then an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let reply = Bench::new().post("/v1/steps", &[("content-encoding", "zstd")], frame.to_vec()).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["reason"]), (400, &json!("broken_encoding")));
}

/// A body of 100 MB that counts how much of it is asked for.
fn hundred_megabytes() -> (Body, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&asked);
    let chunk = Bytes::from(vec![b'['; 1 << 20]);
    let chunks = (0..100).map(move |_| {
        counter.fetch_add(1 << 20, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, Infallible>(chunk.clone())
    });
    (Body::from_stream(futures::stream::iter(chunks)), asked)
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_without_being_read() {
    let bench = Bench::new();
    for (path, content_type) in
        [("/v1/steps", "application/json"), ("/v1/traces", "application/x-protobuf"), ("/v1/logs", "application/json")]
    {
        let (body, asked) = hundred_megabytes();
        let reply = bench.post(path, &[("content-type", content_type)], body).await;
        assert_eq!(reply.status.as_u16(), 413, "{path}");
        assert!(asked.load(std::sync::atomic::Ordering::Relaxed) <= 18 << 20, "{path}");

        let (body, asked) = hundred_megabytes();
        let headers = [("content-type", content_type), ("content-length", "104857600")];
        assert_eq!(bench.post(path, &headers, body).await.status.as_u16(), 413, "{path}");
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0, "{path}");
    }
}

#[tokio::test]
async fn more_steps_than_a_request_may_have_are_refused_whole() {
    let bench = Bench::with(|config| config.request_steps_max = 2);
    for body in
        [format!("[{},{},{}]", step("1"), step("2"), step("3")), format!("{}\n{}\n{}", step("1"), step("2"), step("3"))]
    {
        let reply = bench.steps(body).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["reason"]), (413, &json!("too_many")));
    }
    assert_eq!(bench.records("steps").await, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let bench = Bench::new();
    for path in ["/v1/steps", "/v1/traces"] {
        let stalled = futures::stream::pending::<Result<Bytes, Infallible>>();
        let reply = bench.post(path, &[("content-type", "application/json")], Body::from_stream(stalled)).await;
        assert_eq!(reply.status.as_u16(), 408, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_step() {
    let bench = Bench::new();
    let frames: [Result<Bytes, std::io::Error>; 2] = [Ok(Bytes::from(step("1"))), Err(std::io::Error::other("reset"))];
    let reply = bench.steps(Body::from_stream(futures::stream::iter(frames))).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["reason"]), (400, &json!("incomplete")));
    assert_eq!(bench.records("steps").await.len(), 0);
}
