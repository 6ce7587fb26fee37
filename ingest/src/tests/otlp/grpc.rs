//! The services over gRPC, without a socket.

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use serde_json::json;
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;

use super::{chat, chat_operation, traces};
use crate::tests::{Bench, Reply};

#[tokio::test]
async fn traces_and_logs_are_taken_with_partial_success() {
    let bench = Bench::new();
    let mut client = TraceServiceClient::new(bench.ingest.otlp_grpc()).send_compressed(Gzip).accept_compressed(Gzip);
    let answer = client.export(traces(&chat(1, &chat_operation()))).await.expect("taken").into_inner();
    assert_eq!(answer.partial_success, None);
    let partial = client.export(traces(&chat(0, &chat_operation()))).await.expect("taken").into_inner();
    let partial = partial.partial_success.expect("a partial success");
    assert_eq!(partial.rejected_spans, 1);
    assert!(
        partial.error_message.starts_with("1 spans rejected: #0 invalid_otlp: `spanId`"),
        "{}",
        partial.error_message
    );
    assert_eq!(bench.outcomes("otlp_traces"), [1, 0, 1, 0, 0]);

    let record =
        json!({"eventName": "gen_ai.user.message", "attributes": [{"key": "content", "value": {"stringValue": "hi"}}]});
    let request: ExportLogsServiceRequest =
        serde_json::from_value(json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))
            .expect("OTLP JSON");
    let mut client = LogsServiceClient::new(bench.ingest.otlp_grpc());
    let partial = client.export(request).await.expect("taken").into_inner().partial_success.expect("a partial success");
    assert_eq!(partial.rejected_log_records, 1);
    assert!(partial.error_message.contains("no session"), "{}", partial.error_message);
}

/// Seconds of the `google.rpc.RetryInfo` among the details, read independently of how they were written.
fn retry_after(status: &tonic::Status) -> Option<i64> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Details {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(message, optional, tag = "2")]
        value: Option<RetryInfo>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Duration>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Duration {
        #[prost(int64, tag = "1")]
        seconds: i64,
    }
    let details = Details::decode(status.details()).expect("google.rpc.Status").details;
    let retry = details.into_iter().find(|it| it.type_url == "type.googleapis.com/google.rpc.RetryInfo")?;
    Some(retry.value?.retry_delay?.seconds)
}

#[tokio::test]
async fn back_pressure_is_a_code_exporters_send_again_for() {
    let bench = Bench::with(|config| {
        (config.body_bytes_max, config.inflated_bytes_max, config.inflight_bytes_max) = (4096, 4096, 16_384);
    });
    let mut client = TraceServiceClient::new(bench.ingest.otlp_grpc());
    let mut held = bench.ingest.0.budget.share();
    held.grow(16_383).expect("room");
    let refused = client.export(traces(&chat(1, &chat_operation()))).await.expect_err("no room");
    assert_eq!((refused.code(), retry_after(&refused)), (Code::Unavailable, Some(1)));
    drop(held);
    bench.log.faults(|faults| faults.full = true);
    let refused = client.export(traces(&chat(1, &chat_operation()))).await.expect_err("a full log");
    assert_eq!((refused.code(), retry_after(&refused)), (Code::Unavailable, Some(1)));
    bench.log.faults(|faults| faults.full = false);
    client.export(traces(&chat(1, &chat_operation()))).await.expect("taken");
    assert_eq!(bench.outcomes("otlp_traces"), [1, 0, 0, 1, 0]);
    // All that was taken came back.
    assert_eq!(bench.ingest.0.budget.share().grow(16_384), Ok(()));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_counted() {
    let bench = Bench::with(|config| (config.body_bytes_max, config.inflated_bytes_max) = (1024, 1024));
    let long = traces(&chat(1, &json!([{"key": "k", "value": {"stringValue": "x".repeat(100_000)}}])));
    let client = || TraceServiceClient::new(bench.ingest.otlp_grpc());
    let refused = client().export(long.clone()).await.expect_err("too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let refused = client().send_compressed(Gzip).export(long).await.expect_err("too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(bench.outcomes("otlp_traces"), [0; 5]);
    let refused = &[("door", "otlp_traces"), ("cause", "body")];
    assert_eq!(bench.count("martingale_ingest_requests_refused_total", refused), 2);
}

/// Calls the trace service with these bytes as its body: status, message.
async fn call(bench: &Bench, encoding: Option<&str>, body: Body) -> (String, String) {
    let mut request = Request::post("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        .header("content-type", "application/grpc");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(body).expect("a request");
    let reply = Reply::of(bench.ingest.otlp_grpc().prepare().into_axum_router(), request).await;
    let text = |name: &str| reply.headers.get(name).map(|it| it.to_str().expect("text").to_owned()).unwrap_or_default();
    (text("grpc-status"), text("grpc-message"))
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

#[tokio::test]
async fn a_message_that_cannot_be_read_ends_as_one_over_http_does() {
    let good = traces(&chat(1, &chat_operation())).encode_to_vec();
    // Body, encoding, status, part of the message, rejected envelopes with a dead letter, requests turned away.
    type Case = (Vec<u8>, Option<&'static str>, &'static str, &'static str, u64, u64);
    let cases: [Case; 7] = [
        (framed(0, &[0xff; 64]), None, "3", "no%20OTLP", 1, 0),
        (framed(1, &good), Some("gzip"), "3", "gzip", 0, 1),
        (framed(1, &good), Some("br"), "12", "br", 0, 1),
        ([framed(0, &good), framed(0, &good)].concat(), None, "3", "more%20than%20one", 0, 1),
        (framed(0, &good)[..20].to_vec(), None, "3", "not%20whole", 0, 1),
        (Vec::new(), None, "3", "not%20whole", 0, 1),
        ([0, 0xff, 0xff, 0xff, 0xff].to_vec(), None, "8", "more%20than", 0, 1),
    ];
    for (at, (body, encoding, status, says, rejected, turned_away)) in cases.into_iter().enumerate() {
        let bench = Bench::new();
        let (is, message) = call(&bench, encoding, Body::from(body)).await;
        assert!(is == status && message.contains(says), "{at}: {is} {message}");
        assert_eq!(bench.outcomes("otlp_traces"), [0, 0, rejected, 0, 0], "{at}");
        assert_eq!(bench.records("dead_letter").await.len() as u64, rejected, "{at}");
        let refused = &[("door", "otlp_traces"), ("cause", "body")];
        assert_eq!(bench.count("martingale_ingest_requests_refused_total", refused), turned_away, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_is_given_up() {
    let bench = Bench::new();
    let good = framed(0, &traces(&chat(1, &chat_operation())).encode_to_vec());
    let begun = futures::stream::iter([Ok::<_, std::io::Error>(good[..20].to_vec())]).chain(futures::stream::pending());
    let (status, message) = call(&bench, None, Body::from_stream(begun)).await;
    assert_eq!((status.as_str(), message.contains("30s")), ("4", true), "{message}");
}

#[tokio::test]
async fn a_method_of_another_service_is_unknown() {
    let router = Bench::new().ingest.otlp_grpc().prepare().into_axum_router();
    let request = Request::post("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
    let reply = Reply::of(router, request.body(Body::empty()).expect("a request")).await;
    assert_eq!(reply.headers["grpc-status"], "12");
}
