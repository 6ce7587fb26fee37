//! Everything a query may name, at one moment.

use std::sync::Arc;

use datafusion::datasource::ViewTable;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::provider::Unified;
use super::{Config, views};
use crate::history::Snapshot;
use crate::tables::Table;

/// Footers of Parquet files that are kept, in bytes.
const FOOTERS_BYTES_MAX: usize = 64 << 20;

/// What all queries share: memory and the cache of footers. Nothing is spilled to disk.
pub(super) fn runtime(config: &Config) -> Result<Arc<RuntimeEnv>> {
    let consumers = std::num::NonZeroUsize::MIN;
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(config.memory_bytes_max), consumers)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_metadata_cache_limit(FOOTERS_BYTES_MAX)
        .build_arc()
}

/// Every table and view of one snapshot.
pub(crate) struct Context {
    pub(super) snapshot: Arc<Snapshot>,
    pub(crate) session: SessionContext,
}

impl Context {
    pub(super) async fn new(snapshot: Arc<Snapshot>, runtime: Arc<RuntimeEnv>) -> Result<Self> {
        let session = session(Arc::clone(&runtime), "public");
        let parts = self::session(runtime, "parts");
        let state = Arc::new(session.state());
        for (table, seen) in Table::ALL.into_iter().zip(&snapshot.tables) {
            let public = matches!(table, Table::Steps | Table::Verdicts | Table::Findings);
            let into = if public { &session } else { &parts };
            into.register_table(table.name(), Arc::new(Unified::new(seen, Arc::clone(&state)).await?))?;
        }
        for (name, sql) in [("sessions", views::SESSIONS), ("controls", views::CONTROLS)] {
            let plan = parts.state().create_logical_plan(sql).await?;
            session.register_table(name, Arc::new(ViewTable::new(plan, None)))?;
        }
        Ok(Self { snapshot, session })
    }
}

fn session(runtime: Arc<RuntimeEnv>, schema: &str) -> SessionContext {
    let mut config =
        SessionConfig::new().with_information_schema(true).with_default_catalog_and_schema("martingale", schema);
    let options = config.options_mut();
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.schema_force_view_types = false;
    let state =
        SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build();
    SessionContext::new_with_state(state)
}
