//! Why something is halted.

use std::fmt;

use martingale_schemas::{Control, ControlAction, ControlId, SessionId, StepId, Timestamp};
use serde::{Deserialize, Serialize};

/// A halt that stands until a person resumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Halt {
    /// The session, or root of the run, that it was given for.
    pub(crate) of: SessionId<'static>,
    pub(crate) since: Timestamp,
    pub(crate) cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// A person or program ordered it.
    Control { control_id: ControlId<'static>, by: Option<String>, reason: Option<String> },
    /// A rule found something at this step.
    Step { step_id: StepId<'static>, rule: String },
}

/// Longest name or reason of a control that is remembered, in characters.
const WORDS_MAX: usize = 200;

impl Halt {
    /// Gives the halt where none stands, or lifts the one that does, and answers whether that changed anything: the first
    /// halt keeps saying why.
    pub(crate) fn order(standing: &mut Option<Box<Self>>, control: &Control) -> bool {
        let changed = match control.action {
            ControlAction::Halt => standing.is_none(),
            ControlAction::Resume => standing.is_some(),
            ControlAction::UseBaselines { .. } | ControlAction::Grant { .. } | ControlAction::Revoke => false,
        };
        if changed {
            *standing = match control.action {
                ControlAction::Halt => Self::by_control(control),
                _ => None,
            };
        }
        changed
    }

    /// `None` for an order that names neither session nor run.
    fn by_control(control: &Control) -> Option<Box<Self>> {
        let cut = |it: &Option<String>| it.as_ref().map(|it| it.chars().take(WORDS_MAX).collect());
        Some(Box::new(Self {
            of: control.scope.id()?.clone(),
            since: control.time,
            cause: Cause::Control {
                control_id: ControlId::from(control.control_id.as_str().chars().take(WORDS_MAX).collect::<String>()),
                by: cut(&control.by),
                reason: cut(&control.reason),
            },
        }))
    }

    /// Name of what gave the halt, for the finding's rule.
    pub(crate) fn rule(&self) -> &'static str {
        match self.cause {
            Cause::Control { .. } => "halted_by_control",
            Cause::Step { .. } => "halted_by_rule",
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let cause = match &self.cause {
            Cause::Control { control_id, by, reason } => {
                control_id.as_str().len() + by.as_ref().map_or(0, String::len) + reason.as_ref().map_or(0, String::len)
            }
            Cause::Step { step_id, rule } => step_id.as_str().len() + rule.len(),
        };
        size_of::<Self>() + self.of.as_str().len() + cause
    }
}

/// Who, when and why, in one clause.
impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Control { control_id, by, reason } => {
                write!(f, "halted by {} at {}", by.as_deref().unwrap_or("an operator"), self.since)?;
                if let Some(reason) = reason {
                    write!(f, ": {reason}")?;
                }
                write!(f, " (control {control_id})")
            }
            Cause::Step { step_id, rule } => write!(f, "halted at {} by rule {rule} at step {step_id}", self.since),
        }
    }
}
