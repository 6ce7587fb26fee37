//! Delivery reports of the records of one call, gathered into one answer.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::BaseRecord;
use tokio::sync::oneshot;

use super::client::Producer;
use super::{Error, Partition};

/// A record with everything decided about it.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Full name of the topic.
    pub(super) topic: Arc<str>,
    pub(super) partition: Partition,
    pub(super) key: Bytes,
    /// None removes the key from a compacted topic.
    pub(super) value: Option<Bytes>,
}

impl Placed {
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + 64
    }
}

/// Offsets in the order of the records, or the first failure.
pub(super) type Answer = Result<Vec<i64>, KafkaError>;

#[derive(Debug)]
struct Batch {
    waiting: AtomicUsize,
    offsets: Vec<AtomicI64>,
    failure: Mutex<Option<KafkaError>>,
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
}

/// What librdkafka gives back with the report of one record.
#[derive(Debug)]
pub(super) struct Delivery {
    batch: Arc<Batch>,
    index: usize,
}

impl Delivery {
    pub(super) fn done(&self, result: &DeliveryResult<'_>) {
        match result {
            Ok(message) => self.batch.offsets[self.index].store(message.offset(), Ordering::Relaxed),
            Err((error, _)) => self.batch.fail(error.clone()),
        }
        self.batch.finish(1);
    }
}

impl Batch {
    fn fail(&self, error: KafkaError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn finish(&self, records: usize) {
        if self.waiting.fetch_sub(records, Ordering::AcqRel) != records {
            return;
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let offsets = || self.offsets.iter().map(|it| it.load(Ordering::Relaxed)).collect();
        let answer = failure.map_or_else(|| Ok(offsets()), Err);
        if let Some(sender) = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        }
    }
}

/// Gives the records to the producer, in order. The answer comes when the last of them is acknowledged or given up.
pub(super) fn send(producer: &Producer, records: &[Placed]) -> oneshot::Receiver<Answer> {
    let (sender, receiver) = oneshot::channel();
    let batch = Arc::new(Batch {
        // One more, so that it is not finished before all are sent.
        waiting: AtomicUsize::new(records.len() + 1),
        offsets: records.iter().map(|_| AtomicI64::new(-1)).collect(),
        failure: Mutex::new(None),
        answer: Mutex::new(Some(sender)),
    });
    let mut left = records.len();
    for (index, record) in records.iter().enumerate() {
        let delivery = Box::new(Delivery { batch: Arc::clone(&batch), index });
        let message = BaseRecord::<[u8], [u8], _>::with_opaque_to(&record.topic, delivery)
            .partition(i32::try_from(record.partition.0).unwrap_or(i32::MAX))
            .key(&record.key[..]);
        let message = match &record.value {
            Some(value) => message.payload(&value[..]),
            None => message,
        };
        if let Err((error, _)) = producer.send(message) {
            batch.fail(error);
            break;
        }
        left -= 1;
    }
    batch.finish(left + 1);
    receiver
}

pub(super) async fn wait(answer: oneshot::Receiver<Answer>) -> Answer {
    answer.await.unwrap_or(Err(KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue)))
}

/// Bytes that wait for the brokers.
#[derive(Debug)]
pub(super) struct Budget {
    queued: AtomicUsize,
    max: usize,
}

/// Gives its bytes back when it is dropped.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    pub(super) const fn new(max: usize) -> Self {
        Self { queued: AtomicUsize::new(0), max }
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Full`], unless nothing else waits.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Reserved<'_>, Error> {
        let fits = |queued: usize| (queued == 0 || queued.saturating_add(bytes) <= self.max).then_some(queued + bytes);
        match self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(Reserved { budget: self, bytes }),
            Err(queued_bytes) => Err(Error::Full { queued_bytes, queued_bytes_max: self.max }),
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.queued.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
