//! `steps`: what an agent did, with what was decided about it.

use std::borrow::Cow;

use martingale_schemas::{Capture, Status, Step, Verdict};
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use super::{Rows, integer};

pub(super) fn push(rows: &mut Rows, step: &Step<'_>, verdict: &Verdict<'_>) {
    let principal = step.principal.as_ref();
    let usage = step.usage.unwrap_or_default();
    let error = step.error.as_ref();

    rows.text("session_id", Some(step.session_id.as_str()));
    rows.text("root_session_id", Some(step.root_session_id.as_str()));
    rows.text("parent_session_id", step.parent_session_id.as_ref().map(|it| it.as_str()));
    rows.text("step_id", Some(step.step_id.as_str()));
    rows.integer("seq", step.seq.map(integer));
    rows.time("time", step.time);
    rows.text("kind", Some(step.kind.as_str()));
    rows.text("agent_id", Some(step.agent.id.as_str()));
    rows.text("agent_name", step.agent.name.as_deref());
    rows.text("agent_version", step.agent.version.as_deref());
    rows.text("environment", step.environment.as_deref());
    rows.text("principal_id", principal.map(|it| &*it.id));
    rows.text("principal_type", principal.and_then(|it| it.kind.as_deref()));
    rows.text("on_behalf_of", principal.and_then(|it| it.on_behalf_of.as_deref()));
    rows.texts("scopes", principal.map(|it| it.scopes.iter()));
    rows.text("owner", step.owner.as_deref());
    rows.text("tool", step.tool.as_deref());
    rows.text("model", step.model.as_deref());
    rows.texts("causes", Some(step.causes.iter().map(|it| it.as_str())));
    rows.text("input", step.input.as_ref().map(|it| it.get()));
    rows.text("output", step.output.as_ref().map(|it| it.get()));
    rows.text("text", step.text.as_deref());
    rows.text("alternatives", json_unless_empty(&step.alternatives).as_deref());
    rows.text("status", step.status.map(Status::as_str));
    rows.text("error_type", error.and_then(|it| it.kind.as_deref()));
    rows.text("error_message", error.and_then(|it| it.message.as_deref()));
    rows.integer("input_tokens", usage.input_tokens.map(integer));
    rows.integer("output_tokens", usage.output_tokens.map(integer));
    rows.integer("cached_tokens", usage.cached_tokens.map(integer));
    rows.float("cost_usd", usage.cost_usd);
    rows.float("duration_ms", step.duration_ms);
    rows.text("attributes", attributes(&step.attributes).as_deref());
    rows.integer("input_truncated_from", step.input_cut.map(|it| integer(it.bytes)));
    rows.integer("output_truncated_from", step.output_cut.map(|it| integer(it.bytes)));
    rows.integer("text_truncated_from", step.text_cut.map(|it| integer(it.bytes)));
    rows.text("time_clamped_from", step.time_clamped_from.as_deref());
    rows.text("decision", Some(verdict.decision.as_str()));
    rows.text("standing", Some(verdict.standing.as_str()));
    rows.integer("findings", Some(integer(verdict.findings.len() as u64)));
    rows.integer("partition", Some(i64::from(verdict.position.partition)));
    rows.integer("offset", Some(integer(verdict.position.offset)));
    rows.boolean("gated", step.gated);
    rows.text("capture", (step.capture != Capture::Full).then_some(step.capture.as_str()));
    rows.end();
}

fn json_unless_empty<T: serde::Serialize>(values: &[T]) -> Option<String> {
    if values.is_empty() { None } else { serde_json::to_string(values).ok() }
}

fn attributes(values: &[(Cow<'_, str>, Cow<'_, RawValue>)]) -> Option<String> {
    if values.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::new(&mut out);
    let mut map = serde::Serializer::serialize_map(&mut writer, Some(values.len())).ok()?;
    for (name, value) in values {
        map.serialize_entry(name, value).ok()?;
    }
    map.end().ok()?;
    String::from_utf8(out).ok()
}
