//! `GET /v1/sessions/{session}/timeline`: what happened, in the order it was judged, with what was found.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::Json;
use datafusion::prelude::{Expr, ident, lit};
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
    let next = truncated.then_some(last);
    Ok(Some(json!({ "session": session, "steps": steps, "next": next, "truncated": truncated })))
}
