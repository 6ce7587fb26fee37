//! `verdicts`: one decision for each judged step.

use martingale_schemas::Verdict;

use super::{Rows, integer};

pub(super) fn push(rows: &mut Rows, verdict: &Verdict<'_>) {
    rows.text("session_id", Some(verdict.session_id.as_str()));
    rows.text("root_session_id", Some(verdict.root_session_id.as_str()));
    rows.text("step_id", Some(verdict.step_id.as_str()));
    rows.text("verdict_id", Some(verdict.verdict_id.as_str()));
    rows.integer("seq", verdict.seq.map(integer));
    rows.time("time", verdict.time);
    rows.text("kind", Some(verdict.kind.as_str()));
    rows.text("agent_id", Some(verdict.agent_id.as_str()));
    rows.text("agent_version", verdict.agent_version.as_deref());
    rows.text("environment", verdict.environment.as_deref());
    rows.text("tool", verdict.tool.as_deref());
    rows.text("decision", Some(verdict.decision.as_str()));
    rows.text("standing", Some(verdict.standing.as_str()));
    rows.text("scores", serde_json::to_string(&verdict.scores).ok().as_deref().or(Some("{}")));
    rows.integer("findings", Some(integer(verdict.findings.len() as u64)));
    rows.integer("partition", Some(i64::from(verdict.position.partition)));
    rows.integer("offset", Some(integer(verdict.position.offset)));
    rows.boolean("gated", verdict.gated);
    rows.end();
}
