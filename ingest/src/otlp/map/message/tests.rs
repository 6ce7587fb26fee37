use serde_json::{Value, json};

use super::{Message, Part, Role, messages, parts};

fn text(it: &str) -> Part {
    Part::Text(it.to_owned())
}

fn call(id: Option<&str>, name: &str, arguments: Value) -> Part {
    Part::Call { id: id.map(str::to_owned), name: Some(name.to_owned()), arguments: Some(arguments) }
}

fn response(id: &str, response: Value, failed: bool) -> Part {
    Part::Response { id: Some(id.to_owned()), response: Some(response), failed }
}

#[test]
fn each_spelling_is_understood() {
    let city = || json!({"city": "Oslo"});
    let cases: Vec<(&str, Value, Role, Vec<Part>)> = vec![
        ("bare text", json!("hi"), Role::User, vec![text("hi")]),
        ("text that is no JSON", json!("[1, 2"), Role::User, vec![text("[1, 2")]),
        (
            "parts",
            json!([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]),
            Role::User,
            vec![text("hi")],
        ),
        ("a JSON string", json!(r#"[{"role":"user","content":"hi"}]"#), Role::User, vec![text("hi")]),
        (
            "an object of messages",
            json!({"messages": [{"role": "human", "content": "hi"}]}),
            Role::User,
            vec![text("hi")],
        ),
        ("an unknown role", json!({"role": "oracle", "content": "hi"}), Role::User, vec![text("hi")]),
        ("a developer", json!({"role": "developer", "content": "hi"}), Role::System, vec![text("hi")]),
        ("Gemini's text", json!({"role": "model", "parts": [{"text": "hi"}]}), Role::Assistant, vec![text("hi")]),
        (
            "content that is JSON is what was said",
            json!({"role": "user", "content": "{\"a\": 1}"}),
            Role::User,
            vec![text("{\"a\": 1}")],
        ),
        (
            "content that is parts as JSON",
            json!({"role": "user", "content": "[{\"type\": \"text\", \"text\": \"hi\"}]"}),
            Role::User,
            vec![text("hi")],
        ),
        (
            "OpenAI's calls",
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "w", "arguments": "{\"city\": \"Oslo\"}"}}
            ]}),
            Role::Assistant,
            vec![call(Some("1"), "w", city())],
        ),
        (
            "OpenAI's older call",
            json!({"role": "assistant", "function_call": {"name": "w", "arguments": "{\"city\": \"Oslo\"}"}}),
            Role::Assistant,
            vec![call(None, "w", city())],
        ),
        (
            "OpenAI's result",
            json!({"role": "tool", "tool_call_id": "1", "content": "{\"city\": \"Oslo\"}"}),
            Role::Tool,
            vec![response("1", city(), false)],
        ),
        (
            "Anthropic's",
            json!({"role": "user", "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "tool_use", "id": "1", "name": "w", "input": {"city": "Oslo"}},
                {"type": "tool_result", "tool_use_id": "1", "content": "no", "is_error": true}
            ]}),
            Role::User,
            vec![Part::Reasoning("hm".to_owned()), call(Some("1"), "w", city()), response("1", json!("no"), true)],
        ),
        (
            "OpenInference's",
            json!({"message": {"role": "assistant", "contents": [{"message_content": {"type": "text", "text": "hi"}}],
                "tool_calls": [{"tool_call": {"id": "1", "function": {"name": "w", "arguments": "{\"city\": \"Oslo\"}"}}}]}}),
            Role::Assistant,
            vec![text("hi"), call(Some("1"), "w", city())],
        ),
        (
            "both spellings of a response",
            json!({"role": "tool", "parts": [
                {"type": "tool_call_response", "id": "1", "result": 1},
                {"type": "tool_call_response", "id": "2", "response": 2}
            ]}),
            Role::Tool,
            vec![response("1", json!(1), false), response("2", json!(2), false)],
        ),
        (
            "a part of a kind not known yet",
            json!({"role": "user", "parts": [{"type": "uri", "uri": "http://x"}]}),
            Role::User,
            vec![Part::Other(json!({"type": "uri", "uri": "http://x"}))],
        ),
    ];
    for (what, value, role, expected) in cases {
        assert_eq!(messages(value, Role::User), [Message { role, parts: expected }], "{what}");
    }
}

#[test]
fn what_says_nothing_is_no_message() {
    for value in
        [json!(null), json!([]), json!({}), json!(""), json!([null, {"role": "user"}, {"role": "user", "content": ""}])]
    {
        assert_eq!(messages(value.clone(), Role::User), [], "{value}");
    }
    assert_eq!(parts(json!([{"type": "text", "content": ""}, null])), []);
}
