//! `GET /v1/sessions/{session}/timeline`: what happened, in the order it was judged, with what was found and what was
//! ordered.

use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use axum::response::Json;
use datafusion::prelude::{DataFrame, Expr, ident, lit};
use serde_json::{Value, json};

use super::lanes::{self, After, Shown};
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
    let after: Option<String> = fields.take("after")?;
    let no_cursor = |what| {
        let message = format!("`after` is {what}: send `next` of the page before");
        Failure::field("after", "invalid_value", message)
    };
    let after = after.map(|it| After::parse(&it).ok_or_else(|| no_cursor("no cursor"))).transpose()?;
    fields.finish(&["limit", "after"])?;
    let wanted = id.clone();
    let found = engine.run(move |engine| async move { page(&engine, &wanted, after, limit).await }).await?;
    match found {
        Page::Found(page) => Ok(Json(page)),
        Page::NoSession => Err(Failure::not_found("session", &id)),
        Page::NoPlace => Err(no_cursor("an offset without its partition, and the session was judged in several")),
    }
}

enum Page {
    Found(Value),
    NoSession,
    /// Where to go on is not told.
    NoPlace,
}

async fn page(engine: &Engine, id: &str, after: Option<After>, limit: usize) -> Result<Page, Error> {
    let context = engine.context().await?;
    let Some(session) = read::session(engine, &context, id).await? else { return Ok(Page::NoSession) };
    let partitions = lanes::partitions(engine, &context, id).await?;
    let Some(before) = after.map_or_else(|| Some(Shown::default()), |it| it.over(&partitions)) else {
        return Ok(Page::NoPlace);
    };
    let rows = |name, matching: Expr, limit| {
        let context = &context;
        async move {
            let frame = read::table(context, name).await?;
            let frame = frame.filter(is("session_id", id).and(matching)).map_err(fail)?;
            let frame = frame.sort_by(vec![ident("offset")]).and_then(|it| it.limit(0, limit)).map_err(fail)?;
            objects(engine, frame).await
        }
    };
    let later =
        |partition: i64| ident("partition").eq(lit(partition)).and(ident("offset").gt(lit(before.of(partition))));
    let mut lanes = Vec::new();
    for partition in &partitions {
        lanes.push(rows("steps", later(*partition), Some(limit + 1)).await?);
    }
    let (mut steps, truncated) = lanes::merged(lanes, limit);
    let mut shown = before.clone();
    steps.iter().for_each(|it| shown.note(it));

    let here = shown.places().map(|(partition, last)| later(partition).and(ident("offset").lt_eq(lit(last))));
    let mut findings: HashMap<(i64, i64), Vec<Object>> = HashMap::new();
    if let Some(here) = here.reduce(Expr::or) {
        for finding in rows("findings", here, None).await? {
            findings.entry(place(&finding)).or_default().push(finding);
        }
    }
    for step in &mut steps {
        let found = findings.remove(&place(step)).unwrap_or_default();
        step.insert("findings".to_owned(), json!(found));
    }
    let orders = if steps.is_empty() {
        Vec::new()
    } else {
        let frame = orders(read::part(&context, "control_events").await?, &session, &partitions)?;
        let until = truncated.then_some(&shown);
        placed(objects(engine, frame).await?, &steps, &before, until)
    };
    let next = truncated.then(|| shown.to_string());
    Ok(Page::Found(
        json!({ "session": session, "steps": steps, "orders": orders, "next": next, "truncated": truncated }),
    ))
}

fn place(row: &Object) -> (i64, i64) {
    (number(row, "partition"), number(row, "offset"))
}

/// Orders for the session, its parent, its root or its run, as its partitions applied them.
fn orders(events: DataFrame, session: &Object, partitions: &[i64]) -> Result<DataFrame, Error> {
    let over = |scope: &str, id: &str| is("scope", scope).and(is("scope_id", id));
    let root = text(session, "root_session_id");
    let mut concerned = over("run", root);
    for id in [text(session, "session_id"), text(session, "parent_session_id"), root] {
        concerned = concerned.or(over("session", id));
    }
    let here = ident("partition").in_list(partitions.iter().map(|it| lit(*it)).collect(), false);
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
        "partition",
        "offset",
    ];
    let frame = events.filter(is("state", "applied").and(here).and(concerned)).map_err(fail)?;
    let frame = frame.select(shown.map(ident).to_vec()).map_err(fail)?;
    frame.sort_by(vec![ident("partition"), ident("before_offset"), ident("offset")]).map_err(fail)
}

/// The orders of a page, each once and where the first of these steps was judged under it; behind the last step where none
/// was. It belongs to the page of that step: `before` and `until` are what was shown up to this page and with it, and the
/// last page has no end.
fn placed(orders: Vec<Object>, steps: &[Object], before: &Shown, until: Option<&Shown>) -> Vec<Object> {
    // By partition. What a detector answered before it died it answers again.
    let mut given: HashMap<String, BTreeMap<i64, Object>> = HashMap::new();
    for order in orders {
        let by_partition = given.entry(text(&order, "control_id").to_owned()).or_default();
        by_partition.entry(number(&order, "partition")).or_insert(order);
    }
    let holds = |order: &Object, last: i64| number(order, "before_offset") <= last;
    let mut here = Vec::new();
    for mut order in given.into_values() {
        let is_within = |shown: &Shown| order.iter().any(|(partition, it)| holds(it, shown.of(*partition)));
        if is_within(before) || until.is_some_and(|it| !is_within(it)) {
            continue;
        }
        let under =
            |step: &Object| order.get(&number(step, "partition")).is_some_and(|it| holds(it, number(step, "offset")));
        let at = steps.iter().position(under).unwrap_or(steps.len());
        let partition = steps.get(at).or_else(|| steps.last()).map(|it| number(it, "partition"));
        let told = partition.and_then(|it| order.remove(&it)).or_else(|| order.pop_first().map(|(_, it)| it));
        here.extend(told.map(|it| (at, number(&it, "before_offset"), number(&it, "offset"), it)));
    }
    here.sort_by_key(|(at, before, offset, _)| (*at, *before, *offset));
    here.into_iter().map(|(.., order)| order).collect()
}
