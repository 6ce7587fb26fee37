//! What the detector says of a step.

mod bound;
mod score;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Position;
use crate::step::Kind;
use crate::{AgentId, Decision, FindingId, SessionId, StepId, Timestamp, VerdictId};

pub use bound::{Assumption, Bound};

/// The independent columns of the detector, combined by `max` (`docs/architecture.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// A standing order: halt of this session, of an ancestor or of the run.
    Control,
    /// A declared policy.
    Policy,
    /// Repeats, cycles and near-duplicates.
    Loop,
    /// Steps that bring nothing new.
    Progress,
    /// Secrets on their way out.
    Leakage,
    /// Steps that are dangerous together.
    Chain,
    /// A call that serves a text that was read rather than the user.
    Hijack,
    /// A session that works otherwise than its agent's sessions do.
    Drift,
    /// A call above what its principal was granted, or above what its run has done so far.
    Escalation,
}

impl Column {
    pub const ALL: [Self; 9] = [
        Self::Control,
        Self::Policy,
        Self::Loop,
        Self::Progress,
        Self::Leakage,
        Self::Chain,
        Self::Hijack,
        Self::Drift,
        Self::Escalation,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Policy => "policy",
            Self::Loop => "loop",
            Self::Progress => "progress",
            Self::Leakage => "leakage",
            Self::Chain => "chain",
            Self::Hijack => "hijack",
            Self::Drift => "drift",
            Self::Escalation => "escalation",
        }
    }
}

/// How bad it would be, in the words alerting systems share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

impl Severity {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Whether a rule's opinion counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Off,
    /// Reported as a finding, with what it would have decided; the decision is untouched.
    #[default]
    Shadow,
    Enforce,
}

impl Mode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }
}

/// What backs a finding. No score is a probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// A fact about the steps seen: it happened, or it did not. No error rate applies.
    Fact,
    /// A heuristic whose rate of false alarms on this agent is not known.
    Uncalibrated,
    /// Passed by at most a stated share of sessions, as long as they are exchangeable with those it was calibrated on: see
    /// `bound`.
    Conformal,
}

impl Calibration {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::Uncalibrated => "uncalibrated",
            Self::Conformal => "conformal",
        }
    }
}

/// What one column saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub column: Column,
    /// Policy id, or the name of the built-in rule.
    pub rule: Cow<'static, str>,
    pub severity: Severity,
    pub mode: Mode,
    /// What it decides, or in shadow mode what it would have decided.
    pub decision: Decision,
    /// In the rule's own unit (a count, an amount): comparable within a rule only, never a probability.
    #[serde(with = "score::one")]
    #[schemars(with = "f64")]
    pub score: f64,
    pub calibration: Calibration,
    /// Of what is `conformal`, what is stated. Absent in records of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// Steps that show it, oldest first; the judged step is the last.
    pub evidence: Vec<StepId<'static>>,
    /// Where it began.
    pub began_at: StepId<'static>,
    /// One sentence for a person. Contains text from the agent: treat it as untrusted.
    pub message: String,
    /// Whom the policy wants told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
}

impl Finding {
    /// What it contributes to the verdict: nothing unless it is enforced.
    #[must_use]
    pub fn effective(&self) -> Decision {
        if self.mode == Mode::Enforce { self.decision } else { Decision::Allow }
    }
}

/// How a value equals the one it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueMatch {
    Exact,
    Case,
    /// A number, an id or a phrase with other separators.
    Separators,
    /// An address without its separators, or spelled out.
    Loose,
    Url,
    Hex,
    Base64,
    /// Encoded more than once, or on both sides.
    Nested,
    /// Words in a row that were copied.
    Copied,
    /// A short value under a name of the same kind.
    Named,
}

impl ValueMatch {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Case => "case",
            Self::Separators => "separators",
            Self::Loose => "loose",
            Self::Url => "url",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Nested => "nested",
            Self::Copied => "copied",
            Self::Named => "named",
        }
    }
}

/// Where the value of an argument was seen before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValueEdge {
    /// Path of the argument in the step's input, as `recipients[0]`; empty for an input that is a value itself.
    pub argument: String,
    /// The step of this session that brought the value in.
    pub from: StepId<'static>,
    /// Path in that step's result; absent in plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(rename = "match")]
    pub matched: ValueMatch,
    /// Only a part of the argument came from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub part: bool,
    /// The user or the operator wrote it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub authored: bool,
}

/// Highest score of each column that said something, by the column's name.
pub type Scores = BTreeMap<Cow<'static, str>, f64>;

/// The decision for one step: one record on the log for each judged step. Ids are derived from the step's, so that a
/// verdict that is published again is recognised as the same one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict<'a> {
    pub verdict_id: VerdictId<'a>,
    pub session_id: SessionId<'a>,
    pub root_session_id: SessionId<'a>,
    pub step_id: StepId<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    pub kind: Kind,
    pub agent_id: AgentId<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Cow<'a, str>>,
    /// Whether the step came through the gate and could be stopped before it ran, or was only reported. Absent in records
    /// of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<bool>,
    /// The step's event time.
    pub time: Timestamp,
    /// Where the step stands on the log. Verdicts of a partition follow the order of their steps; a consumer that sees
    /// a position at or below the last it handled sees a verdict published again.
    pub position: Position,
    pub decision: Decision,
    /// Worst of the decision and of what already stands against the session (a halt stays a halt).
    pub standing: Decision,
    #[serde(default, skip_serializing_if = "Scores::is_empty", with = "score::all")]
    #[schemars(with = "Scores")]
    pub scores: Scores,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Of a call: where its arguments come from, the strongest trace of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<ValueEdge>,
}

impl Verdict<'_> {
    #[must_use]
    pub fn finding_id(&self, finding: &Finding) -> FindingId<'static> {
        FindingId::of(&self.verdict_id, finding.column.as_str(), &finding.rule)
    }
}
