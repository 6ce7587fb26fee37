//! The store on disk: a `fjall` database with a keyspace per partition of records, so that records only ever append to
//! the end of their tree and compaction moves files instead of rewriting them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::codec::{self, Latest, Mark, Meta};
use super::filter;
use super::take_within;
use super::topics::{Found, Segments, Slot, Topics};
use crate::log::{Bounds, Cleanup, Error, Offset, Position, ReadLimit, Record};

/// Memory of one keyspace's newest writes before they go to a file. The log has some thirty keyspaces, few of them busy.
const MEMTABLE_BYTES: u64 = 16 << 20;
const SMALL_MEMTABLE_BYTES: u64 = 4 << 20;
/// Journals on disk: bounds what an open has to replay.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
/// fjall stalls its caller without an end in sight at 4 sealed memtables or 30 runs, also when the threads that would
/// clear them have died. Waiting before that point keeps the wait interruptible.
const SEALED_MEMTABLES_MAX: usize = 2;
const RUNS_MAX: usize = 20;
const STALL_PAUSE: Duration = Duration::from_millis(1);

/// What the store could not do.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Storage(String),
    #[error("the log is closed")]
    Closed,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Storage(_) => Self::Storage(Box::new(failure)),
            Failure::Closed => Self::Closed,
        }
    }
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Self {
        Self::Storage(match &error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
            fjall::Error::Poisoned => "a write failed before, and the store has to be opened again".to_owned(),
            other => format!("{other:?}"),
        })
    }
}

impl From<codec::Corrupt> for Failure {
    fn from(error: codec::Corrupt) -> Self {
        Self::Storage(error.to_string())
    }
}

pub(super) struct Store {
    db: Database,
    pub(super) meta: Keyspace,
    pub(super) state: Keyspace,
    /// By slot.
    records: Vec<Keyspace>,
    /// By topic.
    ids: Vec<Keyspace>,
    /// By topic, for those that are compacted.
    latest: Vec<Option<Keyspace>>,
}

impl Store {
    pub(super) fn open(path: &Path, block_cache_bytes: u64, topics: &Topics) -> Result<Self, fjall::Error> {
        let db = Database::builder(path)
            .cache_size(block_cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .with_compaction_filter_factories(filter::of_topics(topics))
            .open()?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes))
        };
        let mut store = Self {
            meta: keyspace("meta", SMALL_MEMTABLE_BYTES)?,
            state: keyspace("state", MEMTABLE_BYTES)?,
            records: Vec::new(),
            ids: Vec::new(),
            latest: Vec::new(),
            db: db.clone(),
        };
        for slot in topics.slots() {
            let name = format!("records.{}.{}", topics.topic(slot).spec.topic, topics.partition(slot));
            store.records.push(keyspace(&name, MEMTABLE_BYTES)?);
        }
        for held in &topics.list {
            let topic = held.spec.topic;
            store.ids.push(keyspace(&filter::ids_keyspace(topic), MEMTABLE_BYTES)?);
            store.latest.push(match held.spec.cleanup {
                Cleanup::Compact => Some(keyspace(&format!("latest.{topic}"), SMALL_MEMTABLE_BYTES)?),
                Cleanup::Retain => None,
            });
        }
        Ok(store)
    }

    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.db.batch()
    }

    pub(super) fn records(&self, slot: Slot) -> &Keyspace {
        &self.records[slot.0]
    }

    pub(super) fn ids(&self, topic: usize) -> &Keyspace {
        &self.ids[topic]
    }

    /// The newest records by key of a compacted topic.
    pub(super) fn latest(&self, topic: usize) -> Option<&Keyspace> {
        self.latest[topic].as_ref()
    }

    /// Records from `from` up to but not including `end`.
    pub(super) fn read(&self, slot: Slot, from: Offset, end: Offset, limit: ReadLimit) -> Result<Vec<Record>, Failure> {
        let mut failed = None;
        let range = self.records(slot).range(from.0.to_be_bytes()..end.0.to_be_bytes());
        let records = range.map_while(|entry| match read_record(entry) {
            Ok(record) => Some(record),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let records = take_within(limit, records);
        failed.map_or(Ok(records), Err)
    }

    /// Where the record of this identity is; one that retention has removed is not there, whatever the index holds yet.
    pub(super) fn find_id(&self, topics: &Topics, topic: usize, id: &[u8; 16]) -> Result<Option<Position>, Failure> {
        let Some(entry) = self.ids[topic].get(id)? else { return Ok(None) };
        let position = codec::read_position(&entry)?;
        let start = topics.list[topic].starts.get(position.partition.0 as usize);
        Ok(start.is_some_and(|start| position.offset.0 >= start.load(Ordering::Acquire)).then_some(position))
    }

    pub(super) fn find_latest(&self, topic: usize, key: &[u8]) -> Result<Option<Latest>, Failure> {
        let Some(keyspace) = self.latest(topic) else { return Ok(None) };
        let Some(entry) = keyspace.get(key)? else { return Ok(None) };
        Ok(Some(codec::read_latest(&entry)?))
    }

    /// Waits until the keyspaces a batch touches have room for it.
    pub(super) fn wait_for_room<'a>(&self, touched: impl Iterator<Item = &'a Keyspace>) -> Result<(), Failure> {
        for keyspace in touched {
            while keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX || keyspace.tree.l0_run_count() >= RUNS_MAX {
                self.check()?;
                std::thread::sleep(STALL_PAUSE);
            }
        }
        Ok(())
    }

    /// Whether the store takes writes.
    pub(super) fn check(&self) -> Result<(), Failure> {
        Ok(self.db.persist(PersistMode::Buffer)?)
    }

    pub(super) fn sync(&self) -> Result<(), Failure> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    /// Gives back the disk space of records before `start`: whole files of them. Nothing reads them any more.
    pub(super) fn drop_before(&self, slot: Slot, start: Offset) -> Result<(), Failure> {
        let range = ..start.0.to_be_bytes();
        self.records(slot).tree.drop_range(range).map_err(|error| fjall::Error::from(error).into())
    }

    /// What every partition holds.
    pub(super) fn find_partitions(&self, topics: &Topics) -> Result<Vec<Found>, Failure> {
        topics.slots().map(|slot| self.find_partition(topics, slot)).collect()
    }

    fn find_partition(&self, topics: &Topics, slot: Slot) -> Result<Found, Failure> {
        let (topic, partition) = (topics.topic(slot).spec.topic, topics.partition(slot));
        let stored = |kind| match self.meta.get(codec::meta(kind, topic, partition))? {
            Some(value) => Ok(codec::offset(&value)?),
            None => Ok::<_, Failure>(Offset::START),
        };
        let start = stored(Meta::Start)?;
        let next = match self.records(slot).last_key_value() {
            Some(entry) => codec::offset(&entry.key()?)?.next(),
            None => Offset::START,
        };
        let end = next.max(stored(Meta::End)?).max(start);
        let mut marks = std::collections::VecDeque::<Mark>::new();
        for entry in self.meta.prefix(codec::meta(Meta::Mark, topic, partition)) {
            let (key, value) = entry.into_inner()?;
            marks.push_back(codec::read_mark(&key, &value)?);
        }
        let mut bytes_end = 0;
        if let Some(last) = marks.back() {
            bytes_end = last.bytes_before;
            for entry in self.records(slot).range(last.first.0.to_be_bytes()..) {
                bytes_end += 8 + u64::from(entry.size()?);
            }
        }
        Ok(Found { bounds: Bounds { start, end }, segments: Segments { marks, bytes_end } })
    }

    pub(super) fn find_committed(&self) -> Result<BTreeMap<Vec<u8>, Offset>, Failure> {
        let entry = |entry: fjall::Guard| {
            let (key, value) = entry.into_inner()?;
            Ok((key.to_vec(), codec::offset(&value)?))
        };
        self.meta.prefix(codec::COMMITTED).map(entry).collect()
    }
}

/// Entries below `prefix` after `after`, with the prefix taken off the keys.
pub(super) fn page(
    keyspace: &Keyspace,
    prefix: &[u8],
    after: Option<Bytes>,
    limit: usize,
) -> Result<Vec<(Bytes, fjall::UserValue)>, Failure> {
    let from = match after {
        Some(after) => Bound::Excluded([prefix, &after].concat()),
        None => Bound::Included(prefix.to_vec()),
    };
    let range = keyspace.range::<Vec<u8>, _>((from, Bound::Unbounded)).take(limit);
    let mut entries = Vec::new();
    for entry in range {
        let (key, value) = entry.into_inner()?;
        let Some(key) = key.strip_prefix(prefix) else { break };
        entries.push((Bytes::copy_from_slice(key), value));
    }
    Ok(entries)
}

fn read_record(entry: fjall::Guard) -> Result<Record, Failure> {
    let (key, value) = entry.into_inner()?;
    Ok(codec::read_record(codec::offset(&key)?, &Bytes::copy_from_slice(&value))?)
}
