//! Membership in a consumer group: which partitions this process owns for a consumer.
//!
//! The group is asked for partitions and nothing else. Its reader fetches no records and commits no offsets: positions
//! are in the changelog, beside the state they belong to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::client::{Context, millis, unusable};
use super::cursor::is_passing;
use super::owners::{Intent, Owners};
use super::{Consumer, ConsumerSpec, Error, Partition, Share, Topic};

const POLL: Duration = Duration::from_millis(100);
/// Partitions whose state is restored at the same time.
const RESTORES_MAX: usize = 4;
/// Before a claim that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A member of a group, while it lives.
pub(super) struct Group {
    pub(super) ready: watch::Sender<Arc<[Partition]>>,
    consumer: Consumer,
    /// Whether the group has said what is this process's, were it nothing.
    answered: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What the callbacks of the group work on.
struct Member {
    context: Context,
    consumer: Consumer,
    owners: Arc<Owners>,
    runtime: Handle,
    answered: Arc<AtomicBool>,
    held: Held,
    turns: Arc<Semaphore>,
}

/// Partitions whose state is restored, told to who works on them.
#[derive(Clone)]
struct Held {
    held: Arc<Mutex<BTreeSet<Partition>>>,
    ready: watch::Sender<Arc<[Partition]>>,
    /// Told all at once or not at all, when there are so many.
    together: Option<usize>,
}

impl Group {
    /// Joins the group of a consumer.
    pub(super) fn join(owners: &Arc<Owners>, spec: ConsumerSpec, topic: Topic, runtime: Handle) -> Result<Self, Error> {
        let (clients, consumer) = (&owners.clients, spec.consumer);
        let topic = Arc::clone(&owners.topics.topic(topic)?.name);
        let ready = watch::Sender::new(Arc::from([]));
        let answered = Arc::new(AtomicBool::new(false));
        let together = matches!(spec.share, Share::One { .. }).then_some(owners.topics.partitions as usize);
        let member = Member {
            context: clients.context(),
            consumer,
            owners: Arc::clone(owners),
            runtime,
            answered: Arc::clone(&answered),
            held: Held { held: Arc::default(), ready: ready.clone(), together },
            turns: Arc::new(Semaphore::new(RESTORES_MAX)),
        };
        let mut config = clients.base();
        let session = clients.config.session_timeout;
        config.set("group.id", format!("{}{consumer}", clients.config.topic_prefix));
        config.set("session.timeout.ms", millis(session));
        config.set("heartbeat.interval.ms", (session.0.as_millis() / 4).clamp(100, 3_000).to_string());
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "latest");
        config.set("queued.max.messages.kbytes", "64").set("queued.min.messages", "1");
        let reader: BaseConsumer<Member> = config.create_with_context(member).map_err(unusable)?;
        let subscribed = reader.subscribe(&[&topic]);
        subscribed.map_err(|error| clients.failed(format_args!("`{topic}` cannot be subscribed to"), error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Relaxed) {
                // Records may slip in before their partition is paused. They are read elsewhere.
                match reader.poll(POLL) {
                    Some(Err(error)) if is_passing(&error) => tracing::debug!(consumer, %error, "consumer group"),
                    Some(Err(error)) => tracing::warn!(consumer, %error, "consumer group"),
                    Some(Ok(_)) | None => {}
                }
            }
            // Dropping the reader leaves the group, which gives up its partitions.
        };
        let thread = std::thread::Builder::new().name(format!("kafka-{consumer}")).spawn(run);
        let thread = thread.map_err(|error| Error::Open(format!("threads of the log: {error}")))?;
        Ok(Self { ready, consumer, answered, stop, thread })
    }

    /// What it waits for, if anything.
    pub(super) fn gaining(&self, owners: &Owners) -> Option<String> {
        if !self.answered.load(Ordering::Relaxed) {
            return Some("its consumer group has not given it partitions yet".to_owned());
        }
        let held = self.ready.borrow();
        let mut waits = Vec::new();
        for partition in owners.assigned(self.consumer).into_iter().filter(|it| !held.contains(it)) {
            waits.push(match owners.restoring(self.consumer, partition) {
                Some(progress) => format!("{partition} ({progress})"),
                None => partition.to_string(),
            });
        }
        (!waits.is_empty()).then(|| format!("state of partitions is being restored: {}", waits.join(", ")))
    }

    /// Tells it to leave the group, and who may wait for that.
    pub(super) fn leave(self) -> JoinHandle<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// Adds it if it is still wanted; whether it was. Who takes it away says first that it is not wanted and then removes
    /// it, so it never stays.
    fn add_if(&self, partition: Partition, is_wanted: impl FnOnce() -> bool) -> bool {
        let mut held = lock(&self.held);
        if !is_wanted() {
            return false;
        }
        held.insert(partition);
        drop(held);
        self.publish();
        true
    }

    fn remove(&self, partitions: &[Partition]) {
        lock(&self.held).retain(|it| !partitions.contains(it));
        self.publish();
    }

    fn publish(&self) {
        let held = lock(&self.held);
        let whole = self.together.is_none_or(|all| held.len() == all);
        let now: Arc<[Partition]> = held.iter().copied().filter(|_| whole).collect();
        self.ready.send_if_modified(|it| {
            let is_other = *it != now;
            *it = now;
            is_other
        });
    }
}

impl Member {
    /// What follows for this process from partitions that come or go: where one process is to have all of them, the first
    /// stands for all and the others for none.
    fn meant(&self, partitions: Vec<Partition>) -> Vec<Partition> {
        match self.held.together {
            None => partitions,
            Some(all) if partitions.contains(&Partition(0)) => {
                (0..u32::try_from(all).unwrap_or(u32::MAX)).map(Partition).collect()
            }
            Some(_) => Vec::new(),
        }
    }

    fn gained(&self, partitions: Vec<Partition>) {
        for partition in self.meant(partitions) {
            tracing::info!(consumer = self.consumer, %partition, "partition gained");
            self.owners.assign(self.consumer, partition);
            let (consumer, owners, turns) = (self.consumer, Arc::clone(&self.owners), Arc::clone(&self.turns));
            let held = self.held.clone();
            self.runtime.spawn(async move {
                while owners.is_assigned(consumer, partition) {
                    let Ok(turn) = turns.acquire().await else { return };
                    match owners.claim(consumer, partition, Intent::Start).await {
                        Ok(_) if held.add_if(partition, || owners.is_assigned(consumer, partition)) => return,
                        // Taken away while its state was restored.
                        Ok(_) => return owners.release(consumer, partition).await,
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(consumer, %partition, error, "partition cannot be taken over yet");
                        }
                    }
                    drop(turn);
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
        self.answered.store(true, Ordering::Relaxed);
    }

    /// First nobody is told any more that they own it; then what is under way ends; then the group goes on.
    fn lost(&self, partitions: Vec<Partition>) {
        let partitions = self.meant(partitions);
        partitions.iter().for_each(|partition| self.owners.unassign(self.consumer, *partition));
        self.held.remove(&partitions);
        let release = partitions.iter().map(|partition| {
            tracing::info!(consumer = self.consumer, %partition, "partition given up");
            let (owners, consumer, partition) = (Arc::clone(&self.owners), self.consumer, *partition);
            self.runtime.spawn(async move { owners.release(consumer, partition).await })
        });
        for released in release.collect::<Vec<_>>() {
            // A panic there was reported when it happened.
            let _ = self.runtime.block_on(released);
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let number = |it: i32| u32::try_from(it).ok().map(Partition);
    list.elements().iter().filter_map(|it| number(it.partition())).collect()
}

impl ClientContext for Member {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => self.lost(partitions(list)),
            Rebalance::Assign(_) | Rebalance::Error(_) => {}
        }
    }

    fn post_rebalance(&self, reader: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            if let Err(error) = reader.pause(list) {
                tracing::debug!(%error, "partitions of the group are not paused");
            }
            self.gained(partitions(list));
        }
    }
}
