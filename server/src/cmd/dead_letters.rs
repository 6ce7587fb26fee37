//! `dead-letters`: records that could not be accepted.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::Output;
use crate::cli::letters::{DeadLetters, DeadLettersCommand};
use crate::client::Client;
use crate::output::{Paint, Table, note, plain, say, say_json};

use super::sql::text;

pub(crate) async fn run(args: DeadLetters) -> Result<ExitCode> {
    match args.command {
        DeadLettersCommand::List { limit, output } => list(limit, &output).await,
        DeadLettersCommand::Replay { ids, all, output } => replay(&ids, all, &output).await,
    }
}

async fn list(limit: u32, output: &Output) -> Result<ExitCode> {
    let client = Client::new(&output.server)?;
    let answer = client.get(&["v1", "dead-letters"], &[("limit", Some(&limit.to_string()))]).await?;
    if output.json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let letters = answer["dead_letters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if letters.is_empty() {
        note("no dead letters");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["id", "time", "source", "reason", "field", "message", "payload"]);
    for letter in letters {
        let payload = text(&letter["payload"]);
        let cells = ["id", "time", "source", "reason", "field", "message"].map(|field| text(&letter[field]));
        table.row(cells.into_iter().chain([plain(&payload, 60).into_owned()]).map(|cell| (cell, Paint::Plain)));
    }
    say(table)?;
    Ok(ExitCode::SUCCESS)
}

/// What a replay of dead letters answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Replayed {
    replayed: u64,
    accepted: u64,
    duplicate: u64,
    rejected: Vec<Value>,
    not_replayable: Vec<Value>,
    unknown: Vec<String>,
    next: Option<String>,
}

async fn replay(ids: &[String], all: bool, output: &Output) -> Result<ExitCode> {
    let client = Client::new(&output.server)?;
    let mut total = Replayed::default();
    let mut after: Option<String> = None;
    loop {
        let mut body = if all { json!({ "all": true }) } else { json!({ "ids": ids }) };
        if let Some(after) = &after {
            body["after"] = after.as_str().into();
        }
        let answer = client.post(&["v1", "dead-letters", "replay"], &body).await?;
        let page: Replayed = serde_json::from_value(answer).context("the answer is not that of a replay")?;
        total.replayed += page.replayed;
        total.accepted += page.accepted;
        total.duplicate += page.duplicate;
        total.rejected.extend(page.rejected);
        total.not_replayable.extend(page.not_replayable);
        total.unknown.extend(page.unknown);
        if page.next.is_none() || page.next == after {
            break;
        }
        after = page.next;
    }
    let failed = !total.rejected.is_empty() || !total.not_replayable.is_empty() || !total.unknown.is_empty();
    if output.json {
        say_json(&json!({
            "replayed": total.replayed, "accepted": total.accepted, "duplicate": total.duplicate,
            "rejected": total.rejected, "not_replayable": total.not_replayable, "unknown": total.unknown,
        }))?;
    } else {
        say(Table::facts([
            ("replayed", total.replayed.to_string()),
            ("accepted", total.accepted.to_string()),
            ("duplicate", total.duplicate.to_string()),
            ("rejected again", total.rejected.len().to_string()),
            ("not replayable", total.not_replayable.len().to_string()),
        ]))?;
        for letter in total.rejected.iter().chain(&total.not_replayable) {
            note(format_args!("{}: {}", plain(&text(&letter["id"]), 200), plain(&text(&letter["message"]), 400)));
        }
        for id in &total.unknown {
            note(format_args!("{}: no dead letter has this id", plain(id, 200)));
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
