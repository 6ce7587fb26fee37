//! The newest record of each key of compacted topics: an index in memory of the partitions that somebody asks about.
//!
//! It begins with a partition when that is asked about first, and is brought up to its end before each answer; at the end
//! that costs no word with a broker: it is the end as this process has fetched it, some milliseconds behind what others append.
//! All indices together hold `newest_bytes_max`. Beyond it the oldest entries of the partition that is being read go, and for a
//! key that is not held that partition is read, as a log without an index does.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;

use super::metrics::Metrics;
use super::{Cleanup, Error, KafkaLog, Log, Offset, Partition, ReadLimit, Record, Topic, TopicSpec, newest_by_reading};

/// What is read at once to get to the end of a partition.
const PAGE: ReadLimit = ReadLimit { records_max: 10_000, bytes_max: 4 << 20 };

/// See the module.
pub(super) struct Newest {
    by_topic: BTreeMap<Topic, Vec<tokio::sync::Mutex<Index>>>,
    held: Held,
}

/// What all indices hold together.
struct Held {
    bytes: AtomicUsize,
    bytes_max: usize,
    has_warned: AtomicBool,
    metrics: Metrics,
}

/// The keys of one partition.
#[derive(Default)]
struct Index {
    /// Everything below is taken in.
    next: Option<Offset>,
    by_key: HashMap<Bytes, Entry>,
    /// Oldest first; what is not the entry's offset any more stands for nothing.
    order: VecDeque<(Offset, Bytes)>,
    /// Entries had to go, so a key that is not here may still be on the log.
    is_partial: bool,
}

struct Entry {
    at: Offset,
    value: Bytes,
}

impl Newest {
    pub(super) fn new(topics: &[TopicSpec], partitions: u32, bytes_max: usize, metrics: Metrics) -> Self {
        let compacted = topics.iter().filter(|it| it.cleanup == Cleanup::Compact);
        let by_topic = compacted.map(|it| (it.topic, (0..partitions).map(|_| Default::default()).collect())).collect();
        let held = Held { bytes: AtomicUsize::new(0), bytes_max, has_warned: AtomicBool::new(false), metrics };
        Self { by_topic, held }
    }

    pub(super) async fn get(&self, log: &KafkaLog, topic: Topic, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let partition = log.partition_of(key);
        let index = self.by_topic.get(topic).and_then(|it| it.get(partition.0 as usize));
        let index = index.ok_or_else(|| Error::UnknownTopic(format!("{topic}, compacted")))?;
        {
            let mut index = index.lock().await;
            index.catch_up(log, topic, partition, &self.held).await?;
            match index.by_key.get(key) {
                Some(entry) => return Ok(Some(entry.value.clone())),
                None if !index.is_partial => return Ok(None),
                None => {}
            }
        }
        newest_by_reading(log, topic, key).await
    }
}

impl Index {
    /// Takes in what is on the log now. When it is cut short it goes on where it was.
    async fn catch_up(&mut self, log: &KafkaLog, topic: Topic, partition: Partition, held: &Held) -> Result<(), Error> {
        loop {
            let next = match self.next {
                Some(next) => next,
                // Kept, were there nothing to read: a broker is asked once.
                None => *self.next.insert(log.bounds(topic, partition).await?.start),
            };
            let records = match log.read(topic, partition, next, PAGE).await {
                // Somebody removed the beginning: what was there may not be.
                Err(Error::Expired { start, .. }) => {
                    self.clear(held);
                    self.next = Some(start);
                    continue;
                }
                records => records?,
            };
            let Some(last) = records.last() else { return Ok(()) };
            self.next = Some(last.offset.next());
            for record in records {
                self.take(record, held);
            }
        }
    }

    fn take(&mut self, record: Record, held: &Held) {
        let Record { offset, key, value, .. } = record;
        let is_removal = value.is_empty();
        if let Some(before) = self.by_key.remove(&key) {
            held.release(weight(&key, &before.value));
        }
        if is_removal {
            return;
        }
        held.bytes.fetch_add(weight(&key, &value), Ordering::Relaxed);
        self.order.push_back((offset, key.clone()));
        self.by_key.insert(key, Entry { at: offset, value });
        while held.is_over() {
            let Some((at, key)) = self.order.pop_front() else { break };
            self.evict(at, &key, held);
        }
        if self.order.len() > 2 * self.by_key.len() + 1_024 {
            self.order.retain(|(at, key)| self.by_key.get(key).is_some_and(|it| it.at == *at));
        }
        held.tell();
    }

    fn evict(&mut self, at: Offset, key: &Bytes, held: &Held) {
        if self.by_key.get(key).is_none_or(|it| it.at != at) {
            return;
        }
        if let Some(entry) = self.by_key.remove(key) {
            held.release(weight(key, &entry.value));
        }
        self.is_partial = true;
        if !held.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                newest_bytes_max = held.bytes_max,
                "more keys are live than kafka.newest_bytes_max holds: others are looked for on the log, which is slow"
            );
        }
    }

    fn clear(&mut self, held: &Held) {
        for (key, entry) in self.by_key.drain() {
            held.release(weight(&key, &entry.value));
        }
        self.order.clear();
        self.is_partial = false;
        held.tell();
    }
}

impl Held {
    fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn tell(&self) {
        self.metrics.newest_bytes.set(i64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
    }
}

/// What an entry takes in memory, about.
fn weight(key: &Bytes, value: &Bytes) -> usize {
    key.len() + value.len() + 240
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn an_index_holds_what_it_may_and_says_when_it_is_not_all() {
        let metrics = Metrics::register(&Registry::new()).expect("metrics");
        let record = |offset: u64, key: &'static str, value: &'static str| Record {
            offset: Offset(offset),
            appended_at: 0,
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        };
        // Room for three, written as `key=value` in their order; an empty value removes.
        for (written, keys, is_partial) in [
            (&["a=1", "b=2", "c=3"][..], &["a=1", "b=2", "c=3"][..], false),
            (&["a=1", "a=2", "a=3", "a=4", "b=1"], &["a=4", "b=1"], false),
            (&["a=1", "b=1", "a=", "c=1", "d=1"], &["b=1", "c=1", "d=1"], false),
            (&["a=1", "b=1", "c=1", "d=1"], &["b=1", "c=1", "d=1"], true),
            (&["a=1", "b=1", "a=2", "c=1", "d=1"], &["a=2", "c=1", "d=1"], true),
            (&["x="], &[], false),
        ] {
            let newest = Newest::new(&[], 1, 3 * 242, metrics.clone());
            let mut index = Index::default();
            for (offset, it) in (0..).zip(written) {
                let (key, value) = it.split_once('=').expect("a pair");
                index.take(record(offset, key, value), &newest.held);
            }
            let text = |it: &Bytes| String::from_utf8(it.to_vec()).expect("text");
            let mut found: Vec<_> =
                index.by_key.iter().map(|(key, it)| format!("{}={}", text(key), text(&it.value))).collect();
            found.sort();
            assert_eq!(
                (found, index.is_partial),
                (keys.iter().map(ToString::to_string).collect(), is_partial),
                "{written:?}"
            );
            index.clear(&newest.held);
            assert_eq!(newest.held.bytes.load(Ordering::Relaxed), 0, "{written:?}");
        }
    }

    #[test]
    fn a_key_that_is_written_again_and_again_takes_no_room() {
        let metrics = Metrics::register(&Registry::new()).expect("metrics");
        let newest = Newest::new(&[], 1, 1_000_000, metrics);
        let mut index = Index::default();
        for offset in 0..10_000 {
            let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
            index.take(Record { offset: Offset(offset), appended_at: 0, key, value }, &newest.held);
        }
        assert!(index.order.len() < 2_000, "{}", index.order.len());
    }
}
