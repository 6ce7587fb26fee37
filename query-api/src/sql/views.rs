//! `sessions` and `controls`: what the partial rows of [`crate::tables`] add up to.
//!
//! The partial tables themselves are not visible to queries. A view is planned when it is named: planning one costs more
//! than most queries, and every moment that brings rows has views of its own.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use tokio::sync::OnceCell;

/// What a query may name: the tables, and the views over tables that it may not name.
#[derive(Debug)]
pub(super) struct Public {
    tables: Arc<dyn SchemaProvider>,
    parts: Parts,
    views: [View; 2],
}

/// Where the partial tables are.
struct Parts(SessionContext);

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

#[derive(Debug)]
struct View {
    name: &'static str,
    sql: &'static str,
    planned: OnceCell<Arc<dyn TableProvider>>,
}

impl View {
    const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, planned: OnceCell::const_new() }
    }
}

impl Public {
    pub(super) fn new(tables: Arc<dyn SchemaProvider>, parts: SessionContext) -> Self {
        Self { tables, parts: Parts(parts), views: [View::new("sessions", SESSIONS), View::new("controls", CONTROLS)] }
    }

    fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|it| it.name == name)
    }
}

#[async_trait]
impl SchemaProvider for Public {
    fn table_names(&self) -> Vec<String> {
        self.tables.table_names().into_iter().chain(self.views.iter().map(|it| it.name.to_owned())).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(view) = self.view(name) else { return self.tables.table(name).await };
        let plan = async || {
            let plan = self.parts.0.state().create_logical_plan(view.sql).await?;
            Ok(Arc::new(ViewTable::new(plan, None)) as Arc<dyn TableProvider>)
        };
        view.planned.get_or_try_init(plan).await.map(|it| Some(Arc::clone(it)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.view(name).is_some() || self.tables.table_exist(name)
    }
}

/// One row for each session. `standing` is what stood against it at its last judged step; `halted` is whether its next step
/// would be halted, which orders given since then and findings of other sessions decide, too.
///
/// A session is halted with its run, or with one it descends from. Its parent and its root are looked up; for those in
/// between, which a row does not name, what stood at the last step counts until an order of its partition lifts one.
///
/// One whose root became known after its first steps was judged in two partitions, whose offsets cannot be compared: where it
/// is now, and what stood there, is where a root stands that is not itself, and of several that of the latest step by time.
const SESSIONS: &str = r#"
WITH orders AS (
    SELECT "partition", scope, scope_id, last_value(action ORDER BY "offset") AS action,
        last_value(before_offset ORDER BY "offset") AS before_offset
    FROM control_events WHERE state = 'applied' GROUP BY "partition", scope, scope_id
),
lifted AS (
    SELECT "partition", max(before_offset) AS before_offset FROM control_events
    WHERE state = 'applied' AND action = 'resume' AND coalesce(changed, true) GROUP BY "partition"
),
found AS (
    SELECT "partition", session_id, max("offset") AS "offset" FROM findings
    WHERE mode = 'enforce' AND decision = 'halt' AND detector <> 'control' GROUP BY "partition", session_id
),
held AS (
    SELECT "partition", session_id FROM (
        SELECT "partition", scope_id AS session_id FROM orders WHERE scope = 'session' AND action = 'halt'
        UNION
        SELECT found."partition", found.session_id FROM found LEFT JOIN orders
            ON orders.scope = 'session' AND orders.scope_id = found.session_id AND orders."partition" = found."partition"
        WHERE orders.before_offset IS NULL OR found."offset" >= orders.before_offset
    )
),
runs AS (SELECT "partition", scope_id FROM orders WHERE scope = 'run' AND action = 'halt'),
parts AS (
SELECT
    session_id,
    last_value(root_session_id ORDER BY root_session_id <> session_id, last_at, last_offset) AS root_session_id,
    first_value(parent_session_id ORDER BY started_at, first_offset) FILTER (WHERE parent_session_id IS NOT NULL)
        AS parent_session_id,
    first_value(title ORDER BY started_at, first_offset) FILTER (WHERE title IS NOT NULL) AS title,
    first_value(agent_id ORDER BY started_at, first_offset) AS agent_id,
    first_value(agent_version ORDER BY started_at, first_offset) FILTER (WHERE agent_version IS NOT NULL) AS agent_version,
    first_value(environment ORDER BY started_at, first_offset) FILTER (WHERE environment IS NOT NULL) AS environment,
    first_value(principal_id ORDER BY started_at, first_offset) FILTER (WHERE principal_id IS NOT NULL) AS principal_id,
    first_value(owner ORDER BY started_at, first_offset) FILTER (WHERE owner IS NOT NULL) AS owner,
    min(started_at) AS started_at,
    max(last_at) AS last_at,
    sum(steps) AS steps,
    sum(tool_calls) AS tool_calls,
    sum(errors) AS errors,
    sum(findings) AS findings,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    CAST(sum(cost_micro_usd) AS DOUBLE) / 1000000.0 AS cost_usd,
    CASE max(decision_rank)
        WHEN 0 THEN 'allow' WHEN 1 THEN 'warn' WHEN 2 THEN 'throttle' WHEN 3 THEN 'modify'
        WHEN 4 THEN 'step_up' WHEN 5 THEN 'deny' ELSE 'halt'
    END AS decision,
    CASE WHEN min("partition") = max("partition") THEN last_value(standing ORDER BY last_offset)
        ELSE last_value(standing ORDER BY root_session_id <> session_id, last_at, last_offset)
    END AS standing,
    bool_or(ended) AS ended,
    last_value("partition" ORDER BY root_session_id <> session_id, last_at, last_offset) AS at,
    CASE WHEN min("partition") = max("partition") THEN max(last_offset)
        ELSE last_value(last_offset ORDER BY root_session_id <> session_id, last_at, last_offset)
    END AS last_offset
FROM session_parts
GROUP BY session_id
)
SELECT
    parts.session_id, root_session_id, parent_session_id, title, agent_id, agent_version, environment, principal_id, owner,
    started_at, last_at, steps, tool_calls, errors, findings, input_tokens, output_tokens, cost_usd, decision, standing,
    own.session_id IS NOT NULL OR parent.session_id IS NOT NULL OR root.session_id IS NOT NULL OR runs.scope_id IS NOT NULL
        OR (standing = 'halt' AND coalesce(lifted.before_offset <= parts.last_offset, true)) AS halted,
    ended
FROM parts
LEFT JOIN held AS own ON own.session_id = parts.session_id AND own."partition" = at
LEFT JOIN held AS parent ON parent.session_id = parts.parent_session_id AND parent."partition" = at
LEFT JOIN held AS root ON root.session_id = parts.root_session_id AND root."partition" = at
LEFT JOIN runs ON runs.scope_id = parts.root_session_id AND runs."partition" = at
LEFT JOIN lifted ON lifted."partition" = at
"#;

/// One row for each control, whatever number of partitions applied it. `changed` is told by those that know its session or
/// run, if there are any, as in the answer of `GET /v1/controls/{id}`.
const CONTROLS: &str = r#"
SELECT
    control_id,
    first_value(action ORDER BY "offset") AS action,
    first_value(scope ORDER BY "offset") AS scope,
    first_value(scope_id ORDER BY "offset") AS scope_id,
    min(time) AS time,
    first_value(given_by ORDER BY "offset") AS given_by,
    first_value(reason ORDER BY "offset") AS reason,
    CASE WHEN bool_or(state = 'applied') THEN 'applied' ELSE 'requested' END AS state,
    count(DISTINCT "partition") FILTER (WHERE state = 'applied') AS applied_partitions,
    coalesce(bool_or(known), false) AS known,
    CASE WHEN bool_or(known) THEN bool_or(changed) FILTER (WHERE known) ELSE bool_or(changed) END AS changed
FROM control_events
GROUP BY control_id
"#;
