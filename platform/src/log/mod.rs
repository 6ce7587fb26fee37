//! The log: topics of partitions of records, the positions of their consumers, and the state those consumers keep.
//!
//! One trait, written so that Apache Kafka fits it as it is:
//!
//! * Records are ordered within a partition only. All topics have the same number of partitions and one key goes to the
//!   same partition of each ([`Log::partition_of`]).
//! * A consumer owns partitions, not the log. [`Log::assigned`] says which ones this process has now and changes when
//!   the group rebalances; with one process it is all of them, always.
//! * [`Log::commit`] takes records to publish, state and positions together and makes them durable **in that order**. The
//!   embedded log does it in one atomic write. On Kafka records are published when it returns; state and positions are
//!   durable together, either then or a moment later, in the order of the commits. A process that ends before that
//!   publishes those records again after a restart; so consumers recognise records by what is in them, and state is
//!   read together with the position it belongs to.
//!
//! Offsets of a partition grow; they need not be consecutive.

pub mod blob;
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
mod kafka_config;
mod memory;
mod position;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

pub use embedded::{Durability, EmbeddedConfig, EmbeddedLog, GroupCommit, Removed};
#[cfg(feature = "kafka")]
pub use kafka::{ConsumerSpec, Inlet, InletRecord, KafkaLog, Settle, Share};
pub use kafka_config::{Compression, KafkaConfig, Properties};
pub use memory::{Faults, MemoryLog};
pub use position::{Offset, Partition, Position, Replay};

/// Name of a topic, without the operator's prefix.
pub type Topic = &'static str;

/// Name of a consumer: who a committed position belongs to.
pub type Consumer = &'static str;

/// Name of a state store, kept per partition beside the log.
pub type Store = &'static str;

/// What happens to old records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Removed by age and by bytes, but never before every consumer that has committed a position on it has passed them.
    Retain,
    /// Only the newest record of each key is promised to stay. A record with an empty value removes its key.
    Compact,
}

impl Cleanup {
    /// By whether only the newest record of each key is wanted.
    #[must_use]
    pub const fn of(compacted: bool) -> Self {
        if compacted { Self::Compact } else { Self::Retain }
    }
}

/// A topic as the log is opened with it.
#[derive(Clone, Copy, Debug)]
pub struct TopicSpec {
    pub topic: Topic,
    pub cleanup: Cleanup,
}

/// A record to append.
#[derive(Clone, Debug)]
pub struct Append {
    pub topic: Topic,
    pub key: Bytes,
    pub value: Bytes,
    pub to: Placement,
    /// Identity of the record in its topic. A log that can tell answers [`Appended::Duplicate`] for one it holds; one
    /// that cannot appends it again, and the consumer drops it.
    pub id: Option<[u8; 16]>,
}

impl Append {
    /// A record placed by its key.
    #[must_use]
    pub fn new(topic: Topic, key: Bytes, value: Bytes) -> Self {
        Self { topic, key, value, to: Placement::ByKey, id: None }
    }

    #[must_use]
    pub fn with_id(mut self, id: [u8; 16]) -> Self {
        self.id = Some(id);
        self
    }

    #[must_use]
    pub fn to_partition(mut self, partition: Partition) -> Self {
        self.to = Placement::Partition(partition);
        self
    }

    /// What the record weighs against the limits of batches and queues.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + 64
    }
}

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    ByKey,
    Partition(Partition),
}

/// Where an appended record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    At(Position),
    /// The log held a record of this identity already; this is where. Nothing was written.
    Duplicate(Position),
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    /// When it was appended, by the clock of the log, in microseconds since the Unix epoch.
    pub appended_at: i64,
    pub key: Bytes,
    pub value: Bytes,
}

/// How much one read may return. At least one record is returned if there is one, however large.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    pub records_max: usize,
    pub bytes_max: usize,
}

/// What the log holds of a partition: offsets from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub start: Offset,
    pub end: Offset,
}

/// A change to a key of a state store; no value removes it. The bytes of all changes of a commit may lie in one piece of memory:
/// whoever keeps some of them copies those.
#[derive(Clone, Debug)]
pub struct StateChange {
    pub store: Store,
    pub partition: Partition,
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// "From here on": everything below `next` of this topic and partition has been handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub topic: Topic,
    pub partition: Partition,
    pub next: Offset,
}

/// One step of a consumer: records out, state, progress in. Made durable in this order, and atomically where the log can.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub consumer: Consumer,
    pub publish: Vec<Append>,
    pub state: Vec<StateChange>,
    pub progress: Vec<Progress>,
}

/// The log. Every method may be called from many tasks at once.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Number of partitions of every topic.
    fn partitions(&self) -> u32;

    /// The partition a key belongs to, the same for every topic.
    fn partition_of(&self, key: &[u8]) -> Partition {
        position::partition_of(key, self.partitions())
    }

    /// Appends all records or none, durable as configured when it returns; answers in the order given.
    ///
    /// # Errors
    /// [`Error::Full`] at once when the queue of writes is at its limit; others when the write failed, and then it is
    /// not known whether it will be seen: append again with the same ids.
    async fn append(&self, records: Vec<Append>) -> Result<Vec<Appended>, Error>;

    /// Records from `from` on, oldest first; empty when there is none yet. Does not wait: see [`Log::grown`].
    ///
    /// # Errors
    /// [`Error::Expired`] when `from` lies before what retention has kept.
    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error>;

    /// Changes after each append to the partition, so that a reader at its end can wait.
    fn grown(&self, topic: Topic, partition: Partition) -> watch::Receiver<Offset>;

    /// # Errors
    /// When the log cannot be read.
    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, Error>;

    /// The newest record of each key of a compacted topic, in the order of the keys, after `after`.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn latest(&self, topic: Topic, after: Option<Bytes>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error>;

    /// The newest record of a key of a compacted topic, in the partition the key belongs to; `None` when there is none, or it
    /// was removed. Unless a log has an index of them, it reads that partition.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn newest(&self, topic: Topic, key: &[u8]) -> Result<Option<Bytes>, Error> {
        newest_by_reading(self, topic, key).await
    }

    /// Records are published when it returns, and its state and progress are what [`Log::state`] and [`Log::committed`]
    /// answer in this process. A log may make them durable a moment later, in the order of the commits; when that fails,
    /// the next call for the consumer says so, and every one until it asks for [`Log::committed`].
    ///
    /// # Errors
    /// [`Error::Fenced`] when this process no longer owns the partition; others when the write failed, and then the
    /// consumer starts again from [`Log::committed`], with nothing kept in memory.
    async fn commit(&self, commit: Commit) -> Result<(), Error>;

    /// Where a consumer left off; `None` when it has never committed.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn committed(&self, consumer: Consumer, topic: Topic, partition: Partition) -> Result<Option<Offset>, Error>;

    /// # Errors
    /// When the log cannot be read.
    async fn state(&self, store: Store, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Entries of a state store in the order of their keys, after `after`.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn scan(
        &self,
        store: Store,
        partition: Partition,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error>;

    /// What tells this log from every other, for as long as it is kept: whoever keeps something made from it beside it finds
    /// out that it was made from another one. `None` for a log that has no such thing.
    fn identity(&self) -> Option<&str>;

    /// Whether it takes writes, for whoever asks if the service is ready. A log that finds out only by writing says yes.
    ///
    /// # Errors
    /// Why it does not, as a sentence for people.
    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }

    /// The partitions this process owns for a consumer, now and as it changes.
    fn assigned(&self, consumer: Consumer) -> watch::Receiver<Arc<[Partition]>>;

    /// What a consumer still waits for before it owns all that it is to own, as a sentence for people; None when nothing.
    fn gaining(&self, _consumer: Consumer) -> Option<String> {
        None
    }

    /// How far what a consumer committed for a partition is settled: until then a crash undoes it. Asked by who wants to know
    /// whether it gets on.
    ///
    /// # Errors
    /// Why it is undone: the consumer has to start again from what is committed.
    async fn settled(&self, _consumer: Consumer, _partition: Partition) -> Result<Settled, Error> {
        Ok(Settled::All)
    }

    /// Most bytes of a record, key and value together. A larger one is [`Error::TooLarge`], and all that was to be written
    /// with it.
    fn record_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Whether other programs write to the topics by other means. Then a record may be anything, and the log knows no
    /// duplicates: what is appended again is there again.
    fn is_open(&self) -> bool {
        false
    }
}

/// See [`Log::settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Nothing,
    /// Some of it since the partition was taken over.
    Some,
    All,
}

/// [`Log::newest`] of a log without an index: reads the partition of the key.
async fn newest_by_reading<L: Log + ?Sized>(log: &L, topic: Topic, key: &[u8]) -> Result<Option<Bytes>, Error> {
    const PAGE: ReadLimit = ReadLimit { records_max: 10_000, bytes_max: 16 << 20 };
    let partition = log.partition_of(key);
    let Bounds { start, end } = log.bounds(topic, partition).await?;
    let (mut next, mut newest) = (start, None);
    while next < end {
        let records = log.read(topic, partition, next, PAGE).await?;
        let Some(last) = records.last() else { break };
        next = last.offset.next();
        newest = records.into_iter().rev().find(|it| it.key == key).map(|it| it.value).or(newest);
    }
    Ok(newest.filter(|it: &Bytes| !it.is_empty()))
}

/// Why the log did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue of writes is at its limit: ask again later. Nothing was written.
    #[error("the log is busy: {queued_bytes} bytes wait to be written, at most {queued_bytes_max} may")]
    Full { queued_bytes: usize, queued_bytes_max: usize },
    /// The storage refused: disk full or broken.
    #[error("the log cannot be written")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log takes no record so large. Nothing was written.
    #[error(
        "a record of {bytes} bytes is too large, at most {bytes_max} are taken: send less, or raise message.max.bytes of \
         kafka.properties and max.message.bytes of the topics"
    )]
    TooLarge { bytes: usize, bytes_max: usize },
    /// The reader is behind what retention kept.
    #[error("records before offset {start} have been removed, {asked} was asked for")]
    Expired { asked: Offset, start: Offset },
    #[error("partition {0} belongs to another process now")]
    Fenced(Partition),
    #[error("no topic `{0}`")]
    UnknownTopic(String),
    #[error("the log is closed")]
    Closed,
    /// The log cannot be opened: another version, another process, another shape, nobody who answers.
    #[error("{0}")]
    Open(String),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Storage(_))
    }
}
