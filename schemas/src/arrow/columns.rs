//! The columns of every stored table, with what they mean.

use super::ColumnKind::{Boolean, Float, Integer, Text, Texts, Time};
use super::{Column, ColumnKind, Table};

/// Every row has a value.
const fn one(name: &'static str, kind: ColumnKind, doc: &'static str) -> Column {
    Column { name, kind, required: true, doc }
}

/// Null when it was not sent, or does not apply.
const fn maybe(name: &'static str, kind: ColumnKind, doc: &'static str) -> Column {
    Column { name, kind, required: false, doc }
}

const GATED: &str = "true: it came through the gate, so its sender was told the decision before it ran; false: it was \
                     reported; null: judged before this was kept";

const BOUND: &str = "of what is conformal: the share of sessions, 0 to 1, that pass the threshold at most; null: of \
                     anything else, or judged before this was kept";

pub const STEPS: Table = Table {
    name: "steps",
    doc: "One row for each judged step, as it was accepted, with the decision about it.",
    columns: &[
        one("session_id", Text, "session of the step"),
        one("root_session_id", Text, "root of the run; the session itself when it has no parent"),
        maybe("parent_session_id", Text, "session that spawned this one"),
        one("step_id", Text, "unique in the session"),
        maybe("seq", Integer, "the producer's order"),
        one("time", Time, "event time; time of arrival when the producer sent none or an absurd one"),
        one("kind", Text, "user_message, model_call, tool_call, tool_result …"),
        one("agent_id", Text, "the agent"),
        maybe("agent_name", Text, "the actor, where several act in one session"),
        maybe("agent_version", Text, "version of the agent"),
        maybe("environment", Text, "production, staging …"),
        maybe("principal_id", Text, "on whose behalf"),
        maybe("principal_type", Text, "user, service …"),
        maybe("on_behalf_of", Text, "whom the principal acts for"),
        maybe("scopes", Texts, "what the principal may do"),
        maybe("owner", Text, "the accountable party"),
        maybe("tool", Text, "tool called, or whose result this is"),
        maybe("model", Text, "model called"),
        one("causes", Texts, "declared causal parents, as step ids"),
        maybe("input", Text, "tool arguments or model input, as JSON"),
        maybe("output", Text, "tool result or model output, as JSON"),
        maybe("text", Text, "message, reasoning, rationale"),
        maybe("alternatives", Text, "options the agent weighed, as JSON"),
        maybe("status", Text, "ok or error"),
        maybe("error_type", Text, "kind of the error"),
        maybe("error_message", Text, "what the error said"),
        maybe("input_tokens", Integer, "tokens read by the model"),
        maybe("output_tokens", Integer, "tokens written by the model"),
        maybe("cached_tokens", Integer, "tokens read from a cache"),
        maybe("cost_usd", Float, "US dollars"),
        maybe("duration_ms", Float, "milliseconds"),
        maybe("attributes", Text, "whatever else was sent, as a JSON object"),
        maybe("input_truncated_from", Integer, "bytes of the whole input when it was cut"),
        maybe("output_truncated_from", Integer, "bytes of the whole output when it was cut"),
        maybe("text_truncated_from", Integer, "bytes of the whole text when it was cut"),
        maybe("time_clamped_from", Text, "the time that was sent, when it was absurd"),
        one("decision", Text, "what was decided: allow, warn, throttle, modify, step_up, deny or halt"),
        one("standing", Text, "worst of the decision and of what already stood against the session"),
        one("findings", Integer, "findings of this step, those in shadow included"),
        one("partition", Integer, "partition of the log"),
        one("offset", Integer, "place in the partition: steps of a session, in the order they were judged"),
        maybe("gated", Boolean, GATED),
        maybe("capture", Text, "how the content was captured: redacted or fingerprint; absent: as it was sent"),
    ],
};

pub const VERDICTS: Table = Table {
    name: "verdicts",
    doc: "One row for each judged step: the decision and what each detector column scored.",
    columns: &[
        one("session_id", Text, "session of the step"),
        one("root_session_id", Text, "root of the run"),
        one("step_id", Text, "the judged step"),
        one("verdict_id", Text, "derived from the step: the same step has the same verdict"),
        maybe("seq", Integer, "the producer's order"),
        one("time", Time, "event time of the step"),
        one("kind", Text, "kind of the step"),
        one("agent_id", Text, "the agent"),
        maybe("agent_version", Text, "version of the agent"),
        maybe("environment", Text, "production, staging …"),
        maybe("tool", Text, "tool of the step"),
        one("decision", Text, "allow, warn, throttle, modify, step_up, deny or halt"),
        one("standing", Text, "worst of the decision and of what already stood against the session"),
        one("scores", Text, "highest score of each detector column, as a JSON object; comparable within a rule only"),
        one("findings", Integer, "number of findings, those in shadow included"),
        one("partition", Integer, "partition of the log"),
        one("offset", Integer, "place of the step in the partition"),
        maybe("gated", Boolean, GATED),
    ],
};

pub const FINDINGS: Table = Table {
    name: "findings",
    doc: "One row for each thing a detector column saw.",
    columns: &[
        one("session_id", Text, "session of the step"),
        one("root_session_id", Text, "root of the run"),
        one("step_id", Text, "the judged step"),
        one("finding_id", Text, "derived from the verdict, the detector and the rule"),
        one("verdict_id", Text, "verdict it belongs to"),
        one("time", Time, "event time of the step"),
        one("kind", Text, "kind of the step"),
        one("agent_id", Text, "the agent"),
        maybe("agent_version", Text, "version of the agent"),
        maybe("environment", Text, "production, staging …"),
        maybe("tool", Text, "tool of the step"),
        one("detector", Text, "detector column: control, policy, loop, progress, leakage, chain, hijack, drift"),
        one("rule", Text, "policy id, or name of the built-in rule"),
        one("severity", Text, "info, low, medium, high or critical"),
        one("mode", Text, "enforce, or shadow: then the decision was not applied"),
        one("decision", Text, "what it decided, or would have decided in shadow"),
        one("score", Float, "in the rule's own unit; never a probability"),
        one(
            "calibration",
            Text,
            "fact; conformal: at most a stated share of like sessions; uncalibrated: its rate of false alarms is not known",
        ),
        one("evidence", Texts, "step ids that show it, oldest first"),
        one("began_at", Text, "step id where it began"),
        one("message", Text, "one sentence; holds text of the agent, so treat it as untrusted"),
        one("notify", Texts, "whom the policy wants told"),
        one("partition", Integer, "partition of the log"),
        one("offset", Integer, "place of the step in the partition"),
        maybe("bound_at_most", Float, BOUND),
        maybe("bound_threshold", Float, "score that so many sessions pass"),
        maybe("bound_sessions", Integer, "sessions that calibrated it"),
        maybe("bound_requests", Integer, "distinct requests among them"),
        maybe("bound_assumes", Text, "what has to hold: exchangeable, of a session with those that calibrated"),
        maybe("bound_alarms_per_day", Float, "false alarms a day to expect at most, where that is known"),
    ],
};

pub const EDGES: Table = Table {
    name: "edges",
    doc: "One row for each argument of a call whose value was seen before: where it came from.",
    columns: &[
        one("session_id", Text, "session of the call"),
        one("root_session_id", Text, "root of the run"),
        one("step_id", Text, "the call"),
        one("time", Time, "event time of the call"),
        one("agent_id", Text, "the agent"),
        maybe("tool", Text, "tool of the call"),
        one("argument", Text, "path of the argument, as recipients[0]; empty for an input that is a value itself"),
        one("from_step_id", Text, "step of the session that brought the value in"),
        maybe("path", Text, "path of the value in that step's result; none in plain text"),
        one("match_kind", Text, "exact, case, separators, loose, url, hex, base64, nested, copied or named"),
        one("part", Boolean, "whether only a part of the argument came from there"),
        one("authored", Boolean, "whether the user or the operator wrote it there"),
        one("partition", Integer, "partition of the log"),
        one("offset", Integer, "place of the call in the partition"),
    ],
};

pub const SESSION_PARTS: Table = Table {
    name: "session_parts",
    doc: "What one flush knows of a session. Sum, minimum and maximum over its parts make the session; see the view `sessions`.",
    columns: &[
        one("session_id", Text, "the session"),
        one("root_session_id", Text, "root of the run"),
        maybe("parent_session_id", Text, "session that spawned this one"),
        one("agent_id", Text, "agent of the first step of the part"),
        maybe("agent_version", Text, "first that was sent"),
        maybe("environment", Text, "first that was sent"),
        maybe("principal_id", Text, "first that was sent"),
        maybe("owner", Text, "first that was sent"),
        maybe("title", Text, "beginning of the first user message"),
        one("partition", Integer, "partition of the log"),
        one("first_offset", Integer, "offset of the first step of the part"),
        one("last_offset", Integer, "offset of the last step of the part"),
        one("started_at", Time, "earliest event time"),
        one("last_at", Time, "latest event time"),
        one("steps", Integer, "number of steps"),
        one("tool_calls", Integer, "number of tool calls"),
        one("errors", Integer, "number of failed steps"),
        one("findings", Integer, "number of findings, those in shadow included"),
        one("input_tokens", Integer, "sum"),
        one("output_tokens", Integer, "sum"),
        one("cost_micro_usd", Integer, "sum, in millionths of a US dollar: exact in any order"),
        one(
            "decision_rank",
            Integer,
            "worst decision: 0 allow, 1 warn, 2 throttle, 3 modify, 4 step_up, 5 deny, 6 halt",
        ),
        one("standing", Text, "what stood against the session after the last step of the part"),
        one("ended", Boolean, "whether a session_end is among the steps"),
    ],
};

pub const CONTROL_EVENTS: Table = Table {
    name: "control_events",
    doc: "One row for a control's request and one for each partition that applied it; see the view `controls`.",
    columns: &[
        one("control_id", Text, "the control"),
        one("action", Text, "halt or resume"),
        one("scope", Text, "session or run"),
        one("scope_id", Text, "the session, or the root of the run"),
        one("time", Time, "when it was given"),
        maybe("given_by", Text, "who gave it"),
        maybe("reason", Text, "why"),
        one("state", Text, "requested or applied"),
        maybe("before_offset", Integer, "steps of the partition from this offset on are judged under it"),
        maybe("known", Boolean, "whether the partition knew the session or run"),
        one("partition", Integer, "partition of the log"),
        one("offset", Integer, "place of the record in the topic of controls"),
        maybe(
            "changed",
            Boolean,
            "whether it made a difference in the partition; missing in rows of before this was kept",
        ),
    ],
};
