//! An agent that is instrumented with OpenTelemetry: spans with the GenAI names, as protobuf over HTTP.

use std::net::SocketAddr;

use anyhow::Result;
use martingale_schemas::{Timestamp, ids};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::scenarios::Scenario;
use crate::cli::Server;
use crate::client::Client;

/// One span after the other, a third of a second each.
const SPAN_MICROS: i64 = 300_000;

/// # Errors
/// When the spans are not taken whole.
pub(super) async fn send(_: &Client, otlp_http: SocketAddr, scenario: &Scenario, begin: Timestamp) -> Result<()> {
    let client = Client::new(&Server { server: format!("http://{otlp_http}"), token: None })?;
    let body = export(scenario, begin).encode_to_vec();
    let request = client.request(Method::POST, &["v1", "traces"], &[]);
    let answer = client.send(request.header(CONTENT_TYPE, "application/x-protobuf").body(body)).await?;
    let answer = ExportTraceServiceResponse::decode(answer.bytes().await?)?;
    if let Some(partial) = answer.partial_success.filter(|it| it.rejected_spans > 0) {
        anyhow::bail!("{} spans of the demo were not taken: {}", partial.rejected_spans, partial.error_message);
    }
    Ok(())
}

/// The session as one trace: the agent's span, and in it one for each model call and tool call.
fn export(scenario: &Scenario, begin: Timestamp) -> ExportTraceServiceRequest {
    let session = scenario.session.as_str();
    let trace_id = ids::digest(&[session.as_bytes()]).to_vec();
    let mut spans = Vec::new();
    let mut add = |name: String, parent: Option<Vec<u8>>, length: i64, attributes: Vec<KeyValue>| {
        let at = spans.len();
        let start = begin.plus_micros(i64::try_from(at).unwrap_or(0) * SPAN_MICROS);
        let span_id = ids::digest(&[session.as_bytes(), &at.to_le_bytes()])[..8].to_vec();
        spans.push(Span {
            trace_id: trace_id.clone(),
            span_id: span_id.clone(),
            parent_span_id: parent.unwrap_or_default(),
            name,
            kind: 1,
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(start.plus_micros(length)),
            attributes,
            ..Span::default()
        });
        span_id
    };
    let common = |operation: &str| {
        vec![
            text("gen_ai.operation.name", operation),
            text("gen_ai.conversation.id", session),
            text("gen_ai.agent.id", scenario.agent),
            text("gen_ai.agent.name", scenario.agent),
            text("gen_ai.agent.version", scenario.version),
        ]
    };
    let whole = i64::try_from(scenario.script.len()).unwrap_or(0) * SPAN_MICROS;
    let root = add(format!("invoke_agent {}", scenario.agent), None, whole, common("invoke_agent"));
    for (at, step) in scenario.script.iter().enumerate() {
        let field = |name: &str| step[name].as_str().unwrap_or_default();
        match field("kind") {
            "user_message" => {
                let messages = json!([{ "role": "user", "parts": [{ "type": "text", "content": field("text") }] }]);
                let attributes =
                    [text("gen_ai.request.model", "demo-model"), json_text("gen_ai.input.messages", &messages)];
                add(
                    "chat demo-model".into(),
                    Some(root.clone()),
                    SPAN_MICROS,
                    [common("chat"), attributes.into()].concat(),
                );
            }
            "final_message" => {
                let messages = json!([{ "role": "assistant", "parts": [{ "type": "text", "content": field("text") }], "finish_reason": "stop" }]);
                let attributes =
                    [text("gen_ai.request.model", "demo-model"), json_text("gen_ai.output.messages", &messages)];
                add(
                    "chat demo-model".into(),
                    Some(root.clone()),
                    SPAN_MICROS,
                    [common("chat"), attributes.into()].concat(),
                );
            }
            "tool_call" => {
                let result = scenario.script.get(at + 1).map_or(&Value::Null, |it| &it["output"]);
                let attributes = [
                    text("gen_ai.tool.name", field("tool")),
                    text("gen_ai.tool.call.id", &format!("call-{at}")),
                    json_text("gen_ai.tool.call.arguments", &step["input"]),
                    json_text("gen_ai.tool.call.result", result),
                ];
                let name = format!("execute_tool {}", field("tool"));
                add(name, Some(root.clone()), SPAN_MICROS, [common("execute_tool"), attributes.into()].concat());
            }
            _ => {}
        }
    }
    let resource = Resource {
        attributes: vec![text("service.name", scenario.agent), text("deployment.environment.name", "demo")],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "martingale.demo".into(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }],
    }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0).saturating_mul(1_000)
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn json_text(key: &str, value: &Value) -> KeyValue {
    text(key, &value.to_string())
}
