//! Baselines on the log of a server.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use martingale_schemas::baselines::Stored;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::replay::{Results, normal};
use super::super::sql::text;
use crate::cli::{Output, Signed};
use crate::client::Client;
use crate::output::{Paint, Table, note, plain, say, say_json};
use crate::policies::count;

pub(super) async fn list(output: &Output) -> Result<ExitCode> {
    let answer = Client::new(&output.server)?.get(&["v1", "baselines"], &[]).await?;
    if output.json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = answer["baselines"].as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        note(
            "none are on the log: a server that learns puts some there, and `baseline publish` does. Those of a file that a \
             server was started with (`--baselines`) are not listed: its log names them",
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::with_sentences(["id", "published", "bytes", "in use", "last ordered", "by", "reason"], &["reason"]);
    for it in found {
        let used = &it["used_by"];
        let in_use = if it["in_use"] == true { "yes" } else { "" };
        let of = |value: &Value| plain(&text(value), 400).into_owned();
        let [id, published, bytes] = ["baselines_id", "published", "bytes"].map(|field| of(&it[field]));
        let [time, by, reason] = ["time", "by", "reason"].map(|field| of(&used[field]));
        let cells = [id, published, bytes, in_use.to_owned(), time, by, reason];
        table.row(cells.map(|cell| (cell, Paint::Plain)));
    }
    say(table)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn publish(file: &Path, signed: &Signed) -> Result<ExitCode> {
    let bytes = normal::bytes(file)?;
    // Refused here in the words for a file; by the server for one that changes on its way.
    normal::parse(file, &bytes)?;
    let client = Client::new(&signed.output.server)?;
    let answer = client.send(client.request(Method::POST, &["v1", "baselines"], &[]).body(bytes)).await?;
    let put: Value = answer.json().await.context("the answer names no baselines")?;
    give(&client, &text(&put["baselines_id"]), signed).await
}

pub(super) async fn use_them(id: &str, signed: &Signed) -> Result<ExitCode> {
    give(&Client::new(&signed.output.server)?, id, signed).await
}

async fn give(client: &Client, id: &str, signed: &Signed) -> Result<ExitCode> {
    let order = signed.order(&[("action", Some("use_baselines")), ("baselines_id", Some(id))]);
    let answer = client.post(&["v1", "controls"], &order).await?;
    if signed.output.json {
        say_json(&answer)?;
    } else {
        say(sentence(id, &answer))?;
    }
    let is_refused = answer["state"] == "applied" && answer["known"] == false;
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn sentence(id: &str, answer: &Value) -> String {
    let (id, control) = (plain(id, 200), plain(answer["control_id"].as_str().unwrap_or_default(), 200));
    match (answer["state"] == "applied", answer["known"] == false, answer["changed"] == false) {
        (false, ..) => format!("requested: baselines {id} ({control}): on the log, and not yet used everywhere"),
        (true, true, _) => format!("not used: no detector can read baselines {id} ({control}); their logs say why"),
        (true, false, true) => format!("used already: baselines {id} ({control})"),
        (true, false, false) => format!("used: baselines {id} ({control}), from the next step on"),
    }
}

pub(super) async fn remove(id: &str, output: &Output) -> Result<ExitCode> {
    let client = Client::new(&output.server)?;
    client.send(client.request(Method::DELETE, &["v1", "baselines", id], &[])).await?;
    if output.json {
        say_json(&json!({ "removed": id }))?;
    } else {
        say(format_args!("removed: baselines {}", plain(id, 200)))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn fetch(id: &str, out: &Path, output: &Output) -> Result<ExitCode> {
    let client = Client::new(&output.server)?;
    let file = Results::open(out, [])?;
    let answer = client.send(client.request(Method::GET, &["v1", "baselines", id], &[])).await?;
    let bytes = answer.bytes().await.context("the baselines did not come whole")?;
    let Ok(stored) = Stored::read(&bytes) else { bail!("what the server sent are no baselines, or damaged ones") };
    let written = || format!("{} cannot be written", out.display());
    let mut file = file.begin().with_context(written)?;
    file.write_all(&bytes).and_then(|()| file.flush()).with_context(written)?;
    if output.json {
        say_json(&json!({ "baselines_id": stored.id, "bytes": bytes.len() }))?;
    } else {
        note(format_args!("baselines {}, {}, are in {}", stored.id, count(bytes.len(), "byte"), out.display()));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sentence;

    #[test]
    fn what_became_of_an_order_is_said() {
        for (answer, begins) in [
            (json!({ "state": "requested", "known": false }), "requested"),
            (json!({ "state": "applied", "known": false, "changed": false }), "not used"),
            (json!({ "state": "applied", "known": true, "changed": false }), "used already"),
            (json!({ "state": "applied", "known": true, "changed": true }), "used: baselines 7f"),
        ] {
            assert!(sentence("7f", &answer).starts_with(begins), "{answer}");
        }
    }
}
