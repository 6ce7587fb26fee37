//! `dead-letters`: records that could not be accepted.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::Output;
use crate::cli::letters::{DeadLetters, DeadLettersCommand, LetterState};
use crate::client::Client;
use crate::output::{Paint, Table, note, plain, say, say_json};

use super::sql::text;

pub(crate) async fn run(args: DeadLetters) -> Result<ExitCode> {
    match args.command {
        DeadLettersCommand::List { state, limit, output } => list(state, limit, &output).await,
        DeadLettersCommand::Replay { ids, all, output } => replay(&ids, all, &output).await,
    }
}

async fn list(state: LetterState, limit: u32, output: &Output) -> Result<ExitCode> {
    let client = Client::new(&output.server)?;
    let mut answer;
    let mut letters: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    // A page may be short before the end, where many letters of the other state lie in between.
    loop {
        let left = u64::from(limit).saturating_sub(letters.len() as u64).to_string();
        let query = [("limit", Some(left.as_str())), ("state", Some(state.as_str())), ("after", after.as_deref())];
        answer = client.get(&["v1", "dead-letters"], &query).await?;
        letters.extend(answer["dead_letters"].as_array().into_iter().flatten().cloned());
        let next = answer["next"].as_str().map(str::to_owned);
        if next == after || letters.len() >= limit as usize {
            break;
        }
        after = next;
    }
    let counts = format!("{} open, {} replayed", text(&answer["open"]), text(&answer["replayed"]));
    if output.json {
        answer["dead_letters"] = letters.into();
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    if letters.is_empty() {
        note(format_args!("none to list; of all dead letters: {counts}"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::with_sentences(
        ["id", "time", "source", "reason", "field", "message", "payload", "state"],
        &["message", "payload", "state"],
    );
    for letter in &letters {
        let payload = text(&letter["payload"]);
        let cells = ["id", "time", "source", "reason", "field", "message"].map(|field| text(&letter[field]));
        let cells = cells.into_iter().chain([plain(&payload, 60).into_owned(), state_of(letter)]);
        table.row(cells.map(|cell| (cell, Paint::Plain)));
    }
    say(table)?;
    note(format_args!("of all dead letters: {counts}"));
    Ok(ExitCode::SUCCESS)
}

/// The state, and when and how it was last replayed.
fn state_of(letter: &Value) -> String {
    let (state, replay) = (text(&letter["state"]), &letter["last_replay"]);
    if replay.is_null() {
        return state;
    }
    let outcomes = ["accepted", "duplicate", "rejected"].into_iter().filter(|it| replay[*it] != 0);
    let outcomes: Vec<_> = outcomes.map(|it| format!("{} {it}", text(&replay[it]))).collect();
    format!("{state}; replayed {}: {}", text(&replay["time"]), outcomes.join(", "))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::state_of;

    #[test]
    fn a_state_says_when_and_how() {
        let replay = json!({ "time": "2026-01-01T00:00:00Z", "accepted": 1, "duplicate": 0, "rejected": 2 });
        for (letter, shown) in [
            (json!({ "state": "open" }), "open"),
            (
                json!({ "state": "open", "last_replay": replay }),
                "open; replayed 2026-01-01T00:00:00Z: 1 accepted, 2 rejected",
            ),
        ] {
            assert_eq!(state_of(&letter), shown);
        }
    }
}
