//! Grants and their revocation, read field by field.

use martingale_platform::config::Span;
use martingale_schemas::rejection::shown;
use martingale_schemas::{AgentId, ControlAction, Flow, Scope, Timestamp};
use serde_json::{Map, Value};

use super::request::text;
use crate::http::Failure;

/// Longest text of a flow that is read, in bytes; what a flow may have is told of each field.
const TEXT_BYTES_MAX: usize = 2_000;

/// What a request for a grant rests on.
pub(super) struct Ground<'g> {
    pub(super) now: Timestamp,
    /// What an order of this id was for, when it was a grant.
    pub(super) granted: &'g dyn Fn(&str) -> Option<Scope>,
}

pub(super) fn grant(fields: &mut Map<String, Value>, now: Timestamp) -> Result<(ControlAction, Scope), Failure> {
    let flow = flow(fields)?;
    let until = until(fields, now)?;
    if !matches!(fields.get("by"), Some(Value::String(_))) {
        return Err(Failure::field("by", "missing_field", "`by` is required: whoever grants answers for it"));
    }
    if let Some(fault) = flow.ungrantable(now, until) {
        let is_missing = fault.field == "source" && flow.source.is_none();
        let reason = if is_missing { "missing_field" } else { "invalid_value" };
        return Err(Failure::field(fault.field, reason, fault.message));
    }
    Ok((ControlAction::Grant { until }, Scope::Flow(flow)))
}

/// Of a flow, or of what was granted by an order.
pub(super) fn revoke(fields: &mut Map<String, Value>, ground: &Ground<'_>) -> Result<(ControlAction, Scope), Failure> {
    if let Some(id) = text(fields, "grant_id", TEXT_BYTES_MAX)? {
        let scope = (ground.granted)(&id).ok_or_else(|| {
            let message = format!(
                "no grant \"{}\" is known: send `agent_id` and `tool`, and `source` and `destination` if it has them",
                shown(&id)
            );
            Failure::field("grant_id", "invalid_value", message)
        })?;
        return Ok((ControlAction::Revoke, scope));
    }
    let flow = flow(fields)?;
    match flow.fault() {
        Some(fault) => Err(Failure::field(fault.field, "invalid_value", fault.message)),
        None => Ok((ControlAction::Revoke, Scope::Flow(flow))),
    }
}

fn flow(fields: &mut Map<String, Value>) -> Result<Flow, Failure> {
    let mut take = |field| text(fields, field, TEXT_BYTES_MAX);
    let required = |field: &'static str, it: Option<String>| {
        it.ok_or_else(|| Failure::field(field, "missing_field", format!("`{field}` is required")))
    };
    Ok(Flow {
        agent_id: AgentId::from(required("agent_id", take("agent_id")?)?),
        tool: required("tool", take("tool")?)?,
        environment: take("environment")?,
        source: take("source")?,
        destination: take("destination")?,
    })
}

fn until(fields: &mut Map<String, Value>, now: Timestamp) -> Result<Timestamp, Failure> {
    match (text(fields, "until", TEXT_BYTES_MAX)?, text(fields, "for", TEXT_BYTES_MAX)?) {
        (Some(until), None) => Timestamp::parse(&until).map_err(|error| {
            Failure::field(
                "until",
                "invalid_value",
                format!("`until` is no time: {error}; send one as 2026-01-31T12:00:00Z"),
            )
        }),
        (None, Some(span)) => match span.parse::<Span>() {
            Ok(span) => Ok(now.plus_micros(span.as_micros())),
            Err(error) => Err(Failure::field("for", "invalid_value", error)),
        },
        (None, None) => Err(Failure::field("until", "missing_field", "`until` is required, or `for`: a grant ends")),
        (Some(_), Some(_)) => {
            Err(Failure::field("for", "invalid_value", "`until` and `for` exclude each other: send one of them"))
        }
    }
}
