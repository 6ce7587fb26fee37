//! Small requests that would be large in memory, over HTTP and gRPC: refused, counted, and the next one is taken.

use std::io::Write as _;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;

use super::{chat, chat_operation, traces};
use crate::tests::Bench;

/// A chat span whose input is `messages`, as JSON in a string.
fn said(span: u64, messages: &str) -> Value {
    let mut attributes = chat_operation();
    let list = attributes.as_array_mut().expect("a list");
    list.push(json!({"key": "gen_ai.input.messages", "value": {"stringValue": messages}}));
    chat(span, &attributes)
}

fn listed(messages: usize) -> String {
    format!("[{}\"a\"]", "\"a\",".repeat(messages - 1))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn messages_beyond_the_limit_of_steps_are_refused_with_their_span() {
    let few = |config: &mut crate::Config| config.request_steps_max = 10;
    // A model call and nine messages fit; ten do not, and the smaller span after it does.
    for (messages, status, outcomes) in [(9, 200, [10, 0, 0, 0, 0]), (10, 413, [0, 0, 1, 0, 0])] {
        let bench = Bench::with(few);
        let body = said(1, &listed(messages)).to_string();
        let reply = bench.post("/v1/traces", &[("content-type", "application/json")], body).await;
        assert_eq!((reply.status.as_u16(), bench.outcomes("otlp_traces")), (status, outcomes), "{messages}");
    }
    let bench = Bench::with(few);
    let mut both = said(1, &listed(10));
    let small = said(2, &listed(2))["resourceSpans"][0].clone();
    both["resourceSpans"].as_array_mut().expect("a list").push(small);
    let reply = bench.post("/v1/traces", &[("content-type", "application/json")], both.to_string()).await.json();
    assert_eq!(reply["partialSuccess"]["rejectedSpans"], 1, "{reply}");
    let message = reply["partialSuccess"]["errorMessage"].as_str().expect("text");
    assert!(message.contains("#0 too_many") && message.contains("10 steps"), "{message}");
    assert_eq!(bench.outcomes("otlp_traces"), [3, 0, 1, 0, 0]);
    assert_eq!(bench.records("dead_letter").await.len(), 1);
}

#[tokio::test]
async fn what_unpacks_to_a_multiple_of_itself_is_refused() {
    let bombs = [listed(400_000), format!("[{}{{}}]", "{},".repeat(100_000)), "[".repeat(400_000)];
    for bomb in bombs {
        let request = traces(&said(1, &bomb));
        let body = gzip(&request.encode_to_vec());
        assert!(body.len() < 100_000, "{}", body.len());
        let bench = Bench::new();
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
        let reply = bench.post("/v1/traces", &headers, body).await;
        assert_eq!((reply.status.as_u16(), bench.outcomes("otlp_traces")), (413, [0, 0, 1, 0, 0]), "{bomb:.20}");

        let client = TraceServiceClient::new(bench.ingest.otlp_grpc());
        let refused = client.send_compressed(Gzip).export(request).await.expect_err("a bomb");
        assert_eq!((refused.code(), bench.outcomes("otlp_traces")), (Code::ResourceExhausted, [0, 0, 2, 0, 0]));
        assert!(refused.details().is_empty(), "sent again it is no smaller");
    }
}

#[tokio::test]
async fn what_decodes_to_a_multiple_of_itself_is_refused() {
    let spans = vec![Span::default(); 1_100_000];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let protobuf = gzip(&request.encode_to_vec());
    drop(request);
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(2_100_000));
    for (kind, body) in [("application/x-protobuf", protobuf), ("application/json", gzip(json.as_bytes()))] {
        let bench = Bench::new();
        let reply = bench.post("/v1/traces", &[("content-type", kind), ("content-encoding", "gzip")], body).await;
        assert_eq!(reply.status.as_u16(), 413, "{kind}");
        let refused = &[("door", "otlp_traces"), ("cause", "body")];
        assert_eq!(bench.count("martingale_ingest_requests_refused_total", refused), 1, "{kind}");
        assert_eq!(bench.outcomes("otlp_traces"), [0; 5]);
        let next = chat(1, &chat_operation()).to_string();
        let reply = bench.post("/v1/traces", &[("content-type", "application/json")], next).await;
        assert_eq!(reply.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn a_dead_letter_is_no_way_around_the_limit() {
    let bench = Bench::with(|config| config.request_steps_max = 10);
    let body = said(1, &listed(10)).to_string();
    bench.post("/v1/traces", &[("content-type", "application/json")], body).await;
    let answer = bench.post("/v1/dead-letters/replay", &[], r#"{"all":true}"#).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["reason"]), (&json!(0), &json!("too_many")), "{answer}");
}
