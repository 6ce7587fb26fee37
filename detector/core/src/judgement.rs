//! What `observe` and `apply` answer.

use std::borrow::Cow;

use martingale_schemas::lineage::Hold;
use martingale_schemas::{Decision, Finding, Position, Scores, Step, ValueEdge, Verdict, VerdictId};

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    Judged(Judgement),
    /// This step was judged before: nothing changed. What stands against it is [`crate::Detector::standing`].
    Duplicate,
}

impl Observed {
    #[must_use]
    pub fn judgement(self) -> Option<Judgement> {
        match self {
            Self::Judged(judgement) => Some(judgement),
            Self::Duplicate => None,
        }
    }
}

/// What the detector says of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Worst of the enforced findings.
    pub decision: Decision,
    /// `halt` while a halt stands against the session, an ancestor or the run; otherwise the decision.
    pub standing: Decision,
    pub scores: Scores,
    pub findings: Vec<Finding>,
    /// Where the arguments of a call come from.
    pub edges: Vec<ValueEdge>,
    /// What of the session's lineage has to stay, while a halt stands.
    pub hold: Option<Hold>,
}

impl Judgement {
    /// The record for the log. `step` is the judged one, at `position`.
    #[must_use]
    pub fn into_verdict(self, step: &Step<'_>, position: Position) -> Verdict<'static> {
        let owned = |text: &Option<Cow<'_, str>>| text.as_ref().map(|it| Cow::Owned(it.as_ref().to_owned()));
        Verdict {
            verdict_id: VerdictId::of(&step.session_id, &step.step_id),
            session_id: step.session_id.to_static(),
            root_session_id: step.root_session_id.to_static(),
            step_id: step.step_id.to_static(),
            seq: step.seq,
            kind: step.kind,
            agent_id: step.agent.id.to_static(),
            agent_version: owned(&step.agent.version),
            environment: owned(&step.environment),
            tool: owned(&step.tool),
            gated: step.gated,
            time: step.time,
            position,
            decision: self.decision,
            standing: self.standing,
            scores: self.scores,
            findings: self.findings,
            edges: self.edges,
        }
    }
}

/// What became of a control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether this detector knows the session or run: a step of it was seen here.
    pub known: bool,
    /// Whether it changed anything: a halt where none stood, a resume where one did, or of a run whose budgets had counted
    /// something, which it renews.
    pub changed: bool,
}
