//! `sessions`, `timeline` and `why`.

mod chain;

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::sql::text;
use crate::cli::{Output, Sessions, Timeline, Why};
use crate::client::Client;
use crate::output::{Paint, Table, decision_paint, note, opinion, painted, plain, say, say_json};

/// Longest content of a step in a timeline; `why` and `--json` show more.
const CONTENT_CHARS_MAX: usize = 100;

/// Steps of one page of a timeline.
const PAGE_STEPS: usize = 1_000;

pub(crate) async fn sessions(args: Sessions) -> Result<ExitCode> {
    let limit = args.limit.to_string();
    let query = [("agent", args.agent.as_deref()), ("limit", Some(limit.as_str()))];
    let answer = Client::new(&args.output.server)?.get(&["v1", "sessions"], &query).await?;
    show(&args.output, &answer, "raise --limit", sessions_text)
}

pub(crate) async fn timeline(args: Timeline) -> Result<ExitCode> {
    let all = history(&Client::new(&args.output.server)?, &args.session, args.limit as usize).await?;
    show(&args.output, &all, "raise --limit", timeline_text)
}

/// The timeline of a session, page by page, up to so many steps.
///
/// # Errors
/// When the server does not tell it.
pub(super) async fn history(client: &Client, session: &str, steps_max: usize) -> Result<Value> {
    let path = ["v1", "sessions", session, "timeline"];
    let mut all = Value::Null;
    let mut after: Option<String> = None;
    loop {
        let room = steps_max.saturating_sub(list(&all, "steps").len()).min(PAGE_STEPS);
        let query = [("limit", Some(room.to_string())), ("after", after.clone())];
        let query = query.each_ref().map(|(name, value)| (*name, value.as_deref()));
        let page = client.get(&path, &query).await?;
        // Without a place to go on from, or without a step, another request would bring the same page.
        let is_last = page["truncated"] != true || page["next"].is_null() || list(&page, "steps").is_empty();
        after = Some(text(&page["next"]));
        append(&mut all, page);
        if is_last || list(&all, "steps").len() >= steps_max {
            return Ok(all);
        }
    }
}

/// The steps and orders of a page behind those of the pages before; everything else as the last page says.
fn append(all: &mut Value, mut page: Value) {
    for field in ["steps", "orders"] {
        if let (Some(before), Some(more)) = (all[field].as_array_mut(), page[field].as_array_mut()) {
            before.append(more);
            std::mem::swap(before, more);
        }
    }
    *all = page;
}

pub(crate) async fn why(args: Why) -> Result<ExitCode> {
    let path = ["v1", "sessions", args.session.as_str(), "steps", args.step.as_str(), "why"];
    let answer = Client::new(&args.output.server)?.get(&path, &[]).await?;
    show(&args.output, &answer, "the chain goes farther back", why_text)
}

fn show(output: &Output, answer: &Value, remedy: &str, shown: fn(&Value) -> String) -> Result<ExitCode> {
    if output.json {
        say_json(answer)?;
    } else {
        say(shown(answer).trim_end())?;
        if answer["truncated"] == true {
            note(format_args!("there is more than was shown: {remedy}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn sessions_text(answer: &Value) -> String {
    const COLUMNS: [&str; 8] =
        ["session_id", "agent_id", "agent_version", "steps", "findings", "decision", "halted", "last_at"];
    let mut table = Table::with_sentences(COLUMNS, &[]);
    for session in list(answer, "sessions") {
        table.row(COLUMNS.map(|column| {
            match column {
                // The worst that was decided stays; whether its next step would be halted does not.
                "halted" if session[column] == true => ("halted".to_owned(), Paint::Bad),
                "halted" => (String::new(), Paint::Plain),
                "decision" => (text(&session[column]), decision_paint(&text(&session[column]))),
                column => (text(&session[column]), Paint::Plain),
            }
        }));
    }
    table.to_string()
}

fn timeline_text(answer: &Value) -> String {
    let mut table = Table::with_sentences(
        ["step", "time", "kind", "tool", "gate", "decision", "content", "found"],
        &["content", "found"],
    );
    let orders = list(answer, "orders");
    let mut told = 0;
    for step in list(answer, "steps") {
        // What was ordered stands in front of the first step that was judged under it.
        while let Some(order) = orders.get(told).filter(|it| holds(it, step)) {
            table.row(order_row(order));
            told += 1;
        }
        let decision = text(&step["decision"]);
        let found: Vec<_> = list(step, "findings")
            .iter()
            .map(|it| {
                let [rule, mode, decision, message] =
                    ["rule", "mode", "decision", "message"].map(|name| text(&it[name]));
                // What was enforced is in the column of the decision.
                let opinion = match mode.as_str() {
                    "enforce" | "" => String::new(),
                    mode => format!(" ({})", opinion(mode, &decision)),
                };
                format!("{rule}{opinion}: {message}")
            })
            .collect();
        table.row([
            (text(&step["step_id"]), Paint::Plain),
            (clock(&step["time"]), Paint::Dim),
            (kind(step), Paint::Plain),
            (text(&step["tool"]), Paint::Plain),
            (asked(step).to_owned(), Paint::Plain),
            (decision.clone(), decision_paint(&decision)),
            (plain(&content(step), CONTENT_CHARS_MAX).into_owned(), Paint::Plain),
            (found.join("; "), Paint::Notice),
        ]);
    }
    orders[told..].iter().for_each(|order| table.row(order_row(order)));
    table.to_string()
}

/// Whether a step was judged under an order. Where offsets are of two partitions they cannot be compared: an order tells
/// the place that it has in that of its step.
fn holds(order: &Value, step: &Value) -> bool {
    let here = order["partition"].is_null() || order["partition"] == step["partition"];
    here && order["before_offset"].as_u64() <= step["offset"].as_u64()
}

/// An order among the steps: what it was in the column of the decision, who gave it and for what in that of the content.
fn order_row(order: &Value) -> [(String, Paint); 8] {
    let action = text(&order["action"]);
    let [id, scope, of, reason] = ["control_id", "scope", "scope_id", "reason"].map(|it| text(&order[it]));
    let by = order["given_by"].as_str().map_or_else(String::new, |by| format!(" by {by}"));
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    let nothing = if order["changed"] == false { ", which changed nothing" } else { "" };
    [
        (id, Paint::Dim),
        (clock(&order["time"]), Paint::Dim),
        ("order".to_owned(), Paint::Notice),
        (String::new(), Paint::Plain),
        (String::new(), Paint::Plain),
        (action.clone(), decision_paint(&action)),
        (plain(&format!("{scope} {of}{by}{nothing}{reason}"), CONTENT_CHARS_MAX).into_owned(), Paint::Plain),
        (String::new(), Paint::Plain),
    ]
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
    line(
        "gate",
        match asked(step) {
            "asked" => "asked before it ran",
            "" => "",
            _ => "not asked: it was reported",
        },
    );
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
        if let Some(bound) = bound(finding) {
            out.push_str(&format!("  bound: {}\n", plain(&bound, 400)));
        }
    }
    out.push_str(&chain::shown(answer));
    out
}

fn first(value: &Value, fields: &[&str]) -> String {
    fields.iter().map(|field| &value[*field]).find(|it| !it.is_null()).map_or_else(String::new, text)
}

/// What a finding states of false alarms, in short.
fn bound(finding: &Value) -> Option<String> {
    let share = finding["bound_at_most"].as_f64()? * 100.0;
    let threshold = finding["bound_threshold"].as_f64()?;
    let [sessions, requests, assumes] =
        ["bound_sessions", "bound_requests", "bound_assumes"].map(|it| text(&finding[it]));
    let day = finding["bound_alarms_per_day"].as_f64().map_or_else(String::new, |it| format!(", {it:.2} alarms a day"));
    Some(format!(
        "at most {share:.0} % of sessions pass {threshold:.1}{day}; {sessions} sessions of {requests} requests, {assumes}"
    ))
}

/// The kind, and the actor where several act in one session.
fn kind(step: &Value) -> String {
    match step["agent_name"].as_str() {
        Some(actor) => format!("{} ({actor})", text(&step["kind"])),
        None => text(&step["kind"]),
    }
}

/// Whether the gate was asked about a step; nothing for those of before that was kept.
fn asked(step: &Value) -> &'static str {
    match step["gated"].as_bool() {
        Some(true) => "asked",
        Some(false) => "-",
        None => "",
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
    use serde_json::{Value, json};

    use super::{append, sessions_text, timeline_text, why_text};

    #[test]
    fn sessions_show_what_was_decided_and_what_stands() {
        let shown = sessions_text(&json!({ "sessions": [
            { "session_id": "s\u{1b}", "agent_id": "a", "steps": 3, "decision": "deny", "halted": true },
            { "session_id": "t", "agent_id": "a", "steps": 3, "decision": "halt", "halted": false },
        ] }));
        let rows: Vec<&str> = shown.lines().skip(2).collect();
        assert!(rows[0].contains("s␛") && rows[0].contains("deny") && rows[0].contains("halted"), "{shown}");
        assert!(rows[1].contains("halt") && !rows[1].contains("halted"), "{shown}");
    }

    #[test]
    fn pages_of_a_timeline_become_one() {
        let mut all = json!(null);
        append(&mut all, json!({ "steps": [1, 2], "orders": ["a"], "next": 7, "truncated": true }));
        append(&mut all, json!({ "steps": [3], "orders": ["b"], "next": null, "truncated": false }));
        assert_eq!(all, json!({ "steps": [1, 2, 3], "orders": ["a", "b"], "next": null, "truncated": false }));
    }

    #[test]
    fn orders_stand_where_they_came() {
        let order = |id: &str, action: &str, before: u64, more: Value| {
            let mut order = json!({ "control_id": id, "action": action, "scope": "session", "scope_id": "s",
                "before_offset": before, "time": "2026-01-01T10:00:00Z" });
            order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            order
        };
        let step = |id: &str, offset: u64| json!({ "step_id": id, "offset": offset, "kind": "plan" });
        let answer = json!({
            "steps": [step("one", 4), step("two", 9)],
            "orders": [
                order("c-1", "halt", 5, json!({ "given_by": "eve\u{1b}", "reason": "enough" })),
                order("c-2", "resume", 9, json!({ "changed": true })),
                order("c-3", "resume", 10, json!({ "changed": false })),
            ],
        });
        let shown = timeline_text(&answer);
        let firsts: Vec<_> = shown.lines().skip(2).filter_map(|it| it.split_whitespace().next()).collect();
        assert_eq!(firsts, ["one", "c-1", "c-2", "two", "c-3"], "{shown}");
        assert!(shown.contains("session s by eve␛: enough"), "{shown}");
        assert_eq!(shown.matches("which changed nothing").count(), 1, "{shown}");
        // Told in two partitions, of which the first has the larger offsets.
        let of = |id: &str, partition: u64, mut it: Value| {
            (it["partition"], it["control_id"], it["step_id"]) = (json!(partition), json!(id), json!(id));
            it
        };
        let shown = timeline_text(&json!({
            "steps": [of("one", 1, step("", 70)), of("two", 0, step("", 4)), of("three", 0, step("", 9))],
            "orders": [of("c-1", 0, order("", "halt", 9, json!({}))), of("c-2", 0, order("", "resume", 10, json!({})))],
        }));
        let firsts: Vec<_> = shown.lines().skip(2).filter_map(|it| it.split_whitespace().next()).collect();
        assert_eq!(firsts, ["one", "two", "c-1", "three", "c-2"], "{shown}");
        // A server that tells of none.
        assert!(timeline_text(&json!({ "steps": [step("one", 4)] })).contains("one"));
    }

    #[test]
    fn a_timeline_shows_what_was_done_and_decided() {
        let shown = timeline_text(&json!({ "steps": [
            { "step_id": "1", "time": "2026-01-01T10:00:00.123456Z", "kind": "user_message", "text": "hi\u{1b}[2J", "decision": "allow" },
            { "step_id": "2", "time": "2026-01-01T10:00:01Z", "kind": "tool_call", "tool": "rm", "input": { "p": 1 }, "decision": "halt", "gated": true,
              "findings": [
                { "rule": "secret", "mode": "enforce", "decision": "halt", "message": "no" },
                { "rule": "leak", "mode": "shadow", "decision": "deny", "message": "perhaps" },
              ] },
        ] }));
        for text in [
            "10:00:00.123",
            "hi␛[2J",
            "tool_call",
            "asked",
            "{\"p\":1}",
            "halt",
            "secret: no; leak (shadow: deny): perhaps",
        ] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn why_names_evidence_and_edges() {
        let shown = why_text(&json!({
            "step": { "step_id": "4", "kind": "tool_call", "tool": "send", "decision": "halt", "agent_id": "a", "gated": true },
            "findings": [{ "rule": "secret", "mode": "enforce", "decision": "halt", "message": "left\u{7}", "evidence": ["2", "4"],
                "bound_at_most": 0.05, "bound_threshold": 21.5, "bound_sessions": 120, "bound_requests": 40,
                "bound_assumes": "exchangeable", "bound_alarms_per_day": 0.625 }],
            "edges": [{ "from": "2", "to": "4", "kind": "declared", "because": "named" },
                { "from": "2", "to": "4", "kind": "value", "because": "body came from output.key (base64)" }],
            "steps": [{ "step_id": "2", "kind": "tool_result", "output": "key\u{1b}" }],
        }));
        for text in [
            "4 tool_call send",
            "asked before it ran",
            "halt",
            "secret (enforce: halt)",
            "left␇",
            "evidence: 2, 4",
            "bound: at most 5 % of sessions pass 21.5, 0.62 alarms a day; 120 sessions of 40 requests, exchangeable",
            "declared edge to 4: named; value edge to 4: body came from output.key (base64)",
            "key␛",
        ] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
    }
}
