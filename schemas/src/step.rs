//! A checked step, complete with its defaults.

mod write;

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::StepV1;
use crate::{AgentId, Capture, Limits, Rejection, SessionId, StepId, Timestamp, ids};

/// Name of [`Step::ancestors`] on the log.
pub(crate) const ANCESTORS: &str = "ancestor_session_ids";

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    SessionStart,
    SystemPrompt,
    UserMessage,
    Plan,
    Reasoning,
    ModelCall,
    AssistantMessage,
    ToolCall,
    ToolResult,
    Retrieval,
    MemoryRead,
    MemoryWrite,
    State,
    Handoff,
    Spawn,
    Approval,
    Guardrail,
    Error,
    FinalMessage,
    SessionEnd,
}

impl Kind {
    pub const ALL: [Self; 20] = [
        Self::SessionStart,
        Self::SystemPrompt,
        Self::UserMessage,
        Self::Plan,
        Self::Reasoning,
        Self::ModelCall,
        Self::AssistantMessage,
        Self::ToolCall,
        Self::ToolResult,
        Self::Retrieval,
        Self::MemoryRead,
        Self::MemoryWrite,
        Self::State,
        Self::Handoff,
        Self::Spawn,
        Self::Approval,
        Self::Guardrail,
        Self::Error,
        Self::FinalMessage,
        Self::SessionEnd,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionStart => "session_start",
            Self::SystemPrompt => "system_prompt",
            Self::UserMessage => "user_message",
            Self::Plan => "plan",
            Self::Reasoning => "reasoning",
            Self::ModelCall => "model_call",
            Self::AssistantMessage => "assistant_message",
            Self::ToolCall => "tool_call",
            Self::ToolResult => "tool_result",
            Self::Retrieval => "retrieval",
            Self::MemoryRead => "memory_read",
            Self::MemoryWrite => "memory_write",
            Self::State => "state",
            Self::Handoff => "handoff",
            Self::Spawn => "spawn",
            Self::Approval => "approval",
            Self::Guardrail => "guardrail",
            Self::Error => "error",
            Self::FinalMessage => "final_message",
            Self::SessionEnd => "session_end",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Error,
}

impl Status {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// Who acts. `name` is the actor, where several act in one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent<'a> {
    pub id: AgentId<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Cow<'a, str>>,
}

/// On whose behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Principal<'a> {
    pub id: Cow<'a, str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Cow<'a, str>>,
}

/// An option the agent weighed.
#[derive(Clone, Debug, Serialize)]
pub struct Alternative<'a> {
    pub action: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorInfo<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'a, str>>,
}

/// What a step cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// US dollars, from 0 to [`crate::limits::COST_USD_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl Usage {
    /// Cost in millionths of a US dollar: sums of it are exact.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be from 0 to COST_USD_MAX: below 2^53 millionths"
    )]
    pub fn micro_usd(&self) -> u64 {
        (self.cost_usd.unwrap_or(0.0) * 1e6).round() as u64
    }

    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.input_tokens.unwrap_or(0).saturating_add(self.output_tokens.unwrap_or(0))
    }
}

/// Content that was cut, here or by its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Size of the whole, in bytes.
    pub bytes: u64,
    /// [`ids::digest`] of the whole, taken before the cut; a producer that cut its own content may have sent none.
    pub fingerprint: Option<[u8; 16]>,
}

/// One event of an agent's execution, checked and complete.
///
/// Built only by [`StepV1::check`] and [`Step::from_log`], which hold every limit of [`crate::Limits`].
#[derive(Clone, Debug)]
pub struct Step<'a> {
    pub session_id: SessionId<'a>,
    /// Root of the run; when none was named the parent, or the session itself.
    pub root_session_id: SessionId<'a>,
    pub parent_session_id: Option<SessionId<'a>>,
    pub step_id: StepId<'a>,
    /// The producer's order. Gaps and reordering are measured, not fatal.
    pub seq: Option<u64>,
    /// Event time; time of arrival when the producer sent none.
    pub time: Timestamp,
    /// The time the producer sent, when it was absurd and `time` is the arrival instead.
    pub time_clamped_from: Option<Cow<'a, str>>,
    pub kind: Kind,
    pub agent: Agent<'a>,
    pub environment: Option<Cow<'a, str>>,
    pub principal: Option<Principal<'a>>,
    pub owner: Option<Cow<'a, str>>,
    /// Declared causal parents.
    pub causes: Vec<StepId<'a>>,
    pub tool: Option<Cow<'a, str>>,
    pub model: Option<Cow<'a, str>>,
    pub input: Option<Cow<'a, RawValue>>,
    pub input_cut: Option<Cut>,
    pub output: Option<Cow<'a, RawValue>>,
    pub output_cut: Option<Cut>,
    pub text: Option<Cow<'a, str>>,
    pub text_cut: Option<Cut>,
    pub alternatives: Vec<Alternative<'a>>,
    pub status: Option<Status>,
    pub error: Option<ErrorInfo<'a>>,
    pub usage: Option<Usage>,
    /// Milliseconds, from 0 to [`crate::limits::DURATION_MS_MAX`].
    pub duration_ms: Option<f64>,
    /// Whether it came through the gate, so that whoever sent it could wait for the verdict, or was only reported. Set by
    /// the door it came through and by nothing that was sent; absent in records of before this was kept.
    pub gated: Option<bool>,
    /// How its content was captured. Set by the door and by nothing that was sent.
    pub capture: Capture,
    /// Sessions between the parent and the root, the nearest first, as far as is remembered. Set by the door and by nothing that
    /// was sent: the tree of the run may not have them. None where the parent is the root.
    pub ancestors: Vec<SessionId<'a>>,
    /// Whatever else the producer sent, under its own names.
    pub attributes: Vec<(Cow<'a, str>, Cow<'a, RawValue>)>,
}

impl<'a> Step<'a> {
    /// Reads a step that [`Step::to_json`] wrote, borrowing its text.
    ///
    /// # Errors
    /// A [`Rejection`] when the record is no complete step: it was put on the log by other means than ingest.
    pub fn from_log(json: &'a [u8]) -> Result<Self, Rejection> {
        StepV1::logged(json)
    }

    /// Reads a record of a topic that others write to as well, which was appended then: a step that ingest wrote comes out
    /// as it went in, and any other is checked as ingest checks it.
    ///
    /// # Errors
    /// A [`Rejection`] for the dead letter.
    pub fn from_topic(json: &'a [u8], appended_at: Timestamp, limits: &Limits) -> Result<Self, Rejection> {
        StepV1::parse(json)?.check_appended(appended_at, limits)
    }

    /// What the step claims to have failed or not; a result that carries an error counts as failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.status == Some(Status::Error) || self.error.is_some()
    }

    /// Identity on the log.
    #[must_use]
    pub fn key(&self) -> [u8; 16] {
        ids::step_key(&self.session_id, &self.step_id)
    }
}
