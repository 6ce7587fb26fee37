//! What is to happen with a step.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ordered by severity, so that combining the opinions of several detectors is `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The step may run.
    #[default]
    Allow,
    /// The step may run; somebody should look.
    Warn,
    /// The agent must slow down.
    Throttle,
    /// The step may run with changed arguments.
    Modify,
    /// A person must approve first.
    StepUp,
    /// This step must not run.
    Deny,
    /// This step and every later one of the session must not run, until a person resumes it.
    Halt,
}

impl Decision {
    pub const ALL: [Self; 7] =
        [Self::Allow, Self::Warn, Self::Throttle, Self::Modify, Self::StepUp, Self::Deny, Self::Halt];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Throttle => "throttle",
            Self::Modify => "modify",
            Self::StepUp => "step_up",
            Self::Deny => "deny",
            Self::Halt => "halt",
        }
    }

    /// Whether the step must not run as it was proposed.
    #[must_use]
    pub const fn stops(self) -> bool {
        matches!(self, Self::Modify | Self::StepUp | Self::Deny | Self::Halt)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Decision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown decision `{text}`: expected one of {known}")
        })
    }
}
