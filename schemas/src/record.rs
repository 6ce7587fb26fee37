//! Where a record stands on the log, and the records that are neither step, verdict nor control.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Reason, Timestamp};

/// Position of a step on the log: partition of its topic and offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    pub partition: u32,
    pub offset: u64,
}

/// A record that could not be accepted, with what is needed to mend and replay it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Derived from the record, its source and its arrival: each arrival of a bad record is listed, once.
    pub id: String,
    /// When it arrived.
    pub time: Timestamp,
    /// Through which door: `http_steps`, `otlp_traces`, `otlp_logs`, `kafka`.
    pub source: String,
    pub reason: Reason,
    /// Field at fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub message: String,
    /// The record as it was sent, in base64 when it is not UTF-8; cut at a limit, and then it cannot be replayed.
    pub payload: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payload_is_base64: bool,
    /// Bytes of the whole payload when it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_truncated_from: Option<u64>,
}
