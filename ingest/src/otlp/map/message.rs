//! Chat messages in the spellings that instrumentations use: OpenTelemetry GenAI parts, OpenAI and Anthropic messages,
//! and OpenInference's unflattened ones.

use serde_json::{Map, Value};

use super::view::unpacked;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Reasoning(String),
    Call {
        id: Option<String>,
        name: Option<String>,
        arguments: Option<Value>,
    },
    Response {
        id: Option<String>,
        response: Option<Value>,
        failed: bool,
    },
    /// A picture, a file, or a part of a kind not known yet.
    Other(Value),
}

impl Role {
    fn of(name: &str, default: Self) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "system" | "developer" => Self::System,
            "user" | "human" => Self::User,
            "assistant" | "model" | "ai" | "agent" => Self::Assistant,
            "tool" | "function" => Self::Tool,
            _ => default,
        }
    }
}

/// Messages of a list, of one message, or of bare text said by `default`.
pub(super) fn messages(value: Value, default: Role) -> Vec<Message> {
    match unpacked(value) {
        Value::Array(list) => list.into_iter().filter_map(|it| message(it, default)).collect(),
        Value::Object(mut map) => match map.remove("messages") {
            Some(list @ Value::Array(_)) => messages(list, default),
            Some(other) => {
                map.insert("messages".to_owned(), other);
                message(Value::Object(map), default).into_iter().collect()
            }
            None => message(Value::Object(map), default).into_iter().collect(),
        },
        other => message(other, default).into_iter().collect(),
    }
}

/// Parts without a role, as system instructions have.
pub(super) fn parts(value: Value) -> Vec<Part> {
    match unpacked(value) {
        Value::Array(list) => list.into_iter().filter_map(part).collect(),
        other => part(other).into_iter().collect(),
    }
}

pub(super) fn message(value: Value, default: Role) -> Option<Message> {
    let mut map = match value {
        Value::Object(map) => map,
        Value::Null => return None,
        other => return part(other).map(|it| Message { role: default, parts: vec![it] }),
    };
    // `{"message": {…}}`: OpenInference, and the choice of a legacy event.
    if let Some(inner) = map.remove("message") {
        return message(unpacked(inner), default);
    }
    let role = map.get("role").and_then(Value::as_str).map_or(default, |name| Role::of(name, default));
    let mut found = Vec::new();
    if let Some(text) = text(&mut map, &["reasoning_content"]) {
        found.push(Part::Reasoning(text));
    }
    let content = ["parts", "content", "contents"].into_iter().find_map(|name| map.remove(name)).map(unpacked_list);
    let answers =
        text(&mut map, &["tool_call_id"]).or_else(|| if role == Role::Tool { text(&mut map, &["id"]) } else { None });
    match (role, content) {
        (Role::Tool, content) if answers.is_some() && !is_parts(content.as_ref()) => {
            found.push(Part::Response { id: answers, response: content.map(unpacked), failed: false });
        }
        (_, Some(Value::Array(list))) => found.extend(list.into_iter().filter_map(part)),
        (_, Some(other)) => found.extend(part(other)),
        (_, None) => {}
    }
    if let Some(Value::Array(calls)) = map.remove("tool_calls").map(unpacked) {
        found.extend(calls.into_iter().filter_map(|it| match it {
            Value::Object(map) => Some(call(map)),
            _ => None,
        }));
    }
    if let Some(Value::Object(function)) = map.remove("function_call").map(unpacked) {
        found.push(call(function));
    }
    if let Some(name) = text(&mut map, &["function_call_name"]) {
        let arguments = map.remove("function_call_arguments_json").map(unpacked);
        found.push(Part::Call { id: None, name: Some(name), arguments });
    }
    (!found.is_empty()).then_some(Message { role, parts: found })
}

/// Text that is a JSON list of parts; other text is what was said, even where it is JSON.
fn unpacked_list(value: Value) -> Value {
    match &value {
        Value::String(text) if text.trim_start().starts_with("[{") => match unpacked(value.clone()) {
            list if is_parts(Some(&list)) => list,
            _ => value,
        },
        _ => value,
    }
}

fn is_parts(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Array(list)) if list.iter().all(|it| it.get("type").is_some() || it.get("message_content").is_some()))
}

fn part(value: Value) -> Option<Part> {
    let mut map = match value {
        Value::String(text) => return (!text.is_empty()).then_some(Part::Text(text)),
        Value::Object(map) => map,
        Value::Null => return None,
        other => return Some(Part::Other(other)),
    };
    if let Some(Value::Object(inner)) = map.remove("message_content") {
        map = inner;
    }
    let untyped = || if map.contains_key("text") { "text" } else { "" };
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_else(untyped).to_owned();
    match kind.as_str() {
        "text" | "input_text" | "output_text" => text(&mut map, &["content", "text"]).map(Part::Text),
        "reasoning" | "thinking" => text(&mut map, &["content", "text", "thinking"]).map(Part::Reasoning),
        "tool_call" | "tool_use" | "function_call" | "server_tool_call" => Some(call(map)),
        "tool_call_response" | "tool_result" | "function_call_output" | "server_tool_call_response" => {
            let id = text(&mut map, &["id", "tool_use_id", "tool_call_id", "call_id"]);
            let failed = map.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            let response = ["response", "result", "content", "output", "server_tool_call_response"]
                .into_iter()
                .find_map(|name| map.remove(name))
                .map(unpacked);
            Some(Part::Response { id, response, failed })
        }
        _ => Some(Part::Other(Value::Object(map))),
    }
}

fn call(mut map: Map<String, Value>) -> Part {
    if let Some(Value::Object(inner)) = map.remove("tool_call") {
        map = inner;
    }
    let id = text(&mut map, &["id", "call_id", "tool_call_id"]);
    if let Some(Value::Object(function)) = map.remove("function") {
        map = function;
    }
    let arguments =
        ["arguments", "input", "args", "server_tool_call"].into_iter().find_map(|name| map.remove(name)).map(unpacked);
    Part::Call { id, name: text(&mut map, &["name"]), arguments: arguments.filter(|it| !it.is_null()) }
}

fn text(map: &mut Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match map.get(*name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
