//! Readers that catch up: positions behind what the tail holds.
//!
//! A cursor is a client of its own with one partition assigned. They are kept after a read, because the next one mostly
//! goes on where it ended; another position takes the one that was used least lately.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::Semaphore;

use super::client::{Clients, Isolation, Reader};
use super::tail::{blocking, bounds, is_lost, list, record};
use super::{Error, Offset, Partition, ReadLimit, Record};

/// How long a read that has records waits for more of them, or for word that this was all.
const MORE: Duration = Duration::from_millis(50);

/// How long a broker may wait for more before it says that there is none.
pub(super) const END_WAIT: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Cursors {
    clients: Clients,
    idle: Mutex<Vec<Cursor>>,
    turns: Arc<Semaphore>,
}

struct Cursor {
    reader: Reader,
    at: Option<(Arc<str>, Partition)>,
    /// Where the next record will be.
    next: Offset,
    /// Fetched, and too much for the read before.
    carry: Option<Record>,
    /// The client has said that this is the end. It says so once: of the same place it has to be asked anew, or a read there
    /// would wait for what does not come. The log may end behind its last record, with the mark of a transaction.
    ended: bool,
    used: Instant,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("at", &self.at).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Cursors {
    pub(super) fn new(clients: Clients) -> Self {
        let turns = Arc::new(Semaphore::new(clients.config.readers_max));
        Self { clients, idle: Mutex::default(), turns }
    }

    /// Records from the brokers: up to the limit, or to the end as it was when they were asked.
    pub(super) async fn read(
        &self,
        topic: &Arc<str>,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Error::Closed)?;
        let stands = self.take(topic, partition, from);
        let (clients, topic) = (self.clients.clone(), Arc::clone(topic));
        let (cursor, records) = blocking(move || {
            // Whoever waited may be gone, and what it began goes on until it has its answer: as long it counts.
            let _turn = turn;
            let mut cursor = match stands {
                Some(cursor) => cursor,
                None => Cursor::new(&clients)?,
            };
            let records = cursor.read(&clients, &topic, partition, from, limit)?;
            Ok((cursor, records))
        })
        .await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(cursor);
        Ok(records)
    }

    /// The one that stands there, else the oldest when there may be no more.
    fn take(&self, topic: &Arc<str>, partition: Partition, from: Offset) -> Option<Cursor> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let stands =
            |it: &Cursor| it.next == from && it.at.as_ref().is_some_and(|(t, p)| t == topic && *p == partition);
        let index = match idle.iter().position(stands) {
            Some(index) => index,
            None if idle.len() > self.turns.available_permits() => {
                idle.iter().enumerate().min_by_key(|(_, it)| it.used).map(|(index, _)| index)?
            }
            None => return None,
        };
        Some(idle.swap_remove(index))
    }

    pub(super) fn close(&self) {
        self.turns.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Cursor {
    fn new(clients: &Clients) -> Result<Self, Error> {
        let reader = clients.reader(Isolation::Uncommitted, clients.config.reader_bytes, END_WAIT)?;
        Ok(Self { reader, at: None, next: Offset::START, carry: None, ended: false, used: Instant::now() })
    }

    fn read(
        &mut self,
        clients: &Clients,
        topic: &Arc<str>,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        self.used = Instant::now();
        let stands = self.next == from && self.at.as_ref().is_some_and(|(t, p)| t == topic && *p == partition);
        if !stands || self.ended {
            let found = bounds(clients, &self.reader, topic, partition)?;
            if from < found.start {
                return Err(Error::Expired { asked: from, start: found.start });
            }
            if from >= found.end {
                return Ok(Vec::new());
            }
            let assigned = self.reader.assign(&list(topic, partition, from)?);
            assigned.map_err(|error| clients.failed(format_args!("`{topic}` cannot be read"), error))?;
            (self.at, self.next, self.carry) = (Some((Arc::clone(topic), partition)), from, None);
            self.ended = false;
        }
        self.fill(clients, topic, partition, limit)
    }

    fn fill(
        &mut self,
        clients: &Clients,
        topic: &str,
        partition: Partition,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        let deadline = Instant::now() + clients.request_timeout();
        let (mut records, mut bytes) = (Vec::<Record>::new(), 0);
        while records.len() < limit.records_max.max(1) {
            let record = match self.carry.take() {
                Some(record) => record,
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let wait = if records.is_empty() { left } else { left.min(MORE) };
                    match self.reader.poll(wait) {
                        Some(Ok(message)) => record(&message),
                        Some(Err(KafkaError::PartitionEOF(_))) => {
                            self.ended = true;
                            break;
                        }
                        None if !records.is_empty() => break,
                        None if left.is_zero() => {
                            let error = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                            return Err(clients.failed(format_args!("`{topic}` cannot be read"), error));
                        }
                        None => continue,
                        Some(Err(error)) if is_lost(&error) => {
                            let found = bounds(clients, &self.reader, topic, partition)?;
                            return Err(Error::Expired { asked: self.next, start: found.start });
                        }
                        Some(Err(error)) if is_passing(&error) => continue,
                        Some(Err(error)) => return Err(clients.failed(format_args!("`{topic}` cannot be read"), error)),
                    }
                }
            };
            bytes += record.key.len() + record.value.len();
            if !records.is_empty() && bytes > limit.bytes_max {
                self.carry = Some(record);
                break;
            }
            self.next = record.offset.next();
            records.push(record);
        }
        Ok(records)
    }
}

/// What the client mends by itself, within the time it is given.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::OperationTimedOut
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NotCoordinator
                | Code::PollExceeded
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::Resolve
        )
    )
}
