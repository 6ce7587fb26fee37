//! `grant`, `revoke` and `grants`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::Value;

use super::sql::text;
use crate::cli::Signed;
use crate::cli::grant::{Ends, Grant, Grants, Revoke};
use crate::client::Client;
use crate::output::{Paint, Table, note, plain, say, say_json};

pub(crate) async fn grant(args: Grant) -> Result<ExitCode> {
    let mut fields =
        vec![("action", Some("grant")), ("agent_id", Some(&*args.flow.agent)), ("tool", Some(&*args.flow.tool))];
    fields.extend(of_ends(&args.flow.ends));
    fields.extend([("for", args.span.as_deref()), ("until", args.until.as_deref())]);
    give(&fields, &args.signed).await
}

pub(crate) async fn revoke(args: Revoke) -> Result<ExitCode> {
    let mut fields = vec![
        ("action", Some("revoke")),
        ("grant_id", args.grant.as_deref()),
        ("agent_id", args.flow.agent.as_deref()),
        ("tool", args.flow.tool.as_deref()),
    ];
    fields.extend(of_ends(&args.flow.ends));
    give(&fields, &args.signed).await
}

pub(crate) async fn list(args: Grants) -> Result<ExitCode> {
    let answer = Client::new(&args.output.server)?.get(&["v1", "grants"], &[]).await?;
    if args.output.json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = answer["grants"].as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        note("no grant is in force: calls are asked about as policies say");
    } else {
        say(table(found))?;
    }
    if let Some(since) = answer["known_since"].as_str() {
        let since = plain(since, 40);
        note(format_args!(
            "the log has orders from {since} on: grants of before it are in force until they end, and are not listed; \
             `revoke --agent … --tool …` takes them back all the same"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(grants: &[Value]) -> Table {
    let header = ["agent", "environment", "source", "tool", "destination", "until", "given", "by", "control", "reason"];
    let mut table = Table::with_sentences(header, &["destination", "reason"]);
    for it in grants {
        let [agent, environment, source, tool, destination] =
            ["agent_id", "environment", "source", "tool", "destination"].map(|name| field(&it[name]));
        let [until, time, by, id, reason] =
            ["until", "time", "by", "control_id", "reason"].map(|name| plain(&text(&it[name]), 400).into_owned());
        let cells = [agent, environment, source, tool, destination, until, time, by, id, reason];
        table.row(cells.map(|cell| (cell, Paint::Plain)));
    }
    table
}

fn of_ends(it: &Ends) -> [(&'static str, Option<&str>); 3] {
    [("environment", it.environment.as_deref()), ("source", it.from.as_deref()), ("destination", it.to.as_deref())]
}

async fn give(fields: &[(&str, Option<&str>)], signed: &Signed) -> Result<ExitCode> {
    if signed.by.as_deref().is_none_or(|it| it.trim().is_empty()) {
        bail!("nobody is named who answers for it, and $USER is not set: give --by WHO");
    }
    let answer = Client::new(&signed.output.server)?.post(&["v1", "controls"], &signed.order(fields)).await?;
    if signed.output.json {
        say_json(&answer)?;
    } else {
        say(sentence(&answer))?;
    }
    Ok(if is_refused(&answer) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether no detector kept a grant, or had one to take back.
fn is_refused(answer: &Value) -> bool {
    answer["state"] == "applied" && answer["known"] == false
}

/// A flow in a line, with `*` for any.
pub(crate) fn shown(scope: &Value) -> String {
    let [source, tool, destination] = ["source", "tool", "destination"].map(|it| field(&scope[it]));
    format!("{source} → {tool} → {destination}, agent {}", field(&scope["agent_id"]))
}

fn field(value: &Value) -> String {
    value.as_str().map_or_else(|| "*".to_owned(), |it| plain(it, 200).into_owned())
}

fn sentence(answer: &Value) -> String {
    let flow = format!("{} ({})", shown(&answer["scope"]), field(&answer["control_id"]));
    let until = field(&answer["until"]);
    match (answer["action"].as_str(), answer["state"].as_str(), answer["changed"] == false) {
        (Some(action), Some("requested"), _) => {
            format!("requested: {}, {flow}: on the log, and not yet applied everywhere", plain(action, 20))
        }
        (Some("grant"), _, _) if is_refused(answer) => {
            format!("not granted: {flow}: there is no room for more grants; revoke some")
        }
        (Some("grant"), _, true) => format!("granted already, until {until} or longer: {flow}"),
        (Some("grant"), _, false) => format!("granted until {until}: {flow}"),
        (_, _, true) => format!("nothing to revoke: {flow}"),
        (_, _, false) => format!("revoked: {flow}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_refused, sentence, table};

    #[test]
    fn a_grant_shows_what_it_is_for_and_until_when() {
        let shown = table(&[json!({
            "control_id": "c-1", "agent_id": "a\u{1b}*", "tool": "send", "source": "mail", "by": "ada", "reason": "rent",
            "time": "2026-01-01T00:00:00Z", "until": "2026-01-31T00:00:00Z",
        })])
        .to_string();
        for text in ["a␛*", "mail", "send", "2026-01-31", "2026-01-01", "ada", "c-1", "rent"] {
            assert!(shown.contains(text), "{text} in\n{shown}");
        }
    }

    #[test]
    fn the_answer_says_what_holds_now() {
        let scope = json!({ "type": "flow", "agent_id": "a", "tool": "send", "source": "mail\u{1b}" });
        for (action, state, known, changed, refused, expected) in [
            ("grant", "applied", true, true, false, "granted until t: mail␛ → send → *, agent a (c-1)"),
            (
                "grant",
                "applied",
                true,
                false,
                false,
                "granted already, until t or longer: mail␛ → send → *, agent a (c-1)",
            ),
            (
                "grant",
                "applied",
                false,
                false,
                true,
                "not granted: mail␛ → send → *, agent a (c-1): there is no room for more grants; revoke some",
            ),
            ("revoke", "applied", true, true, false, "revoked: mail␛ → send → *, agent a (c-1)"),
            ("revoke", "applied", false, false, true, "nothing to revoke: mail␛ → send → *, agent a (c-1)"),
            (
                "revoke",
                "requested",
                false,
                false,
                false,
                "requested: revoke, mail␛ → send → *, agent a (c-1): on the log, and not yet applied everywhere",
            ),
        ] {
            let answer = json!({ "action": action, "state": state, "known": known, "changed": changed, "until": "t", "scope": scope, "control_id": "c-1" });
            assert_eq!((sentence(&answer).as_str(), is_refused(&answer)), (expected, refused));
        }
    }
}
