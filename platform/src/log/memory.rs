//! A log in memory, for simulations and tests: deterministic, with faults on request. Grows without limit and is lost with
//! the process, so nothing serves from it.
//!
//! A crash is [`MemoryLog::reopen`]: what was durable moves to a new handle and every call on the old one answers
//! [`Error::Closed`], as if its process were gone. [`MemoryLog::fork`] copies instead, to try several futures of one past.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Append, Appended, Bounds, Cleanup, Commit, Consumer, Error, Log, Offset, Partition, Placement, Position, ReadLimit,
    Record, Store, Topic, TopicSpec,
};
use crate::clock::Clock;

/// What goes wrong on request. The first three happen once and reset themselves; the others last until they are unset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The next append fails and writes nothing.
    pub fail_next_append: bool,
    /// So many commits succeed, then one fails and writes nothing.
    pub fail_commit_after: Option<u32>,
    /// The next commit publishes its records, then fails: its state and progress are lost. What Kafka does when the
    /// process dies in between.
    pub crash_between_publish_and_commit: bool,
    /// Identities are not looked at, so that a record appended twice is there twice, and the log says that it is open to
    /// others: as Kafka behaves.
    pub duplicate_appends: bool,
    /// Appends and commits answer [`Error::Full`].
    pub full: bool,
    /// Commits wait, with nothing written, until this is unset.
    pub hold_commits: bool,
    /// Reads of this topic fail in a way that passes.
    pub fail_reads_of: Option<Topic>,
    /// Who it says it is.
    pub identity: Option<&'static str>,
    /// Most bytes of a record that it says it takes.
    pub record_bytes_max: Option<usize>,
    /// State and progress of commits from now on are lost by [`MemoryLog::reopen`]; what they publish is not. What Kafka
    /// does when the process dies before its transactions have ended.
    pub settle_never: bool,
}

/// See the module.
#[derive(Debug)]
pub struct MemoryLog {
    partitions: u32,
    clock: Clock,
    inner: Mutex<Inner>,
    /// Tells that faults have changed.
    faults: watch::Sender<()>,
    assigned: Mutex<BTreeMap<Consumer, watch::Sender<Arc<[Partition]>>>>,
}

#[derive(Debug)]
struct Inner {
    durable: Durable,
    /// What is durable of progress and state while commits do not settle.
    settled: Option<(Committed, States)>,
    faults: Faults,
    closed: bool,
    grown: BTreeMap<(Topic, Partition), watch::Sender<Offset>>,
}

#[derive(Clone, Debug, Default)]
struct Durable {
    topics: BTreeMap<Topic, TopicData>,
    committed: Committed,
    state: States,
}

type Committed = BTreeMap<(Consumer, Topic, Partition), Offset>;
type States = BTreeMap<(Store, Partition), BTreeMap<Bytes, Bytes>>;

#[derive(Clone, Debug)]
struct TopicData {
    cleanup: Cleanup,
    partitions: Vec<PartitionData>,
    ids: BTreeMap<[u8; 16], Position>,
    latest: BTreeMap<Bytes, Bytes>,
}

#[derive(Clone, Debug, Default)]
struct PartitionData {
    start: Offset,
    end: Offset,
    records: VecDeque<(Record, Option<[u8; 16]>)>,
}

impl MemoryLog {
    #[must_use]
    pub fn new(partitions: u32, topics: &[TopicSpec], clock: Clock) -> Arc<Self> {
        let partitions = partitions.max(1);
        let topics = topics.iter().map(|spec| {
            let data = TopicData {
                cleanup: spec.cleanup,
                partitions: vec![PartitionData::default(); partitions as usize],
                ids: BTreeMap::new(),
                latest: BTreeMap::new(),
            };
            (spec.topic, data)
        });
        Self::over(partitions, clock, Durable { topics: topics.collect(), ..Durable::default() })
    }

    fn over(partitions: u32, clock: Clock, durable: Durable) -> Arc<Self> {
        let mut grown = BTreeMap::new();
        for (topic, data) in &durable.topics {
            for (partition, held) in (0..).map(Partition).zip(&data.partitions) {
                grown.insert((*topic, partition), watch::Sender::new(held.end));
            }
        }
        let inner = Inner { durable, settled: None, faults: Faults::default(), closed: false, grown };
        let faults = watch::Sender::new(());
        Arc::new(Self { partitions, clock, inner: Mutex::new(inner), faults, assigned: Mutex::default() })
    }

    /// Changes what goes wrong from now on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut inner = self.lock();
        change(&mut inner.faults);
        if !inner.faults.settle_never {
            inner.settled = None;
        } else if inner.settled.is_none() {
            inner.settled = Some((inner.durable.committed.clone(), inner.durable.state.clone()));
        }
        drop(inner);
        self.faults.send_replace(());
    }

    /// The log as a new process finds it after this one was killed; this handle is closed.
    #[must_use]
    pub fn reopen(&self) -> Arc<Self> {
        let mut inner = self.lock();
        inner.closed = true;
        inner.grown.clear();
        let mut durable = std::mem::take(&mut inner.durable);
        if let Some((committed, state)) = inner.settled.take() {
            (durable.committed, durable.state) = (committed, state);
        }
        Self::over(self.partitions, self.clock.clone(), durable)
    }

    /// A second log that starts from what this one holds now. Both go on.
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        Self::over(self.partitions, self.clock.clone(), self.lock().durable.clone())
    }

    /// Removes the records before `start`, and their identities, as retention does.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::Closed`].
    pub fn expire(&self, topic: Topic, partition: Partition, start: Offset) -> Result<(), Error> {
        let mut inner = self.open()?;
        let data = inner.durable.topic(topic)?;
        let held = data.partitions.get_mut(partition.0 as usize).ok_or_else(|| unknown(topic, partition))?;
        held.start = held.start.max(start.min(held.end));
        while held.records.front().is_some_and(|(record, _)| record.offset < held.start) {
            if let Some((_, Some(id))) = held.records.pop_front() {
                data.ids.remove(&id);
            }
        }
        Ok(())
    }

    /// Gives a consumer these partitions from now on, as a rebalance does. Until the first call it owns all.
    pub fn set_assigned(&self, consumer: Consumer, partitions: &[Partition]) {
        self.assignment(consumer, |sender| {
            sender.send_replace(partitions.into());
        });
    }

    fn assignment<T>(&self, consumer: Consumer, f: impl FnOnce(&watch::Sender<Arc<[Partition]>>) -> T) -> T {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || watch::Sender::new((0..self.partitions).map(Partition).collect());
        f(assigned.entry(consumer).or_insert_with(all))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, Inner>, Error> {
        let inner = self.lock();
        if inner.closed { Err(Error::Closed) } else { Ok(inner) }
    }

    /// Places every record before writing any, so that a wrong one leaves nothing behind.
    fn place(&self, durable: &mut Durable, records: &[Append]) -> Result<Vec<Partition>, Error> {
        let place = |record: &Append| {
            let data = durable.topic(record.topic)?;
            let partition = match record.to {
                Placement::ByKey => self.partition_of(&record.key),
                Placement::Partition(partition) => partition,
            };
            if partition.0 as usize >= data.partitions.len() {
                return Err(unknown(record.topic, partition));
            }
            Ok(partition)
        };
        records.iter().map(place).collect()
    }

    fn write(&self, inner: &mut Inner, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        let places = self.place(&mut inner.durable, &records)?;
        let appended_at = self.clock.now_micros();
        let (check_ids, durable) = (!inner.faults.duplicate_appends, &mut inner.durable);
        let write = |(record, partition): (Append, Partition)| {
            let data = durable.topic(record.topic)?;
            if let Some(held) = record.id.filter(|_| check_ids).and_then(|id| data.ids.get(&id)) {
                return Ok(Appended::Duplicate(*held));
            }
            Ok(Appended::At(data.append(record, partition, appended_at)))
        };
        records.into_iter().zip(places).map(write).collect()
    }
}

impl Inner {
    fn announce(&self) {
        for ((topic, partition), sender) in &self.grown {
            if let Some(end) = self.durable.end(topic, *partition) {
                sender.send_if_modified(|known| std::mem::replace(known, end) != end);
            }
        }
    }

    fn refuse_when_full(&self) -> Result<(), Error> {
        if self.faults.full { Err(Error::Full { queued_bytes: 0, queued_bytes_max: 0 }) } else { Ok(()) }
    }
}

impl Durable {
    fn topic(&mut self, topic: Topic) -> Result<&mut TopicData, Error> {
        self.topics.get_mut(topic).ok_or_else(|| Error::UnknownTopic(topic.to_owned()))
    }

    fn partition(&mut self, topic: Topic, partition: Partition) -> Result<&mut PartitionData, Error> {
        self.topic(topic)?.partitions.get_mut(partition.0 as usize).ok_or_else(|| unknown(topic, partition))
    }

    fn end(&self, topic: Topic, partition: Partition) -> Option<Offset> {
        Some(self.topics.get(topic)?.partitions.get(partition.0 as usize)?.end)
    }
}

impl TopicData {
    fn append(&mut self, record: Append, partition: Partition, appended_at: i64) -> Position {
        let held = &mut self.partitions[partition.0 as usize];
        let offset = held.end;
        held.end = offset.next();
        let position = Position { partition, offset };
        if let Some(id) = record.id {
            self.ids.insert(id, position);
        }
        if self.cleanup == Cleanup::Compact {
            if record.value.is_empty() {
                self.latest.remove(&record.key);
            } else {
                self.latest.insert(record.key.clone(), record.value.clone());
            }
        }
        held.records.push_back((Record { offset, appended_at, key: record.key, value: record.value }, record.id));
        position
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn identity(&self) -> Option<&str> {
        self.lock().faults.identity
    }

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn record_bytes_max(&self) -> usize {
        self.lock().faults.record_bytes_max.unwrap_or(usize::MAX)
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        let mut inner = self.open()?;
        inner.refuse_when_full()?;
        if std::mem::take(&mut inner.faults.fail_next_append) {
            return Err(injected("append"));
        }
        let appended = self.write(&mut inner, records)?;
        inner.announce();
        Ok(appended)
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        let mut inner = self.open()?;
        if inner.faults.fail_reads_of == Some(topic) {
            return Err(injected("read"));
        }
        let held = inner.durable.partition(topic, partition)?;
        if from < held.start {
            return Err(Error::Expired { asked: from, start: held.start });
        }
        let first = held.records.partition_point(|(record, _)| record.offset < from);
        let mut bytes = 0;
        let fits = |(n, (record, _)): &(usize, &(Record, _))| {
            bytes += record.key.len() + record.value.len();
            *n == 0 || (*n < limit.records_max && bytes <= limit.bytes_max)
        };
        let records = held.records.range(first..).enumerate().take_while(fits);
        Ok(records.map(|(_, (record, _))| record.clone()).collect())
    }

    fn grown(&self, topic: Topic, partition: Partition) -> watch::Receiver<Offset> {
        let inner = self.lock();
        // Without a sender behind it the receiver reports that nothing will come.
        let gone = || watch::channel(Offset::START).1;
        inner.grown.get(&(topic, partition)).map_or_else(gone, watch::Sender::subscribe)
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, Error> {
        let mut inner = self.open()?;
        let held = inner.durable.partition(topic, partition)?;
        Ok(Bounds { start: held.start, end: held.end })
    }

    async fn latest(&self, topic: Topic, after: Option<Bytes>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let mut inner = self.open()?;
        let data = inner.durable.topic(topic)?;
        if data.cleanup != Cleanup::Compact {
            return Err(Error::UnknownTopic(format!("{topic}, compacted")));
        }
        Ok(page(&data.latest, after, limit))
    }

    async fn newest(&self, topic: Topic, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut inner = self.open()?;
        let data = inner.durable.topic(topic)?;
        if data.cleanup != Cleanup::Compact {
            return Err(Error::UnknownTopic(format!("{topic}, compacted")));
        }
        Ok(data.latest.get(key).cloned())
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let mut changed = self.faults.subscribe();
        while self.lock().faults.hold_commits {
            changed.changed().await.map_err(|_| Error::Closed)?;
        }
        let mut inner = self.open()?;
        inner.refuse_when_full()?;
        let left = inner.faults.fail_commit_after.take();
        inner.faults.fail_commit_after = left.and_then(|it| it.checked_sub(1));
        if left == Some(0) {
            return Err(injected("commit"));
        }
        for progress in &commit.progress {
            inner.durable.partition(progress.topic, progress.partition)?;
        }
        if let Some(change) = commit.state.iter().find(|change| change.partition.0 >= self.partitions) {
            return Err(unknown(change.store, change.partition));
        }
        self.write(&mut inner, commit.publish)?;
        inner.announce();
        if std::mem::take(&mut inner.faults.crash_between_publish_and_commit) {
            return Err(injected("between publish and commit"));
        }
        for change in commit.state {
            let store = inner.durable.state.entry((change.store, change.partition)).or_default();
            match change.value {
                Some(value) => store.insert(change.key, value),
                None => store.remove(&change.key),
            };
        }
        for progress in commit.progress {
            inner.durable.committed.insert((commit.consumer, progress.topic, progress.partition), progress.next);
        }
        Ok(())
    }

    async fn committed(&self, consumer: Consumer, topic: Topic, partition: Partition) -> Result<Option<Offset>, Error> {
        let mut inner = self.open()?;
        inner.durable.partition(topic, partition)?;
        Ok(inner.durable.committed.get(&(consumer, topic, partition)).copied())
    }

    async fn state(&self, store: Store, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let inner = self.open()?;
        Ok(inner.durable.state.get(&(store, partition)).and_then(|entries| entries.get(key)).cloned())
    }

    async fn scan(
        &self,
        store: Store,
        partition: Partition,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let inner = self.open()?;
        let entries = inner.durable.state.get(&(store, partition));
        Ok(entries.map(|entries| page(entries, after, limit)).unwrap_or_default())
    }

    fn assigned(&self, consumer: Consumer) -> watch::Receiver<Arc<[Partition]>> {
        self.assignment(consumer, watch::Sender::subscribe)
    }

    fn is_open(&self) -> bool {
        self.lock().faults.duplicate_appends
    }
}

fn page(entries: &BTreeMap<Bytes, Bytes>, after: Option<Bytes>, limit: usize) -> Vec<(Bytes, Bytes)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let page = entries.range((from, Bound::Unbounded)).take(limit);
    page.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn unknown(topic: Topic, partition: Partition) -> Error {
    Error::UnknownTopic(format!("{topic}, partition {partition}"))
}

fn injected(at: &str) -> Error {
    Error::Storage(format!("fault on request: {at}").into())
}

#[cfg(test)]
mod tests;
