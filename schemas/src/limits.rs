//! How large a step may be, chosen in one place.

use serde::{Deserialize, Serialize};

/// Most that one step may claim to have cost, in US dollars: far beyond any bill, and small enough that sums of it stay exact
/// in millionths.
pub const COST_USD_MAX: f64 = 1e9;
/// Most tokens of one kind that one step may claim.
pub const TOKENS_MAX: u64 = 1_000_000_000_000;
/// Longest that one step may claim to have taken, in milliseconds: more than nanoseconds in 64 bits can say.
pub const DURATION_MS_MAX: f64 = 1e14;

/// Limits of one step. Over an identity's or the step's own limit it is rejected; over the content limit the content is
/// cut and says so (`text_truncated_from`, `input_truncated_from`, `output_truncated_from`), with a fingerprint of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest `session_id`, `step_id`, `agent.id` and the like, in bytes.
    pub id_bytes_max: usize,
    /// Longest `tool`, `model`, `environment`, names and versions, in bytes.
    pub name_bytes_max: usize,
    /// Longest `text`, `input` or `output` that is kept whole, in bytes of JSON.
    pub content_bytes_max: usize,
    /// Largest whole step, in bytes of JSON.
    pub step_bytes_max: usize,
    /// Deepest nesting of `input`, `output` and attributes.
    pub depth_max: usize,
    /// Most entries of `causes`, `alternatives` and `principal.scopes`.
    pub list_max: usize,
    /// Most attributes, and their total size is bound by `content_bytes_max`.
    pub attributes_max: usize,
    /// How far ahead of its arrival an event time may be before it is clamped, in microseconds: as far as clocks are apart
    /// that nobody keeps in step. A session's time never goes back, so a step from the future closes every window that
    /// is shorter than it is early.
    pub future_micros_max: i64,
}

impl Limits {
    pub const DEFAULT: Self = Self {
        id_bytes_max: 128,
        name_bytes_max: 256,
        content_bytes_max: 128 * 1024,
        step_bytes_max: 4 * 1024 * 1024,
        depth_max: 64,
        list_max: 256,
        attributes_max: 256,
        future_micros_max: 5 * 60 * 1_000_000,
    };

    /// For what was checked before.
    pub(crate) const NONE: Self = Self {
        id_bytes_max: usize::MAX,
        name_bytes_max: usize::MAX,
        content_bytes_max: usize::MAX,
        step_bytes_max: usize::MAX,
        depth_max: usize::MAX,
        list_max: usize::MAX,
        attributes_max: usize::MAX,
        future_micros_max: i64::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
