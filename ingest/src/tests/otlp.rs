//! OTLP as exporters send it: every fixture over HTTP in both encodings, the services over gRPC, and what is no OTLP.

mod bombs;
mod fixtures;
mod grpc;
mod http;
mod split;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::{Value, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A request with one chat span of these attributes.
fn chat(span: u64, attributes: &Value) -> Value {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": TRACE,
        "spanId": format!("{span:016x}"),
        "name": "chat m",
        "startTimeUnixNano": "1767225600000000000",
        "endTimeUnixNano": "1767225601000000000",
        "attributes": attributes
    }]}]}]})
}

fn chat_operation() -> Value {
    json!([{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}])
}

fn traces(request: &Value) -> ExportTraceServiceRequest {
    serde_json::from_value(request.clone()).expect("OTLP JSON")
}
