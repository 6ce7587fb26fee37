//! The log on Apache Kafka: many processes on many machines.
//!
//! # What is where
//! Topics are `{prefix}{topic}`, all with the same number of partitions. What a consumer keeps, its state and its
//! progress, is in a compacted topic `{prefix}state.{consumer}` with the same partitions again. Keys are placed as the
//! Java client does (murmur2), so a client that produces directly places them alike; librdkafka does with
//! `partitioner=murmur2_random`.
//!
//! # Writing
//! Appends go through one idempotent producer with `acks=all`: acknowledged is what all in-sync replicas have, once and
//! in order, as long as the process lives. Commits go through a [`claim`]: records are published, state and progress
//! changed, in a transaction that only the newest owner of the partition can end.
//!
//! # Reading
//! The ends of partitions are followed by one [`tail`]; what lies behind it is read by [`cursor`]s. All readers see
//! records as soon as they are acknowledged, whether their transaction has ended or not: a verdict is a fact then, even
//! when its owner dies before it can record that it gave it.
//!
//! # Duplicates
//! The log keeps no index of identities: a record that is appended twice is there twice, and the consumer drops it.

mod changelog;
mod claim;
mod client;
mod cursor;
mod delivery;
mod group;
mod inlet;
mod keeper;
mod metrics;
mod newest;
mod owners;
mod partitioner;
mod ring;
mod spec;
mod tail;
mod topics;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use inlet::{Inlet, InletRecord};
pub use spec::{ConsumerSpec, Settle, Share};

use self::changelog::NAME_BYTES_MAX;
use self::claim::{Claim, Part};
use self::client::{Clients, Producer};
use self::cursor::Cursors;
use self::delivery::{Budget, Placed};
use self::group::Group;
use self::metrics::Metrics;
use self::newest::Newest;
use self::owners::{Intent, Owners};
use self::ring::Look;
use self::tail::{Tail, blocking, offset};
use self::topics::Topics;
use super::kafka_config::KafkaConfig;
use super::{
    Append, Appended, Bounds, Cleanup, Commit, Consumer, Error, Log, Offset, Partition, Placement, Position, Progress,
    ReadLimit, Record, Settled, StateChange, Store, Topic, TopicSpec, newest_by_reading,
};

/// See the module. Close it with [`KafkaLog::close`]; dropping it is like the end of the process.
pub struct KafkaLog {
    topics: Arc<Topics>,
    clients: Clients,
    producer: Producer,
    budget: Budget,
    /// Read from the properties once, since each record is held against it.
    record_bytes_max: usize,
    tail: Arc<Tail>,
    cursors: Cursors,
    newest: Newest,
    owners: Arc<Owners>,
    groups: Mutex<BTreeMap<Consumer, Group>>,
    all: watch::Sender<Arc<[Partition]>>,
    metrics: Metrics,
    runtime: Handle,
    closed: AtomicBool,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.clients.config).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KafkaLog {
    /// Connects, creates the topics that are missing where that is allowed, and checks those that exist.
    ///
    /// # Errors
    /// [`Error::Open`] with what is wrong and what to do, within some multiples of `request_timeout`.
    pub async fn open(
        config: KafkaConfig,
        topics: &[TopicSpec],
        consumers: &[ConsumerSpec],
        registry: &prometheus::Registry,
    ) -> Result<Arc<Self>, Error> {
        config.validate()?;
        let stores = consumers.iter().flat_map(|it| it.stores).copied();
        let names = topics.iter().map(|it| it.topic).chain(consumers.iter().map(|it| it.consumer)).chain(stores);
        for name in names {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(Error::Open(format!("`{name}`: a name has 1 to {NAME_BYTES_MAX} bytes")));
            }
        }
        let metrics =
            Metrics::register(registry).map_err(|error| Error::Open(format!("metrics of the log: {error}")))?;
        let clients = Clients::new(Arc::new(config));
        let newest = Newest::new(topics, clients.config.partitions, clients.config.newest_bytes_max, metrics.clone());
        let topics = Arc::new(Topics::new(&clients.config, topics, consumers));
        let producer = clients.appender()?;
        topics.ensure(&clients).await?;
        let tail = {
            let (clients, topics) = (clients.clone(), Arc::clone(&topics));
            blocking(move || {
                let names: Vec<_> = topics.names().map(|(_, it)| Arc::clone(&it.name)).collect();
                Tail::start(&clients, &names, topics.partitions)
            })
            .await?
        };
        let tail = Arc::new(tail);
        let owners = Owners::new(clients.clone(), Arc::clone(&topics), Arc::clone(&tail), metrics.clone(), consumers);
        let all = (0..topics.partitions).map(Partition).collect();
        let log = Arc::new(Self {
            topics,
            producer,
            budget: Budget::new(clients.config.queue_bytes_max),
            record_bytes_max: clients.config.record_bytes_max(),
            tail,
            cursors: Cursors::new(clients.clone()),
            newest,
            owners: Arc::new(owners),
            groups: Mutex::default(),
            all: watch::Sender::new(all),
            metrics,
            runtime: Handle::current(),
            closed: AtomicBool::new(false),
            keeper: Mutex::default(),
            clients,
        });
        log.metrics.healthy.set(1);
        log.watch()?;
        Ok(log)
    }

    /// Ends what is under way, leaves the groups and gives up the claims. Afterwards every call answers
    /// [`Error::Closed`]. Closing twice does nothing.
    pub async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut threads: Vec<_> = std::mem::take(&mut *lock(&self.groups)).into_values().map(Group::leave).collect();
        threads.extend(self.tail.stop());
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.thread().unpark();
        }
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic there was reported when it happened.
                let _ = thread.join();
            }
        });
        let _ = joined.await;
        self.owners.close().await;
        self.cursors.close();
    }

    fn open_now(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    fn place(&self, record: Append) -> Result<Placed, Error> {
        let partition = match record.to {
            Placement::ByKey => self.partition_of(&record.key),
            Placement::Partition(partition) => partition,
        };
        let named = self.topics.at(record.topic, partition)?;
        let is_removal = named.cleanup == Cleanup::Compact && record.value.is_empty();
        let bytes = record.key.len() + record.value.len();
        let bytes_max = self.record_bytes_max;
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes, bytes_max });
        }
        let value = (!is_removal).then_some(record.value);
        Ok(Placed { topic: Arc::clone(&named.name), partition, key: record.key, value })
    }

    fn reserve(&self, bytes: usize) -> Result<delivery::Reserved<'_>, Error> {
        let reserved = self.budget.reserve(bytes).inspect_err(|_| self.metrics.refused.inc())?;
        self.metrics.queue_bytes.set(i64::try_from(self.budget.queued()).unwrap_or(i64::MAX));
        Ok(reserved)
    }

    /// Counts what is on the log now, and wakes who waits for it.
    fn written(&self, records: &[(Topic, Placed)], offsets: &[i64]) -> Vec<Position> {
        let position = |((topic, record), raw): (&(Topic, Placed), &i64)| {
            let at = Position { partition: record.partition, offset: offset(*raw) };
            self.metrics.records.with_label_values(&[*topic]).inc();
            self.metrics.bytes.with_label_values(&[*topic]).inc_by(record.bytes() as u64);
            if let Some(ring) = self.tail.ring(&record.topic, record.partition) {
                ring.appended(at.offset.next());
            }
            at
        };
        records.iter().zip(offsets).map(position).collect()
    }

    /// What belongs to one partition of a commit, in the order of the partitions. Records are published with the first.
    fn parts(
        &self,
        consumer: Consumer,
        state: Vec<StateChange>,
        progress: Vec<Progress>,
    ) -> Result<BTreeMap<Partition, Part>, Error> {
        let changelog = self.topics.changelog(consumer)?;
        let mut parts = BTreeMap::<Partition, Part>::new();
        for change in state {
            self.topics.partition(change.store, change.partition)?;
            if self.owners.keeper(change.store)?.consumer != consumer {
                return Err(Error::UnknownTopic(format!("store `{}` of `{consumer}`", change.store)));
            }
            let part = parts.entry(change.partition).or_default();
            part.changelog.push(changelog::state_record(changelog, &change));
            part.state.push(change);
        }
        for progress in progress {
            self.topics.at(progress.topic, progress.partition)?;
            let part = parts.entry(progress.partition).or_default();
            part.changelog.push(changelog::progress_record(changelog, &progress));
            part.progress.push(progress);
        }
        Ok(parts)
    }

    async fn started(&self, consumer: Consumer, partition: Partition, intent: Intent) -> Result<Arc<Claim>, Error> {
        self.open_now()?;
        self.owners.claim(consumer, partition, intent).await
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        for (_, group) in std::mem::take(&mut *lock(&self.groups)) {
            drop(group.leave());
        }
        drop(self.tail.stop());
    }
}

#[async_trait]
impl Log for KafkaLog {
    // Offsets of the cluster are compared instead.
    fn identity(&self) -> Option<&str> {
        None
    }

    fn partitions(&self) -> u32 {
        self.topics.partitions
    }

    fn partition_of(&self, key: &[u8]) -> Partition {
        partitioner::partition_of(key, self.topics.partitions)
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        self.open_now()?;
        let named: Vec<Topic> = records.iter().map(|it| it.topic).collect();
        let placed: Vec<Placed> = records.into_iter().map(|it| self.place(it)).collect::<Result<_, _>>()?;
        let _reserved = self.reserve(placed.iter().map(Placed::bytes).sum())?;
        let sent = delivery::wait(delivery::send(&self.producer, &placed)).await;
        self.clients.health.wrote(sent.as_ref().map(drop));
        let offsets = sent.map_err(|error| {
            self.metrics.write_failures.inc();
            self.clients.failed("records cannot be appended", error)
        })?;
        let records: Vec<_> = named.into_iter().zip(placed).collect();
        Ok(self.written(&records, &offsets).into_iter().map(Appended::At).collect())
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        self.open_now()?;
        let named = self.topics.at(topic, partition)?;
        let Some(ring) = self.tail.ring(&named.name, partition) else {
            return Err(Error::UnknownTopic(topic.to_owned()));
        };
        let mut grown = ring.grown.subscribe();
        let deadline = tokio::time::Instant::now() + self.clients.request_timeout();
        loop {
            grown.mark_unchanged();
            match ring.look(from, limit) {
                Look::Records(records) => return Ok(records),
                Look::End => return Ok(Vec::new()),
                Look::Older => break,
                Look::Coming => {
                    let coming = tokio::time::timeout_at(deadline, grown.changed()).await;
                    if !matches!(coming, Ok(Ok(()))) {
                        break;
                    }
                }
                Look::Idle => {
                    // Asked for just now: whoever is there already has nothing to read.
                    if from >= self.tail.follow(ring).await? {
                        return Ok(Vec::new());
                    }
                    break;
                }
            }
        }
        self.cursors.read(&named.name, partition, from, limit).await
    }

    fn grown(&self, topic: Topic, partition: Partition) -> watch::Receiver<Offset> {
        let ring = self.topics.at(topic, partition).ok().and_then(|it| self.tail.ring(&it.name, partition));
        // Without a sender behind it the receiver reports that nothing will come.
        ring.map_or_else(|| watch::channel(Offset::START).1, |it| it.grown.subscribe())
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, Error> {
        self.open_now()?;
        self.tail.bounds(&self.topics.at(topic, partition)?.name, partition).await
    }

    /// Reads the whole topic: for what is asked seldom.
    async fn latest(&self, topic: Topic, after: Option<Bytes>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        const PAGE: ReadLimit = ReadLimit { records_max: 10_000, bytes_max: 16 << 20 };
        if self.topics.topic(topic)?.cleanup != Cleanup::Compact {
            return Err(Error::UnknownTopic(format!("{topic}, compacted")));
        }
        let mut latest = BTreeMap::new();
        for partition in (0..self.topics.partitions).map(Partition) {
            let mut next = self.bounds(topic, partition).await?.start;
            loop {
                let records = self.read(topic, partition, next, PAGE).await?;
                let Some(last) = records.last() else { break };
                next = last.offset.next();
                for record in records {
                    match &after {
                        Some(after) if record.key <= *after => {}
                        _ if record.value.is_empty() => drop(latest.remove(&record.key)),
                        _ => drop(latest.insert(record.key, record.value)),
                    }
                }
            }
        }
        Ok(latest.into_iter().take(limit).collect())
    }

    async fn newest(&self, topic: Topic, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.newest.get(self, topic, key).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.open_now()?;
        let Commit { consumer, publish, state, progress } = commit;
        if state.is_empty() && progress.is_empty() && (publish.is_empty() || consumer.is_empty()) {
            return self.append(publish).await.map(drop);
        }
        let named: Vec<Topic> = publish.iter().map(|it| it.topic).collect();
        let publish: Vec<Placed> = publish.into_iter().map(|it| self.place(it)).collect::<Result<_, _>>()?;
        let mut parts = self.parts(consumer, state, progress)?;
        let mut records = Vec::new();
        if let Some(first) = publish.first() {
            records = named.into_iter().zip(publish.iter().cloned()).collect();
            let partition = parts.keys().next().copied().unwrap_or(first.partition);
            parts.entry(partition).or_default().publish = publish;
        }
        let changes = parts.values().flat_map(|it| it.publish.iter().chain(&it.changelog));
        let _reserved = self.reserve(changes.map(Placed::bytes).sum())?;
        let timer = self.metrics.commit_seconds.start_timer();
        // All claims before the first record: a partition that is lost leaves nothing behind.
        let mut claims = Vec::with_capacity(parts.len());
        for (partition, part) in parts {
            claims.push((self.started(consumer, partition, Intent::GoOn).await?, part));
        }
        for (claim, part) in claims {
            let offsets = claim.commit(part).await.inspect_err(|_| self.metrics.write_failures.inc())?;
            self.written(&std::mem::take(&mut records), &offsets);
        }
        timer.observe_duration();
        Ok(())
    }

    async fn committed(&self, consumer: Consumer, topic: Topic, partition: Partition) -> Result<Option<Offset>, Error> {
        self.topics.at(topic, partition)?;
        let claim = self.started(consumer, partition, Intent::Start).await?;
        Ok(claim.view().committed(topic))
    }

    async fn state(&self, store: Store, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.topics.partition(store, partition)?;
        let keeper = self.owners.keeper(store)?.consumer;
        let claim = self.started(keeper, partition, Intent::GoOn).await?;
        Ok(claim.view().state(store, key))
    }

    async fn scan(
        &self,
        store: Store,
        partition: Partition,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.topics.partition(store, partition)?;
        let keeper = self.owners.keeper(store)?.consumer;
        let claim = self.started(keeper, partition, Intent::GoOn).await?;
        Ok(claim.view().scan(store, after, limit))
    }

    fn healthy(&self) -> Result<(), String> {
        self.open_now().map_err(|error| error.to_string())?;
        self.clients.health.get()
    }

    fn assigned(&self, consumer: Consumer) -> watch::Receiver<Arc<[Partition]>> {
        let gone = || watch::channel(Arc::from([])).1;
        let Ok(spec) = self.owners.spec(consumer) else { return gone() };
        let Some(by) = spec.share.by() else { return self.all.subscribe() };
        if self.open_now().is_err() {
            return gone();
        }
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.get(consumer) {
            return group.ready.subscribe();
        }
        match Group::join(&self.owners, spec, by, self.runtime.clone()) {
            Ok(group) => {
                let ready = group.ready.subscribe();
                groups.insert(consumer, group);
                ready
            }
            Err(error) => {
                tracing::error!(consumer, error = &error as &dyn std::error::Error, "cannot join the consumer group");
                gone()
            }
        }
    }

    fn gaining(&self, consumer: Consumer) -> Option<String> {
        let spec = self.owners.spec(consumer).ok()?;
        spec.share.by()?;
        match lock(&self.groups).get(consumer) {
            Some(group) => group.gaining(&self.owners),
            None => Some("it has not joined its consumer group".to_owned()),
        }
    }

    async fn settled(&self, consumer: Consumer, partition: Partition) -> Result<Settled, Error> {
        self.started(consumer, partition, Intent::GoOn).await?.settled().await
    }

    fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    fn is_open(&self) -> bool {
        true
    }
}
