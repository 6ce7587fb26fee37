//! SQL over history: read only, one consistent snapshot for each query, within limits.

mod config;
mod context;
mod error;
mod http;
mod provider;
#[cfg(test)]
mod tests;
mod value;
mod views;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SQLOptions};
use datafusion::sql::parser::Statement;
use futures::TryStreamExt;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use config::Config;
pub(crate) use context::Context;
pub use error::Error;
pub use http::router;

use crate::history::History;

/// What a query may name.
const TABLES: [&str; 5] = ["steps", "sessions", "verdicts", "findings", "controls"];

/// Answers SQL. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    history: Arc<History>,
    config: Config,
    runtime: Result<Arc<RuntimeEnv>, DataFusionError>,
    /// That of the newest snapshot asked about, so that a burst of queries does not build it again and again.
    context: ArcSwapOption<Context>,
    running: Semaphore,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Column {
    pub name: String,
    /// Arrow's name of the type, as `Utf8`, `Int64`, `Timestamp(µs, "UTC")`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Columns and rows; times are RFC 3339, lists are arrays, a missing value is null.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Answer {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<serde_json::Value>>,
    /// Whether rows beyond the limit were left out.
    pub truncated: bool,
}

/// An answer in Arrow's form.
pub(crate) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    truncated: bool,
}

#[cfg(test)]
impl Table {
    pub(crate) fn of(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch], truncated: false }
    }
}

impl Engine {
    #[must_use]
    pub fn new(history: Arc<History>, config: Config) -> Self {
        let runtime = context::runtime(&config);
        let running = Semaphore::new(config.queries_max);
        Self(Arc::new(Inner { history, config, runtime, context: ArcSwapOption::empty(), running }))
    }

    /// Runs one query.
    ///
    /// # Errors
    /// [`Error`], each with its HTTP status.
    pub async fn query(&self, sql: &str) -> Result<Answer, Error> {
        self.answer(sql).await?.try_into().map_err(Error::internal)
    }

    pub(crate) async fn answer(&self, sql: &str) -> Result<Table, Error> {
        let max = self.0.config.query_bytes_max;
        if sql.len() > max {
            return Err(Error::invalid(format!("the query has {} bytes: at most {max} are taken", sql.len())));
        }
        let sql = sql.to_owned();
        self.run(move |it| async move {
            let context = it.context().await?;
            let frame = plan(&context, &sql).await?;
            let explains = matches!(frame.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
            let mut table = it.collect(frame).await?;
            if explains {
                table.remove_text(&it.0.history.folder()).map_err(Error::internal)?;
            }
            Ok(table)
        })
        .await
    }

    /// Runs work of a query within its limits, on the threads for heavy work. Dropping the future ends the work.
    pub(crate) async fn run<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let limit = self.0.config.time_max;
        let within = async {
            let _running = self.0.running.acquire().await.map_err(Error::internal)?;
            let mut task = JoinSet::new();
            task.spawn_on(work(self.clone()), &self.0.history.background());
            match task.join_next().await {
                Some(Ok(done)) => done,
                Some(Err(error)) => Err(Error::internal(error)),
                None => Err(Error::internal("a query ended without an answer")),
            }
        };
        let done = tokio::time::timeout(limit.0, within).await.unwrap_or(Err(Error::TimedOut { limit }));
        if let Err(Error::Internal(error)) = &done {
            tracing::error!(error = &**error as &dyn std::error::Error, "a query failed");
        }
        done
    }

    /// All tables as they are now.
    pub(crate) async fn context(&self) -> Result<Arc<Context>, Error> {
        let snapshot = self.0.history.snapshot();
        if let Some(held) = &*self.0.context.load()
            && Arc::ptr_eq(&held.snapshot, &snapshot)
        {
            return Ok(Arc::clone(held));
        }
        let runtime = self.0.runtime.as_ref().map_err(|it| Error::internal(it.to_string()))?;
        let built = Context::new(snapshot, Arc::clone(runtime)).await.map_err(Error::internal)?;
        let built = Arc::new(built);
        self.0.context.store(Some(Arc::clone(&built)));
        Ok(built)
    }

    /// The rows of a frame, up to the limits of an answer.
    pub(crate) async fn collect(&self, frame: DataFrame) -> Result<Table, Error> {
        let config = &self.0.config;
        let fail = |it| Error::of(it, &TABLES);
        let mut stream = frame.execute_stream().await.map_err(fail)?;
        let (mut rows, mut bytes) = (0, 0);
        let mut table = Table { schema: stream.schema(), batches: Vec::new(), truncated: false };
        while let Some(batch) = stream.try_next().await.map_err(fail)? {
            bytes += batch.get_array_memory_size();
            if bytes > config.answer_bytes_max {
                let max = config.answer_bytes_max;
                let message =
                    format!("the answer is larger than {max} bytes: select fewer columns or rows, or aggregate");
                return Err(Error::TooLarge { message });
            }
            let room = config.rows_max - rows;
            if batch.num_rows() > room {
                table.batches.push(batch.slice(0, room));
                table.truncated = true;
                break;
            }
            rows += batch.num_rows();
            table.batches.push(batch);
        }
        Ok(table)
    }
}

/// From text to a plan that only reads.
async fn plan(context: &Context, sql: &str) -> Result<DataFrame, Error> {
    let fail = |it| Error::of(it, &TABLES);
    let state = context.session.state();
    let statement = state.sql_to_statement(sql, &Dialect::Generic).map_err(fail)?;
    check_reads(&statement)?;
    let plan = state.statement_to_plan(statement).await.map_err(fail)?;
    // A second wall: whatever the statement was called, the plan must not write.
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|it| Error::Forbidden { statement: it.strip_backtrace() })?;
    Ok(DataFrame::new(state, plan))
}

fn check_reads(statement: &Statement) -> Result<(), Error> {
    match statement {
        Statement::Statement(it) if error::reads(it) => Ok(()),
        Statement::Explain(it) => check_reads(&it.statement),
        other => Err(Error::forbidden(other)),
    }
}
