//! Standing orders.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Position;
use crate::{BaselinesId, ControlId, Flow, SessionId, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ControlAction {
    /// No further step of the scope may run.
    Halt,
    /// Lifts a halt of the same scope, whether a person or a policy gave it. Only a person resumes.
    Resume,
    /// Steps are held against these baselines, which are on the log.
    UseBaselines { baselines_id: BaselinesId },
    /// Calls of this flow are not asked about, until then.
    Grant { until: Timestamp },
    /// Takes back the grants of this flow, and of every flow within it.
    Revoke,
}

impl ControlAction {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Resume => "resume",
            Self::UseBaselines { .. } => "use_baselines",
            Self::Grant { .. } => "grant",
            Self::Revoke => "revoke",
        }
    }
}

/// What a control holds for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Scope {
    /// One session and the sessions that descend from it.
    Session { session_id: SessionId<'static> },
    /// Every session that grew from this root.
    Run { root_session_id: SessionId<'static> },
    /// Every session.
    Tenant,
    /// Calls of a tool by where their values come from and where they go, in every session of an agent.
    Flow(Flow),
}

impl Scope {
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Session { .. } => "session",
            Self::Run { .. } => "run",
            Self::Tenant => "tenant",
            Self::Flow(_) => "flow",
        }
    }

    /// The session, or the root of the run; none for what is wider.
    #[must_use]
    pub fn id(&self) -> Option<&SessionId<'static>> {
        match self {
            Self::Session { session_id } => Some(session_id),
            Self::Run { root_session_id } => Some(root_session_id),
            Self::Tenant | Self::Flow(_) => None,
        }
    }

    /// [`Self::id`], or nothing: key of what is answered, and so where that is at home.
    #[must_use]
    pub fn key(&self) -> &str {
        self.id().map_or("", SessionId::as_str)
    }

    /// What it names, for a person: the id, or the flow.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Flow(flow) => Cow::Owned(flow.to_string()),
            _ => Cow::Borrowed(self.key()),
        }
    }
}

/// Where a control is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ControlState {
    /// On the log, one copy for each partition.
    Requested,
    /// A detector holds it: every step of this partition from `before` on is judged under it.
    Applied {
        before: Position,
        /// Whether this partition knows the session or run; of baselines, whether they are on the log and could be read; of a
        /// grant, whether it is kept; of what is revoked, whether there was any.
        known: bool,
        /// Whether it changed anything here: a resume of a session that was not halted does not, nor a second halt. One of a
        /// run that was not halted does where it renews budgets. Absent in records of before it was told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changed: Option<bool>,
    },
}

/// A standing order and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Control {
    pub control_id: ControlId<'static>,
    #[serde(flatten)]
    pub action: ControlAction,
    pub scope: Scope,
    pub time: Timestamp,
    /// Who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(flatten)]
    pub state: ControlState,
}
