//! What is held of rows: of an answer while it is made and written, of what a window looks over.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, RecordBatch};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tokio::sync::OwnedSemaphorePermit;

/// Memory from that of all queries, and a place among them.
pub(super) struct Held {
    memory: Option<MemoryReservation>,
    /// Buffers that are counted: batches share them.
    buffers: HashSet<usize>,
    bytes: usize,
    place: Option<OwnedSemaphorePermit>,
}

impl Held {
    pub(super) fn new(pool: &Arc<dyn MemoryPool>, who: &str) -> Self {
        let memory = MemoryConsumer::new(who).register(pool);
        Self { memory: Some(memory), ..Self::nothing() }
    }

    pub(super) fn nothing() -> Self {
        Self { memory: None, buffers: HashSet::new(), bytes: 0, place: None }
    }

    pub(super) fn place(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts a batch in.
    ///
    /// # Errors
    /// When all queries together would hold more than they may.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut more = 0;
        let mut open: Vec<ArrayData> = batch.columns().iter().map(|it| it.to_data()).collect();
        while let Some(data) = open.pop() {
            let nulls = data.nulls().map(|it| it.buffer());
            for buffer in data.buffers().iter().chain(nulls) {
                if self.buffers.insert(buffer.data_ptr().as_ptr().addr()) {
                    more += buffer.capacity();
                }
            }
            open.extend(data.child_data().iter().cloned());
        }
        self.bytes += more;
        self.memory.as_ref().map_or(Ok(()), |it| it.try_grow(more))
    }
}
