//! `sql`: a query, answered as a table.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::Sql;
use crate::client::Client;
use crate::output::{Paint, Table, decision_paint, note, say, say_json};
use crate::policies::count;

/// What `POST /v1/sql` answers.
#[derive(Debug, Deserialize)]
struct Answer {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

pub(crate) async fn run(args: Sql) -> Result<ExitCode> {
    let client = Client::new(&args.output.server)?;
    let answer = client.post(&["v1", "sql"], &json!({ "query": args.query })).await?;
    if args.output.json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Answer = serde_json::from_value(answer).context("the answer is not that of /v1/sql")?;
    say(table(&answer))?;
    if answer.truncated {
        note("more rows were left out: ask for fewer, e.g. with LIMIT");
    }
    note(count(answer.rows.len(), "row"));
    Ok(ExitCode::SUCCESS)
}

fn table(answer: &Answer) -> Table {
    let decision = |at: usize| answer.columns.get(at).is_some_and(|it| matches!(&*it.name, "decision" | "standing"));
    let mut table = Table::new(answer.columns.iter().map(|it| &it.name));
    for row in &answer.rows {
        table.row(row.iter().enumerate().map(|(at, value)| {
            let text = text(value);
            let paint = if decision(at) { decision_paint(&text) } else { Paint::Plain };
            (text, paint)
        }));
    }
    table
}

/// A value as people read it: texts without quotes, nothing for null.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Answer, table};

    #[test]
    fn values_of_every_type_are_shown_and_harmless() {
        let answer: Answer = serde_json::from_value(json!({
            "columns": [{ "name": "tool", "type": "Utf8" }, { "name": "n", "type": "Int64" }, { "name": "decision", "type": "Utf8" }],
            "rows": [["rm\u{1b}[2J", 3, "halt"], [null, 1.5, "allow"], [["a"], true, null]],
        }))
        .expect("an answer");
        let shown = table(&answer).to_string();
        for text in ["tool", "rm␛[2J", "3", "halt", "1.5", "[\"a\"]", "true"] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
        assert!(!shown.contains("null") && !shown.contains('\u{1b}'), "{shown}");
    }
}
