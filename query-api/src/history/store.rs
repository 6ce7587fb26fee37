//! One Delta table: append exactly once, read back how far it is, keep it small.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, EagerSnapshot, StructField, StructType, Transaction};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::vacuum::VacuumMode;
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use deltalake::protocol::{DeltaOperation, SaveMode, checkpoints};
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableError, TableProperty};
use martingale_platform::log::Partition;

use super::Error;
use super::damage::{Said, broken_entry};
use super::place::Place;
use crate::tables::Table;

/// Files below this size are merged with their neighbours.
const FILE_BYTES: NonZeroU64 = NonZeroU64::new(128 << 20).expect("not zero");
/// Rows that are skipped or read together: small, because the commonest question is about one session.
const ROW_GROUP_ROWS: usize = 16 * 1024;

/// How far a table is in one partition of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Next offset of the topic the table is made from.
    pub(super) next: u64,
    /// Next offset of the topic of steps: a verdict on an earlier step was published twice.
    pub(super) next_step: u64,
}

/// How far an append takes a table in one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) partition: Partition,
    pub(super) from: Mark,
    pub(super) to: Mark,
}

/// What readers see of a table on disk.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) snapshot: Arc<EagerSnapshot>,
    pub(crate) log_store: LogStoreRef,
}

/// What was asked of one version of a table: each mark costs a pass over the newest entries of its log.
#[derive(Default)]
struct Marks {
    version: u64,
    by_partition: BTreeMap<Partition, Mark>,
}

pub(super) struct Store {
    pub(super) kind: Table,
    table: DeltaTable,
    marks: Mutex<Marks>,
    /// Commits since the last compaction, of this process and of those before it.
    pub(super) commits: u64,
}

impl Store {
    /// Opens the table in its folder of the place, or creates it.
    pub(super) async fn open(place: &Place, kind: Table) -> Result<Self, Error> {
        let fail = Error::delta(kind);
        let mut table = place.table(kind.name()).map_err(fail)?;
        let loaded = match table.verify_deltatable_existence().await {
            Ok(true) => table.load().await.map(|()| true),
            other => other,
        };
        match loaded {
            Ok(true) => {}
            Ok(false) => match create(&table, kind).await {
                Ok(created) => table = created,
                // Another process may have been faster, and then there is one.
                Err(error) => table.load().await.map_err(|_| fail(error))?,
            },
            Err(error) => {
                let broken = broken_entry(place, kind.name()).await.map_err(|error| place.failed(&error))?;
                // A store that answered with an error has lost nothing: whoever starts again may be luckier.
                let Some(broken) = broken else { return Err(fail(error)) };
                let (file, folder) = (place.name_of(&broken), place.name_of(kind.name()));
                return Err(Error::Damaged { file, folder, source: Said::of(&error) });
            }
        }
        let missing = missing_columns(&table, kind)?;
        if !missing.is_empty() {
            let quiet =
                CommitProperties::default().with_create_checkpoint(false).with_cleanup_expired_logs(Some(false));
            table = table.add_columns().with_fields(missing).with_commit_properties(quiet).await.map_err(fail)?;
        }
        let version = table.snapshot().map_err(fail)?.version();
        let commits = version.saturating_sub(last_checkpoint(place, kind).await);
        Ok(Self { kind, table, marks: Mutex::default(), commits })
    }

    pub(super) fn stored(&self) -> Result<Stored, Error> {
        let state = self.table.snapshot().map_err(Error::delta(self.kind))?;
        Ok(Stored { snapshot: Arc::new(state.snapshot().clone()), log_store: self.table.log_store() })
    }

    pub(super) async fn mark(&self, partition: Partition) -> Result<Mark, Error> {
        let state = self.table.snapshot().map_err(Error::delta(self.kind))?;
        if let Some(mark) = self.marks(state.version()).by_partition.get(&partition) {
            return Ok(*mark);
        }
        let log_store = self.table.log_store();
        let mut read = [0; 2];
        for (value, id) in read.iter_mut().zip(transaction_ids(self.kind, partition)) {
            let version = state.transaction_version(&*log_store, id).await.map_err(Error::delta(self.kind))?;
            *value = version.and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
        }
        let mark = Mark { next: read[0], next_step: read[1] };
        self.marks(state.version()).by_partition.insert(partition, mark);
        Ok(mark)
    }

    /// What is known of this version of the table.
    fn marks(&self, version: u64) -> MutexGuard<'_, Marks> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.version != version {
            *marks = Marks { version, by_partition: BTreeMap::new() };
        }
        marks
    }

    pub(super) fn version(&self) -> Result<u64, Error> {
        let state = self.table.snapshot().map_err(Error::delta(self.kind))?;
        Ok(state.version())
    }

    /// Takes in what others have committed.
    pub(super) async fn refresh(&mut self) -> Result<(), Error> {
        self.table.update_state().await.map_err(Error::delta(self.kind))
    }

    /// Appends rows and moves the marks, both or neither. A call that failed may have done it all the same, so the marks
    /// in the table are compared first: repeating a call adds nothing twice. Rows that another process has written
    /// meanwhile are not written again: then the marks are neither where they were nor where they should be.
    pub(super) async fn append(&mut self, rows: &[RecordBatch], moves: &[Move]) -> Result<(), Error> {
        let fail = Error::delta(self.kind);
        if self.is_done(moves).await? {
            return Ok(());
        }
        let mut writer =
            RecordBatchWriter::for_table(&self.table).map_err(fail)?.with_writer_properties(properties(self.kind));
        if let Some(rows) = sorted(rows, self.kind.sort_columns()).map_err(|it| fail(it.into()))? {
            writer.write(rows).await.map_err(fail)?;
        }
        let files = writer.flush().await.map_err(fail)?.into_iter().map(Action::Add).collect();
        // Where two processes commit for a partition, these let one of them fail.
        let transactions = moves.iter().flat_map(|Move { partition, to, .. }| {
            let [next, step] = transaction_ids(self.kind, *partition);
            [Transaction::new(next, version(to.next)), Transaction::new(step, version(to.next_step))]
        });
        let committed = CommitBuilder::from(
            CommitProperties::default()
                .with_application_transactions(transactions.collect())
                // Both belong to maintenance: they would make every commit slower as the table grows.
                .with_create_checkpoint(false)
                .with_cleanup_expired_logs(Some(false)),
        )
        .with_actions(files)
        .build(
            Some(self.table.snapshot().map_err(fail)?),
            self.table.log_store(),
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None },
        )
        .await;
        match committed {
            Ok(done) => {
                let before = self.version()?;
                self.table.state = Some(done.snapshot());
                let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
                // Nobody came between: the marks are what they were, but for those that were moved.
                if marks.version == before && done.version() == before + 1 {
                    marks.version = done.version();
                    marks.by_partition.extend(moves.iter().map(|it| (it.partition, it.to)));
                }
            }
            Err(error) => {
                // The commit may stand although what came after it failed.
                self.refresh().await?;
                if !self.is_done(moves).await? {
                    return Err(fail(error));
                }
            }
        }
        self.commits += 1;
        Ok(())
    }

    /// Whether the marks are where they are to be moved.
    async fn is_done(&self, moves: &[Move]) -> Result<bool, Error> {
        let (mut at_from, mut at_to) = (true, true);
        for it in moves {
            let mark = self.mark(it.partition).await?;
            at_from &= mark == it.from;
            at_to &= mark == it.to;
        }
        if at_from || at_to {
            return Ok(at_to);
        }
        Err(Error::Overtaken { table: self.kind.name() })
    }

    /// A handle for [`maintain`] beside which appends go on.
    pub(super) fn handle(&self) -> DeltaTable {
        self.table.clone()
    }
}

/// Merges small files, removes what no query can still read, and writes a checkpoint. Appends go on meanwhile: Delta
/// orders the commits.
pub(super) async fn maintain(table: DeltaTable, kind: Table) -> Result<(), DeltaTableError> {
    let quiet = CommitProperties::default().with_create_checkpoint(false).with_cleanup_expired_logs(Some(false));
    let (table, _) = table
        .optimize()
        .with_target_size(FILE_BYTES)
        .with_max_concurrent_tasks(1)
        .with_writer_properties(properties(kind))
        .with_commit_properties(quiet.clone())
        .await?;
    // Full: a flush that failed half-way left files that no commit names.
    let (table, _) = table.vacuum().with_mode(VacuumMode::Full).with_commit_properties(quiet).await?;
    checkpoints::create_checkpoint(&table, None).await?;
    checkpoints::cleanup_metadata(&table, None).await?;
    Ok(())
}

/// Version of the last checkpoint, which ends a compaction; 0 when there is none. Without it a table is only compacted
/// sooner, so what cannot be read is no error.
async fn last_checkpoint(place: &Place, kind: Table) -> u64 {
    let text = place.read(&format!("{}/_delta_log/_last_checkpoint", kind.name())).await.ok().flatten();
    let hint: serde_json::Value = serde_json::from_slice(&text.unwrap_or_default()).unwrap_or_default();
    hint["version"].as_u64().unwrap_or(0)
}

async fn create(table: &DeltaTable, kind: Table) -> Result<DeltaTable, DeltaTableError> {
    let schema: StructType = (&kind.description().schema()).try_into_kernel()?;
    table
        .create()
        .with_table_name(kind.name())
        .with_comment(kind.description().doc)
        .with_columns(schema.fields().cloned())
        .with_configuration_property(TableProperty::DataSkippingStatsColumns, Some(kind.statistics()))
        // A query runs on the files of its snapshot for as long as `sql.time_max`; an hour is far beyond it.
        .with_configuration_property(TableProperty::DeletedFileRetentionDuration, Some("interval 1 hours"))
        .with_configuration_property(TableProperty::LogRetentionDuration, Some("interval 1 days"))
        .await
}

/// Columns that were added since the table was made: its old rows lack them. A table that differs in any other way was
/// written by another version and is refused.
fn missing_columns(table: &DeltaTable, kind: Table) -> Result<Vec<StructField>, Error> {
    let state = table.snapshot().map_err(Error::delta(kind))?;
    let ours: StructType = (&kind.description().schema())
        .try_into_kernel()
        .map_err(|it: arrow::error::ArrowError| Error::delta(kind)(it.into()))?;
    let theirs = state.schema();
    let optional = |name: &str| kind.description().columns.iter().any(|it| it.name == name && !it.required);
    let (mut missing, mut differing) = (Vec::new(), Vec::new());
    for field in ours.fields() {
        match theirs.field(field.name()) {
            Some(there) if there.data_type() == field.data_type() => {}
            None if optional(field.name()) => missing.push(field.clone()),
            _ => differing.push(field.name().clone()),
        }
    }
    let unknown = theirs.fields().map(|it| it.name()).filter(|it| ours.field(it.as_str()).is_none());
    differing.extend(unknown.cloned());
    if differing.is_empty() {
        return Ok(missing);
    }
    differing.sort();
    Err(Error::OtherVersion { table: kind.name(), columns: differing.join(", ") })
}

fn transaction_ids(kind: Table, partition: Partition) -> [String; 2] {
    let topic = if kind == Table::ControlEvents { "controls" } else { "verdicts" };
    [format!("martingale/{topic}/{partition}"), format!("martingale/steps/{partition}")]
}

fn version(offset: u64) -> i64 {
    crate::tables::integer(offset)
}

fn properties(kind: Table) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Page statistics of the columns that rows are looked up by; of long texts they would only cost space.
    for column in kind.statistics().split(',') {
        builder = builder.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::Page);
    }
    builder.build()
}

fn sorted(rows: &[RecordBatch], by: [&str; 2]) -> Result<Option<RecordBatch>, arrow::error::ArrowError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let all = concat_batches(first.schema_ref(), rows)?;
    let columns: Vec<_> = by
        .iter()
        .filter_map(|name| all.column_by_name(name))
        .map(|values| SortColumn { values: Arc::clone(values), options: None })
        .collect();
    let order = lexsort_to_indices(&columns, None)?;
    take_record_batch(&all, &order).map(Some)
}
