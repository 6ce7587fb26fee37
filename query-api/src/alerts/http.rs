//! `GET /v1/alerts`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::{Alert, Alerts, Unreadable};
use crate::http::{Failure, Fields};
use crate::lead::Current;

/// Rules and what they say.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct List {
    alerts: Vec<Alert>,
    rules: Vec<RuleStatus>,
    /// Alerts of before the start that another release kept and this one cannot read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
struct RuleStatus {
    id: String,
    title: String,
    every: String,
    #[serde(rename = "for")]
    hold: String,
    firing: usize,
    /// Why the last evaluation failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn router(alerts: Current<Alerts>) -> Router {
    Router::new().route("/v1/alerts", get(list)).with_state(alerts)
}

async fn list(State(alerts): State<Current<Alerts>>, mut fields: Fields) -> Result<Json<List>, Failure> {
    let rule = fields.take::<String>("rule")?;
    let state = fields.take::<String>("state")?;
    fields.finish(&["rule", "state"])?;
    if let Some(state) = state.as_deref().filter(|it| !matches!(*it, "pending" | "firing" | "resolved")) {
        let message = format!("`state` is \"{state}\": expected `pending`, `firing` or `resolved`");
        return Err(Failure::field("state", "invalid_value", message));
    }
    let alerts = alerts.get()?;
    let held = alerts.lock();
    let chosen = |id: &str| rule.as_deref().is_none_or(|rule| rule == id);
    let mut found: Vec<Alert> = held
        .iter()
        .filter(|(id, _)| chosen(id))
        .flat_map(|(_, it)| it.instances.iter())
        .filter(|alert| state.as_deref().is_none_or(|state| state == alert.state.as_str()))
        .cloned()
        .collect();
    found.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    let status = |rule: &Arc<super::Rule>| {
        let state = held.get(&rule.id);
        RuleStatus {
            id: rule.id.clone(),
            title: rule.title.clone(),
            every: rule.every.to_string(),
            hold: rule.hold.to_string(),
            firing: state.map_or(0, |it| it.instances.firing()),
            error: state.and_then(|it| it.error.clone()),
        }
    };
    let rules = alerts.rules.iter().filter(|it| chosen(&it.id)).map(status).collect();
    Ok(Json(List { alerts: found, rules, unreadable: alerts.unreadable.clone() }))
}
