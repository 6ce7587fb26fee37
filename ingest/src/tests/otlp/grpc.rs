//! The services over gRPC, without a socket.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::json;
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;

use super::{chat, chat_operation, traces};
use crate::tests::Bench;

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

#[tokio::test]
async fn back_pressure_is_a_code_exporters_send_again_for() {
    let bench = Bench::with(|config| {
        (config.body_bytes_max, config.inflated_bytes_max, config.inflight_bytes_max) = (1024, 1024, 1024);
    });
    let mut client = TraceServiceClient::new(bench.ingest.otlp_grpc());
    let mut held = bench.ingest.0.budget.share();
    held.grow(1000).expect("room");
    let refused = client.export(traces(&chat(1, &chat_operation()))).await.expect_err("no room");
    assert_eq!(refused.code(), Code::Unavailable);
    drop(held);
    bench.log.faults(|faults| faults.full = true);
    let refused = client.export(traces(&chat(1, &chat_operation()))).await.expect_err("a full log");
    assert_eq!(refused.code(), Code::Unavailable);
    bench.log.faults(|faults| faults.full = false);
    assert!(client.export(traces(&chat(1, &chat_operation()))).await.is_ok());
    assert_eq!(bench.outcomes("otlp_traces"), [1, 0, 0, 1, 0]);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let bench = Bench::with(|config| (config.body_bytes_max, config.inflated_bytes_max) = (1024, 1024));
    let mut client = TraceServiceClient::new(bench.ingest.otlp_grpc()).send_compressed(Gzip);
    let long = json!([{"key": "k", "value": {"stringValue": "x".repeat(100_000)}}]);
    let refused = client.export(traces(&chat(1, &long))).await.expect_err("too large");
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
    assert_eq!(bench.outcomes("otlp_traces"), [0; 5]);
}
