//! State and progress of a consumer: as records of its changelog, and in memory.
//!
//! A changelog is a compacted topic for each consumer, with the partitions of all others. Its newest records are the
//! state, so a restore reads what is live and what compaction has not come to yet.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::client::{Clients, Isolation};
use super::cursor::{END_WAIT, is_passing};
use super::delivery::Placed;
use super::tail::{bounds, list, offset, record};
use super::{Error, Offset, Partition, Progress, StateChange, Store, Topic};

/// First byte of a key.
const STATE: u8 = b's';
const PROGRESS: u8 = b'p';
/// First byte of a value: how the rest is to be read.
const VERSION: u8 = 1;

/// How often a restore says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// What a restore fetches ahead.
const AHEAD: usize = 16 << 20;

/// State and progress of a consumer in one partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    stores: BTreeMap<String, BTreeMap<Bytes, Bytes>>,
    progress: BTreeMap<String, Offset>,
}

impl View {
    pub(super) fn state(&self, store: &str, key: &[u8]) -> Option<Bytes> {
        self.stores.get(store)?.get(key).cloned()
    }

    pub(super) fn scan(&self, store: &str, after: Option<Bytes>, limit: usize) -> Vec<(Bytes, Bytes)> {
        let Some(entries) = self.stores.get(store) else { return Vec::new() };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = entries.range((from, Bound::Unbounded)).take(limit);
        page.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(super) fn committed(&self, topic: &str) -> Option<Offset> {
        self.progress.get(topic).copied()
    }

    pub(super) fn apply(&mut self, state: Vec<StateChange>, progress: &[Progress]) {
        for change in state {
            self.set(change.store, &change.key, change.value);
        }
        for it in progress {
            self.progress.insert(it.topic.to_owned(), it.next);
        }
    }

    fn set(&mut self, store: &str, key: &Bytes, value: Option<Bytes>) {
        if !self.stores.contains_key(store) {
            self.stores.insert(store.to_owned(), BTreeMap::new());
        }
        let Some(entries) = self.stores.get_mut(store) else { return };
        match value {
            // Copied: the entries of a commit, or of a batch of records, may share one piece of memory, and an entry that
            // lives for long would keep all of it.
            Some(value) => match entries.get_mut(key) {
                Some(entry) => Some(std::mem::replace(entry, Bytes::copy_from_slice(&value))),
                None => entries.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(&value)),
            },
            None => entries.remove(key),
        };
    }

    /// Takes in a record of the changelog; false when its key is none of a consumer's, so that somebody else has written it.
    ///
    /// # Errors
    /// What is wrong with a record that a consumer may have written: without it the state would be another one.
    fn restore(&mut self, own: &Own, key: &Bytes, value: Option<Bytes>) -> Result<bool, &'static str> {
        let Some(entry) = Entry::of(own, key) else { return Ok(false) };
        let value = match value {
            None => None,
            Some(value) if value.first() == Some(&VERSION) => Some(value.slice(1..)),
            Some(_) => return Err("a value of another version"),
        };
        match entry {
            Entry::State { store, key } => self.set(store, &key, value),
            Entry::Progress { topic } => {
                let value = value.ok_or("progress that was removed")?;
                let next = u64::from_le_bytes(value[..].try_into().map_err(|_| "progress of another length")?);
                self.progress.insert(topic.to_owned(), Offset(next));
            }
        }
        Ok(true)
    }

    fn entries(&self) -> usize {
        self.stores.values().map(BTreeMap::len).sum()
    }
}

/// What the keys of a consumer's changelog may name.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) stores: &'static [Store],
    pub(super) topics: Vec<Topic>,
}

/// What a key of the changelog names.
enum Entry {
    State { store: Store, key: Bytes },
    Progress { topic: Topic },
}

impl Entry {
    fn of(own: &Own, key: &Bytes) -> Option<Self> {
        match key.split_first()? {
            (&STATE, rest) => {
                let length = usize::from(*rest.first()?);
                let name = rest.get(1..=length)?;
                let store = own.stores.iter().find(|it| it.as_bytes() == name)?;
                Some(Self::State { store, key: key.slice(2 + length..) })
            }
            (&PROGRESS, name) => {
                let topic = own.topics.iter().find(|it| it.as_bytes() == name)?;
                Some(Self::Progress { topic })
            }
            _ => None,
        }
    }
}

/// How far a restore is.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    from: AtomicU64,
    at: AtomicU64,
    end: AtomicU64,
}

impl std::fmt::Display for Restoring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [from, at, end] = [&self.from, &self.at, &self.end].map(|it| it.load(Ordering::Relaxed));
        if end == 0 {
            return f.write_str("the owner before is being fenced");
        }
        let (done, all) = (at.saturating_sub(from), end.saturating_sub(from));
        write!(f, "{done} of {all} records, {} %", done.saturating_mul(100).checked_div(all).unwrap_or(100))
    }
}

fn value(bytes: &[u8]) -> Bytes {
    let mut value = BytesMut::with_capacity(1 + bytes.len());
    value.put_u8(VERSION);
    value.put_slice(bytes);
    value.freeze()
}

/// The longest name of a store or topic, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 100;

pub(super) fn state_record(topic: &Arc<str>, change: &StateChange) -> Placed {
    let mut key = BytesMut::with_capacity(2 + change.store.len() + change.key.len());
    key.put_u8(STATE);
    // Names are checked when the log is opened.
    key.put_u8(u8::try_from(change.store.len()).unwrap_or(u8::MAX));
    key.put_slice(change.store.as_bytes());
    key.put_slice(&change.key);
    let value = change.value.as_ref().map(|it| value(it));
    Placed { topic: Arc::clone(topic), partition: change.partition, key: key.freeze(), value }
}

pub(super) fn progress_record(topic: &Arc<str>, progress: &Progress) -> Placed {
    let mut key = BytesMut::with_capacity(1 + progress.topic.len());
    key.put_u8(PROGRESS);
    key.put_slice(progress.topic.as_bytes());
    let value = Some(value(&progress.next.0.to_le_bytes()));
    Placed { topic: Arc::clone(topic), partition: progress.partition, key: key.freeze(), value }
}

/// Reads a partition of a changelog from its beginning to the end it has now. Blocks.
///
/// # Errors
/// When it cannot be read, or holds what this version cannot read.
pub(super) fn restore(
    clients: &Clients,
    topic: &Arc<str>,
    own: &Own,
    partition: Partition,
    progress: &Restoring,
) -> Result<View, Error> {
    let reader = clients.reader(Isolation::Committed, AHEAD, END_WAIT)?;
    let found = bounds(clients, &reader, topic, partition)?;
    let mut view = View::default();
    if found.start == found.end {
        return Ok(view);
    }
    progress.from.store(found.start.0, Ordering::Relaxed);
    progress.at.store(found.start.0, Ordering::Relaxed);
    progress.end.store(found.end.0, Ordering::Relaxed);
    let fail = |error| clients.failed(format_args!("state cannot be restored from `{topic}`"), error);
    reader.assign(&list(topic, partition, found.start)?).map_err(fail)?;
    let (began, mut said, mut heard) = (Instant::now(), Instant::now(), Instant::now());
    let (mut records, mut foreign) = (0_u64, 0_u64);
    loop {
        match reader.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let at = offset(message.offset());
                let is_removal = message.payload().is_none();
                let it = record(&message);
                let is_own = view.restore(own, &it.key, (!is_removal).then_some(it.value)).map_err(|what| {
                    Error::Open(format!("kafka: `{topic}` has, in partition {partition} at {at}, {what}"))
                })?;
                records += 1;
                if !is_own {
                    foreign += 1;
                    tracing::debug!(topic = &**topic, %partition, %at, "a record that no consumer wrote is passed over");
                }
                progress.at.store(at.0, Ordering::Relaxed);
                heard = Instant::now();
                if said.elapsed() > SAY_EVERY {
                    said = heard;
                    tracing::info!(topic = &**topic, %partition, %at, end = %found.end, "state is being restored");
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) if !is_passing(&error) => return Err(fail(error)),
            Some(Err(_)) | None if heard.elapsed() < clients.request_timeout() => {}
            Some(Err(error)) => return Err(fail(error)),
            None => {
                let error = KafkaError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut);
                return Err(fail(error));
            }
        }
    }
    if foreign > 0 {
        tracing::warn!(topic = &**topic, %partition, foreign, "records that no consumer wrote were passed over");
    }
    let (entries, took) = (view.entries(), began.elapsed());
    tracing::info!(topic = &**topic, %partition, records, entries, ?took, "state is restored");
    Ok(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        Own { stores: &["store"], topics: vec!["steps"] }
    }

    #[test]
    fn what_is_written_is_read() {
        let topic: Arc<str> = "state.c".into();
        let partition = Partition(3);
        let change = |key: &'static str, value: Option<&'static str>| StateChange {
            store: "store",
            partition,
            key: Bytes::from_static(key.as_bytes()),
            value: value.map(|it| Bytes::from_static(it.as_bytes())),
        };
        let changes = vec![change("a", Some("1")), change("b", Some("")), change("c", Some("3")), change("c", None)];
        let progress = [Progress { topic: "steps", partition, next: Offset(7) }];
        let mut read = View::default();
        for it in changes.iter().map(|it| state_record(&topic, it)).chain([progress_record(&topic, &progress[0])]) {
            read.restore(&own(), &it.key, it.value).expect("readable");
        }
        let mut written = View::default();
        written.apply(changes, &progress);
        assert_eq!(read, written);
        assert_eq!(read.state("store", b"b").as_deref(), Some(&b""[..]), "empty is not removed");
        assert_eq!((read.state("store", b"c"), read.committed("steps")), (None, Some(Offset(7))));
    }

    #[test]
    fn what_nobody_wrote_is_passed_over_and_what_cannot_be_read_is_refused() {
        type Case = (&'static [u8], Option<&'static [u8]>, Result<bool, &'static str>);
        let cases: [Case; 14] = [
            (b"", Some(b"\x01"), Ok(false)),
            (b"x", Some(b"\x01"), Ok(false)),
            (b"x", None, Ok(false)),
            (b"s", Some(b"\x01"), Ok(false)),
            (b"s\x09abc", Some(b"\x01"), Ok(false)),
            (b"s\x01\xff", Some(b"\x01"), Ok(false)),
            (b"support-1", Some(b"{}"), Ok(false)),
            (b"payments-1", Some(b"{}"), Ok(false)),
            (b"plan-1", None, Ok(false)),
            (b"s\x05otherk", Some(b"\x02"), Ok(false)),
            (b"s\x05storek", Some(b"\x01v"), Ok(true)),
            (b"s\x05storek", Some(b"\x02"), Err("a value of another version")),
            (b"psteps", Some(b"\x01\x01"), Err("progress of another length")),
            (b"psteps", None, Err("progress that was removed")),
        ];
        for (key, value, expected) in cases {
            let outcome = View::default().restore(&own(), &Bytes::from_static(key), value.map(Bytes::from_static));
            assert_eq!(outcome, expected, "{key:?}");
        }
    }
}
