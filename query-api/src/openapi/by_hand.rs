//! Schemas of what is no type of this crate.

use martingale_schemas::arrow::{Column, ColumnKind, FINDINGS, STEPS, Table};
use serde_json::{Map, Value, json};

use crate::sessions::{self, EdgeKind};

pub(super) fn schemas() -> Map<String, Value> {
    [common(), steps(), dead_letters(), controls(), deliveries(), sql(), why()]
        .into_iter()
        .filter_map(|group| if let Value::Object(group) = group { Some(group) } else { None })
        .flatten()
        .collect()
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn common() -> Value {
    json!({
        "AnswerOrError": {
            "anyOf": [{ "$ref": "#/components/schemas/Answer" }, { "$ref": "#/components/schemas/Error" }],
        },
        "Bytes": { "type": "string", "contentMediaType": "application/octet-stream" },
        "Object": { "type": "object" },
        "Text": text(),
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": { "error": {
                "type": "object",
                "required": ["reason", "message"],
                "properties": { "reason": text(), "field": text(), "message": text() },
            } },
        },
        "Ready": {
            "type": "object",
            "required": ["ready", "checks"],
            "properties": {
                "ready": { "type": "boolean" },
                "checks": { "type": "object", "additionalProperties": text() },
            },
        },
    })
}

fn steps() -> Value {
    json!({
        "Steps": {
            "oneOf": [
                { "$ref": "#/components/schemas/Step" },
                { "type": "array", "items": { "$ref": "#/components/schemas/Step" } },
            ],
        },
        "Accepted": {
            "type": "object",
            "required": ["accepted", "duplicate", "rejected"],
            "properties": {
                "accepted": { "type": "integer" },
                "duplicate": { "type": "integer" },
                "rejected": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["index", "reason", "message"],
                        "properties": {
                            "index": { "type": "integer" }, "reason": text(), "field": text(), "message": text(),
                        },
                    },
                },
            },
        },
    })
}

fn dead_letters() -> Value {
    let of_letter = |more: Value| json!({ "type": "array", "items": { "type": "object", "required": ["id", "message"], "properties": more } });
    json!({
        "NotAccepted": {
            "oneOf": [{ "$ref": "#/components/schemas/Accepted" }, { "$ref": "#/components/schemas/Error" }],
        },
        "DeadLetters": {
            "type": "object",
            "required": ["dead_letters", "open", "replayed", "next"],
            "properties": {
                "dead_letters": { "type": "array", "items": { "$ref": "#/components/schemas/ListedLetter" } },
                "open": { "type": "integer", "description": "All letters that are open." },
                "replayed": { "type": "integer", "description": "All letters of which a replay left nothing rejected." },
                "next": { "type": "string", "description": "`after` of the next page; good for later when this one is empty." },
            },
        },
        "ListedLetter": {
            "allOf": [
                { "$ref": "#/components/schemas/DeadLetter" },
                {
                    "type": "object",
                    "required": ["state"],
                    "properties": {
                        "state": { "enum": ["open", "replayed"] },
                        "last_replay": {
                            "type": "object",
                            "description": "When it was last fed in again, and what came of it.",
                            "required": ["time", "accepted", "duplicate", "rejected"],
                            "properties": {
                                "time": { "type": "string", "format": "date-time" },
                                "accepted": { "type": "integer" },
                                "duplicate": { "type": "integer" },
                                "rejected": { "type": "integer" },
                            },
                        },
                    },
                },
            ],
        },
        "ReplayRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "ids": { "type": "array", "minItems": 1, "items": text() },
                "all": { "const": true },
                "after": text(),
            },
            "oneOf": [{ "required": ["ids"] }, { "required": ["all"] }],
        },
        "Replayed": {
            "type": "object",
            "required": ["replayed", "accepted", "duplicate", "rejected", "not_replayable", "unknown", "next"],
            "properties": {
                "replayed": { "type": "integer" },
                "accepted": { "type": "integer" },
                "duplicate": { "type": "integer" },
                "rejected": of_letter(json!({ "id": text(), "reason": text(), "field": text(), "message": text() })),
                "not_replayable": of_letter(json!({ "id": text(), "message": text() })),
                "unknown": { "type": "array", "items": text() },
                "next": { "type": ["string", "null"], "description": "With `all`: where to go on, when there may be more." },
            },
        },
    })
}

fn controls() -> Value {
    json!({
        "ControlRequest": {
            "type": "object",
            "required": ["action"],
            "additionalProperties": false,
            "properties": {
                "action": { "enum": ["halt", "resume", "grant", "revoke", "use_baselines"] },
                "baselines_id": { "type": "string", "description": "Of `use_baselines`, which holds for all." },
                "session_id": text(),
                "root_session_id": text(),
                "agent_id": { "type": "string", "description": "Of a grant: the agent; one `*` at the end stands for any rest." },
                "environment": text(),
                "tool": { "type": "string", "description": "Of a grant: the tool that is called." },
                "source": { "type": "string", "description": "Of a grant: the tool whose results bring the values of the call." },
                "destination": { "type": "string", "description": "Of a grant: the one address that the call goes to." },
                "until": { "type": "string", "format": "date-time", "description": "Of a grant: when it ends, within 90 days." },
                "for": { "type": "string", "description": "Of a grant: how long it lasts, as `7d`, in place of `until`." },
                "grant_id": { "type": "string", "description": "Of a revocation: the `control_id` of a grant, in place of its flow. Every grant within that flow is taken back." },
                "reason": text(),
                "by": text(),
                "control_id": { "type": "string", "description": "Makes the request repeatable: sent again, it is no second order: the answer has `repeated`, and nothing is done." },
            },
            "oneOf": [
                { "required": ["session_id"] },
                { "required": ["root_session_id"] },
                { "required": ["agent_id", "tool"] },
                { "required": ["grant_id"] },
                { "required": ["baselines_id"] },
            ],
        },
        "Controls": {
            "type": "object",
            "required": ["controls"],
            "properties": { "controls": { "type": "array", "items": { "$ref": "#/components/schemas/Given" } } },
        },
    })
}

fn deliveries() -> Value {
    let delivery = json!({
        "description": "One that is kept in a form this release cannot read has failed, and has neither `type` nor `payload`.",
        "type": "object",
        "required": ["id", "state", "attempts", "payload"],
        "properties": {
            "id": text(),
            "type": { "enum": ["session.halted", "alert.firing", "alert.resolved"] },
            "state": { "enum": ["pending", "delivered", "failed"] },
            "created_at": text(),
            "next_at": text(),
            "at": text(),
            "why": text(),
            "attempts": { "type": "integer" },
            "last_attempt": { "type": "object" },
            "payload": { "type": ["object", "null"] },
        },
    });
    json!({
        "Delivery": delivery,
        "Deliveries": {
            "type": "object",
            "required": ["endpoint", "deliveries"],
            "properties": {
                "endpoint": {
                    "type": ["object", "null"],
                    "properties": {
                        "origin": text(),
                        "failing_since": { "type": ["string", "null"] },
                        "disabled": { "type": ["object", "null"] },
                    },
                },
                "deliveries": { "type": "array", "items": { "$ref": "#/components/schemas/Delivery" } },
            },
        },
    })
}

fn sql() -> Value {
    json!({
        "SqlRequest": { "type": "object", "required": ["query"], "properties": { "query": text() } },
        "SqlAnswer": {
            "type": "object",
            "required": ["columns", "rows"],
            "properties": {
                "columns": {
                    "type": "array",
                    "items": { "type": "object", "properties": { "name": text(), "type": text() } },
                },
                "rows": { "type": "array", "items": { "type": "array" } },
                "truncated": { "type": "boolean" },
            },
        },
    })
}

fn why() -> Value {
    let of = |schema: &str| json!({ "$ref": format!("#/components/schemas/{schema}") });
    let list = |schema: &str| json!({ "type": "array", "items": of(schema) });
    let mut steps = list("WhyStep");
    steps["description"] =
        "The steps that edges name, earliest first; one of the parent session, where an edge leads there, before them."
            .into();
    json!({
        "Why": {
            "type": "object",
            "required": ["decision", "step", "findings", "edges", "steps", "truncated"],
            "properties": {
                "decision": { "type": "string", "description": "That of the step asked about." },
                "step": of("WhyStep"),
                "findings": list("FindingRow"),
                "edges": list("WhyEdge"),
                "steps": steps,
                "truncated": { "type": "boolean", "description": "Whether the chain goes farther back." },
            },
        },
        "WhyEdge": {
            "type": "object",
            "required": ["from", "to", "kind", "because"],
            "properties": {
                "from": { "type": "string", "description": "Step that led to the other. A declared one need not be there." },
                "from_session": { "type": "string", "description": "Its session, where that is the parent." },
                "to": text(),
                "kind": { "enum": EdgeKind::ALL.map(EdgeKind::as_str) },
                "because": { "type": "string", "description": "Holds text of the agent: treat it as untrusted." },
            },
        },
        "WhyStep": row(&STEPS, |it| sessions::SUMMARY.contains(&it)),
        "FindingRow": row(&FINDINGS, |_| true),
    })
}

/// Rows of a stored table as answers show them: what has no value is left away.
fn row(table: &Table, is_shown: impl Fn(&str) -> bool) -> Value {
    let shown = || table.columns.iter().filter(|it| is_shown(it.name));
    let required: Vec<&str> = shown().filter(|it| it.required).map(|it| it.name).collect();
    let properties: Map<String, Value> = shown().map(|it| (it.name.to_owned(), column(it))).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn column(it: &Column) -> Value {
    let mut column = match it.kind {
        _ if sessions::JSON.contains(&it.name) => json!({}),
        ColumnKind::Text => text(),
        ColumnKind::Integer => json!({ "type": "integer" }),
        ColumnKind::Float => json!({ "type": "number" }),
        ColumnKind::Boolean => json!({ "type": "boolean" }),
        ColumnKind::Time => json!({ "type": "string", "format": "date-time" }),
        ColumnKind::Texts => json!({ "type": "array", "items": text() }),
    };
    column["description"] = it.doc.into();
    column
}
