//! Everything a query may name, at one moment.

use std::sync::Arc;

use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionStateBuilder, SessionStateDefaults};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use super::memory::{CountedWindows, Pool};
use super::provider::Unified;
use super::views::Public;
use super::yielding::YieldingJoins;
use super::{Config, collecting, functions};
use crate::history::Snapshot;
use crate::tables::Table;

/// Rows that are taken at once: few, so that what one step of a query holds stays small, and a query that is given up
/// ends soon.
const BATCH_ROWS: usize = 1024;
/// Footers of Parquet files that are kept, in bytes.
const FOOTERS_BYTES_MAX: usize = 64 << 20;
const CATALOG: &str = "martingale";
/// Schema of what a query may name.
const PUBLIC: &str = "public";

/// What all queries share: memory and the cache of footers. Nothing is spilled to disk.
pub(super) fn runtime(config: &Config) -> Result<Arc<RuntimeEnv>> {
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(Pool::new(config.memory_bytes_max)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_metadata_cache_limit(FOOTERS_BYTES_MAX)
        .build_arc()
}

/// Every table and view of one snapshot.
pub(crate) struct Context {
    pub(super) snapshot: Arc<Snapshot>,
    pub(crate) session: SessionContext,
    /// With the tables that views are made from, which no query may name.
    parts: SessionContext,
}

impl Context {
    /// Rows of a table that no query may name.
    pub(crate) async fn part(&self, name: &str) -> Result<DataFrame> {
        self.parts.table(name).await
    }

    pub(super) async fn new(snapshot: Arc<Snapshot>, runtime: Arc<RuntimeEnv>) -> Result<Self> {
        let session = session(Arc::clone(&runtime), PUBLIC);
        let parts = self::session(runtime, "parts");
        let state = Arc::new(session.state());
        for (table, seen) in Table::ALL.into_iter().zip(&snapshot.tables) {
            let public = matches!(table, Table::Steps | Table::Verdicts | Table::Findings | Table::Edges);
            let provider = Arc::new(Unified::new(seen, Arc::clone(&state)).await?);
            parts.register_table(table.name(), Arc::clone(&provider) as _)?;
            if public {
                session.register_table(table.name(), provider)?;
            }
        }
        let tables = session.catalog(CATALOG).and_then(|it| Some((it.schema(PUBLIC)?, it)));
        let Some((tables, catalog)) = tables else { return internal_err!("the catalog is not there") };
        catalog.register_schema(PUBLIC, Arc::new(Public::new(tables, parts.clone())))?;
        Ok(Self { snapshot, session, parts })
    }
}

pub(super) fn session(runtime: Arc<RuntimeEnv>, schema: &str) -> SessionContext {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, schema)
        .with_batch_size(BATCH_ROWS);
    let options = config.options_mut();
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.schema_force_view_types = false;
    // Only what reads tables: no files, no functions that are not listed.
    let mut optimizer = PhysicalOptimizer::new();
    optimizer.rules.push(Arc::new(YieldingJoins));
    optimizer.rules.push(Arc::new(CountedWindows));
    let tables = SessionStateDefaults::default_table_functions().into_iter();
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_physical_optimizer_rules(optimizer.rules)
        .with_expr_planners(functions::planners())
        .with_scalar_functions(functions::scalar())
        .with_aggregate_functions(collecting::aggregates())
        .with_window_functions(functions::window())
        .with_table_functions(tables.map(|it| (it.name().to_owned(), it)).collect())
        .build();
    SessionContext::new_with_state(state)
}
