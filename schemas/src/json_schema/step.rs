//! The step wire format as types that only describe. The parser (`wire`) is written by hand; a test holds the two
//! together. Lengths are those of the default limits, and count bytes where a JSON Schema can only count characters.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::limits::{COST_USD_MAX, DURATION_MS_MAX, TOKENS_MAX};
use crate::{Kind, Status};

/// One event of an agent's execution. Send what you know: only `session_id`, `kind` and `agent.id` are required, and
/// `null` is the same as leaving a field out. Fields of other names are kept under `attributes`, those of nested objects
/// under a dotted name.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) struct Step {
    /// One autonomous execution of one agent task.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    session_id: String,
    /// Root of the tree of sessions this one belongs to: its run, whose halts, budgets and limits hold for it. Left out, it is
    /// what the session told before, else what its parent told, else the parent, else the session itself. Another one than
    /// the session told before is rejected.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    root_session_id: Option<String>,
    /// The session that spawned this one or delegated to it. Never the session itself. Left out, it is what the session told
    /// before; another one than that is rejected.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    parent_session_id: Option<String>,
    /// Unique in the session. If left out it is derived from the session and the bytes sent, so that sending them again
    /// is a duplicate and not a new step.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    step_id: Option<String>,
    /// The producer's order. Gaps and reordering are measured, not refused.
    seq: Option<u64>,
    /// When it happened, RFC 3339 with an offset; time of arrival if left out. A time before 2000 or more than five
    /// minutes ahead is replaced by the time of arrival and kept in `time_clamped_from`.
    #[schemars(extend("format" = "date-time"))]
    time: Option<String>,
    /// Written by Martingale: the absurd time that was sent.
    #[schemars(length(max = 256))]
    time_clamped_from: Option<String>,
    kind: Kind,
    agent: Agent,
    /// Such as production or staging.
    #[schemars(length(max = 256))]
    environment: Option<String>,
    principal: Option<Principal>,
    /// Who answers for the agent.
    #[schemars(length(max = 256))]
    owner: Option<String>,
    /// Steps of this session that led to this one; a tool result names its tool call.
    causes: Option<Causes>,
    #[schemars(length(max = 256))]
    tool: Option<String>,
    #[schemars(length(max = 256))]
    model: Option<String>,
    /// Tool arguments, or what a model was given: any JSON whose objects hold each name once, at most 64 levels deep. Over
    /// 128 KiB it is cut to a string of its beginning.
    input: Option<Value>,
    /// Bytes of the whole, where `input` was cut.
    input_truncated_from: Option<u64>,
    /// 128 bits of BLAKE3 of the whole, in hexadecimal, where `input` was cut.
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{32}$"))]
    input_fingerprint: Option<String>,
    /// Tool result, or what a model gave: any JSON whose objects hold each name once, at most 64 levels deep. Over 128 KiB
    /// it is cut to a string of its beginning.
    output: Option<Value>,
    /// Bytes of the whole, where `output` was cut.
    output_truncated_from: Option<u64>,
    /// 128 bits of BLAKE3 of the whole, in hexadecimal, where `output` was cut.
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{32}$"))]
    output_fingerprint: Option<String>,
    /// A message, reasoning or rationale. Over 128 KiB it is cut.
    text: Option<String>,
    /// Bytes of the whole, where `text` was cut.
    text_truncated_from: Option<u64>,
    /// 128 bits of BLAKE3 of the whole, in hexadecimal, where `text` was cut.
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{32}$"))]
    text_fingerprint: Option<String>,
    /// Options the agent weighed.
    #[schemars(length(max = 256))]
    alternatives: Option<Vec<Alternative>>,
    status: Option<Status>,
    error: Option<Error>,
    usage: Option<Usage>,
    /// Milliseconds.
    #[schemars(range(min = 0, max = DURATION_MS_MAX))]
    duration_ms: Option<f64>,
    /// Anything else, under its own names; at most 256 names and 128 KiB. Objects within hold each name once,
    /// at most 64 levels deep.
    attributes: Option<Map<String, Value>>,
}

/// Who acts.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) struct Agent {
    /// The agent as its operator names it.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    id: String,
    /// The actor, where several act in one session.
    #[schemars(length(max = 256))]
    name: Option<String>,
    #[schemars(length(max = 256))]
    version: Option<String>,
}

/// On whose behalf.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) struct Principal {
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    id: String,
    /// Such as user or service.
    #[schemars(length(max = 256))]
    r#type: Option<String>,
    #[schemars(length(max = 256))]
    on_behalf_of: Option<String>,
    scopes: Option<Texts>,
}

/// Strings; a single one stands for a list of one.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) enum Texts {
    One(String),
    Many(#[schemars(length(max = 256))] Vec<String>),
}

/// Step ids; a single one stands for a list of one.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) enum Causes {
    One(#[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))] String),
    Many(
        #[schemars(length(max = 256), inner(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")))]
        Vec<String>,
    ),
}

/// An option the agent weighed.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) struct Alternative {
    action: String,
    /// In the agent's own unit.
    score: Option<f64>,
    reason: Option<String>,
}

/// What went wrong.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) struct Error {
    #[schemars(length(max = 256))]
    r#type: Option<String>,
    message: Option<String>,
}

/// What the step cost.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes; nothing builds it")]
pub(super) struct Usage {
    #[schemars(range(max = TOKENS_MAX))]
    input_tokens: Option<u64>,
    #[schemars(range(max = TOKENS_MAX))]
    output_tokens: Option<u64>,
    /// Of the input tokens, those read from the provider's cache.
    #[schemars(range(max = TOKENS_MAX))]
    cached_tokens: Option<u64>,
    /// US dollars.
    #[schemars(range(min = 0, max = COST_USD_MAX))]
    cost_usd: Option<f64>,
}
