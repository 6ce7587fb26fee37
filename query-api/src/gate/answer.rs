//! What an agent is told.

use axum::http::StatusCode;
use martingale_schemas::{Decision, Finding, Verdict, VerdictId};
use serde::Serialize;

use crate::http::Failure;

/// The answer of the gate. Agents act on `decision`, whatever the status.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Answer {
    pub decision: Decision,
    pub verdict_id: VerdictId<'static>,
    pub findings: Vec<Finding>,
    /// What stands against the session; absent when there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Decision>,
    /// One sentence for the agent, when the step may not simply run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// There was no verdict in time: the decision is the operator's choice for this case.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// Why there is no verdict, when it is not for want of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub error: Option<Failure>,
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Judged,
    /// The step had been sent before.
    Duplicate,
    TimedOut,
    Unavailable,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Duplicate => "duplicate",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Judged | Self::Duplicate | Self::TimedOut => StatusCode::OK,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Answer {
    pub(super) fn of(verdict: Verdict<'static>) -> Self {
        let decision = verdict.decision;
        let decisive = |finding: &&Finding| decision > Decision::Allow && finding.effective() == decision;
        let message = verdict.findings.iter().find(decisive).map(|finding| finding.message.clone());
        Self {
            decision,
            verdict_id: verdict.verdict_id,
            standing: Some(verdict.standing),
            message,
            findings: verdict.findings,
            timed_out: false,
            error: None,
        }
    }

    pub(super) fn without_verdict(id: VerdictId<'static>, decision: Decision, outcome: Outcome, why: &str) -> Self {
        let told = if decision == Decision::Allow { "allowed" } else { "refused" };
        let error = (outcome == Outcome::Unavailable).then(|| Failure::unavailable(why));
        Self {
            decision,
            verdict_id: id,
            findings: Vec::new(),
            standing: None,
            message: Some(format!("{why}: {told}, as configured for this agent (`gate.on_timeout`)")),
            timed_out: outcome == Outcome::TimedOut,
            error,
        }
    }
}
