//! Spans per second through the OTLP door on one core: protobuf in, steps on a log in memory out.

use axum::body::Body;
use axum::http::Request;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use martingale_ingest::{Config, Ingest};
use martingale_platform::clock::Clock;
use martingale_platform::log::{Cleanup, MemoryLog, TopicSpec};
use martingale_schemas::topics;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prometheus::Registry;
use prost::Message as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// What exporters send at once by default.
const SPANS: u64 = 512;

fn attribute((key, value): &(&str, &str)) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// A model call that sees a question, a tool's call and its result, and answers.
fn chat(id: u64) -> Vec<Value> {
    let (input, output) = (
        format!(
            r#"[{{"role":"user","parts":[{{"type":"text","content":"What is the weather in Oslo, and what should I wear for a long walk? ({id})"}}]}},{{"role":"assistant","parts":[{{"type":"tool_call","id":"call-{id}","name":"get_weather","arguments":{{"city":"Oslo"}}}}]}},{{"role":"tool","parts":[{{"type":"tool_call_response","id":"call-{id}","response":{{"celsius":7,"wind":"light"}}}}]}}]"#
        ),
        r#"[{"role":"assistant","parts":[{"type":"text","content":"It is 7 degrees in Oslo with a light wind. A coat will do, and a hat if you stay out."}],"finish_reason":"stop"}]"#,
    );
    let texts = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4o"),
        ("gen_ai.response.model", "gpt-4o-2024-08-06"),
        ("gen_ai.conversation.id", "conversation-7"),
        ("gen_ai.agent.name", "weather"),
        ("server.address", "api.openai.com"),
        ("gen_ai.input.messages", &input),
        ("gen_ai.output.messages", output),
    ];
    let counts = [("gen_ai.usage.input_tokens", "412"), ("gen_ai.usage.output_tokens", "31"), ("server.port", "443")];
    let counts = counts.map(|(key, value)| json!({"key": key, "value": {"intValue": value}}));
    texts.iter().map(attribute).chain(counts).collect()
}

fn tool(id: u64) -> Vec<Value> {
    let call = format!("call-{id}");
    let texts = [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "get_weather"),
        ("gen_ai.tool.type", "function"),
        ("gen_ai.tool.call.id", &call),
        ("gen_ai.conversation.id", "conversation-7"),
        ("gen_ai.tool.call.arguments", r#"{"city":"Oslo"}"#),
        ("gen_ai.tool.call.result", r#"{"celsius":7,"wind":"light"}"#),
    ];
    texts.iter().map(attribute).collect()
}

fn request(name: &str, attributes: fn(u64) -> Vec<Value>) -> Vec<u8> {
    let span = |id: u64| {
        json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "spanId": format!("{:016x}", id + 1),
            "name": name,
            "kind": 3,
            "startTimeUnixNano": (1_767_225_600_000_000_000 + id).to_string(),
            "endTimeUnixNano": (1_767_225_601_000_000_000 + id).to_string(),
            "attributes": attributes(id)
        })
    };
    let resource = [("service.name", "travel-desk"), ("service.version", "1.4.0")];
    let resource = json!({"attributes": resource.iter().map(attribute).collect::<Vec<_>>()});
    let spans: Vec<Value> = (0..SPANS).map(span).collect();
    let request = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
    serde_json::from_value::<ExportTraceServiceRequest>(request).expect("OTLP").encode_to_vec()
}

fn door() -> axum::Router {
    let specs = [topics::STEPS, topics::DEAD_LETTER].map(|topic| TopicSpec { topic, cleanup: Cleanup::Retain });
    let clock = Clock::manual(1_767_225_700_000_000);
    let log = MemoryLog::new(1, &specs, clock.clone());
    let ingest = Ingest::new(Config::default(), log, clock, &Registry::new(), None).expect("a valid config");
    ingest.otlp_http_router()
}

fn otlp(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = c.benchmark_group("otlp_spans");
    group.throughput(Throughput::Elements(SPANS));
    for (name, body) in [("chat", request("chat gpt-4o", chat)), ("tool", request("execute_tool get_weather", tool))] {
        group.bench_function(format!("{name}_decode_only"), |b| {
            b.iter(|| ExportTraceServiceRequest::decode(&*body));
        });
        group.bench_function(name, |b| {
            // A new log each time: on an old one every step is a duplicate.
            b.iter_batched(
                door,
                |door| {
                    let request = Request::post("/v1/traces").header("content-type", "application/x-protobuf");
                    let request = request.body(Body::from(body.clone())).expect("a request");
                    let answer = runtime.block_on(door.oneshot(request)).expect("infallible");
                    assert!(answer.status().is_success());
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, otlp);
criterion_main!(benches);
