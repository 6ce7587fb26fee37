//! The real OpenTelemetry SDK and its GenAI helpers emit; the session reads right.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, python};

async fn check(protocol: &str) {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let endpoint = if protocol == "grpc" { &server.otlp_grpc } else { &server.otlp_http };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/emit_otel.py");
    let emitted = Command::new(python).args([script, protocol, endpoint, "conversation-7"]).output().expect("runs");
    let said = String::from_utf8_lossy(&emitted.stderr);
    assert!(emitted.status.success() && !said.contains("Failed to export"), "{said}");

    server.count_reaches("SELECT count(*) FROM steps WHERE text = '7 degrees in Oslo.'", 1).await;
    let (status, timeline) = server.get("/v1/sessions/conversation-7/timeline").await;
    assert_eq!(status, 200, "{timeline}");
    let steps = timeline["steps"].as_array().expect("steps");
    let of = |kind: &str| -> Vec<&Value> { steps.iter().filter(|it| it["kind"] == kind).collect() };
    let shown = || serde_json::to_string_pretty(&timeline).unwrap_or_default();

    assert_eq!(of("user_message").len(), 1, "a message repeated in a later span is the same step: {}", shown());
    assert_eq!(of("user_message")[0]["text"], "What is the weather in Oslo?", "{}", shown());
    assert_eq!(of("model_call").len(), 2, "{}", shown());
    assert_eq!(of("tool_call").len(), 1, "asked for by the model and run by a span: one call: {}", shown());
    assert_eq!(of("tool_call")[0]["tool"], "get_weather", "{}", shown());
    assert_eq!(of("tool_call")[0]["input"]["city"], "Oslo", "{}", shown());
    assert_eq!(of("tool_result").len(), 1, "{}", shown());
    assert_eq!(of("tool_result")[0]["output"]["celsius"], 7, "{}", shown());
    let last = steps.iter().rev().find(|it| !it["text"].is_null()).expect("a last word");
    assert_eq!(last["text"], "7 degrees in Oslo.", "{}", shown());

    let rows = server
        .sql(
            "SELECT agent_id, agent_version, environment, sum(input_tokens), sum(output_tokens) FROM steps \
              WHERE session_id = 'conversation-7' AND kind = 'model_call' GROUP BY ALL",
        )
        .await;
    assert_eq!(rows.len(), 1, "one agent throughout: {rows:?}");
    assert_eq!(rows[0][1..], [Value::from("1.4.0"), "staging".into(), 61.into(), 15.into()], "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_over_grpc_reads_right_in_the_timeline() {
    check("grpc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_over_http_reads_right_in_the_timeline() {
    check("http").await;
}
