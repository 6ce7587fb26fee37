//! `GET /v1/deliveries`, `POST /v1/deliveries/{id}/retry`.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Webhooks;
use super::delivery::{Delivery, Endpoint, State as Stage};
use crate::http::{Failure, Fields, Segments};
use crate::lead::Current;

pub(crate) fn router(webhooks: Current<Webhooks>) -> Router {
    Router::new()
        .route("/v1/deliveries", get(list))
        .route("/v1/deliveries/{id}/retry", post(retry))
        .with_state(webhooks)
}

/// Which deliveries are listed.
enum Which {
    Pending,
    Delivered,
    Failed,
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pending" => Ok(Self::Pending),
            "delivered" => Ok(Self::Delivered),
            "failed" => Ok(Self::Failed),
            _ => Err("expected `pending`, `delivered` or `failed`"),
        }
    }
}

async fn list(State(webhooks): State<Current<Webhooks>>, mut fields: Fields) -> Result<Json<Value>, Failure> {
    const LIMIT: usize = 100;
    let limit = fields.take::<usize>("limit")?.unwrap_or(LIMIT);
    let which = fields.take::<Which>("state")?;
    fields.finish(&["limit", "state"])?;
    let webhooks = webhooks.get()?;
    let passes = |delivery: &Delivery| match which {
        None => true,
        Some(Which::Pending) => matches!(delivery.state, Stage::Pending { .. }),
        Some(Which::Delivered) => matches!(delivery.state, Stage::Delivered { .. }),
        Some(Which::Failed) => matches!(delivery.state, Stage::Failed { .. }),
    };
    let endpoint = webhooks.target.as_ref().map(|target| {
        let Endpoint { failing_since, disabled } = webhooks.book.endpoint();
        json!({ "origin": target.origin(), "failing_since": failing_since, "disabled": disabled })
    });
    // What cannot be read stands first, since it needs a person.
    let unreadable =
        if matches!(which, None | Some(Which::Failed)) { webhooks.book.unreadable() } else { BTreeMap::new() };
    let unreadable = unreadable.iter().map(|(id, why)| shown_unreadable(id, why));
    let readable = webhooks.book.newest(limit, passes);
    let deliveries: Vec<Value> = unreadable.chain(readable.iter().map(shown)).take(limit).collect();
    Ok(Json(json!({ "endpoint": endpoint, "deliveries": deliveries })))
}

async fn retry(
    State(webhooks): State<Current<Webhooks>>,
    Segments(id): Segments<String>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let webhooks = webhooks.get()?;
    if webhooks.target.is_none() {
        let message = "no endpoint is configured: set `webhook.url`";
        return Err(Failure::new(StatusCode::CONFLICT, "no_endpoint", message));
    }
    if let Some(why) = webhooks.book.unreadable().get(&id) {
        let message = format!("delivery \"{id}\" cannot be read, so it cannot be sent: {why}");
        return Err(Failure::new(StatusCode::CONFLICT, "unreadable", message));
    }
    let now = webhooks.now();
    let retried = webhooks.settle(&id, |delivery, endpoint| {
        delivery.retry(now);
        // A person asks for it: whatever stood against the endpoint is forgotten.
        *endpoint = Endpoint::default();
    });
    let answer = retried.await.map(|it| shown(&it)).ok_or_else(|| Failure::not_found("delivery", &id))?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// A delivery that is kept in a form this release does not know.
fn shown_unreadable(id: &str, why: &str) -> Value {
    json!({ "id": id, "state": "failed", "why": format!("kept and unreadable: {why}"), "attempts": 0, "payload": null })
}

/// A delivery with its payload as JSON.
fn shown(delivery: &Delivery) -> Value {
    let mut shown = serde_json::to_value(delivery).unwrap_or_default();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("payload".to_owned(), serde_json::from_str(&delivery.payload).unwrap_or_default());
    }
    shown
}
