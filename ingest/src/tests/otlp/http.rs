//! `/v1/traces` and `/v1/logs`: what is no OTLP, and what is too much of it.

use std::io::Write as _;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::json;

use super::{chat, chat_operation, traces};
use crate::tests::Bench;

/// `google.rpc.Status`, read independently of how it was written.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[tokio::test]
async fn what_is_no_otlp_is_refused_in_its_encoding() {
    let deep = format!("{}1{}", r#"{"arrayValue":{"values":["#.repeat(200), "]}}".repeat(200));
    let deep = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{{"key":"k","value":{deep}}}]}}]}}]}}]}}"#
    );
    let json_cases: [(&str, &str, u16, &str); 8] = [
        ("/v1/traces", "{", 400, "EOF"),
        ("/v1/traces", "[]", 400, "no object"),
        ("/v1/logs", "[]", 400, "no object"),
        ("/v1/traces", r#"{"resourceSpans":7}"#, 400, "invalid type"),
        ("/v1/traces", r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xy"}]}]}]}"#, 400, "character"),
        ("/v1/traces", &deep, 400, "recursion limit"),
        ("/v2/traces", "{}", 404, "/v1/traces"),
        ("/v1/metrics", "{}", 404, "/v1/traces"),
    ];
    for (path, body, status, says) in json_cases {
        let bench = Bench::new();
        let reply = bench.post(path, &[("content-type", "application/json; charset=utf-8")], body.to_owned()).await;
        assert_eq!(reply.status.as_u16(), status, "{path} {body:.80}");
        let answer = reply.json();
        assert!(
            answer["code"].is_number() && answer["message"].as_str().is_some_and(|it| it.contains(says)),
            "{answer}"
        );
        let letters = bench.records("dead_letter").await.len();
        assert_eq!(letters, usize::from(status == 400), "{path} {body:.80}");
    }
    let not_utf8 = [&[0x0a, 0x0d, 0x12, 0x0b, 0x12, 0x09, 0x2a, 0x07][..], b"na\xff\xfe\xfdme"].concat();
    let gzip_of = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    };
    let cut = gzip_of(&traces(&chat(1, &chat_operation())).encode_to_vec());
    let protobuf_cases: [(&[u8], Option<&str>, u16, i32); 5] = [
        (&[0xff; 64], None, 400, 3),
        (&not_utf8, None, 400, 3),
        (&cut[..cut.len() / 2], Some("gzip"), 400, 3),
        (b"", Some("br"), 415, 3),
        (&gzip_of(&vec![0; 65 << 20]), Some("gzip"), 413, 8),
    ];
    for (body, encoding, status, code) in protobuf_cases {
        let mut headers = vec![("content-type", "application/x-protobuf")];
        headers.extend(encoding.map(|it| ("content-encoding", it)));
        let reply = Bench::new().post("/v1/traces", &headers, body.to_vec()).await;
        assert_eq!(
            (reply.status.as_u16(), reply.headers["content-type"].as_bytes()),
            (status, &b"application/x-protobuf"[..])
        );
        let answer = Status::decode(&*reply.body).expect("google.rpc.Status");
        assert!(answer.code == code && !answer.message.is_empty(), "{answer:?}");
    }
    for content_type in ["text/plain", "application/xml", ""] {
        let reply = Bench::new().post("/v1/traces", &[("content-type", content_type)], "hello").await;
        assert_eq!(reply.status.as_u16(), 415, "{content_type}");
    }
}

#[tokio::test]
async fn what_a_newer_sender_adds_is_passed_over() {
    let mut bytes = traces(&chat(1, &chat_operation())).encode_to_vec();
    // Field 99 of the request, a string no version knows.
    bytes.extend_from_slice(&[0x9a, 0x06, 0x03, b'n', b'e', b'w']);
    let bench = Bench::new();
    let reply = bench.post("/v1/traces", &[("content-type", "application/x-protobuf")], bytes).await;
    let answer = ExportTraceServiceResponse::decode(&*reply.body).expect("an answer");
    assert_eq!((reply.status.as_u16(), answer.partial_success), (200, None));
    assert_eq!(bench.outcomes("otlp_traces"), [1, 0, 0, 0, 0]);
}

#[tokio::test]
async fn encodings_are_undone() {
    let bench = Bench::new();
    let body = chat(1, &chat_operation()).to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body.as_bytes()).expect("memory");
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(bench.post("/v1/traces", &headers, encoder.finish().expect("memory")).await.status.as_u16(), 200);
    assert_eq!(bench.outcomes("otlp_traces"), [1, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_hundred_thousand_attributes_are_cut_and_counted() {
    let mut attributes: Vec<_> =
        (0..100_000).map(|n| json!({"key": format!("k{n}"), "value": {"intValue": "1"}})).collect();
    attributes.extend(chat_operation().as_array().cloned().unwrap_or_default());
    let long = "x".repeat(1 << 20);
    attributes.push(json!({"key": "a.long", "value": {"stringValue": long}}));
    attributes.push(json!({"key": "a".repeat(10_000), "value": {"intValue": "1"}}));
    let bench = Bench::new();
    let body = chat(1, &json!(attributes)).to_string();
    assert_eq!(bench.post("/v1/traces", &[("content-type", "application/json")], body).await.status.as_u16(), 200);
    assert_eq!(bench.outcomes("otlp_traces"), [1, 0, 0, 0, 0]);
    let step = &bench.records("steps").await[0]["attributes"];
    let kept = step.as_object().expect("attributes");
    assert!((200..=256).contains(&kept.len()), "{}", kept.len());
    assert!(step["otel.dropped_attributes_count"].as_u64().is_some_and(|it| it > 99_000), "{}", kept.len());
    assert_eq!(step["a.long_truncated_from"], (1 << 20) + 2);
}

#[tokio::test]
async fn back_pressure_is_told_in_otlp_terms() {
    let bench = Bench::new();
    bench.log.faults(|faults| faults.full = true);
    let body = chat(1, &chat_operation()).to_string();
    let reply = bench.post("/v1/traces", &[("content-type", "application/json")], body.clone()).await;
    assert_eq!((reply.status.as_u16(), reply.retry_after(), &reply.json()["code"]), (429, Some("1"), &json!(8)));
    bench.log.faults(|faults| (faults.full, faults.fail_next_append) = (false, true));
    let reply = bench.post("/v1/traces", &[("content-type", "application/json")], body).await;
    assert_eq!((reply.status.as_u16(), reply.retry_after(), &reply.json()["code"]), (503, Some("1"), &json!(14)));
    assert_eq!(bench.records("steps").await.len(), 0);
}

#[tokio::test]
async fn a_refused_span_can_be_replayed_once_it_could_be_taken() {
    let strict = Bench::with(|config| config.limits.id_bytes_max = 40);
    let body = chat(1, &chat_operation());
    let reply = strict.post("/v1/traces", &[("content-type", "application/json")], body.to_string()).await;
    assert_eq!(reply.json()["partialSuccess"]["rejectedSpans"], 1);
    // One that is whole, but in protobuf and of another encoding than it says, stays replayable as well.
    let headers = [("content-type", "application/json")];
    strict.post("/v1/traces", &headers, traces(&chat(2, &chat_operation())).encode_to_vec()).await;
    let bench = Bench::over(strict.log.reopen(), crate::Config::default());
    let answer = bench.post("/v1/dead-letters/replay", &[], r#"{"all":true}"#).await.json();
    assert_eq!((&answer["replayed"], &answer["accepted"]), (&json!(2), &json!(2)), "{answer}");
}

#[tokio::test]
async fn doubles_that_json_has_no_number_for_are_taken_as_text() {
    let double = |name: &str, value: serde_json::Value| json!({"key": name, "value": {"doubleValue": value}});
    let attributes = json!([
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        double("a", json!("NaN")),
        double("b", json!("-Infinity")),
        double("c", json!(0.5)),
        {"key": "d", "value": {"stringValue": r#"{"doubleValue":"NaN"}"#}},
        {"key": "doubleValue", "value": {"stringValue": "doubleValue"}}
    ]);
    let bench = Bench::new();
    let body = chat(1, &attributes).to_string();
    let reply = bench.post("/v1/traces", &[("content-type", "application/json")], body).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json());
    let is = &bench.records("steps").await[0]["attributes"];
    let expected = [("a", json!("NaN")), ("b", json!("-Infinity")), ("c", json!(0.5))];
    let other = [("d", json!(r#"{"doubleValue":"NaN"}"#)), ("doubleValue", json!("doubleValue"))];
    for (name, value) in expected.into_iter().chain(other) {
        assert_eq!(is[name], value, "{name}");
    }
    // Where it is no text, the place is named.
    let body = chat(1, &json!([double("a", json!({}))])).to_string();
    let reply = bench.post("/v1/traces", &[("content-type", "application/json")], body).await;
    let message = reply.json()["message"].as_str().expect("text").to_owned();
    assert!(reply.status.as_u16() == 400 && message.contains("expected f64 at line 1 column"), "{message}");
}
