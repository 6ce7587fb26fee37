//! What is told: pure, from a record of the log to the payload.

use martingale_schemas::{Column, Control, Decision, Finding, Position, Scope, Timestamp, Verdict, ids};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Largest payload, in bytes, as Standard Webhooks advises.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 20_000;

/// Longest sentence of a finding in a payload, in characters; the whole one is in the verdict.
const SENTENCE_CHARS_MAX: usize = 500;

/// Kinds of messages, `type` of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Topic {
    #[serde(rename = "session.halted")]
    SessionHalted,
    #[serde(rename = "alert.firing")]
    AlertFiring,
    #[serde(rename = "alert.resolved")]
    AlertResolved,
}

impl Topic {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SessionHalted => "session.halted",
            Self::AlertFiring => "alert.firing",
            Self::AlertResolved => "alert.resolved",
        }
    }
}

/// Something to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Derived from what it tells of: the same halt is the same message.
    pub(crate) id: String,
    pub(crate) kind: Topic,
    pub(crate) payload: String,
}

impl Message {
    pub(crate) fn new(kind: Topic, of: &str, at: Timestamp, data: &Value) -> Self {
        let id = ids::derive("msg_", &[kind.as_str().as_bytes(), of.as_bytes()]);
        let payload = json!({ "type": kind.as_str(), "timestamp": at, "data": data }).to_string();
        Self { id, kind, payload }
    }

    /// A verdict that halts a session which was not halted before. Later verdicts of it repeat the standing order, as a
    /// finding of the control column, and are not told again.
    pub(crate) fn of_verdict(verdict: &Verdict<'_>, published: Timestamp) -> Option<Self> {
        let halts = |finding: &Finding| finding.effective() == Decision::Halt;
        let stands = verdict.findings.iter().any(|it| it.column == Column::Control && halts(it));
        if verdict.decision != Decision::Halt || stands {
            return None;
        }
        let cause = verdict.findings.iter().find(|it| halts(it))?;
        let mut kept: Vec<Value> = verdict.findings.iter().map(|it| shortened(verdict, it)).collect();
        loop {
            let data = json!({
                "cause": "verdict",
                "session_id": verdict.session_id,
                "root_session_id": verdict.root_session_id,
                "step_id": verdict.step_id,
                "kind": verdict.kind,
                "tool": verdict.tool,
                "agent_id": verdict.agent_id,
                "agent_version": verdict.agent_version,
                "environment": verdict.environment,
                "time": verdict.time,
                "verdict_id": verdict.verdict_id,
                "decision": verdict.decision,
                "rule": cause.rule,
                "message": clipped(&cause.message),
                "findings": kept,
                "findings_total": verdict.findings.len(),
            });
            let message = Self::new(Topic::SessionHalted, verdict.verdict_id.as_str(), published, &data);
            if message.payload.len() < PAYLOAD_BYTES_MAX || kept.is_empty() {
                return Some(message);
            }
            kept.truncate(kept.len() / 2);
        }
    }

    /// A halt by hand. `before` is the first step judged under it where its session or run lives, `None` when nobody
    /// knows it and it holds everywhere.
    pub(crate) fn of_halt(control: &Control, before: Option<Position>, published: Timestamp) -> Self {
        let (session, root) = match &control.scope {
            Scope::Session { session_id } => (Some(session_id), None),
            Scope::Run { root_session_id } => (None, Some(root_session_id)),
            Scope::Tenant | Scope::Flow(_) => (None, None),
        };
        let data = json!({
            "cause": "control",
            "scope": control.scope.as_str(),
            "session_id": session,
            "root_session_id": root,
            "control_id": control.control_id,
            "by": control.by,
            "message": control.reason.as_deref().map(clipped),
            "time": control.time,
            "before": before,
            "known": before.is_some(),
        });
        Self::new(Topic::SessionHalted, control.control_id.as_str(), published, &data)
    }
}

fn shortened(verdict: &Verdict<'_>, finding: &Finding) -> Value {
    const EVIDENCE_MAX: usize = 10;
    let last = finding.evidence.len().saturating_sub(EVIDENCE_MAX);
    json!({
        "finding_id": verdict.finding_id(finding),
        "column": finding.column,
        "rule": finding.rule,
        "severity": finding.severity,
        "mode": finding.mode,
        "decision": finding.decision,
        "message": clipped(&finding.message),
        "evidence": finding.evidence[last..],
        "began_at": finding.began_at,
        "notify": finding.notify,
    })
}

fn clipped(sentence: &str) -> String {
    let mut out: String = sentence.chars().take(SENTENCE_CHARS_MAX).collect();
    if sentence.chars().nth(SENTENCE_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use martingale_schemas::{Column, Decision, Limits, Mode, Position, Step, Timestamp, Verdict, wire::StepV1};

    use super::{Message, PAYLOAD_BYTES_MAX};
    use crate::testing::{finding, step, verdict};

    const AT: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const POSITION: Position = Position { partition: 0, offset: 7 };

    fn with_step<T>(f: impl FnOnce(&Step<'_>) -> T) -> T {
        let json = step("s", "1", "rm");
        f(&StepV1::parse(json.as_bytes()).and_then(|it| it.check(AT, &Limits::DEFAULT)).expect("step"))
    }

    fn judged(findings: &[(Column, Decision, Mode)]) -> Verdict<'static> {
        with_step(|step| {
            let findings = findings.iter().map(|(column, decision, mode)| {
                let mut it = finding(*column, *decision, "because", step);
                it.mode = *mode;
                it
            });
            verdict(step, POSITION, findings.collect())
        })
    }

    #[test]
    fn only_a_new_halt_is_told() {
        use Column::{Control, Loop, Policy};
        use Decision::{Deny, Halt, Warn};
        use Mode::{Enforce, Shadow};
        for (findings, told) in [
            (&[][..], false),
            (&[(Policy, Halt, Enforce)], true),
            (&[(Loop, Warn, Enforce), (Policy, Halt, Enforce)], true),
            (&[(Policy, Halt, Shadow)], false),
            (&[(Policy, Deny, Enforce)], false),
            (&[(Control, Halt, Enforce)], false),
            (&[(Control, Halt, Enforce), (Policy, Halt, Enforce)], false),
        ] {
            assert_eq!(Message::of_verdict(&judged(findings), AT).is_some(), told, "{findings:?}");
        }
    }

    #[test]
    fn the_same_verdict_is_the_same_message() {
        let verdict = judged(&[(Column::Policy, Decision::Halt, Mode::Enforce)]);
        assert_eq!(Message::of_verdict(&verdict, AT), Message::of_verdict(&verdict, AT));
    }

    #[test]
    fn a_payload_stays_below_its_limit() {
        let mut verdict = judged(&[(Column::Policy, Decision::Halt, Mode::Enforce); 200]);
        for finding in &mut verdict.findings {
            finding.message = "é\u{1}".repeat(20_000);
        }
        let message = Message::of_verdict(&verdict, AT).expect("told");
        assert!(message.payload.len() < PAYLOAD_BYTES_MAX, "{}", message.payload.len());
        let payload: serde_json::Value = serde_json::from_str(&message.payload).expect("JSON");
        assert_eq!(payload["data"]["findings_total"], 200);
    }
}
