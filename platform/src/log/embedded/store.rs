//! The store on disk: a `fjall` database with a keyspace per partition of records, so that records only ever append to
//! the end of their tree and compaction moves files instead of rewriting them. It is written behind the journal
//! ([`super::pending`]): nobody who waits for an answer waits for its locks.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::codec::{self, Mark, Meta};
use super::filter;
use super::journal::Group;
use super::pending::{Entries, Generation};
use super::space::{Space, Spaces};
use super::take_within;
use super::topics::{Found, Segments, Slot, Topics};
use crate::background;
use crate::log::{Bounds, Cleanup, Error, Offset, ReadLimit, Record};

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
/// Bytes of one batch: the store copies it under its lock.
const BATCH_BYTES: usize = 256 << 10;

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

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

pub(super) struct Store {
    db: Database,
    numbers: Spaces,
    meta: Keyspace,
    /// By their numbers; those of topics that are not compacted lack some.
    spaces: Vec<Option<Keyspace>>,
}

impl Store {
    pub(super) fn open(path: &Path, block_cache_bytes: u64, topics: &Topics) -> Result<Self, Failure> {
        // The threads of the store are as their parent is: apart from those that answer, and behind them.
        let opened = std::thread::scope(|scope| {
            let open = || {
                background::lower_priority();
                Self::open_here(path, block_cache_bytes, topics)
            };
            scope.spawn(open).join()
        });
        opened.unwrap_or_else(|_| Err(Failure::Storage("it broke while it was opened".to_owned())))
    }

    fn open_here(path: &Path, block_cache_bytes: u64, topics: &Topics) -> Result<Self, Failure> {
        let db = Database::builder(path)
            .cache_size(block_cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .with_compaction_filter_factories(filter::of_topics(topics))
            .open()?;
        let mut spaces = Vec::new();
        for (index, name) in topics.keyspaces().iter().enumerate() {
            spaces.push(match memtable_bytes(topics, index) {
                Some(bytes) => Some(db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(bytes))?),
                None => None,
            });
        }
        let Some(Some(meta)) = spaces.first().cloned() else { return Err(Failure::Closed) };
        Ok(Self { db, numbers: topics.spaces, meta, spaces })
    }

    fn space(&self, space: Space) -> Option<&Keyspace> {
        self.spaces.get(space.0 as usize)?.as_ref()
    }

    /// The keyspace of a partition's records.
    pub(super) fn records(&self, slot: Slot) -> Result<&Keyspace, Failure> {
        self.space(self.numbers.records(slot)).ok_or(Failure::Closed)
    }

    #[cfg(test)]
    pub(super) fn ids(&self, topic: usize) -> Result<&Keyspace, Failure> {
        self.space(self.numbers.ids(topic)).ok_or(Failure::Closed)
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let Some(keyspace) = self.space(space) else { return Ok(None) };
        Ok(keyspace.get(key)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The first entries of a range.
    pub(super) fn range(
        &self,
        space: Space,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Entries, Failure> {
        let mut entries = Vec::new();
        let Some(keyspace) = self.space(space) else { return Ok(Entries { entries, more: false }) };
        let mut range = keyspace.range::<&[u8], _>(range);
        for entry in range.by_ref().take(limit) {
            let (key, value) = entry.into_inner()?;
            entries.push((Bytes::copy_from_slice(&key), Some(Bytes::copy_from_slice(&value))));
        }
        Ok(Entries { entries, more: range.next().is_some() })
    }

    /// Takes over what the journal has held so far. In parts: one that a crash leaves is made whole from the journal.
    pub(super) fn apply(&self, generation: &Generation) -> Result<(), Failure> {
        for (space, entries) in generation.spaces() {
            let Some(keyspace) = self.space(space) else { continue };
            let mut entries = entries.iter().peekable();
            while entries.peek().is_some() {
                self.wait_for_room(keyspace)?;
                let (mut batch, mut bytes) = (self.db.batch(), 0);
                while bytes < BATCH_BYTES
                    && let Some((key, value)) = entries.next()
                {
                    match value {
                        Some(value) => batch.insert(keyspace, &key[..], &value[..]),
                        None => batch.remove(keyspace, &key[..]),
                    }
                    bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
                }
                batch.commit()?;
            }
        }
        self.set_applied(generation.last())
    }

    /// Takes over a group of a journal that was left; `names` are of its keyspaces.
    pub(super) fn replay(&self, names: &[String], group: Group) -> Result<(), Failure> {
        let mut batch = self.db.batch();
        for write in group.writes {
            let name = names.get(write.space.0 as usize).ok_or(codec::Corrupt("keyspace in the journal"))?;
            // Of a topic that is not configured any more too: it may be again.
            let keyspace = self.db.keyspace(name, KeyspaceCreateOptions::default)?;
            self.wait_for_room(&keyspace)?;
            match write.value {
                Some(value) => batch.insert(&keyspace, &write.key[..], &value[..]),
                None => batch.remove(&keyspace, &write.key[..]),
            }
        }
        Ok(batch.commit()?)
    }

    /// Number of the last group that was taken over.
    pub(super) fn applied(&self) -> Result<u64, Failure> {
        let Some(value) = self.meta.get(codec::APPLIED)? else { return Ok(0) };
        Ok(codec::offset(&value)?.0)
    }

    /// As a store of format 1 is.
    #[cfg(test)]
    pub(super) fn forget_applied(&self) -> Result<(), Failure> {
        Ok(self.meta.remove(codec::APPLIED)?)
    }

    pub(super) fn set_applied(&self, group: u64) -> Result<(), Failure> {
        Ok(self.meta.insert(codec::APPLIED, group.to_be_bytes())?)
    }

    /// Records from `from` up to but not including `end`, and whether the limit may have left some out.
    pub(super) fn read(
        &self,
        slot: Slot,
        from: Offset,
        end: Offset,
        limit: ReadLimit,
    ) -> Result<(Vec<Record>, bool), Failure> {
        let (mut failed, mut seen) = (None, 0);
        let range = self.records(slot)?.range(from.0.to_be_bytes()..end.0.to_be_bytes());
        let records = range.map_while(|entry| match read_record(entry) {
            Ok(record) => Some(record),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let records = take_within(limit, records.inspect(|_| seen += 1));
        let more = seen > records.len() || records.len() >= limit.records_max;
        failed.map_or(Ok((records, more)), Err)
    }

    /// Waits until a keyspace has room for a batch.
    fn wait_for_room(&self, keyspace: &Keyspace) -> Result<(), Failure> {
        while keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX || keyspace.tree.l0_run_count() >= RUNS_MAX {
            self.check()?;
            std::thread::sleep(STALL_PAUSE);
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
        self.records(slot)?.tree.drop_range(range).map_err(|error| fjall::Error::from(error).into())
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
        let next = match self.records(slot)?.last_key_value() {
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
            for entry in self.records(slot)?.range(last.first.0.to_be_bytes()..) {
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

/// Memory of a keyspace's newest writes; `None` for one that does not exist.
fn memtable_bytes(topics: &Topics, index: usize) -> Option<u64> {
    let latest = topics.spaces.latest(0).0 as usize;
    if index == Spaces::META.0 as usize {
        return Some(SMALL_MEMTABLE_BYTES);
    }
    match index.checked_sub(latest) {
        None => Some(MEMTABLE_BYTES),
        Some(topic) => match topics.list[topic].spec.cleanup {
            Cleanup::Compact => Some(SMALL_MEMTABLE_BYTES),
            Cleanup::Retain => None,
        },
    }
}

fn read_record(entry: fjall::Guard) -> Result<Record, Failure> {
    let (key, value) = entry.into_inner()?;
    Ok(codec::read_record(codec::offset(&key)?, &Bytes::copy_from_slice(&value))?)
}
