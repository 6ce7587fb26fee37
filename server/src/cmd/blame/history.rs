//! A session as a server tells it: its steps, and what was found when they were judged.

use anyhow::{Context, Result};
use martingale_detector_core::Blame;
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Decision, Finding, Limits, Timestamp};
use serde_json::{Map, Value, json};

use super::Session;
use crate::client::Client;
use crate::cmd::session::{history, list};

/// More is not ranked either.
const STEPS_MAX: usize = 100_000;

pub(super) async fn session(client: &Client, id: &str) -> Result<Session> {
    let told = history(client, id, STEPS_MAX).await?;
    read(id, &told)
}

fn read(id: &str, told: &Value) -> Result<Session> {
    let mut session = Session { id: id.to_owned(), decision: Decision::Allow, blame: Blame::default() };
    for row in list(told, "steps") {
        let about = || format!("step {} of the server's answer cannot be read", row["step_id"]);
        let json = serde_json::to_vec(&step(row))?;
        let step = StepV1::parse(&json).and_then(|it| it.check(Timestamp::from_micros(0), &Limits::DEFAULT));
        let step = step.map_err(|rejection| anyhow::anyhow!(rejection.message)).with_context(about)?;
        let findings = list(row, "findings").iter().map(finding).collect::<Result<Vec<_>>>().with_context(about)?;
        let decision = row["decision"].as_str().and_then(|it| it.parse().ok()).unwrap_or_default();
        session.decision = session.decision.max(decision);
        session.blame.observe(&step, &findings);
    }
    Ok(session)
}

/// A row of the table `steps` as its producer sent it, as far as blame reads it.
fn step(row: &Value) -> Value {
    let mut step = Map::new();
    for name in ["session_id", "step_id", "seq", "time", "kind", "tool", "causes", "input", "output", "text", "status"]
    {
        if !row[name].is_null() {
            step.insert(name.to_owned(), row[name].clone());
        }
    }
    step.insert("agent".to_owned(), json!({ "id": row["agent_id"], "name": row["agent_name"] }));
    if !row["error_type"].is_null() || !row["error_message"].is_null() {
        step.insert("error".to_owned(), json!({ "type": row["error_type"], "message": row["error_message"] }));
    }
    Value::Object(step)
}

/// A row of the table `findings`.
fn finding(row: &Value) -> Result<Finding> {
    let mut finding = row.clone();
    finding["column"] = row["detector"].clone();
    Ok(serde_json::from_value(finding)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    #[test]
    fn a_timeline_is_blamed_as_its_steps_are() {
        let told = json!({ "steps": [
            { "session_id": "s", "step_id": "1", "time": "2026-01-01T10:00:00Z", "kind": "user_message", "agent_id": "a",
              "text": "hello", "decision": "allow", "findings": [] },
            { "session_id": "s", "step_id": "2", "time": "2026-01-01T10:00:01Z", "kind": "assistant_message",
              "agent_id": "a", "agent_name": "planner", "text": "looking", "decision": "allow" },
            { "session_id": "s", "step_id": "3", "time": "2026-01-01T10:00:02Z", "kind": "tool_call", "agent_id": "a",
              "tool": "search", "input": { "q": "x" }, "causes": ["2"], "decision": "allow" },
            { "session_id": "s", "step_id": "4", "time": "2026-01-01T10:00:03Z", "kind": "tool_result", "agent_id": "a",
              "tool": "search", "output": "none", "error_message": "gone", "decision": "halt", "findings": [
                { "detector": "loop", "rule": "repeat", "severity": "high", "mode": "enforce", "decision": "halt",
                  "score": 8.0, "calibration": "fact", "evidence": ["3", "4"], "began_at": "3", "message": "again",
                  "session_id": "s", "step_id": "4" }] },
        ] });
        let session = read("s", &told).expect("a timeline");
        assert_eq!(session.decision.as_str(), "halt");
        let suspects = session.blame.suspects();
        assert_eq!((suspects.len(), suspects[0].step_id.as_str()), (4, "3"));
        let reasons: Vec<String> = suspects[0].reasons.iter().map(ToString::to_string).collect();
        assert!(reasons.iter().any(|it| it.contains("`repeat` found")), "{reasons:?}");
        assert!(reasons.iter().any(|it| it.contains("nothing failed before it did: step 4")), "{reasons:?}");
        assert_eq!(suspects.iter().find(|it| it.index == 1).and_then(|it| it.actor.as_deref()), Some("planner"));
    }

    #[test]
    fn what_is_no_step_is_named() {
        let said = read("s", &json!({ "steps": [{ "step_id": "7", "kind": "dance" }] })).expect_err("refused");
        assert!(said.to_string().contains("step \"7\""), "{said}");
    }
}
