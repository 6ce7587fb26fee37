//! The newest records of every partition in memory, so that readers at the end touch no file.
//!
//! One budget for all partitions: the oldest record of the log leaves first, whichever partition it is of, so a busy
//! partition gets the room an idle one does not use.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::topics::Slot;
use super::{lock, take_within};
use crate::log::{Offset, ReadLimit, Record};

/// Bookkeeping of one record beside its bytes.
const RECORD_OVERHEAD: usize = 96;

/// See the module. One thread pushes, many read.
#[derive(Debug)]
pub(super) struct Tail {
    partitions: Vec<Mutex<VecDeque<Record>>>,
    order: Mutex<Order>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Order {
    /// What was pushed, oldest first.
    pushed: VecDeque<Pushed>,
    bytes: usize,
}

#[derive(Debug)]
struct Pushed {
    slot: Slot,
    records: usize,
    bytes: usize,
}

impl Tail {
    pub(super) fn new(slots: usize, bytes_max: usize) -> Self {
        let partitions = std::iter::repeat_with(Mutex::default).take(slots).collect();
        Self { partitions, order: Mutex::default(), bytes_max }
    }

    /// Adds the newest records of a partition, in order and without a gap to what was pushed before.
    pub(super) fn push(&self, slot: Slot, records: Vec<Record>) {
        let bytes = records.iter().map(|record| record.key.len() + record.value.len() + RECORD_OVERHEAD).sum();
        let mut order = lock(&self.order);
        order.bytes += bytes;
        order.pushed.push_back(Pushed { slot, records: records.len(), bytes });
        lock(&self.partitions[slot.0]).extend(records);
        while order.bytes > self.bytes_max
            && let Some(oldest) = order.pushed.pop_front()
        {
            order.bytes -= oldest.bytes;
            lock(&self.partitions[oldest.slot.0]).drain(..oldest.records);
        }
    }

    /// Records from `from` on; `None` when they begin before what is kept.
    pub(super) fn read(&self, slot: Slot, from: Offset, limit: ReadLimit) -> Option<Vec<Record>> {
        let kept = lock(&self.partitions[slot.0]);
        if kept.front()?.offset > from {
            return None;
        }
        let first = kept.partition_point(|record| record.offset < from);
        Some(take_within(limit, kept.range(first..).cloned()))
    }

    /// Forgets everything: what follows may not continue it.
    pub(super) fn clear(&self) {
        let mut order = lock(&self.order);
        *order = Order::default();
        for partition in &self.partitions {
            lock(partition).clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ALL: ReadLimit = ReadLimit { records_max: 100, bytes_max: 10_000 };

    fn records(offsets: std::ops::Range<u64>) -> Vec<Record> {
        let record = |offset| Record {
            offset: Offset(offset),
            appended_at: 0,
            key: Bytes::new(),
            value: Bytes::from_static(&[0; 104]),
        };
        offsets.map(record).collect()
    }

    fn read(tail: &Tail, slot: usize, from: u64) -> Option<Vec<u64>> {
        let records = tail.read(Slot(slot), Offset(from), ALL)?;
        Some(records.iter().map(|record| record.offset.0).collect())
    }

    #[test]
    fn the_oldest_of_all_partitions_leaves_first() {
        let tail = Tail::new(2, 1_000);
        tail.push(Slot(0), records(5..7));
        tail.push(Slot(1), records(0..2));
        assert_eq!((read(&tail, 0, 5), read(&tail, 0, 4), read(&tail, 1, 1)), (Some(vec![5, 6]), None, Some(vec![1])));
        tail.push(Slot(1), records(2..4));
        assert_eq!((read(&tail, 0, 6), read(&tail, 1, 0)), (None, Some(vec![0, 1, 2, 3])));
        tail.push(Slot(1), records(4..20));
        assert_eq!(read(&tail, 1, 19), None, "more than the budget at once");
        tail.push(Slot(1), records(20..21));
        assert_eq!((read(&tail, 1, 20), read(&tail, 1, 21)), (Some(vec![20]), Some(vec![])));
        tail.clear();
        assert_eq!(read(&tail, 1, 20), None);
    }
}
