use std::sync::Arc;

use martingale_schemas::Kind;
use serde_json::{Value, json};

use super::Content;
use crate::otlp::map::context::Context;
use crate::otlp::map::draft::{Agent, Who};
use crate::otlp::map::message::{Role, messages, parts};
use crate::otlp::map::view::View;

fn said(input: &Value, output: &Value) -> Vec<(Kind, String)> {
    let agent = Agent { id: "a".to_owned(), name: None, version: None };
    let who = Arc::new(Who { session_id: "s".to_owned(), agent, environment: None, principal: None });
    let context = Context::of_moment(&mut View::default(), who, "t-s".to_owned(), 1, usize::MAX);
    let content = Content {
        system: parts(json!("Be brief.")),
        input: messages(input.clone(), Role::User),
        output: messages(output.clone(), Role::Assistant),
    };
    content.said(&context, "t-s").steps.into_iter().map(|it| (it.kind, it.step_id)).collect()
}

/// A conversation of `u` (user) and `a` (assistant) turns, as a call that is told all but the last of them sees it.
fn turns(told: &[&str]) -> Value {
    let message = |text: &&str| {
        let role = if text.starts_with('u') { "user" } else { "assistant" };
        json!({"role": role, "parts": [{"type": "text", "content": text}]})
    };
    Value::Array(told.iter().map(message).collect())
}

/// How many distinct steps the calls of a conversation give; `window` is how many messages each of them is told.
fn distinct(conversation: &[&str], window: usize) -> usize {
    let mut ids = std::collections::BTreeSet::new();
    for at in 0..conversation.len() {
        if conversation[at].starts_with('a') {
            let told = &conversation[at.saturating_sub(window)..at];
            ids.extend(said(&turns(told), &turns(&conversation[at..=at])).into_iter().map(|(_, id)| id));
        }
    }
    // The system prompt is one of them.
    ids.len() - 1
}

#[test]
fn a_message_is_one_step_however_often_it_is_told() {
    let conversation = ["u1", "a1", "u2", "a2", "u3", "a3"];
    assert_eq!(distinct(&conversation, usize::MAX), 6);
    let same_words = ["u go on", "a done", "u go on", "a done", "u go on", "a done"];
    assert_eq!(distinct(&same_words, usize::MAX), 6, "said again is not told again");
}

#[test]
fn a_history_that_forgets_its_beginning_makes_few_new_steps() {
    let conversation: Vec<String> = (0..50).flat_map(|n| [format!("u{n}"), format!("a{n}")]).collect();
    let conversation: Vec<&str> = conversation.iter().map(String::as_str).collect();
    // The first message of each window has lost the one before it: one step more for each of the 44 calls whose window
    // has moved. By index it would be all eleven.
    assert_eq!(distinct(&conversation, 11), 100 + 44);
}

#[test]
fn system_messages_and_reasoning_do_not_move_what_follows() {
    let plain = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "he"}]);
    let more = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "ho"}]},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "he"}
    ]);
    let of = |value: &Value| -> Vec<String> {
        let kinds = [Kind::UserMessage, Kind::AssistantMessage];
        said(value, &json!([])).into_iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, id)| id).collect()
    };
    assert_eq!(of(&plain), of(&more));
    assert_eq!(of(&plain).len(), 3);
}

#[test]
fn calls_and_results_have_the_id_of_the_call() {
    let long = "x".repeat(200);
    let output = json!([{"role": "assistant", "parts": [
        {"type": "tool_call", "id": "call-1", "name": "t"},
        {"type": "tool_call", "id": long, "name": "t"},
        {"type": "tool_call", "id": "a\nb", "name": "t"},
        {"type": "tool_call", "name": "t", "arguments": 1},
        {"type": "tool_call", "name": "t", "arguments": 2}
    ]}]);
    let steps = said(&json!([]), &output);
    let ids: Vec<&str> = steps[1..].iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids[0], "call:call-1");
    assert!(ids.iter().all(|id| id.len() <= 128 && !id.contains('\n')), "{ids:?}");
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 5);
}
