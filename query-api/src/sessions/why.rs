//! `GET /v1/sessions/{session}/steps/{step}/why`: the steps that led to one, back to where it began.

use std::collections::{BTreeSet, HashMap};

use axum::extract::State;
use axum::response::Json;
use datafusion::logical_expr::SortExpr;
use datafusion::prelude::{Expr, ident, lit};
use datafusion::scalar::ScalarValue;
use martingale_schemas::{Kind, Timestamp};
use serde_json::{Value, json};

use super::graph::{self, Bounds, EdgeKind, Node, Value as SeenValue};
use super::lanes;
use super::read::{self, Object, fail, is, number, objects, text};
use crate::http::{Failure, Fields, Segments};
use crate::sql::{Context, Engine, Error};

const DEPTH: usize = 20;
const DEPTH_MAX: usize = 100;
const EDGES_MAX: usize = 500;
/// Steps before the one asked about that are looked at, of each partition: a cause farther back is not found by structure.
const STEPS_MAX: usize = 20_000;

#[rustfmt::skip]
const STRUCTURE: [&str; 10] = [
    "session_id", "root_session_id", "step_id", "time", "kind", "agent_name", "tool", "causes", "partition", "offset",
];
pub(crate) const SUMMARY: [&str; 20] = [
    "session_id",
    "step_id",
    "seq",
    "time",
    "kind",
    "agent_id",
    "agent_name",
    "agent_version",
    "tool",
    "model",
    "text",
    "input",
    "output",
    "status",
    "error_type",
    "error_message",
    "causes",
    "decision",
    "partition",
    "offset",
];

pub(super) async fn why(
    State(engine): State<Engine>,
    Segments((session, step)): Segments<(String, String)>,
    mut fields: Fields,
) -> Result<Json<Value>, Failure> {
    let depth = fields.take("depth")?.unwrap_or(DEPTH);
    fields.finish(&["depth"])?;
    if !(1..=DEPTH_MAX).contains(&depth) {
        let message = format!("`depth` is {depth}: at least 1, at most {DEPTH_MAX}");
        return Err(Failure::field("depth", "invalid_value", message));
    }
    let bounds = Bounds { depth_max: depth, edges_max: EDGES_MAX };
    let missing = Failure::not_found("step", &format!("{session}/{step}"));
    let found = engine.run(move |engine| async move { answer(&engine, &session, &step, bounds).await }).await?;
    found.map(Json).ok_or(missing)
}

async fn answer(engine: &Engine, session: &str, step: &str, bounds: Bounds) -> Result<Option<Value>, Error> {
    let context = engine.context().await?;
    let this = is("session_id", session).and(is("step_id", step));
    let Some(asked) = steps(engine, &context, this.clone(), &SUMMARY, (Latest::ByTime, 1)).await?.pop() else {
        return Ok(None);
    };

    let (mut lanes, mut cut, mut earlier) = (Vec::new(), false, Vec::new());
    for partition in lanes::partitions(engine, &context, session).await? {
        let until = is("session_id", session).and(until(&asked, partition));
        let mut lane = steps(engine, &context, until.clone(), &STRUCTURE, (Latest::ByPlace, STEPS_MAX)).await?;
        lane.reverse();
        cut |= lane.len() == STEPS_MAX;
        lanes.push(lane);
        earlier.push(until);
    }
    let (rows, _) = lanes::merged(lanes, usize::MAX);
    let mut nodes: Vec<_> = rows.iter().filter_map(node).collect();
    add_values(engine, &context, earlier, &mut nodes).await?;
    let Some(target) = nodes.iter().rposition(|it| it.step_id == step) else { return Ok(None) };
    let chain = graph::chain(&nodes, target, bounds);

    let named: BTreeSet<&str> = chain.edges.iter().flat_map(|it| [it.from.as_str(), it.to.as_str()]).collect();
    let listed = ident("step_id").in_list(named.iter().map(|it| lit(*it)).collect(), false);
    let mut seen =
        steps(engine, &context, is("session_id", session).and(listed), &SUMMARY, (Latest::ByTime, EDGES_MAX + 1))
            .await?;
    let places: HashMap<&str, usize> = nodes.iter().map(|it| it.step_id.as_str()).zip(0..).collect();
    seen.sort_by_key(|it| places.get(text(it, "step_id")).copied());
    let mut edges: Vec<_> = chain
        .edges
        .iter()
        .map(|it| json!({ "from": it.from, "to": it.to, "kind": it.kind.as_str(), "because": it.because }))
        .collect();
    let earliest = nodes.iter().find(|it| named.contains(it.step_id.as_str())).unwrap_or(&nodes[target]);
    if let Some((edge, spawner)) = parent_edge(engine, &context, earliest, &asked).await? {
        edges.push(edge);
        seen.insert(0, spawner);
    }
    let findings = read::table(&context, "findings").await?.filter(this).map_err(fail)?;
    Ok(Some(json!({
        "decision": asked.get("decision"),
        "step": asked,
        "findings": objects(engine, findings).await?,
        "edges": edges,
        "steps": seen,
        "truncated": chain.truncated || cut,
    })))
}

/// Rows of one partition up to the step asked about: its own by their place, others by their time.
fn until(asked: &Object, partition: i64) -> Expr {
    let here = ident("partition").eq(lit(partition));
    let last = match moment(asked, "time") {
        Some(time) if partition != number(asked, "partition") => ident("time").lt_eq(time),
        _ => ident("offset").lt_eq(lit(number(asked, "offset"))),
    };
    here.and(last)
}

/// A time of a row, as a value to compare with.
fn moment(row: &Object, field: &str) -> Option<Expr> {
    let time = Timestamp::parse(row.get(field)?.as_str()?).ok()?;
    Some(lit(ScalarValue::TimestampMicrosecond(Some(time.as_micros()), Some("UTC".into()))))
}

/// Steps that the arguments of calls came from, as the detector saw it.
async fn add_values(engine: &Engine, context: &Context, earlier: Vec<Expr>, nodes: &mut [Node]) -> Result<(), Error> {
    let Some(earlier) = earlier.into_iter().reduce(Expr::or) else { return Ok(()) };
    let frame = read::table(context, "edges").await?.filter(earlier).map_err(fail)?;
    let frame = frame.sort(vec![ident("offset").sort(false, false)]).and_then(|it| it.limit(0, Some(STEPS_MAX)));
    let mut values: HashMap<String, Vec<SeenValue>> = HashMap::new();
    for row in objects(engine, frame.map_err(fail)?).await? {
        let from = text(&row, "from_step_id").to_owned();
        let because = because(&row);
        let of_step = values.entry(text(&row, "step_id").to_owned()).or_default();
        // One edge for each step, for the first of its arguments.
        if !of_step.iter().any(|it| it.from == from) {
            of_step.push(SeenValue { from, because });
        }
    }
    for node in nodes {
        node.values = values.remove(&node.step_id).unwrap_or_default();
    }
    Ok(())
}

fn because(edge: &Object) -> String {
    let argument = match text(edge, "argument") {
        "" => "its input".to_owned(),
        argument => format!("its argument `{argument}`"),
    };
    let truth = |field| edge.get(field).and_then(Value::as_bool) == Some(true);
    if truth("authored") {
        return format!("{argument} was written here by the user or the operator");
    }
    let part = if truth("part") { "a part of " } else { "" };
    let place = match text(edge, "path") {
        "" => String::new(),
        path => format!(" at `{path}`"),
    };
    format!("{part}{argument} was read here{place} ({})", text(edge, "match_kind"))
}

/// From the parent session to the earliest step of a chain: its latest handoff or spawn before this session began, else
/// its latest step.
async fn parent_edge(
    engine: &Engine,
    context: &Context,
    earliest: &Node,
    asked: &Object,
) -> Result<Option<(Value, Object)>, Error> {
    let Some(session) = read::session(engine, context, text(asked, "session_id")).await? else { return Ok(None) };
    let parent = text(&session, "parent_session_id");
    let Some(started) = moment(&session, "started_at").filter(|_| !parent.is_empty()) else { return Ok(None) };
    let before = is("session_id", parent).and(ident("time").lt_eq(started));
    let spawns = [Kind::Spawn, Kind::Handoff].map(|it| lit(it.as_str())).to_vec();
    let spawning = before.clone().and(ident("kind").in_list(spawns, false));
    let mut found = steps(engine, context, spawning, &SUMMARY, (Latest::ByTime, 1)).await?.pop();
    if found.is_none() {
        found = steps(engine, context, before, &SUMMARY, (Latest::ByTime, 1)).await?.pop();
    }
    let Some(found) = found else { return Ok(None) };
    let edge = json!({
        "from": text(&found, "step_id"),
        "from_session": parent,
        "to": earliest.step_id,
        "kind": EdgeKind::Structural.as_str(),
        "because": "the parent session was here when this one began",
    });
    Ok(Some((edge, found)))
}

/// Which of the steps that match are the latest. Places of two partitions cannot be compared, times can.
#[derive(Clone, Copy)]
enum Latest {
    /// Of one partition.
    ByPlace,
    ByTime,
}

impl Latest {
    fn sort(self) -> Vec<SortExpr> {
        let offset = ident("offset").sort(false, false);
        match self {
            Self::ByPlace => vec![offset],
            Self::ByTime => vec![ident("time").sort(false, false), offset],
        }
    }
}

/// The latest steps that match, latest first.
async fn steps(
    engine: &Engine,
    context: &Context,
    matching: Expr,
    columns: &[&str],
    (latest, limit): (Latest, usize),
) -> Result<Vec<Object>, Error> {
    let frame = read::table(context, "steps").await?.filter(matching).map_err(fail)?;
    let frame = frame.select(columns.iter().map(|it| ident(*it)).collect::<Vec<_>>()).map_err(fail)?;
    let frame = frame.sort(latest.sort()).and_then(|it| it.limit(0, Some(limit)));
    objects(engine, frame.map_err(fail)?).await
}

fn node(row: &Object) -> Option<Node> {
    let owned = |field| row.get(field).and_then(Value::as_str).map(ToOwned::to_owned);
    let causes = row.get("causes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Some(Node {
        step_id: owned("step_id")?,
        kind: Kind::from_name(text(row, "kind"))?,
        tool: owned("tool"),
        actor: owned("agent_name"),
        causes: causes.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
        values: Vec::new(),
    })
}
