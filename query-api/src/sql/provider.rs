//! A table as queries see it: the files of one version and the rows that are not in them yet.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use deltalake::delta_datafusion::DeltaScanNext;

use crate::history::Seen;

#[derive(Debug)]
pub(super) struct Unified {
    schema: SchemaRef,
    stored: DeltaScanNext,
    fresh: Vec<arrow::array::RecordBatch>,
}

impl Unified {
    /// `state` decides how types are read, the same for files and memory.
    pub(super) async fn new(seen: &Seen, state: Arc<SessionState>) -> Result<Self> {
        let stored = DeltaScanNext::builder()
            .with_eager_snapshot(Arc::clone(&seen.stored.snapshot))
            .with_log_store(Arc::clone(&seen.stored.log_store))
            .with_session(state)
            .build()
            .await?;
        Ok(Self { schema: stored.schema(), stored, fresh: seen.fresh.clone() })
    }
}

#[async_trait]
impl TableProvider for Unified {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stored = self.stored.scan(state, projection, filters, limit).await?;
        if self.fresh.is_empty() {
            return Ok(stored);
        }
        let partitions = [self.fresh.clone()];
        let fresh = MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&self.schema), projection.cloned())?;
        UnionExec::try_new(vec![stored, fresh])
    }

    // Files and row groups are left out by them; the rows of memory are filtered above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
