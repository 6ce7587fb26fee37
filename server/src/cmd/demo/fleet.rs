//! The agents: they do their work step by step, and stop where they are told to.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use martingale_platform::clock::Clock;
use martingale_schemas::{Decision, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::otlp;
use super::scenarios::{Scenario, Via};
use crate::client::Client;

/// How long an agent thinks between two steps.
const THINK: Duration = Duration::from_millis(40);

/// What became of a session, as its agent saw it.
#[derive(Clone, Debug)]
pub(super) struct Played {
    pub(super) family: &'static str,
    pub(super) session: String,
    /// Steps that were sent over `/v1/steps` and `/v1/gate`.
    pub(super) sent: u64,
    /// Where the agent was stopped: the number of the step, and by what.
    pub(super) stopped: Option<(usize, Decision)>,
    pub(super) via: Via,
}

/// All agents at once; sessions of one run after each other, as a parent starts its child.
pub(super) async fn play(
    client: &Client,
    otlp_http: SocketAddr,
    scenarios: Vec<Scenario>,
    bar: &ProgressBar,
) -> Result<Vec<Played>> {
    let mut runs: Vec<(String, Vec<Scenario>)> = Vec::new();
    for scenario in scenarios {
        let root = scenario.root.clone().unwrap_or_else(|| scenario.session.clone());
        match runs.iter_mut().find(|(it, _)| *it == root) {
            Some((_, run)) => run.push(scenario),
            None => runs.push((root, vec![scenario])),
        }
    }
    let mut tasks = JoinSet::new();
    for (order, (_, run)) in runs.into_iter().enumerate() {
        let (client, bar) = (client.clone(), bar.clone());
        tasks.spawn(async move {
            let mut played = Vec::new();
            for scenario in run {
                let one = session(&client, otlp_http, &scenario, &bar).await?;
                let stopped = one.stopped.is_some();
                played.push(one);
                // Who may not start a helper has none.
                if stopped {
                    break;
                }
            }
            anyhow::Ok((order, played))
        });
    }
    let mut all = Vec::new();
    while let Some(played) = tasks.join_next().await {
        all.push(played.context("an agent of the demo broke")??);
    }
    all.sort_by_key(|(order, _)| *order);
    Ok(all.into_iter().flat_map(|(_, played)| played).collect())
}

async fn session(client: &Client, otlp_http: SocketAddr, scenario: &Scenario, bar: &ProgressBar) -> Result<Played> {
    let mut played = Played {
        family: scenario.family,
        session: scenario.session.clone(),
        sent: 0,
        stopped: None,
        via: scenario.via,
    };
    if scenario.via == Via::Otlp {
        otlp::send(client, otlp_http, scenario, now()).await?;
        bar.inc(scenario.script.len() as u64);
        return Ok(played);
    }
    let mut denied = false;
    for (at, step) in scenario.script.iter().enumerate() {
        bar.inc(1);
        let kind = step["kind"].as_str().unwrap_or_default();
        // A call that must not run has no result.
        if std::mem::take(&mut denied) && kind == "tool_result" {
            continue;
        }
        let body = complete(scenario, at, step, now());
        played.sent += 1;
        if scenario.via == Via::Gate && matches!(kind, "tool_call" | "spawn") {
            let answer = client.post(&["v1", "gate"], &body).await?;
            let decision: Decision = answer["decision"].as_str().unwrap_or_default().parse().unwrap_or(Decision::Deny);
            if decision == Decision::Halt || decision.stops() && kind == "spawn" {
                played.stopped = Some((at, decision));
                return Ok(played);
            }
            if decision == Decision::StepUp && scenario.approved {
                let approval =
                    json!({ "kind": "approval", "tool": step["tool"], "status": "ok", "text": "fine, go on" });
                let mut approval = complete(scenario, at, &approval, now());
                approval["step_id"] = format!("{}-approval", at + 1).into();
                observe(client, &approval).await?;
                played.sent += 1;
            } else if decision.stops() {
                denied = true;
                played.stopped.get_or_insert((at, decision));
            }
        } else {
            observe(client, &body).await?;
        }
        tokio::time::sleep(THINK).await;
    }
    Ok(played)
}

/// Tells of a step that has happened.
async fn observe(client: &Client, body: &Value) -> Result<()> {
    let answer = client.post(&["v1", "steps"], body).await?;
    if answer["accepted"].as_u64().unwrap_or(0) + answer["duplicate"].as_u64().unwrap_or(0) != 1 {
        bail!("a step of the demo was not taken: {answer}");
    }
    Ok(())
}

/// A step of the script as the agent sends it: whose it is, which one, when.
pub(super) fn complete(scenario: &Scenario, at: usize, step: &Value, time: Timestamp) -> Value {
    let mut body = step.clone();
    let actor = body.as_object_mut().and_then(|it| it.remove("agent_name"));
    let mut agent = json!({ "id": scenario.agent, "version": scenario.version });
    if let Some(actor) = actor {
        agent["name"] = actor;
    }
    body["session_id"] = scenario.session.as_str().into();
    body["step_id"] = (at + 1).to_string().into();
    body["seq"] = (at + 1).into();
    body["time"] = time.to_string().into();
    body["agent"] = agent;
    body["environment"] = "demo".into();
    body["principal"] = json!({ "id": "demo-user", "type": "user" });
    if let Some(parent) = &scenario.parent {
        body["parent_session_id"] = parent.as_str().into();
    }
    if let Some(root) = &scenario.root {
        body["root_session_id"] = root.as_str().into();
    }
    if at > 0 && step["kind"] == "tool_result" {
        body["causes"] = json!([at.to_string()]);
    }
    body
}

fn now() -> Timestamp {
    Timestamp::from_micros(Clock::System.now_micros())
}
