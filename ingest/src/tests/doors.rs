//! `POST /v1/steps`: outcomes, encodings, back-pressure.

use std::io::Write as _;

use serde_json::json;

use super::{Bench, step};

#[tokio::test]
async fn an_object_an_array_and_lines_are_taken() {
    let bench = Bench::new();
    let lines = format!("{}\n\n{}\r\n", step("4"), step("5"));
    for (body, accepted) in
        [(step("1"), 1), (format!("[{}, {}]", step("2"), step("3")), 2), (lines, 2), ("[]".into(), 0)]
    {
        let reply = bench.steps(body).await;
        assert_eq!(reply.summary(), (200, accepted, 0, vec![]));
    }
    let reply = bench.post("/v1/steps", &[("content-type", "application/x-ndjson; charset=utf-8")], step("6")).await;
    assert_eq!(reply.summary(), (200, 1, 0, vec![]));
    assert_eq!(bench.records("steps").await.len(), 6);
    assert_eq!(bench.outcomes("http_steps"), [6, 0, 0, 0, 0]);
}

#[tokio::test]
async fn the_answer_is_what_is_promised() {
    let bench = Bench::new();
    let reply = bench.steps(format!(r#"[{}, {{"session_id":7}}]"#, step("1"))).await;
    assert_eq!(
        reply.json(),
        json!({
            "accepted": 1,
            "duplicate": 0,
            "rejected": [{
                "index": 1,
                "reason": "wrong_type",
                "field": "session_id",
                "message": "field `session_id`: invalid type: integer `7`, expected a string at line 1 column 15"
            }]
        })
    );
    assert_eq!(reply.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_resend_is_a_duplicate_within_a_request_after_it_and_after_a_restart() {
    let bench = Bench::new();
    let without_id = r#"{"session_id":"s-1","kind":"plan","agent":{"id":"a"}}"#;
    let body = format!("[{}, {}, {without_id}, {without_id}]", step("1"), step("1"));
    assert_eq!(bench.steps(body.clone()).await.summary(), (200, 2, 2, vec![]));
    assert_eq!(bench.steps(body.clone()).await.summary(), (200, 0, 4, vec![]));
    let reopened = Bench::over(bench.log.reopen(), crate::Config::default());
    assert_eq!(reopened.steps(body).await.summary(), (200, 0, 4, vec![]));
    assert_eq!(reopened.records("steps").await.len(), 2);
    assert_eq!(bench.outcomes("http_steps"), [2, 6, 0, 0, 0]);
}

#[tokio::test]
async fn what_is_logged_is_complete() {
    let bench = Bench::new();
    let body = r#"{"session_id":"s-1","root_session_id":"r","step_id":"1","kind":"tool_call","agent":{"id":"a"},"tool":"t","mine":1}"#;
    assert_eq!(bench.steps(body).await.summary(), (200, 1, 0, vec![]));
    assert_eq!(
        bench.records("steps").await,
        [json!({
            "session_id": "s-1", "root_session_id": "r", "step_id": "1", "time": "2026-01-31T12:00:00Z", "gated": false,
            "kind": "tool_call", "agent": {"id": "a"}, "tool": "t", "attributes": {"mine": 1}
        })]
    );
}

#[tokio::test]
async fn encodings_are_undone() {
    let bench = Bench::new();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    };
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 3).expect("memory");
    let two_members = [gzip(&format!("{}\n", step("3"))), gzip(&step("4"))].concat();
    let two_frames = [zstd(&format!("{}\n", step("5"))), zstd(&step("6"))].concat();
    let big = format!("[{}]", (0..4000).map(|n| step(&format!("big-{n}"))).collect::<Vec<_>>().join(","));
    let bodies = [
        ("gzip", gzip(&step("1")), 1),
        ("GZIP", gzip(&step("2")), 1),
        ("gzip", two_members, 2),
        ("zstd", two_frames, 2),
        ("zstd", zstd(&big), 4000),
        ("identity", step("7").into_bytes(), 1),
    ];
    for (encoding, body, accepted) in bodies {
        let reply = bench.post("/v1/steps", &[("content-encoding", encoding)], body).await;
        assert_eq!(reply.summary(), (200, accepted, 0, vec![]), "{encoding}");
    }
}

#[tokio::test]
async fn a_full_log_answers_429_and_acknowledges_nothing() {
    let bench = Bench::with(|config| config.retry_after = martingale_platform::config::Span::from_millis(1_500));
    bench.log.faults(|faults| faults.full = true);
    let reply = bench.steps(format!("[{},{{}}]", step("1"))).await;
    assert_eq!((reply.status.as_u16(), reply.retry_after()), (429, Some("2")));
    assert_eq!(reply.json()["error"]["reason"], "busy");
    assert_eq!(bench.outcomes("http_steps"), [0, 0, 0, 2, 0]);
    assert_eq!(bench.count("martingale_ingest_requests_refused_total", &[("cause", "log_full")]), 1);

    bench.log.faults(|faults| (faults.full, faults.fail_next_append) = (false, true));
    let reply = bench.steps(step("1")).await;
    assert_eq!((reply.status.as_u16(), reply.retry_after()), (503, Some("2")));
    assert_eq!(bench.records("steps").await.len(), 0);
    assert_eq!(bench.steps(step("1")).await.summary(), (200, 1, 0, vec![]));
}

#[tokio::test]
async fn what_the_earlier_chunks_of_a_failed_request_left_is_a_duplicate_when_it_is_sent_again() {
    let bench = Bench::with(|config| config.append_records_max = 2);
    let body = format!("[{}]", (0..5).map(|n| step(&n.to_string())).collect::<Vec<_>>().join(","));
    // What the first chunk of it would have left behind.
    let first = format!("[{},{}]", step("0"), step("1"));
    assert_eq!(bench.steps(first).await.summary(), (200, 2, 0, vec![]));
    bench.log.faults(|faults| faults.full = true);
    assert_eq!(bench.steps(body.clone()).await.status.as_u16(), 429);
    bench.log.faults(|faults| faults.full = false);
    assert_eq!(bench.steps(body).await.summary(), (200, 3, 2, vec![]));
    assert_eq!(bench.records("steps").await.len(), 5);
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_turned_away() {
    let bench = Bench::with(|config| {
        (config.body_bytes_max, config.inflated_bytes_max, config.inflight_bytes_max) = (200, 200, 200);
    });
    let mut held = bench.ingest.0.budget.share();
    held.grow(150).expect("room");
    let reply = bench.steps(step("1")).await;
    assert_eq!((reply.status.as_u16(), reply.retry_after()), (429, Some("1")));
    assert_eq!(bench.count("martingale_ingest_requests_refused_total", &[("cause", "inflight")]), 1);
    drop(held);
    assert_eq!(bench.steps(step("1")).await.summary(), (200, 1, 0, vec![]));
}
