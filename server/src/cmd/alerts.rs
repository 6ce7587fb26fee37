//! `alerts`: what the fleet's rules say now.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::sql::text;
use crate::cli::Alerts;
use crate::client::Client;
use crate::output::{Paint, Table, note, plain, say, say_json};

pub(crate) async fn run(args: Alerts) -> Result<ExitCode> {
    let client = Client::new(&args.output.server)?;
    let answer = client.get(&["v1", "alerts"], &[]).await?;
    if args.output.json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let list = |field: &str| answer[field].as_array().map(Vec::as_slice).unwrap_or_default();
    if list("alerts").is_empty() {
        note(format_args!("no alert; rules that are evaluated: {}", list("rules").len()));
    } else {
        say(table(list("alerts")))?;
    }
    for rule in list("rules").iter().filter(|rule| rule["error"].is_string()) {
        let (id, error) = (text(&rule["id"]), text(&rule["error"]));
        note(format_args!("rule {} cannot be evaluated: {}", plain(&id, 120), plain(&error, 400)));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(alerts: &[Value]) -> Table {
    let mut table =
        Table::with_sentences(["state", "severity", "rule", "labels", "value", "since", "what"], &["labels", "what"]);
    for alert in alerts {
        let state = text(&alert["state"]);
        let paint = match &*state {
            "firing" => Paint::Bad,
            "pending" => Paint::Notice,
            _ => Paint::Dim,
        };
        let what = ["summary", "description"].map(|it| &alert["annotations"][it]).into_iter().find(|it| it.is_string());
        table.row([
            (state, paint),
            (text(&alert["severity"]), Paint::Plain),
            (text(&alert["rule"]), Paint::Plain),
            (pairs(&alert["labels"]), Paint::Plain),
            (text(&alert["value"]), Paint::Plain),
            (text(&alert["since"]), Paint::Dim),
            (text(what.unwrap_or_else(|| &alert["title"])), Paint::Plain),
        ]);
    }
    table
}

/// `name=value name=value`.
fn pairs(labels: &Value) -> String {
    let Some(labels) = labels.as_object() else { return String::new() };
    labels.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::table;

    #[test]
    fn an_alert_shows_its_labels_and_summary() {
        let shown = table(&[json!({
            "state": "firing", "severity": "high", "rule": "share", "labels": { "agent_id": "a\u{1b}", "v": "2" },
            "value": 0.5, "since": "2026-01-01T00:00:00Z", "annotations": { "summary": "half of them" }, "title": "t",
        })])
        .to_string();
        for text in ["firing", "agent_id=a␛ v=2", "0.5", "half of them"] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
    }
}
