//! `GET /v1/sessions/{session}/timeline`: what happened, in the order it was judged, with what was found and what was
//! ordered.

use std::collections::{HashMap, HashSet};

use axum::extract::State;
use axum::response::Json;
use datafusion::prelude::{DataFrame, Expr, ident, lit};
use serde_json::{Value, json};

use super::read::{self, Object, fail, is, number, objects, text};
use crate::http::{Failure, Fields, Segments};
use crate::sql::{Engine, Error};

const LIMIT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

pub(super) async fn timeline(
    State(engine): State<Engine>,
    Segments(id): Segments<String>,
    mut fields: Fields,
) -> Result<Json<Value>, Failure> {
    let limit = read::limit(fields.take("limit")?, LIMIT, LIMIT_MAX)?;
    let after: i64 = fields.take("after")?.unwrap_or(-1);
    fields.finish(&["limit", "after"])?;
    let wanted = id.clone();
    let found = engine.run(move |engine| async move { page(&engine, &wanted, after, limit).await }).await?;
    found.map(Json).ok_or_else(|| Failure::not_found("session", &id))
}

async fn page(engine: &Engine, id: &str, after: i64, limit: usize) -> Result<Option<Value>, Error> {
    let context = engine.context().await?;
    let Some(session) = read::session(engine, &context, id).await? else { return Ok(None) };
    let rows = |name, matching: Expr, limit| {
        let context = &context;
        async move {
            let frame = read::table(context, name).await?;
            let frame = frame.filter(is("session_id", id).and(matching)).map_err(fail)?;
            let frame = frame.sort_by(vec![ident("offset")]).and_then(|it| it.limit(0, limit)).map_err(fail)?;
            objects(engine, frame).await
        }
    };
    let later = ident("offset").gt(lit(after));
    let mut steps = rows("steps", later.clone(), Some(limit + 1)).await?;
    let truncated = steps.len() > limit;
    steps.truncate(limit);

    let last = steps.last().map_or(after, |it| number(it, "offset"));
    let mut findings: HashMap<String, Vec<Object>> = HashMap::new();
    for finding in rows("findings", later.and(ident("offset").lt_eq(lit(last))), None).await? {
        findings.entry(text(&finding, "step_id").to_owned()).or_default().push(finding);
    }
    for step in &mut steps {
        let found = findings.remove(text(step, "step_id")).unwrap_or_default();
        step.insert("findings".to_owned(), json!(found));
    }
    let orders = match steps.first().map(|it| number(it, "partition")) {
        Some(partition) => {
            let until = truncated.then_some(last);
            let events = context.part("control_events").await.map_err(fail)?;
            let mut orders = objects(engine, orders(events, &session, partition, after, until)?).await?;
            // What a detector answered before it died it answers again.
            let mut told = HashSet::new();
            orders.retain(|it| told.insert(text(it, "control_id").to_owned()));
            orders
        }
        None => Vec::new(),
    };
    let next = truncated.then_some(last);
    Ok(Some(json!({ "session": session, "steps": steps, "orders": orders, "next": next, "truncated": truncated })))
}

/// Orders for the session, its parent, its root or its run, as its partition applied them. Each belongs to the page that has
/// the step it came before: `after` and `until` are offsets of steps, the last one of this page and of the one before.
fn orders(
    events: DataFrame,
    session: &Object,
    partition: i64,
    after: i64,
    until: Option<i64>,
) -> Result<DataFrame, Error> {
    let over = |scope: &str, id: &str| is("scope", scope).and(is("scope_id", id));
    let root = text(session, "root_session_id");
    let mut concerned = over("run", root);
    for id in [text(session, "session_id"), text(session, "parent_session_id"), root] {
        concerned = concerned.or(over("session", id));
    }
    let mut wanted = is("state", "applied").and(ident("partition").eq(lit(partition))).and(concerned);
    if after >= 0 {
        wanted = wanted.and(ident("before_offset").gt(lit(after)));
    }
    if let Some(until) = until {
        wanted = wanted.and(ident("before_offset").lt_eq(lit(until)));
    }
    let shown = [
        "control_id",
        "action",
        "scope",
        "scope_id",
        "time",
        "given_by",
        "reason",
        "before_offset",
        "known",
        "changed",
        "offset",
    ];
    let frame = events.filter(wanted).and_then(|it| it.select(shown.map(ident).to_vec())).map_err(fail)?;
    frame.sort_by(vec![ident("before_offset"), ident("offset")]).map_err(fail)
}
