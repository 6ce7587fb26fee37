//! What was seen of the fleet, and where to look further.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use martingale_schemas::Decision;
use serde_json::json;
use tokio::time::Instant;

use super::fleet::Played;
use super::scenarios::{HEALTHY, Via};
use crate::client::Client;
use crate::cmd::sql::text;
use crate::output::{Paint, Table, decision_paint, myself, opinion};

/// Longest time until every step of the fleet is visible in SQL.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What SQL knows of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    steps: u64,
    decision: Decision,
    /// Rules that found something, with what they decided or would have.
    rules: Vec<(String, String)>,
    /// The newest step with a finding: the one to ask `why` about.
    step: Option<String>,
}

/// Waits until SQL shows every step that was sent, and reads what it says.
pub(super) async fn wait(client: &Client, played: &[Played]) -> Result<BTreeMap<String, Seen>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = read(client, played).await?;
        let complete = played.iter().all(|it| {
            let steps = seen.get(&it.session).map_or(0, |it| it.steps);
            steps >= it.sent.max(u64::from(it.via == Via::Otlp))
        });
        if complete {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("not every step of the fleet became visible in {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn read(client: &Client, played: &[Played]) -> Result<BTreeMap<String, Seen>> {
    let mut seen: BTreeMap<String, Seen> = played.iter().map(|it| (it.session.clone(), Seen::default())).collect();
    let query = "SELECT session_id, decision, count(*) FROM steps WHERE session_id LIKE 'demo-%' GROUP BY 1, 2";
    for row in rows(client, query).await? {
        let Some(session) = seen.get_mut(&text(&row[0])) else { continue };
        session.steps += row[2].as_u64().unwrap_or(0);
        session.decision = session.decision.max(text(&row[1]).parse().unwrap_or_default());
    }
    let query =
        "SELECT session_id, rule, mode, decision, step_id FROM findings WHERE session_id LIKE 'demo-%' ORDER BY time";
    for row in rows(client, query).await? {
        let Some(session) = seen.get_mut(&text(&row[0])) else { continue };
        let [rule, mode, decision, step] = [1, 2, 3, 4].map(|at| text(&row[at]));
        let opinion = opinion(&mode, &decision);
        match session.rules.iter_mut().find(|(it, _)| *it == rule) {
            Some((_, kept)) => *kept = opinion,
            None => session.rules.push((rule, opinion)),
        }
        session.step = Some(step);
    }
    Ok(seen)
}

async fn rows(client: &Client, query: &str) -> Result<Vec<Vec<serde_json::Value>>> {
    let mut answer = client.post(&["v1", "sql"], &json!({ "query": query })).await?;
    serde_json::from_value(answer["rows"].take()).context("the answer is not that of /v1/sql")
}

/// A row for each family, healthy sessions together.
pub(super) fn table(played: &[Played], seen: &BTreeMap<String, Seen>) -> Table {
    let mut table = Table::new(["family", "session", "steps", "found by", "decision", "agent stopped"]);
    for (family, sessions) in by_family(played) {
        let seen: Vec<&Seen> = sessions.iter().filter_map(|it| seen.get(&it.session)).collect();
        let steps: u64 = seen.iter().map(|it| it.steps).sum();
        let decision = seen.iter().map(|it| it.decision).max().unwrap_or_default();
        let mut rules: Vec<String> =
            seen.iter().flat_map(|it| &it.rules).map(|(rule, opinion)| format!("{rule} ({opinion})")).collect();
        rules.sort();
        rules.dedup();
        let stopped = sessions
            .iter()
            .find_map(|it| it.stopped)
            .map_or_else(String::new, |(step, decision)| format!("before step {} ({decision})", step + 1));
        let name = match sessions.len() {
            1 => sessions[0].session.clone(),
            count => format!("{} and {} more", sessions[0].session, count - 1),
        };
        let found = match (rules.is_empty(), family) {
            (false, _) => (rules.join(", "), Paint::Notice),
            (true, HEALTHY) => ("nothing".to_owned(), Paint::Good),
            (true, _) => ("nothing: docs/detection.md says what it takes".to_owned(), Paint::Dim),
        };
        table.row([
            (family.to_owned(), Paint::Plain),
            (name, Paint::Plain),
            (steps.to_string(), Paint::Plain),
            found,
            (decision.to_string(), decision_paint(decision.as_str())),
            (stopped, Paint::Plain),
        ]);
    }
    table
}

fn by_family(played: &[Played]) -> Vec<(&'static str, Vec<&Played>)> {
    let mut families: Vec<(&'static str, Vec<&Played>)> = Vec::new();
    for session in played {
        match families.iter_mut().find(|(family, _)| *family == session.family) {
            Some((_, sessions)) => sessions.push(session),
            None => families.push((session.family, vec![session])),
        }
    }
    families
}

/// Commands that show more of what just happened.
pub(super) fn hints(played: &[Played], seen: &BTreeMap<String, Seen>, server: &str) -> String {
    let found = |it: &&Played| seen.get(&it.session).and_then(|seen| seen.step.clone());
    let shown =
        played.iter().filter(|it| found(it).is_some()).max_by_key(|it| seen.get(&it.session).map(|it| it.decision));
    let shown = shown.or_else(|| played.iter().find(|it| it.family != HEALTHY));
    let (session, step) = shown.map_or((String::new(), String::new()), |it| {
        (it.session.clone(), found(&it).unwrap_or_else(|| "1".to_owned()))
    });
    let healthy = played.iter().find(|it| it.family == HEALTHY).map_or("demo-healthy-1", |it| &it.session);
    let at = if server.ends_with(":7676") { String::new() } else { format!(" --server {server}") };
    format!(
        "\
Look further, in another terminal:
  {me} timeline {session}{at}
  {me} why {session} {step}{at}
  {me} sql \"SELECT session_id, rule, decision, message FROM findings\"{at}
  {me} tail --min-decision warn{at}
  {me} halt {healthy} --reason \"just to see\"{at}",
        me = myself(),
    )
}
