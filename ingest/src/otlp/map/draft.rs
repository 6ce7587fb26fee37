//! A step as the mapping writes it: wire format v1, checked by intake like any other.

use std::sync::Arc;

use martingale_schemas::{Kind, Status, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// What all steps of one span have in common.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Who {
    pub(super) session_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root_session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_session_id: Option<String>,
    pub(super) agent: Agent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<Principal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Agent {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Principal {
    pub(super) id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_usd: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Draft {
    #[serde(flatten)]
    pub(super) who: Arc<Who>,
    pub(super) step_id: String,
    /// Nanoseconds since the Unix epoch; 0 is none, and then the arrival counts.
    #[serde(rename = "time", skip_serializing_if = "is_zero", serialize_with = "as_time")]
    pub(super) nanos: u64,
    pub(super) kind: Kind,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) attributes: Map<String, Value>,
}

impl Draft {
    pub(super) fn new(who: &Arc<Who>, kind: Kind, step_id: String, nanos: u64) -> Self {
        Self {
            who: Arc::clone(who),
            step_id,
            nanos,
            kind,
            causes: Vec::new(),
            tool: None,
            model: None,
            input: None,
            output: None,
            text: None,
            status: None,
            error: None,
            usage: None,
            duration_ms: None,
            attributes: Map::new(),
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Cannot fail: the writer is memory and every key is a string.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(nanos: &u64) -> bool {
    *nanos == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn as_time<S: Serializer>(nanos: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    // The largest is in the year 2554, which a timestamp holds.
    Timestamp::from_micros(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX)).serialize(serializer)
}
