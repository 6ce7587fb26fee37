//! The newest rows, in memory until they are flushed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use martingale_platform::background::give_way;
use martingale_platform::log::Partition;
use tokio::time::Instant;

use super::store::{Mark, Move};
use crate::tables::{Parts, Pending, TABLES, Table};

/// Batches up to this many rows are merged with their neighbours, so that a quiet hour is not thousands of batches. No more,
/// since copying some thousands takes milliseconds at once.
const MERGED_ROWS_MAX: usize = 2 * 1024;

/// Rows of all tables.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) batches: [Vec<RecordBatch>; TABLES],
    /// Of the batches.
    bytes: usize,
    /// The session parts of all batches, merged: what a flush writes.
    parts: Parts,
    /// When the oldest row came in.
    pub(super) since: Option<Instant>,
}

/// A tail on its way to disk. Visible from memory until every table has it.
pub(super) struct Frozen {
    pub(super) batches: [Vec<RecordBatch>; TABLES],
    pub(super) bytes: usize,
    pub(super) flush: Arc<Flush>,
}

/// How far every table is in a partition.
pub(super) type Reach = (Partition, [Mark; TABLES]);
pub(super) type Marks = Vec<Reach>;

/// What to write: rows and, for each table, how far they reach.
pub(super) struct Flush {
    pub(super) rows: [Vec<RecordBatch>; TABLES],
    /// Where the tables are before it.
    pub(super) from: Marks,
    pub(super) marks: Marks,
}

impl Flush {
    /// What an append to the table at this place does.
    pub(super) fn moves(&self, table: usize) -> Vec<Move> {
        let both = self.from.iter().zip(&self.marks);
        both.map(|((partition, from), (_, to))| Move { partition: *partition, from: from[table], to: to[table] })
            .collect()
    }
}

impl Tail {
    /// Takes in rows that were read.
    pub(super) fn absorb(&mut self, pending: &mut Pending, now: Instant) -> Result<(), ArrowError> {
        let parts = pending.take_parts();
        for table in Table::ALL {
            let batch = match table {
                Table::SessionParts => parts.batch()?,
                other => pending.take(other)?,
            };
            if let Some(batch) = batch {
                self.since.get_or_insert(now);
                let (gone, added) = push_merged(&mut self.batches[table as usize], batch)?;
                self.bytes = self.bytes - gone + added;
            }
            give_way();
        }
        self.parts.merge(parts);
        Ok(())
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn steps(&self) -> usize {
        self.batches[Table::Verdicts as usize].iter().map(RecordBatch::num_rows).sum()
    }

    /// Everything that is in memory, leaving nothing.
    pub(super) fn freeze(&mut self, from: Marks, marks: Marks) -> Result<Frozen, ArrowError> {
        let Self { batches, bytes, parts, .. } = std::mem::take(self);
        let mut rows = batches.clone();
        rows[Table::SessionParts as usize] = parts.batch()?.into_iter().collect();
        Ok(Frozen { batches, bytes, flush: Arc::new(Flush { rows, from, marks }) })
    }
}

/// Each batch stays larger than the ones after it, so a row is copied a logarithmic number of times. How many bytes went and
/// how many came.
fn push_merged(batches: &mut Vec<RecordBatch>, mut batch: RecordBatch) -> Result<(usize, usize), ArrowError> {
    let mut gone = 0;
    while let Some(last) = batches
        .pop_if(|last| last.num_rows() <= 2 * batch.num_rows() && last.num_rows() + batch.num_rows() <= MERGED_ROWS_MAX)
    {
        gone += last.get_array_memory_size();
        batch = concat_batches(batch.schema_ref(), [&last, &batch])?;
    }
    let added = batch.get_array_memory_size();
    batches.push(batch);
    Ok((gone, added))
}
