//! `GET /v1/sessions` and `GET /v1/sessions/{session}`.

use axum::extract::State;
use axum::response::Json;
use datafusion::functions::expr_fn::{contains, lower};
use datafusion::prelude::{Expr, ident, lit};
use datafusion::scalar::ScalarValue;
use martingale_schemas::{Decision, Timestamp};
use serde_json::{Value, json};

use super::read::{self, fail, is, objects, text};
use crate::http::{Failure, Fields, Segments};
use crate::sql::{Engine, Error};

const FIELDS: [&str; 6] = ["agent", "environment", "decision", "q", "limit", "after"];
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 1_000;

/// Which sessions, newest first.
struct Wanted {
    agent: Option<String>,
    environment: Option<String>,
    decision: Option<Decision>,
    /// Part of the title or the id, in any case.
    q: Option<String>,
    limit: usize,
    after: Option<(Timestamp, String)>,
}

impl Wanted {
    fn read(mut fields: Fields) -> Result<Self, Failure> {
        let after: Option<String> = fields.take("after")?;
        let after = after.map(|it| {
            parse_cursor(&it).ok_or_else(|| {
                Failure::field("after", "invalid_value", "`after` is no cursor: send `next` of the page before")
            })
        });
        let wanted = Self {
            agent: fields.take("agent")?,
            environment: fields.take("environment")?,
            decision: fields.take("decision")?,
            q: fields.take("q")?,
            limit: read::limit(fields.take("limit")?, LIMIT, LIMIT_MAX)?,
            after: after.transpose()?,
        };
        fields.finish(&FIELDS)?;
        Ok(wanted)
    }

    fn filters(&self) -> Vec<Expr> {
        let mut all = Vec::new();
        all.extend(self.agent.as_deref().map(|it| is("agent_id", it)));
        all.extend(self.environment.as_deref().map(|it| is("environment", it)));
        all.extend(self.decision.map(|it| is("decision", it.as_str())));
        all.extend(self.q.as_deref().map(|it| {
            let part = lit(it.to_lowercase());
            contains(lower(ident("title")), part.clone()).or(contains(lower(ident("session_id")), part))
        }));
        all.extend(self.after.as_ref().map(|(last, session)| {
            let last = lit(ScalarValue::TimestampMicrosecond(Some(last.as_micros()), Some("UTC".into())));
            let same = ident("last_at").eq(last.clone()).and(ident("session_id").lt(lit(session.as_str())));
            ident("last_at").lt(last).or(same)
        }));
        all
    }
}

pub(super) async fn sessions(State(engine): State<Engine>, fields: Fields) -> Result<Json<Value>, Failure> {
    let wanted = Wanted::read(fields)?;
    let limit = wanted.limit;
    let mut found = engine
        .run(move |engine| async move {
            let context = engine.context().await?;
            let mut frame = read::table(&context, "sessions").await?;
            for filter in wanted.filters() {
                frame = frame.filter(filter).map_err(fail)?;
            }
            let order = vec![ident("last_at").sort(false, false), ident("session_id").sort(false, false)];
            let frame = frame.sort(order).and_then(|it| it.limit(0, Some(limit + 1))).map_err(fail)?;
            objects(&engine, frame).await
        })
        .await?;
    let truncated = found.len() > limit;
    found.truncate(limit);
    let next =
        found.last().filter(|_| truncated).map(|it| format!("{}~{}", text(it, "last_at"), text(it, "session_id")));
    Ok(Json(json!({ "sessions": found, "next": next, "truncated": truncated })))
}

pub(super) async fn session(
    State(engine): State<Engine>,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Failure> {
    let wanted = id.clone();
    let found = engine
        .run(move |engine| async move {
            let context = engine.context().await?;
            let Some(session) = read::session(&engine, &context, &wanted).await? else { return Ok(None) };
            let of_session = is("scope", "session").and(is("scope_id", &wanted));
            let of_run = is("scope", "run").and(is("scope_id", text(&session, "root_session_id")));
            let controls = read::table(&context, "controls").await?.filter(of_session.or(of_run)).map_err(fail)?;
            let controls = controls.sort_by(vec![ident("time")]).map_err(fail)?;
            let controls = objects(&engine, controls).await?;
            Ok::<_, Error>(Some(json!({ "session": session, "controls": controls })))
        })
        .await?;
    found.map(Json).ok_or_else(|| Failure::not_found("session", &id))
}

fn parse_cursor(text: &str) -> Option<(Timestamp, String)> {
    let (last, session) = text.split_once('~')?;
    Some((Timestamp::parse(last).ok()?, session.to_owned()))
}
