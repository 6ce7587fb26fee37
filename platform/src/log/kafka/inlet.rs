//! Topics of others: read as a member of a consumer group, which keeps the positions.
//!
//! A record counts as taken once its reader has called [`Inlet::done`]; positions of what is done are committed every
//! second and when the member leaves. A process that dies between leaves a second's records to be read again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message;
use tokio::sync::mpsc;

use super::Error;
use super::client::{Clients, Context, millis, unusable};
use super::cursor::is_passing;
use crate::log::kafka_config::KafkaConfig;

const POLL: Duration = Duration::from_millis(100);
/// Records that wait for their reader, beside what the client has fetched.
const WAITING_MAX: usize = 8;
/// What the client fetches ahead, in bytes.
const AHEAD: usize = 16 << 20;

/// See the module. Dropping it leaves the group.
pub struct Inlet {
    reader: Arc<BaseConsumer<Context>>,
    records: tokio::sync::Mutex<mpsc::Receiver<InletRecord>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A record of somebody else's topic.
#[derive(Clone, Debug)]
pub struct InletRecord {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub value: Bytes,
}

impl std::fmt::Debug for Inlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inlet").finish_non_exhaustive()
    }
}

impl Inlet {
    /// Joins the group `name` of the configured prefix for these topics. One that does not exist is waited for.
    ///
    /// # Errors
    /// [`Error`] when the client cannot be made.
    pub fn open(config: &KafkaConfig, name: &str, topics: &[String]) -> Result<Self, Error> {
        config.validate()?;
        let clients = Clients::new(Arc::new(config.clone()));
        let mut it = clients.base();
        it.set("queued.max.messages.kbytes", (AHEAD >> 10).to_string()).set("queued.min.messages", "1000");
        it.set("topic.metadata.refresh.interval.ms", "10000");
        // While the log takes nothing, nothing is polled for: that must not cost the membership.
        it.set("max.poll.interval.ms", "3600000");
        it.set("group.id", format!("{}{name}", clients.config.topic_prefix));
        it.set("session.timeout.ms", millis(clients.config.session_timeout));
        it.set("partition.assignment.strategy", "cooperative-sticky").set("auto.offset.reset", "earliest");
        it.set("enable.auto.commit", "true").set("auto.commit.interval.ms", "1000");
        it.set("enable.auto.offset.store", "false").set("isolation.level", "read_committed");
        let reader: BaseConsumer<Context> = it.create_with_context(clients.context()).map_err(unusable)?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let subscribed = reader.subscribe(&names);
        subscribed.map_err(|error| clients.failed(format_args!("{topics:?} cannot be subscribed to"), error))?;
        let (reader, stop) = (Arc::new(reader), Arc::new(AtomicBool::new(false)));
        let (sender, records) = mpsc::channel(WAITING_MAX);
        let thread = {
            let (reader, stop) = (Arc::clone(&reader), Arc::clone(&stop));
            std::thread::Builder::new().name(format!("kafka-{name}")).spawn(move || follow(&reader, &sender, &stop))
        };
        let thread = thread.map_err(|error| Error::Open(format!("threads of the log: {error}")))?;
        Ok(Self { reader, records: tokio::sync::Mutex::new(records), stop, thread: Mutex::new(Some(thread)) })
    }

    /// The next record; None once it is closed.
    pub async fn next(&self) -> Option<InletRecord> {
        self.records.lock().await.recv().await
    }

    /// The record, and those of its partition before it, need not be read again.
    pub fn done(&self, record: &InletRecord) {
        if let Err(error) = self.reader.store_offset(&record.topic, record.partition, record.offset) {
            // The partition has another reader by now, which reads it again.
            tracing::debug!(topic = record.topic, partition = record.partition, %error, "position not kept");
        }
    }

    /// Leaves the group, with the positions of all that is done.
    pub async fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.records.lock().await.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reader = Arc::clone(&self.reader);
        let left = tokio::task::spawn_blocking(move || {
            if let Some(thread) = thread {
                // A panic there was reported when it happened.
                let _ = thread.join();
            }
            if let Err(error) = reader.commit_consumer_state(rdkafka::consumer::CommitMode::Sync) {
                tracing::debug!(%error, "last positions not committed");
            }
        });
        let _ = left.await;
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn follow(reader: &BaseConsumer<Context>, sender: &mpsc::Sender<InletRecord>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match reader.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                let record = InletRecord {
                    topic: message.topic().to_owned(),
                    partition: message.partition(),
                    offset: message.offset(),
                    value: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
                };
                // Waits while its reader is behind. None reads any more: the end.
                if sender.blocking_send(record).is_err() {
                    return;
                }
            }
            Some(Err(error)) if is_passing(&error) => tracing::debug!(%error, "topics of others"),
            Some(Err(error)) => tracing::warn!(%error, "topics of others cannot be read now"),
        }
    }
}
