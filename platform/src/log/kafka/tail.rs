//! Follows the ends of partitions: one reader and one thread for all of them, and a [`Ring`] for each.
//!
//! A partition is followed from the first time it is read until nobody reads it any more. So a process fetches what
//! somebody in it follows, each record once, however many follow it; and a reader at the end asks no broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};

use super::client::{Clients, Isolation, Reader};
use super::cursor::is_passing;
use super::ring::Ring;
use super::{Bounds, Error, Offset, Partition, Record};

/// How long the thread waits for records before it looks whether it should end.
const POLL: Duration = Duration::from_millis(100);
/// What the tail fetches ahead of its thread, which only copies.
const AHEAD: usize = 16 << 20;
/// How long a broker waits for records at the end; they are sent as soon as they are there.
const END_WAIT: Duration = Duration::from_millis(500);
/// The same for a reader that is to find an end at once.
const TRIAL_WAIT: Duration = Duration::from_millis(10);
/// Before a partition without a leader is asked for again.
const LEADER_AGAIN: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Tail {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    clients: Clients,
    reader: Reader,
    /// Asks where partitions end. A broker answers one connection in order, so behind the reader's fetches, which wait at the
    /// ends, each question took up to half a second.
    asks: Reader,
    /// By full name, then partition.
    rings: BTreeMap<Arc<str>, Vec<Arc<Ring>>>,
    bytes: AtomicUsize,
    /// Held while a ring and what the reader is assigned change together.
    assigning: Mutex<()>,
    stop: AtomicBool,
}

impl Tail {
    /// Blocks: asks for the end of every partition.
    pub(super) fn start(clients: &Clients, names: &[Arc<str>], partitions: u32) -> Result<Self, Error> {
        let reader = clients.reader(Isolation::Uncommitted, AHEAD, END_WAIT)?;
        let asks = clients.reader(Isolation::Uncommitted, 0, END_WAIT)?;
        let mut rings = BTreeMap::new();
        let trial = clients.reader(Isolation::Uncommitted, 0, TRIAL_WAIT)?;
        for name in names {
            let end = |partition| bounds(clients, &asks, name, partition).map(|it| (partition, it.end));
            let ends: Vec<_> = (0..partitions).map(Partition).map(end).collect::<Result<_, Error>>()?;
            try_reading(clients, &trial, name, &ends)?;
            let ring = |(partition, end)| Arc::new(Ring::new(Arc::clone(name), partition, end));
            rings.insert(Arc::clone(name), ends.into_iter().map(ring).collect());
        }
        let clients = clients.clone();
        let shared = Arc::new(Shared {
            clients,
            reader,
            asks,
            rings,
            bytes: AtomicUsize::new(0),
            assigning: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("kafka-tail".to_owned()).spawn(move || shared.run())
        };
        let thread = thread.map_err(|error| Error::Open(format!("threads of the log: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn ring(&self, topic: &str, partition: Partition) -> Option<&Arc<Ring>> {
        self.shared.rings.get(topic)?.get(partition.0 as usize)
    }

    /// Follows a partition from its end; where that is.
    pub(super) async fn follow(&self, ring: &Arc<Ring>) -> Result<Offset, Error> {
        let (shared, ring) = (Arc::clone(&self.shared), Arc::clone(ring));
        blocking(move || {
            let Bounds { end, .. } = bounds(&shared.clients, &shared.asks, &ring.topic, ring.partition)?;
            let _assigning = shared.assigning.lock().unwrap_or_else(PoisonError::into_inner);
            if ring.follow(end) {
                ring.grow(end);
                let assign = list(&ring.topic, ring.partition, end)?;
                if let Err(error) = shared.reader.incremental_assign(&assign) {
                    ring.idle(&shared.bytes);
                    return Err(shared.clients.failed(format_args!("`{}` cannot be followed", ring.topic), error));
                }
            }
            Ok(end)
        })
        .await
    }

    /// Forgets what was fetched of a partition of every topic. The next read asks the brokers, so it sees all that was
    /// there when this was called.
    pub(super) fn forget(&self, partition: Partition) {
        for of_topic in self.shared.rings.values() {
            if let Some(ring) = of_topic.get(partition.0 as usize) {
                self.shared.unfollow(ring);
            }
        }
    }

    pub(super) async fn bounds(&self, topic: &Arc<str>, partition: Partition) -> Result<Bounds, Error> {
        let (shared, topic) = (Arc::clone(&self.shared), Arc::clone(topic));
        blocking(move || bounds(&shared.clients, &shared.asks, &topic, partition)).await
    }

    /// Tells the thread to end, and who may wait for it.
    pub(super) fn stop(&self) -> Option<JoinHandle<()>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Shared {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            // It reads nothing; its tokens are renewed so.
            drop(self.asks.poll(Duration::ZERO));
            match self.reader.poll(POLL) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Ok(message)) => self.take(&message),
                Some(Err(error)) if is_lost(&error) => {
                    // Which partition it is, is not told. All start again at the next read, which says what is wrong.
                    tracing::warn!(%error, "the end of a partition was lost");
                    self.rings.values().flatten().for_each(|ring| self.unfollow(ring));
                }
                // The client goes on by itself.
                Some(Err(error)) => tracing::debug!(%error, "records cannot be fetched now"),
            }
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let partition = usize::try_from(message.partition()).unwrap_or(usize::MAX);
        let Some(ring) = self.rings.get(message.topic()).and_then(|it| it.get(partition)) else { return };
        if !ring.push(record(message), &self.bytes, self.clients.config.cache_bytes) {
            self.unfollow(ring);
        }
    }

    fn unfollow(&self, ring: &Ring) {
        let _assigning = self.assigning.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.idle(&self.bytes)
            && let Ok(list) = list(&ring.topic, ring.partition, Offset::START)
            && let Err(error) = self.reader.incremental_unassign(&list)
        {
            tracing::debug!(%error, topic = &*ring.topic, "cannot stop to follow");
        }
    }
}

/// Fetches once from every partition of a topic. That it may not be read is told by a fetch alone: who only asks for its end
/// and waits there for records would wait for ever.
fn try_reading(clients: &Clients, reader: &Reader, topic: &str, ends: &[(Partition, Offset)]) -> Result<(), Error> {
    let failed = |error| clients.failed(format_args!("`{topic}` cannot be read"), error);
    let mut places = TopicPartitionList::new();
    for (partition, end) in ends {
        add(&mut places, topic, *partition, *end).map_err(failed)?;
    }
    reader.assign(&places).map_err(failed)?;
    let deadline = Instant::now() + clients.request_timeout();
    let mut unread: BTreeSet<i32> = ends.iter().map(|(partition, _)| number(*partition)).collect();
    while !unread.is_empty() && Instant::now() < deadline {
        let read = match reader.poll(POLL) {
            Some(Ok(message)) => message.partition(),
            Some(Err(KafkaError::PartitionEOF(partition))) => partition,
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(Error::Open(format!(
                    "kafka: topic `{topic}` cannot be read: {error}. Give this user Read on the topics, beside Write and Describe"
                )));
            }
            // What has no leader just now will be read when it has one.
            Some(Err(_)) | None => continue,
        };
        unread.remove(&read);
    }
    reader.unassign().map_err(failed)
}

/// Whether a reader's position is not on the log.
pub(super) fn is_lost(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange))
}

/// Asks a broker, again for a while when the leader of the partition is just being found.
pub(super) fn bounds(clients: &Clients, reader: &Reader, topic: &str, partition: Partition) -> Result<Bounds, Error> {
    let deadline = Instant::now() + clients.request_timeout();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match reader.fetch_watermarks(topic, number(partition), left.max(LEADER_AGAIN)) {
            Ok((start, end)) => return Ok(Bounds { start: offset(start), end: offset(end) }),
            Err(error) if is_passing(&error) && left > LEADER_AGAIN => {
                // A broker that has just started may have said that there is no such partition, and the client believes
                // it for minutes unless it is made to ask again.
                drop(reader.fetch_metadata(Some(topic), left));
                std::thread::sleep(LEADER_AGAIN);
            }
            Err(error) => return Err(clients.failed(format_args!("the ends of `{topic}` cannot be asked for"), error)),
        }
    }
}

pub(super) fn list(topic: &str, partition: Partition, from: Offset) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    add(&mut list, topic, partition, from).map_err(|error| Error::Storage(Box::new(error)))?;
    Ok(list)
}

fn add(list: &mut TopicPartitionList, topic: &str, partition: Partition, from: Offset) -> KafkaResult<()> {
    let at = rdkafka::Offset::Offset(i64::try_from(from.0).unwrap_or(i64::MAX));
    list.add_partition_offset(topic, number(partition), at)
}

/// One allocation for key and value.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
    let mut both = Vec::with_capacity(key.len() + value.len());
    both.extend_from_slice(key);
    both.extend_from_slice(value);
    let mut rest = Bytes::from(both);
    let key = rest.split_to(key.len());
    let appended_at = message.timestamp().to_millis().unwrap_or_default().saturating_mul(1_000);
    Record { offset: offset(message.offset()), appended_at, key, value: rest }
}

pub(super) fn offset(raw: i64) -> Offset {
    Offset(u64::try_from(raw).unwrap_or_default())
}

pub(super) fn number(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

/// Runs what waits for a broker on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    // It fails only when the runtime ends.
    tokio::task::spawn_blocking(f).await.unwrap_or(Err(Error::Closed))
}
