//! SQL over history: read only, one consistent snapshot for each query, within limits.

mod bounded;
mod collecting;
mod config;
mod context;
mod encode;
mod error;
mod functions;
mod held;
mod http;
mod memory;
mod plan;
mod provider;
mod shape;
mod stop;
#[cfg(test)]
mod tests;
mod threads;
mod value;
mod views;
mod words;
mod yielding;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::config::Dialect;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::DataFrame;
use futures::TryStreamExt;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

pub use config::Config;
pub(crate) use context::Context;
pub use error::Error;
pub use http::router;

use crate::history::History;
use held::Held;
use stop::Stop;
use threads::Threads;

/// What a query may name.
const TABLES: [&str; 6] = ["steps", "sessions", "verdicts", "findings", "edges", "controls"];

/// Answers SQL. Cheap to clone. The clone that works on a query knows when that is given up.
#[derive(Clone)]
pub struct Engine(Arc<Inner>, Stop);

struct Inner {
    history: Arc<History>,
    config: Config,
    runtime: Arc<RuntimeEnv>,
    /// That of the newest snapshot asked about, so that a burst of queries does not build it again and again.
    context: ArcSwapOption<Context>,
    running: Arc<Semaphore>,
    threads: Threads,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    pub name: String,
    /// Arrow's name of the type, as `Utf8`, `Int64`, `Timestamp(µs, "UTC")`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Columns and rows; times are RFC 3339, lists are arrays, a missing value is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Given back when the answer is written.
    held: Held,
}

#[cfg(test)]
impl Table {
    pub(crate) fn of(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch], truncated: false, held: Held::nothing() }
    }
}

impl Inner {
    fn forget_the_past(&self) {
        let now = self.history.snapshot();
        if self.context.load().as_ref().is_some_and(|it| !Arc::ptr_eq(&it.snapshot, &now)) {
            self.context.store(None);
        }
    }
}

impl Engine {
    /// Of a request, in bytes: the longest query that is taken, with each byte escaped.
    pub(crate) fn body_bytes_max(&self) -> usize {
        const ESCAPED: usize = "\\u0000".len();
        self.0.config.query_bytes_max.saturating_mul(ESCAPED).saturating_add(1_024)
    }

    /// # Errors
    /// When threads for queries cannot be started.
    pub fn new(history: Arc<History>, config: Config) -> Result<Self, Error> {
        let runtime = context::runtime(&config).map_err(Error::internal)?;
        let running = Arc::new(Semaphore::new(config.queries_max));
        let threads = Threads::start(config.queries_max).map_err(Error::internal)?;
        let context = ArcSwapOption::empty();
        let mut changes = history.changes();
        let inner = Arc::new(Inner { history, config, runtime, context, running, threads });
        let forgetting = Arc::downgrade(&inner);
        // Nobody asks about a moment that has passed, and its rows would be kept from the one who has written them down.
        drop(inner.threads.handle().spawn(async move {
            while changes.changed().await {
                let Some(inner) = forgetting.upgrade() else { return };
                inner.forget_the_past();
            }
        }));
        Ok(Self(inner, Stop::default()))
    }

    /// Runs one query.
    ///
    /// # Errors
    /// [`Error`], each with its HTTP status.
    pub async fn query(&self, sql: &str) -> Result<Answer, Error> {
        self.check_length(sql)?;
        let sql = sql.to_owned();
        self.run(move |it| async move { it.table(&sql).await?.try_into().map_err(Error::internal) }).await
    }

    /// The same, to be encoded: the answer keeps its place among the queries until it is dropped.
    pub(crate) async fn answer(&self, sql: &str) -> Result<Table, Error> {
        self.check_length(sql)?;
        let sql = sql.to_owned();
        let (mut table, place) = self.placed(move |it| async move { it.table(&sql).await }).await?;
        table.held.place(place);
        Ok(table)
    }

    fn check_length(&self, sql: &str) -> Result<(), Error> {
        let max = self.0.config.query_bytes_max;
        if sql.len() > max {
            return Err(Error::invalid(format!("the query has {} bytes: at most {max} are taken", sql.len())));
        }
        Ok(())
    }

    async fn table(&self, sql: &str) -> Result<Table, Error> {
        shape::check_text(sql)?;
        let now = self.context_now().await?;
        let statement = now.session.state().sql_to_statement(sql, &Dialect::Generic);
        let statement = statement.map_err(|it| Error::of_text(it, sql))?;
        plan::check_reads(&statement)?;
        shape::check_tables(&statement)?;
        let context = if plan::reads_rows(&statement) { self.context().await? } else { now };
        let frame = plan::plan(&context, statement).await?;
        let explains = matches!(frame.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
        let mut table = self.collect(frame).await?;
        if explains {
            table.remove_text(&self.0.history.shown_in_plans()).map_err(Error::internal)?;
        }
        Ok(table)
    }

    /// Runs work of a query within its limits, on the threads of queries. Dropping the future ends the work.
    pub(crate) async fn run<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.placed(work).await.map(|(done, _)| done)
    }

    /// The place goes with the work: a query that was given up keeps it until it has really ended.
    async fn placed<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<(T, OwnedSemaphorePermit), Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let limit = self.0.config.time_max;
        let within = async {
            let place = Arc::clone(&self.0.running).acquire_owned().await.map_err(Error::internal)?;
            let stop = Stop::default();
            let _stopping = stop.on_drop();
            let work = work(Self(Arc::clone(&self.0), stop));
            let mut task = JoinSet::new();
            task.spawn_on(async move { work.await.map(|done| (done, place)) }, self.0.threads.handle());
            match task.join_next().await {
                Some(Ok(done)) => done,
                Some(Err(error)) => Err(Error::internal(error)),
                None => Err(Error::internal("a query ended without an answer")),
            }
        };
        let late = |_| if self.0.history.is_current() { Error::TimedOut { limit } } else { Error::CatchingUp };
        let done = tokio::time::timeout(limit.0, within).await.map_err(late).flatten();
        match done {
            Err(Error::Internal(error)) => Err(self.cause(error).await),
            done => done,
        }
    }

    /// What is behind a query that failed inside: a file that somebody has to restore is named to whoever asks.
    async fn cause(&self, error: Box<dyn std::error::Error + Send + Sync>) -> Error {
        let looked = self.0.history.look_for_damage().await;
        let damaged = looked.as_ref().ok().and_then(Option::as_ref).map(tracing::field::display);
        tracing::error!(damaged, error = &*error as &dyn std::error::Error, "a query failed");
        match looked {
            Ok(Some(damage)) => Error::Damaged(damage),
            Ok(None) => Error::Internal(error),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the tables cannot be read");
                Error::Unreadable
            }
        }
    }

    /// Work that nobody waits for.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.threads.handle().spawn(work));
    }

    /// All tables as they are now, once they are what they were when the last process ended.
    pub(crate) async fn context(&self) -> Result<Arc<Context>, Error> {
        self.0.history.current().await;
        self.context_now().await
    }

    async fn context_now(&self) -> Result<Arc<Context>, Error> {
        let snapshot = self.0.history.snapshot();
        if let Some(held) = &*self.0.context.load()
            && Arc::ptr_eq(&held.snapshot, &snapshot)
        {
            return Ok(Arc::clone(held));
        }
        let built = Context::new(snapshot, Arc::clone(&self.0.runtime)).await.map_err(Error::internal)?;
        let built = Arc::new(built);
        self.0.context.store(Some(Arc::clone(&built)));
        // It may have passed meanwhile, unseen.
        self.0.forget_the_past();
        Ok(built)
    }

    /// The rows of a frame, up to the limits of an answer. They count as memory of queries for as long as they are held.
    pub(crate) async fn collect(&self, frame: DataFrame) -> Result<Table, Error> {
        let config = &self.0.config;
        let fail = |it| Error::of(it, &TABLES);
        let mut held = Held::new(&self.0.runtime.memory_pool, "answer");
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.and_then(|it| self.1.watch(it)).map_err(fail)?;
        let mut stream = execute_stream(plan, task).map_err(fail)?;
        let schema = stream.schema();
        let (mut rows, mut batches, mut truncated) = (0, Vec::new(), false);
        while let Some(batch) = stream.try_next().await.map_err(fail)? {
            let room = config.rows_max - rows;
            truncated = batch.num_rows() > room;
            let batch = if truncated { batch.slice(0, room) } else { batch };
            held.take(&batch).map_err(fail)?;
            if held.bytes() > config.answer_bytes_max {
                let max = config.answer_bytes_max;
                let message =
                    format!("the answer is larger than {max} bytes: select fewer columns or rows, or aggregate");
                return Err(Error::TooLarge { message });
            }
            rows += batch.num_rows();
            batches.push(batch);
            if truncated {
                break;
            }
        }
        Ok(Table { schema, batches, truncated, held })
    }
}
