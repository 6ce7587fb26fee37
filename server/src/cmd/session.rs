//! `sessions`, `timeline` and `why`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::sql::text;
use crate::cli::{Output, Sessions, Timeline, Why};
use crate::client::Client;
use crate::output::{Paint, Table, decision_paint, note, painted, plain, say, say_json};

/// Longest content of a step in a timeline; `why` and `--json` show more.
const CONTENT_CHARS_MAX: usize = 100;

/// Most steps of the chain that `why` shows to people.
const CHAIN_STEPS_MAX: usize = 12;

pub(crate) async fn sessions(args: Sessions) -> Result<ExitCode> {
    let limit = args.limit.to_string();
    let query = [("agent", args.agent.as_deref()), ("limit", Some(limit.as_str()))];
    show(&args.output, &["v1", "sessions"], &query, sessions_text).await
}

pub(crate) async fn timeline(args: Timeline) -> Result<ExitCode> {
    show(&args.output, &["v1", "sessions", &args.session, "timeline"], &[], timeline_text).await
}

pub(crate) async fn why(args: Why) -> Result<ExitCode> {
    show(&args.output, &["v1", "sessions", &args.session, "steps", &args.step, "why"], &[], why_text).await
}

async fn show(
    output: &Output,
    path: &[&str],
    query: &[(&str, Option<&str>)],
    shown: fn(&Value) -> String,
) -> Result<ExitCode> {
    let answer = Client::new(&output.server)?.get(path, query).await?;
    if output.json {
        say_json(&answer)?;
    } else {
        say(shown(&answer).trim_end())?;
        if answer["truncated"] == true {
            note("there is more than was shown");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn sessions_text(answer: &Value) -> String {
    const COLUMNS: [&str; 7] = ["session_id", "agent_id", "agent_version", "steps", "findings", "decision", "last_at"];
    let mut table = Table::new(COLUMNS);
    for session in list(answer, "sessions") {
        table.row(COLUMNS.map(|column| {
            let value = match column {
                "last_at" => text(&session["last_at"]),
                "decision" => first(session, &["decision", "standing"]),
                column => text(&session[column]),
            };
            let paint = if column == "decision" { decision_paint(&value) } else { Paint::Plain };
            (value, paint)
        }));
    }
    table.to_string()
}

fn timeline_text(answer: &Value) -> String {
    let mut table = Table::new(["step", "time", "kind", "tool", "decision", "content", "found"]);
    for step in list(answer, "steps") {
        let decision = text(&step["decision"]);
        let found: Vec<_> = list(step, "findings")
            .iter()
            .map(|it| format!("{}: {}", text(&it["rule"]), text(&it["message"])))
            .collect();
        table.row([
            (text(&step["step_id"]), Paint::Plain),
            (clock(&step["time"]), Paint::Dim),
            (kind(step), Paint::Plain),
            (text(&step["tool"]), Paint::Plain),
            (decision.clone(), decision_paint(&decision)),
            (plain(&content(step), CONTENT_CHARS_MAX).into_owned(), Paint::Plain),
            (found.join("; "), Paint::Notice),
        ]);
    }
    table.to_string()
}

fn why_text(answer: &Value) -> String {
    let step = if answer["step"].is_object() { &answer["step"] } else { answer };
    let decision = first(answer, &["decision"]);
    let decision = if decision.is_empty() { text(&step["decision"]) } else { decision };
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{name:<10} {}\n", plain(value, 2_000)));
        }
    };
    line("step", &format!("{} {} {}", text(&step["step_id"]), kind(step), text(&step["tool"])));
    line("time", &text(&step["time"]));
    line("agent", &format!("{} {}", first(step, &["agent_id"]), first(step, &["agent_version"])));
    line("content", &content(step));
    out.push_str(&format!("{:<10} {}\n", "decision", painted(&plain(&decision, 40), decision_paint(&decision))));
    for finding in list(answer, "findings") {
        let [rule, mode, opinion, message] = ["rule", "mode", "decision", "message"].map(|it| text(&finding[it]));
        let head = format!("{rule} ({mode}: {opinion})");
        out.push_str(&format!(
            "\n{}\n  {}\n",
            painted(&plain(&head, 200), decision_paint(&opinion)),
            plain(&message, 2_000)
        ));
        let evidence: Vec<_> = list(finding, "evidence").iter().map(text).collect();
        out.push_str(&format!("  evidence: {}\n", plain(&evidence.join(", "), 2_000)));
    }
    out.push_str(&chain(answer));
    out
}

/// What led to the step, nearest first: each step once, with what says that it did.
fn chain(answer: &Value) -> String {
    let steps = list(answer, "steps");
    let step = |id: &str| steps.iter().find(|it| it["step_id"] == *id).unwrap_or(&Value::Null);
    let (mut table, mut shown) = (Table::new(["led to it", "kind", "tool", "content", "by"]), Vec::new());
    for edge in list(answer, "edges") {
        let from = text(&edge["from"]);
        if shown.contains(&from) {
            continue;
        }
        if shown.len() == CHAIN_STEPS_MAX {
            return format!("\n{table}…\n(--json shows the whole chain)\n");
        }
        let led = step(&from);
        let by = format!("{} edge to {}: {}", text(&edge["kind"]), text(&edge["to"]), text(&edge["because"]));
        let about = plain(&content(led), CONTENT_CHARS_MAX).into_owned();
        table.row([from.clone(), kind(led), text(&led["tool"]), about, by].map(|it| (it, Paint::Plain)));
        shown.push(from);
    }
    if shown.is_empty() { String::new() } else { format!("\n{table}") }
}

fn first(value: &Value, fields: &[&str]) -> String {
    fields.iter().map(|field| &value[*field]).find(|it| !it.is_null()).map_or_else(String::new, text)
}

/// The kind, and the actor where several act in one session.
fn kind(step: &Value) -> String {
    match step["agent_name"].as_str() {
        Some(actor) => format!("{} ({actor})", text(&step["kind"])),
        None => text(&step["kind"]),
    }
}

/// What a step says, asks or answers.
fn content(step: &Value) -> String {
    first(step, &["text", "input", "output", "error_message"])
}

/// The time of day; the day is the session's.
fn clock(time: &Value) -> String {
    let time = text(time);
    time.split_once('T')
        .map_or_else(|| time.clone(), |(_, clock)| clock.trim_end_matches('Z').chars().take(12).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{timeline_text, why_text};

    #[test]
    fn a_timeline_shows_what_was_done_and_decided() {
        let shown = timeline_text(&json!({ "steps": [
            { "step_id": "1", "time": "2026-01-01T10:00:00.123456Z", "kind": "user_message", "text": "hi\u{1b}[2J", "decision": "allow" },
            { "step_id": "2", "time": "2026-01-01T10:00:01Z", "kind": "tool_call", "tool": "rm", "input": { "p": 1 }, "decision": "halt",
              "findings": [{ "rule": "secret", "message": "no" }] },
        ] }));
        for text in ["10:00:00.123", "hi␛[2J", "tool_call", "{\"p\":1}", "halt", "secret: no"] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn why_names_evidence_and_edges() {
        let shown = why_text(&json!({
            "step": { "step_id": "4", "kind": "tool_call", "tool": "send", "decision": "halt", "agent_id": "a" },
            "findings": [{ "rule": "secret", "mode": "enforce", "decision": "halt", "message": "left\u{7}", "evidence": ["2", "4"] }],
            "edges": [
                { "from": "2", "to": "4", "kind": "declared", "because": "named" },
                { "from": "2", "to": "3", "kind": "structural", "because": "twice" },
            ],
            "steps": [{ "step_id": "2", "kind": "tool_result", "output": "key\u{1b}" }],
        }));
        assert!(!shown.contains("twice"), "a step of the chain is shown once:\n{shown}");
        for text in [
            "4 tool_call send",
            "halt",
            "secret (enforce: halt)",
            "left␇",
            "evidence: 2, 4",
            "declared edge to 4: named",
            "key␛",
        ] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
    }
}
