//! The steps that led to one, in an order that a reader can follow.
//!
//! Each cause is followed back to where it began before the next one is taken up. A step with one cause stands straight
//! above it; where several meet, each of their chains is indented by one, so that two of them are told apart.

use std::collections::HashMap;

use serde_json::Value;

use super::{CONTENT_CHARS_MAX, content, kind, list};
use crate::cmd::sql::text;
use crate::output::{Paint, Table, plain};

/// Most steps that are shown to people.
const STEPS_MAX: usize = 24;
/// Farthest that a chain is indented.
const INDENT_MAX: usize = 12;

/// A step of the session asked about, or of the one it descends from.
type Key = (Option<String>, String);

pub(super) fn shown(answer: &Value) -> String {
    let chain = in_order(answer);
    if chain.is_empty() {
        return String::new();
    }
    let mut table = Table::with_sentences(["led to it", "kind", "tool", "content", "by"], &["content", "by"]);
    for (depth, edge) in chain.iter().take(STEPS_MAX) {
        let (session, from) = source(edge);
        let led = list(answer, "steps")
            .iter()
            .find(|it| it["step_id"] == *from && session.as_ref().is_none_or(|session| it["session_id"] == **session));
        let led = led.unwrap_or(&Value::Null);
        // What it gave is told whatever it was first reached by: values say more than an order that a producer declares.
        let gave = |it: &&Value| it["kind"] == "value" && !std::ptr::eq(*it, *edge) && source(it) == source(edge);
        let all = std::iter::once(*edge).chain(list(answer, "edges").iter().filter(gave));
        let said = |it: &Value| format!("{} edge to {}: {}", text(&it["kind"]), text(&it["to"]), text(&it["because"]));
        let by = all.map(said).collect::<Vec<_>>().join("; ");
        let about = plain(&content(led), CONTENT_CHARS_MAX).into_owned();
        let of = session.map_or_else(String::new, |it| format!(" of {it}"));
        let name = format!("{}{from}{of}", "  ".repeat((*depth).min(INDENT_MAX)));
        table.row([name, kind(led), text(&led["tool"]), about, by].map(|it| (it, Paint::Plain)));
    }
    let more = if chain.len() > STEPS_MAX { "…\n(--json shows the whole chain)\n" } else { "" };
    format!("\n{table}{more}")
}

/// Depth first from the step asked about: every step once, with its indentation and the edge it was first reached by.
fn in_order(answer: &Value) -> Vec<(usize, &Value)> {
    let mut causes: HashMap<Key, Vec<&Value>> = HashMap::new();
    for edge in list(answer, "edges") {
        causes.entry((None, text(&edge["to"]))).or_default().push(edge);
    }
    let asked: Key = (None, text(&answer["step"]["step_id"]));
    let mut known = vec![asked.clone()];
    let mut open: Vec<(usize, &Value)> = Vec::new();
    let mut order = Vec::new();
    let mut at = Some((0, asked));
    while let Some((depth, step)) = at.take() {
        // A cause that was reached on another way is shown there.
        let new: Vec<&Value> = causes.remove(&step).unwrap_or_default();
        let new: Vec<&Value> = new.into_iter().filter(|it| !known.contains(&source(it))).collect();
        let depth = depth + usize::from(new.len() > 1);
        open.extend(new.into_iter().rev().map(|it| (depth, it)));
        while let Some((depth, edge)) = open.pop() {
            let from = source(edge);
            if !known.contains(&from) {
                known.push(from.clone());
                order.push((depth, edge));
                at = Some((depth, from));
                break;
            }
        }
    }
    order
}

fn source(edge: &Value) -> Key {
    (edge["from_session"].as_str().map(ToOwned::to_owned), text(&edge["from"]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{in_order, shown, source};

    /// `from>to` in the order the server sends them; what comes out is each step behind its indentation.
    fn check(edges: &str, expected: &[&str]) {
        let edge = |edge: &str| {
            let (from, to) = edge.split_once('>').expect("from>to");
            match from.split_once('/') {
                Some((session, from)) => json!({ "from": from, "from_session": session, "to": to }),
                None => json!({ "from": from, "to": to }),
            }
        };
        let edges: Vec<Value> = edges.split_whitespace().map(edge).collect();
        let answer = json!({ "step": { "step_id": "9" }, "edges": edges });
        let order = in_order(&answer).into_iter();
        let order: Vec<String> = order.map(|(depth, it)| format!("{}{}", "-".repeat(depth), source(it).1)).collect();
        assert_eq!(order, expected, "{edges:?}");
    }

    #[test]
    fn one_chain_is_told_to_its_end_before_the_next_begins() {
        check("", &[]);
        check("8>9 7>8 6>7", &["8", "7", "6"]);
        check("8>9 5>9 7>8 4>5 3>4", &["-8", "-7", "-5", "-4", "-3"]);
        check("8>9 7>8 6>8 5>7 4>6", &["8", "-7", "-5", "-6", "-4"]);
    }

    #[test]
    fn every_step_is_told_once_and_circles_end() {
        check("8>9 7>9 7>8 6>7", &["-8", "-7", "-6"]);
        check("8>9 9>8 8>8", &["8"]);
        check("8>9 p/9>8", &["8", "9"]);
    }

    #[test]
    fn steps_of_two_sessions_with_one_name_are_told_apart() {
        let shown = shown(&json!({
            "step": { "step_id": "1" },
            "edges": [{ "from": "1", "from_session": "p\u{1b}", "to": "1", "kind": "structural", "because": "was here" }],
            "steps": [
                { "session_id": "c", "step_id": "1", "kind": "user_message", "text": "child" },
                { "session_id": "p\u{1b}", "step_id": "1", "kind": "spawn", "text": "parent" },
            ],
        }));
        assert!(shown.contains("1 of p␛") && shown.contains("parent") && !shown.contains("child"), "{shown}");
    }
}
