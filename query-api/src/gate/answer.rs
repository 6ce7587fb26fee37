//! What an agent is told.

use axum::http::StatusCode;
use martingale_schemas::record::Standing;
use martingale_schemas::rejection::shown;
use martingale_schemas::{Decision, Finding, Step, StepId, Verdict, VerdictId};
use serde::Serialize;

use crate::controls::Given;
use crate::http::Failure;

/// The answer of the gate. Agents act on `decision`, whatever the status.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Answer {
    pub decision: Decision,
    pub verdict_id: VerdictId<'static>,
    /// Of the step that was asked about: its own, or the one it was given because it had none.
    pub step_id: StepId<'static>,
    pub findings: Vec<Finding>,
    /// What stands against the session; absent when there is no verdict and no halt is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Decision>,
    /// One sentence for the agent, when the step may not simply run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// There was no verdict in time: the decision is the operator's choice for this case, or `halt` under a halt that
    /// stands.
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
    /// Another step had been sent under this id.
    Conflict,
    TimedOut,
    /// A limit of this server is reached.
    Busy,
    Unavailable,
    /// There is a verdict and it cannot be read.
    Unreadable,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Unreadable => "unreadable",
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Judged | Self::Duplicate | Self::TimedOut => StatusCode::OK,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable | Self::Unreadable => StatusCode::SERVICE_UNAVAILABLE,
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
            step_id: verdict.step_id,
            standing: Some(verdict.standing),
            message,
            findings: verdict.findings,
            timed_out: false,
            error: None,
        }
    }

    /// The verdict a step was given before, and what stands against it now: whichever is worse.
    pub(super) fn again(verdict: Verdict<'static>, now: Standing) -> Self {
        let mut answer = Self::of(verdict);
        if now.standing > answer.decision {
            answer.decision = now.standing;
            answer.message = now.finding.as_ref().map(|finding| finding.message.clone());
            answer.findings.extend(now.finding);
        }
        // Not the worse of both: a verdict of under a halt stays what it was when the halt is lifted.
        answer.standing = Some(now.standing);
        answer
    }

    /// A step that was judged before, and its verdict is no longer at hand: what stands against it, or `otherwise`.
    pub(super) fn standing(step: &Step<'_>, now: Standing, otherwise: Decision) -> Self {
        let decision = now.standing.max(otherwise);
        let message = match &now.finding {
            Some(finding) => finding.message.clone(),
            None => format!("it was judged before and its verdict is not kept any more: {}", chosen(otherwise)),
        };
        let findings = now.finding.into_iter().collect();
        Self { standing: Some(now.standing), findings, ..Self::told(step, decision, message) }
    }

    /// No verdict: the decision is the operator's choice.
    pub(super) fn without_verdict(step: &Step<'_>, decision: Decision, why: &str) -> Self {
        Self::told(step, decision, format!("{why}: {}", chosen(decision)))
    }

    /// No verdict, and a halt given by a person stands.
    pub(super) fn halted(step: &Step<'_>, why: &str, halt: &Given) -> Self {
        let message = format!(
            "{why}; {} \"{}\" was halted by control {}: a person must resume it",
            halt.scope.as_str(),
            shown(halt.scope.key()),
            halt.control_id
        );
        Self { standing: Some(Decision::Halt), ..Self::told(step, Decision::Halt, message) }
    }

    /// What no verdict says.
    pub(super) fn told(step: &Step<'_>, decision: Decision, message: String) -> Self {
        Self {
            decision,
            verdict_id: VerdictId::of(&step.session_id, &step.step_id),
            step_id: step.step_id.to_static(),
            findings: Vec::new(),
            standing: None,
            message: Some(message),
            timed_out: false,
            error: None,
        }
    }

    pub(super) fn timed_out(mut self) -> Self {
        self.timed_out = true;
        self
    }

    pub(super) fn with_error(mut self, error: Failure) -> Self {
        self.error = Some(error);
        self
    }
}

fn chosen(decision: Decision) -> String {
    let told = if decision == Decision::Allow { "allowed" } else { "refused" };
    format!("{told}, as configured for this agent (`gate.on_timeout`)")
}
