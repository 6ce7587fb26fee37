use std::cell::RefCell;
use std::sync::Arc;

use martingale_schemas::Kind;
use serde_json::{Value, json};

use super::Content;
use crate::otlp::map::context::{Context, Standing};
use crate::otlp::map::draft::{Agent, Who};
use crate::otlp::map::message::{Role, messages, parts};
use crate::otlp::map::view::View;

fn said(input: &Value, output: &Value) -> Vec<(Kind, String)> {
    said_in("s", input, output)
}

/// Of the session `s`, which is named where the trace is another.
fn said_in(trace: &str, input: &Value, output: &Value) -> Vec<(Kind, String)> {
    let agent = Agent { id: "a".to_owned(), name: None, version: None };
    let who = Who {
        session_id: "s".to_owned(),
        agent,
        environment: None,
        principal: None,
        root_session_id: None,
        parent_session_id: None,
    };
    let (asked, base) = (RefCell::default(), "t-s".to_owned());
    let standing = Standing {
        who: Arc::new(who),
        trace: trace.to_owned(),
        asked: &asked,
        base,
        parent: None,
        top: false,
        steps_max: usize::MAX,
    };
    let context = Context::of_moment(&mut View::default(), standing, 1);
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

/// How many distinct steps the calls of a conversation give; `window` is how many messages each of them is told, and
/// `trace` that of the call that answers at an index.
fn distinct(conversation: &[&str], window: usize, trace: fn(usize) -> String) -> usize {
    let mut ids = std::collections::BTreeSet::new();
    for at in 0..conversation.len() {
        if conversation[at].starts_with('a') {
            let told = &conversation[at.saturating_sub(window)..at];
            let said = said_in(&trace(at), &turns(told), &turns(&conversation[at..=at]));
            ids.extend(said.into_iter().map(|(_, id)| id));
        }
    }
    // The system prompt is one of them.
    ids.len() - 1
}

/// Whether the session is the trace, is named in one trace, or goes on over one trace a turn.
const TRACES: [fn(usize) -> String; 3] = [|_| "s".to_owned(), |_| "t".to_owned(), |at| format!("t{at}")];

#[test]
fn a_message_is_one_step_however_often_it_is_told() {
    let conversation = ["u1", "a1", "u2", "a2", "u3", "a3"];
    let same_words = ["u go on", "a done", "u go on", "a done", "u go on", "a done"];
    for trace in TRACES {
        assert_eq!(distinct(&conversation, usize::MAX, trace), 6);
        assert_eq!(distinct(&same_words, usize::MAX, trace), 6, "said again is not told again");
    }
}

#[test]
fn a_history_that_is_kept_elsewhere_loses_nothing_said_again() {
    let same_words = ["u yes", "a Done.", "u yes", "a Done.", "u yes", "a Done."];
    assert_eq!(distinct(&same_words, 1, TRACES[2]), 6);
}

#[test]
fn a_history_that_forgets_its_beginning_makes_few_new_steps() {
    let conversation: Vec<String> = (0..50).flat_map(|n| [format!("u{n}"), format!("a{n}")]).collect();
    let conversation: Vec<&str> = conversation.iter().map(String::as_str).collect();
    // The first message of each window has lost the one before it: one step more for each of the 44 calls whose window
    // has moved. By index it would be all eleven.
    assert_eq!(distinct(&conversation, 11, TRACES[0]), 100 + 44);
    // In a session that is named, the oldest turn is told by its own spans.
    assert_eq!(distinct(&conversation, 11, TRACES[2]), 100);
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
    assert!(ids[0].starts_with("call:call-1:"), "{ids:?}");
    assert!(ids.iter().all(|id| id.len() <= 128 && !id.contains('\n')), "{ids:?}");
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 5);
}

#[test]
fn a_call_is_known_by_more_than_its_id() {
    let call = |name: &str, arguments: Value| json!({"role": "assistant", "parts": [{"type": "tool_call", "id": "call_0", "name": name, "arguments": arguments}]});
    let answer = json!({"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_0", "response": 1}]});
    let user = |text: &str| json!({"role": "user", "content": text});
    let of = |kind: Kind, trace: &str, input: Value, output: Value| -> Vec<String> {
        said_in(trace, &input, &output).into_iter().filter(|(is, _)| *is == kind).map(|(_, id)| id).collect()
    };
    let search = || call("search", json!({"q": "x", "n": 1}));
    let asked = of(Kind::ToolCall, "t", json!([user("u")]), json!([search()]));
    // Told again by a history, with the names in another order: the same. Another tool, other arguments, another trace, or
    // once more after it: others.
    let again = call("search", json!("{\"n\": 1, \"q\": \"x\"}"));
    assert_eq!(of(Kind::ToolCall, "t", json!([user("u"), again, answer]), json!([])), asked);
    for (trace, other) in [
        ("t", call("send_email", json!({"q": "x", "n": 1}))),
        ("t", call("search", json!({"q": "y"}))),
        ("t2", search()),
    ] {
        assert_ne!(of(Kind::ToolCall, trace, json!([user("u")]), json!([other])), asked);
    }
    let twice = of(Kind::ToolCall, "t", json!([user("u"), search(), answer]), json!([search()]));
    assert!(twice[0] == asked[0] && twice[1] != asked[0], "{twice:?}");
    let results = of(Kind::ToolResult, "t", json!([user("u"), search(), answer, search(), answer]), json!([]));
    assert_ne!(results[0], results[1]);
    // Of an earlier turn: told by its own trace, and still counted.
    let before = json!([user("u"), search(), answer, {"role": "assistant", "content": "a"}, user("v")]);
    assert_eq!(of(Kind::ToolResult, "t2", before.clone(), json!([])), Vec::<String>::new());
    let later = of(Kind::ToolCall, "t2", before, json!([search()]));
    assert!(later.len() == 1 && later != asked, "{later:?}");
}
