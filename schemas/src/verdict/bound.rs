//! What is stated of how often ordinary sessions are told of, and what that rests on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bound on false alarms: at most so large a share of sessions has a score above the threshold at any of its steps. It
/// speaks of sessions that are as those which calibrated, and of no single finding: it is no chance that this one is right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bound {
    /// Share of sessions, 0 to 1.
    pub at_most: f64,
    /// In the unit of the finding's score, which is above it.
    pub threshold: f64,
    /// Sessions that calibrated.
    pub sessions: u32,
    /// Distinct requests among them. Sessions asked the same resemble each other, so this says how much they are worth.
    pub requests: u32,
    pub assumes: Assumption,
    /// False alarms a day to expect at most: the share, times the sessions that the agent had a day while its baseline was
    /// learnt. Absent where less than a day of it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms_per_day: Option<f64>,
}

/// What has to hold for a bound to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assumption {
    /// Sessions are exchangeable with those that calibrated: the same agent, asked for the same mix of things, in the same
    /// circumstances. Nothing is assumed of how the steps of a session depend on each other.
    Exchangeable,
}

impl Assumption {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exchangeable => "exchangeable",
        }
    }
}
