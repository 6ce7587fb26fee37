//! `findings`: what each detector column saw.

use martingale_schemas::Verdict;

use super::{Rows, integer};

pub(super) fn push(rows: &mut Rows, verdict: &Verdict<'_>) {
    for finding in &verdict.findings {
        rows.text("session_id", Some(verdict.session_id.as_str()));
        rows.text("root_session_id", Some(verdict.root_session_id.as_str()));
        rows.text("step_id", Some(verdict.step_id.as_str()));
        rows.text("finding_id", Some(verdict.finding_id(finding).as_str()));
        rows.text("verdict_id", Some(verdict.verdict_id.as_str()));
        rows.time("time", verdict.time);
        rows.text("kind", Some(verdict.kind.as_str()));
        rows.text("agent_id", Some(verdict.agent_id.as_str()));
        rows.text("agent_version", verdict.agent_version.as_deref());
        rows.text("environment", verdict.environment.as_deref());
        rows.text("tool", verdict.tool.as_deref());
        rows.text("detector", Some(finding.column.as_str()));
        rows.text("rule", Some(&finding.rule));
        rows.text("severity", Some(finding.severity.as_str()));
        rows.text("mode", Some(finding.mode.as_str()));
        rows.text("decision", Some(finding.decision.as_str()));
        rows.float("score", Some(finding.score));
        rows.text("calibration", Some(finding.calibration.as_str()));
        rows.texts("evidence", Some(finding.evidence.iter().map(|it| it.as_str())));
        rows.text("began_at", Some(finding.began_at.as_str()));
        rows.text("message", Some(&finding.message));
        rows.texts("notify", Some(finding.notify.iter()));
        rows.integer("partition", Some(i64::from(verdict.position.partition)));
        rows.integer("offset", Some(integer(verdict.position.offset)));
        let bound = finding.bound.as_ref();
        rows.float("bound_at_most", bound.map(|it| it.at_most));
        rows.float("bound_threshold", bound.map(|it| it.threshold));
        rows.integer("bound_sessions", bound.map(|it| it.sessions.into()));
        rows.integer("bound_requests", bound.map(|it| it.requests.into()));
        rows.text("bound_assumes", bound.map(|it| it.assumes.as_str()));
        rows.float("bound_alarms_per_day", bound.and_then(|it| it.alarms_per_day));
        rows.end();
    }
}
