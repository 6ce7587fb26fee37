//! A trace that is exported in two requests, children first, gives the steps it gives in one.

use std::collections::BTreeSet;
use std::slice::from_ref;

use serde_json::{Value, json};

use super::TRACE;
use crate::tests::Bench;

fn span(id: u64, parent: u64, name: &str, attributes: &[(&str, &str)]) -> Value {
    let attribute = |(key, value): &(&str, &str)| json!({"key": key, "value": {"stringValue": value}});
    let at = 1_767_225_600 + id;
    json!({
        "traceId": TRACE,
        "spanId": format!("{id:016x}"),
        "parentSpanId": if parent > 0 { format!("{parent:016x}") } else { String::new() },
        "name": name,
        "startTimeUnixNano": format!("{at}000000000"),
        "endTimeUnixNano": format!("{at}500000000"),
        "attributes": attributes.iter().map(attribute).collect::<Vec<_>>()
    })
}

/// Kind, id and causes of the steps that the requests give.
async fn steps(requests: &[&[Value]]) -> BTreeSet<String> {
    let bench = Bench::new();
    for spans in requests {
        let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string();
        let reply = bench.post("/v1/traces", &[("content-type", "application/json")], body).await;
        assert_eq!(reply.status.as_u16(), 200);
    }
    let steps = bench.records("steps").await;
    steps.iter().map(|it| format!("{} {} {}", it["kind"], it["step_id"], it["causes"])).collect()
}

#[tokio::test]
async fn an_agent_under_a_web_server_begins_the_session_either_way() {
    let server = span(1, 0, "POST /chat", &[("http.request.method", "POST")]);
    let said = r#"[{"role":"assistant","content":"Done."}]"#;
    let agent = [("gen_ai.operation.name", "invoke_agent"), ("gen_ai.output.messages", said)];
    let agent = span(2, 1, "invoke_agent a", &agent);
    let together = steps(&[&[server.clone(), agent.clone()]]).await;
    assert_eq!(steps(&[&[agent], &[server]]).await, together);
    let kinds: Vec<&str> = together.iter().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(kinds, ["\"final_message\"", "\"session_start\""]);
    assert!(together.iter().any(|it| it.starts_with("\"session_start\"") && it.ends_with("null")), "{together:?}");
}

#[tokio::test]
async fn a_call_is_one_step_when_model_and_tool_come_apart() {
    let asked =
        r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"0","name":"w","arguments":{"a":1,"b":2}}]}]"#;
    let chat = span(1, 3, "chat m", &[("gen_ai.operation.name", "chat"), ("gen_ai.output.messages", asked)]);
    let tool = [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "w"),
        ("gen_ai.tool.call.id", "0"),
        ("gen_ai.tool.call.arguments", r#"{"b": 2, "a": 1}"#),
        ("gen_ai.tool.call.result", "7"),
    ];
    let tool = span(2, 3, "execute_tool w", &tool);
    let ids = |steps: BTreeSet<String>| -> Vec<String> {
        steps.iter().filter_map(|it| it.split(' ').nth(1)).map(str::to_owned).collect()
    };
    let together = ids(steps(&[&[tool.clone(), chat.clone()]]).await);
    assert_eq!(together.len(), 3, "{together:?}");
    assert_eq!(ids(steps(&[from_ref(&chat), from_ref(&tool)]).await), together);
    assert_eq!(ids(steps(&[&[tool], &[chat]]).await), together);
}
