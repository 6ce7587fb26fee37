//! What the log knows of its topics and partitions in memory. The writer changes it after each durable write; readers
//! see only what is durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::codec::{self, Mark};
use super::filter;
use super::lock;
use super::metrics::{Metrics, TopicMetrics};
use super::space::Spaces;
use crate::log::{Bounds, Cleanup, Error, Offset, Partition, Topic, TopicSpec};

/// Index of a partition of a topic among all of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub(super) usize);

/// First offsets of a topic's partitions, shared with the filter of its duplicate index.
pub(super) type Starts = Arc<[AtomicU64]>;

#[derive(Debug)]
pub(super) struct Topics {
    pub(super) partitions: u32,
    pub(super) list: Vec<TopicState>,
    pub(super) spaces: Spaces,
    slots: Vec<PartitionState>,
    /// Positions of consumers, by their keys on disk.
    committed: RwLock<BTreeMap<Vec<u8>, Offset>>,
}

#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) spec: TopicSpec,
    pub(super) starts: Starts,
    pub(super) metrics: TopicMetrics,
}

#[derive(Debug)]
struct PartitionState {
    end: AtomicU64,
    grown: watch::Sender<Offset>,
    segments: Mutex<Segments>,
}

/// The segments of a partition, oldest first; the last one is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Segments {
    pub(super) marks: VecDeque<Mark>,
    /// Bytes of all records of the partition, removed ones included.
    pub(super) bytes_end: u64,
}

impl Segments {
    /// Bytes that are there.
    pub(super) fn bytes(&self) -> u64 {
        self.marks.front().map_or(0, |first| self.bytes_end - first.bytes_before)
    }
}

/// What a partition is found to be when the store is opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bounds: Bounds,
    pub(super) segments: Segments,
}

impl Topics {
    pub(super) fn new(partitions: u32, specs: &[TopicSpec], metrics: &Metrics) -> Self {
        let list: Vec<_> = specs
            .iter()
            .map(|spec| TopicState {
                spec: *spec,
                starts: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
                metrics: metrics.topic(spec.topic),
            })
            .collect();
        let empty = || PartitionState {
            end: AtomicU64::new(0),
            grown: watch::Sender::new(Offset::START),
            segments: Mutex::default(),
        };
        let slots: Vec<_> = std::iter::repeat_with(empty).take(list.len() * partitions as usize).collect();
        let spaces = Spaces { slots: slots.len(), topics: list.len() };
        Self { partitions, list, spaces, slots, committed: RwLock::default() }
    }

    /// Names of the keyspaces on disk, in the order of their numbers.
    pub(super) fn keyspaces(&self) -> Vec<String> {
        let records =
            self.slots().map(|slot| format!("records.{}.{}", self.topic(slot).spec.topic, self.partition(slot)));
        let ids = self.list.iter().map(|held| filter::ids_keyspace(held.spec.topic));
        let latest = self.list.iter().map(|held| format!("latest.{}", held.spec.topic));
        ["meta".to_owned(), "state".to_owned()].into_iter().chain(records).chain(ids).chain(latest).collect()
    }

    pub(super) fn slot(&self, topic: Topic, partition: Partition) -> Result<Slot, Error> {
        let found = self.list.iter().position(|held| held.spec.topic == topic);
        let Some(index) = found else { return Err(Error::UnknownTopic(topic.to_owned())) };
        self.check_partition(topic, partition)?;
        Ok(Slot(index * self.partitions as usize + partition.0 as usize))
    }

    /// # Errors
    /// When there is no such partition; `of` names what was asked for.
    pub(super) fn check_partition(&self, of: &str, partition: Partition) -> Result<(), Error> {
        if partition.0 < self.partitions {
            return Ok(());
        }
        Err(Error::UnknownTopic(format!("{of}, partition {partition}")))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.slots.len()).map(Slot)
    }

    pub(super) fn topic(&self, slot: Slot) -> &TopicState {
        &self.list[self.topic_index(slot)]
    }

    pub(super) fn topic_index(&self, slot: Slot) -> usize {
        slot.0 / self.partitions as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u32")]
    pub(super) fn partition(&self, slot: Slot) -> Partition {
        Partition((slot.0 % self.partitions as usize) as u32)
    }

    pub(super) fn bounds(&self, slot: Slot) -> Bounds {
        let start = Offset(self.start_cell(slot).load(Ordering::Acquire));
        Bounds { start, end: Offset(self.slots[slot.0].end.load(Ordering::Acquire)) }
    }

    pub(super) fn grown(&self, slot: Slot) -> watch::Receiver<Offset> {
        self.slots[slot.0].grown.subscribe()
    }

    pub(super) fn segments(&self, slot: Slot) -> Segments {
        lock(&self.slots[slot.0].segments).clone()
    }

    /// The segment being written and the bytes of the partition.
    pub(super) fn last_segment(&self, slot: Slot) -> (Option<Mark>, u64) {
        let segments = lock(&self.slots[slot.0].segments);
        (segments.marks.back().copied(), segments.bytes_end)
    }

    pub(super) fn committed(&self, key: &[u8]) -> Option<Offset> {
        self.committed.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// How far every consumer of the topic has come in this partition: one that has committed a position anywhere on
    /// the topic but not here is at its start. `None` when the topic has no consumer.
    pub(super) fn passed(&self, slot: Slot) -> Option<Offset> {
        let (topic, partition) = (self.topic(slot).spec.topic, self.partition(slot));
        let committed = self.committed.read().unwrap_or_else(PoisonError::into_inner);
        let mut consumers: BTreeMap<&[u8], Offset> = BTreeMap::new();
        for (key, next) in committed.iter() {
            let Ok((consumer, of, at)) = codec::read_committed(key) else { continue };
            if of == topic.as_bytes() {
                let here = consumers.entry(consumer).or_insert(Offset::START);
                if at == partition {
                    *here = *next;
                }
            }
        }
        consumers.into_values().min()
    }

    /// Records that are durable now.
    pub(super) fn grow(&self, slot: Slot, end: Offset, new_marks: &[Mark], bytes_end: u64) {
        let held = &self.slots[slot.0];
        let mut segments = lock(&held.segments);
        segments.marks.extend(new_marks);
        segments.bytes_end = bytes_end;
        drop(segments);
        held.end.store(end.0, Ordering::Release);
        held.grown.send_replace(end);
    }

    /// Records that are gone for good: the start is durable.
    pub(super) fn trim(&self, slot: Slot, start: Offset) {
        let mut segments = lock(&self.slots[slot.0].segments);
        let before = segments.bytes();
        while segments.marks.get(1).is_some_and(|second| second.first <= start) {
            segments.marks.pop_front();
        }
        self.topic(slot).metrics.removed_bytes.inc_by(before - segments.bytes());
        drop(segments);
        self.start_cell(slot).store(start.0, Ordering::Release);
    }

    pub(super) fn commit(&self, progress: BTreeMap<Vec<u8>, Offset>) {
        if !progress.is_empty() {
            self.committed.write().unwrap_or_else(PoisonError::into_inner).extend(progress);
        }
    }

    /// Takes over what the store holds after it was opened.
    pub(super) fn load(&self, found: Vec<Found>, committed: BTreeMap<Vec<u8>, Offset>) {
        *self.committed.write().unwrap_or_else(PoisonError::into_inner) = committed;
        for (slot, found) in self.slots().zip(found) {
            let held = &self.slots[slot.0];
            *lock(&held.segments) = found.segments;
            self.start_cell(slot).store(found.bounds.start.0, Ordering::Release);
            held.end.store(found.bounds.end.0, Ordering::Release);
            held.grown.send_replace(found.bounds.end);
        }
    }

    pub(super) fn is_compacted(&self, slot: Slot) -> bool {
        self.topic(slot).spec.cleanup == Cleanup::Compact
    }

    fn start_cell(&self, slot: Slot) -> &AtomicU64 {
        &self.topic(slot).starts[slot.0 % self.partitions as usize]
    }
}
