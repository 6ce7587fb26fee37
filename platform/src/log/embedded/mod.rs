//! The log on this machine's disk: one process, one folder, nothing to install.
//!
//! # Why `fjall`
//! A log needs appends at the end of some twenty partitions, a duplicate index with random keys, and a state store, all
//! changed by **one atomic write**. That is a log-structured merge tree with atomic batches over several keyspaces, and
//! `fjall` is one in pure Rust: no C++ to build, no server. Measured on two cores with 500-byte values: 545,000 appends/s
//! in batches of 1,000 (321,000/s with an fsync for each batch), 2.5 µs for a single commit (212 µs with fsync), and
//! 1.7 M records/s read in order. Rejected: files of our own (the index and the state store would need a store beside
//! them, and one atomic write over both); `RocksDB` (minutes of C++ to build for the same shape); `SQLite` (a B-tree, which
//! is rewritten in place, for what only ever appends).
//!
//! # Durability
//! What [`Log::append`] and [`Log::commit`] have answered
//! * with `durability = "os"` (the default) is with the operating system: it survives a kill, a panic, an abort of this
//!   process. It is brought to the disk every second; a power cut or a crash of the system may take what came after:
//!   whole writes from the end, never a part of one, never an earlier one alone.
//! * with `durability = "fsync"` is on the disk and survives a power cut, if the disk keeps its word about flushing.
//!
//! # When the disk refuses
//! Everyone in the write that failed gets [`Error::Storage`]; whether it will be seen is unknown, so the same records may
//! be appended again with their ids. `fjall` takes no writes after a failed one, so the log is unhealthy
//! ([`EmbeddedLog::healthy`]) but goes on serving reads. With the next append, and every second without one, it looks
//! whether the disk takes writes again; when it does, it opens the store anew and goes on. Reads fail only during that.
//!
//! # Duplicates
//! Records with an id are looked up in an exact index on disk. An entry leaves with its record: what retention has
//! removed is new when it is sent again.

mod codec;
mod config;
mod filter;
mod folder;
mod metrics;
mod queue;
mod retention;
mod shared;
mod stage;
mod store;
mod tail;
mod topics;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};

pub use config::{Durability, EmbeddedConfig, GroupCommit};
pub use retention::Removed;

use self::folder::Folder;
use self::metrics::Metrics;
use self::queue::{Queue, Request};
use self::shared::{NAME_BYTES_MAX, Shared};
use self::store::Store;
use self::tail::Tail;
use self::topics::Topics;
use super::{
    Append, Appended, Bounds, Commit, Consumer, Error, Log, Offset, Partition, ReadLimit, Record, Topic, TopicSpec,
};
use crate::clock::Clock;

/// See the module. Close it with [`EmbeddedLog::close`]; dropping it does the same.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    stop: Arc<retention::Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    assigned: watch::Sender<Arc<[Partition]>>,
}

impl EmbeddedLog {
    /// Opens the log in `config.dir`, creating it when there is none. Blocks: it may replay a journal of some 100 MB.
    ///
    /// # Errors
    /// [`Error::Open`] with what is wrong and what to do.
    pub fn open(
        config: EmbeddedConfig,
        topics: &[TopicSpec],
        clock: Clock,
        registry: &prometheus::Registry,
    ) -> Result<Arc<Self>, Error> {
        config.validate()?;
        if let Some(spec) = topics.iter().find(|spec| spec.topic.is_empty() || spec.topic.len() > NAME_BYTES_MAX) {
            return Err(Error::Open(format!("topic `{}`: a name has 1 to {NAME_BYTES_MAX} bytes", spec.topic)));
        }
        let metrics =
            Metrics::register(registry).map_err(|error| Error::Open(format!("metrics of the log: {error}")))?;
        let folder = Folder::claim(&config.dir, config.partitions)?;
        let topics = Topics::new(config.partitions, topics, &metrics);
        let shared = Arc::new(Shared {
            tail: Tail::new(topics.slots().count(), config.cache_bytes / 2),
            queue: Queue::new(config.queue_bytes_max, metrics.queue_bytes.clone()),
            store: RwLock::new(None),
            broken: Mutex::new(None),
            config,
            clock,
            folder,
            topics,
            metrics,
        });
        shared
            .reopen()
            .map_err(|failure| folder::open(shared.folder.dir(), format_args!("cannot be opened: {failure}")))?;
        let stop = Arc::new(retention::Stop::default());
        let all = (0..shared.topics.partitions).map(Partition).collect();
        let log = Self { stop, threads: Mutex::default(), assigned: watch::Sender::new(all), shared };
        log.spawn()?;
        Ok(Arc::new(log))
    }

    fn spawn(&self) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Open(format!("threads of the log: {error}"));
        let shared = Arc::clone(&self.shared);
        let writer = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer::run(&shared));
        lock(&self.threads).push(writer.map_err(failed)?);
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&self.stop));
        let keeper = std::thread::Builder::new().name("log-keeper".to_owned());
        lock(&self.threads).push(keeper.spawn(move || retention::run(&shared, &stop)).map_err(failed)?);
        Ok(())
    }

    /// Whether the log takes writes.
    ///
    /// # Errors
    /// Why it does not. It stays so until the disk takes writes again and the store was opened anew.
    pub fn healthy(&self) -> Result<(), String> {
        self.shared.healthy()
    }

    /// Removes what is too old or too much at `now`, in microseconds since the Unix epoch. Runs by itself every minute.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn enforce_retention(&self, now: i64) -> Result<Removed, Error> {
        self.shared.blocking(move |shared| retention::enforce(shared, now)).await
    }

    /// Writes what waits, flushes to the disk and gives the folder back. Afterwards whatever
    /// needs the store answers [`Error::Closed`]; the newest records may still be read from memory. Blocks for the writes that wait; closing twice does nothing.
    ///
    /// # Errors
    /// [`Error::Storage`] when the last flush failed.
    pub fn close(&self) -> Result<(), Error> {
        self.stop.stop();
        self.shared.queue.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
        let store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner).take();
        let flushed = store.map_or(Ok(()), |store| store.sync());
        self.shared.folder.release();
        Ok(flushed?)
    }

    async fn submit(&self, mut request: Request) -> Result<Vec<Appended>, Error> {
        let (answer, answered) = oneshot::channel();
        request.answer = answer;
        self.shared.push(request)?;
        answered.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = %error, "log could not be flushed when it was closed");
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.shared.topics.partitions
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        let request = self.shared.request(Commit { publish: records, ..Commit::default() })?;
        self.submit(request).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        let shared = &self.shared;
        let slot = shared.topics.slot(topic, partition)?;
        let Bounds { start, end } = shared.topics.bounds(slot);
        if from < start {
            return Err(Error::Expired { asked: from, start });
        }
        if from >= end {
            return Ok(Vec::new());
        }
        if let Some(records) = shared.tail.read(slot, from, limit) {
            return Ok(records);
        }
        let records = move |shared: &Shared| shared.with_store(|store| store.read(slot, from, end, limit));
        let records = shared.blocking(records).await?;
        // Retention may have taken records away under the read.
        let start = shared.topics.bounds(slot).start;
        if from < start { Err(Error::Expired { asked: from, start }) } else { Ok(records) }
    }

    fn grown(&self, topic: Topic, partition: Partition) -> watch::Receiver<Offset> {
        match self.shared.topics.slot(topic, partition) {
            Ok(slot) => self.shared.topics.grown(slot),
            // Without a sender behind it the receiver reports that nothing will come.
            Err(_) => watch::channel(Offset::START).1,
        }
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, Error> {
        Ok(self.shared.topics.bounds(self.shared.topics.slot(topic, partition)?))
    }

    async fn latest(&self, topic: Topic, after: Option<Bytes>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let slot = self.shared.topics.slot(topic, Partition(0))?;
        if !self.shared.topics.is_compacted(slot) {
            return Err(Error::UnknownTopic(format!("{topic}, compacted")));
        }
        let index = self.shared.topics.topic_index(slot);
        let page = move |store: &Store| {
            let Some(keyspace) = store.latest(index) else { return Ok(Vec::new()) };
            let page = store::page(keyspace, &[], after, limit)?;
            page.into_iter().map(|(key, entry)| Ok((key, codec::read_latest(&entry)?.value))).collect()
        };
        self.shared.blocking(move |shared| shared.with_store(page)).await
    }

    /// On the calling thread, as [`Log::state`]; where nothing was ever written it looks nowhere.
    async fn newest(&self, topic: Topic, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let topics = &self.shared.topics;
        let slot = topics.slot(topic, self.partition_of(key))?;
        if !topics.is_compacted(slot) {
            return Err(Error::UnknownTopic(format!("{topic}, compacted")));
        }
        if topics.bounds(slot).end == Offset::START {
            return Ok(None);
        }
        let find = |store: &Store| store.find_latest(topics.topic_index(slot), key);
        Ok(self.shared.with_store(find)?.map(|it| it.value))
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let request = self.shared.request(commit)?;
        self.submit(request).await.map(drop)
    }

    async fn committed(&self, consumer: Consumer, topic: Topic, partition: Partition) -> Result<Option<Offset>, Error> {
        self.shared.topics.slot(topic, partition)?;
        Ok(self.shared.topics.committed(&codec::committed(consumer, topic, partition)))
    }

    /// Looks it up on the calling thread: mostly in memory, and cheaper than another thread when it is not.
    async fn state(&self, store: super::Store, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let key = codec::state(store, partition, key);
        Ok(self.shared.with_store(|store| Ok(store.state.get(key)?.map(|value| Bytes::copy_from_slice(&value))))?)
    }

    async fn scan(
        &self,
        store: super::Store,
        partition: Partition,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let prefix = codec::state(store, partition, &[]);
        let page = move |store: &Store| {
            let page = store::page(&store.state, &prefix, after, limit)?;
            Ok(page.into_iter().map(|(key, value)| (key, Bytes::copy_from_slice(&value))).collect())
        };
        self.shared.blocking(move |shared| shared.with_store(page)).await
    }

    fn identity(&self) -> Option<&str> {
        Some(self.shared.folder.identity())
    }

    fn healthy(&self) -> Result<(), String> {
        Self::healthy(self)
    }

    fn assigned(&self, _: Consumer) -> watch::Receiver<Arc<[Partition]>> {
        self.assigned.subscribe()
    }
}

/// The records a read may return: within the limit, but one if there is one.
fn take_within(limit: ReadLimit, records: impl Iterator<Item = Record>) -> Vec<Record> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for record in records {
        bytes += record.key.len() + record.value.len();
        if !taken.is_empty() && bytes > limit.bytes_max {
            break;
        }
        taken.push(record);
        if taken.len() >= limit.records_max {
            break;
        }
    }
    taken
}

/// A lock whose holder panicked protects nothing worse than before: every change here is whole or has its own check.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
