//! The newest records of one partition of a topic, as the tail has fetched them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Offset, Partition, ReadLimit, Record};

/// So many records that nobody read, for so long: then nobody follows the partition any more.
const UNREAD_MAX: usize = 1_000;
const UNREAD_FOR: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    /// Full name of the topic.
    pub(super) topic: Arc<str>,
    pub(super) partition: Partition,
    /// Where the partition ends, as far as this process knows: told to whoever waits at the end.
    pub(super) grown: watch::Sender<Offset>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None while the partition is not followed.
    held: Option<Held>,
    /// Everything below was appended by this process, so it can be read.
    appended: Offset,
}

/// All records from `from` up to `next`.
#[derive(Debug)]
struct Held {
    from: Offset,
    next: Offset,
    records: VecDeque<Record>,
    bytes: usize,
    read_at: Instant,
    unread: usize,
}

/// What the ring can say about a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Records(Vec<Record>),
    /// There is nothing at or after this offset.
    End,
    /// This process appended it and will see it at once.
    Coming,
    /// Older than what is held.
    Older,
    /// The partition is not followed.
    Idle,
}

impl Ring {
    pub(super) fn new(topic: Arc<str>, partition: Partition, end: Offset) -> Self {
        Self { topic, partition, grown: watch::Sender::new(end), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn look(&self, from: Offset, limit: ReadLimit) -> Look {
        let mut state = self.lock();
        let appended = state.appended;
        let Some(held) = &mut state.held else { return Look::Idle };
        held.read_at = Instant::now();
        held.unread = 0;
        if from >= held.next {
            return if from < appended { Look::Coming } else { Look::End };
        }
        if from < held.from {
            return Look::Older;
        }
        let first = held.records.partition_point(|it| it.offset < from);
        let mut bytes = 0;
        let fits = |(n, record): &(usize, &Record)| {
            bytes += record.key.len() + record.value.len();
            *n == 0 || (*n < limit.records_max && bytes <= limit.bytes_max)
        };
        let records: Vec<_> =
            held.records.range(first..).enumerate().take_while(fits).map(|(_, it)| it.clone()).collect();
        if !records.is_empty() {
            return Look::Records(records);
        }
        if from < appended { Look::Coming } else { Look::End }
    }

    /// Follows from here on. False when it did already.
    pub(super) fn follow(&self, from: Offset) -> bool {
        let mut state = self.lock();
        if state.held.is_some() {
            return false;
        }
        let (records, read_at) = (VecDeque::new(), Instant::now());
        state.held = Some(Held { from, next: from, records, bytes: 0, read_at, unread: 0 });
        true
    }

    /// Lets go of what is held and wakes whoever waits, so that they read again. False when there was nothing.
    pub(super) fn idle(&self, total: &AtomicUsize) -> bool {
        let held = self.lock().held.take();
        if let Some(held) = &held {
            total.fetch_sub(held.bytes, Ordering::Relaxed);
            self.grown.send_modify(|_| {});
        }
        held.is_some()
    }

    /// This process appended up to here.
    pub(super) fn appended(&self, next: Offset) {
        let mut state = self.lock();
        state.appended = state.appended.max(next);
        // While the partition is followed, readers are woken when there is something to read.
        if state.held.is_none() {
            self.grow(next);
        }
    }

    pub(super) fn grow(&self, next: Offset) {
        self.grown.send_if_modified(|known| {
            let is_more = next > *known;
            *known = next.max(*known);
            is_more
        });
    }

    /// Takes in a fetched record; drops the oldest while all rings together hold too much. False when nobody reads.
    pub(super) fn push(&self, record: Record, total: &AtomicUsize, bytes_max: usize) -> bool {
        let next = record.offset.next();
        {
            let mut state = self.lock();
            let Some(held) = &mut state.held else { return true };
            if record.offset < held.next {
                return true;
            }
            let bytes = weight(&record);
            held.next = next;
            held.bytes += bytes;
            held.records.push_back(record);
            let mut sum = total.fetch_add(bytes, Ordering::Relaxed) + bytes;
            while sum > bytes_max && held.records.len() > 1 {
                let Some(oldest) = held.records.pop_front() else { break };
                held.from = oldest.offset.next();
                held.bytes -= weight(&oldest);
                sum = total.fetch_sub(weight(&oldest), Ordering::Relaxed) - weight(&oldest);
            }
            held.unread += 1;
            if held.unread > UNREAD_MAX && held.read_at.elapsed() > UNREAD_FOR {
                return false;
            }
        }
        self.grow(next);
        true
    }
}

/// What a record takes in memory, about.
fn weight(record: &Record) -> usize {
    record.key.len() + record.value.len() + 160
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(offset: u64) -> Record {
        Record { offset: Offset(offset), appended_at: 0, key: Bytes::new(), value: Bytes::from_static(b"12345") }
    }

    #[test]
    fn a_ring_knows_what_it_can_answer() {
        let total = AtomicUsize::new(0);
        let ring = Ring::new("t".into(), Partition(0), Offset(5));
        let all = ReadLimit { records_max: 9, bytes_max: 999 };
        let offsets = |look| match look {
            Look::Records(records) => records.iter().map(|it| it.offset.0).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(ring.look(Offset(5), all), Look::Idle);
        assert!(ring.follow(Offset(5)));
        assert!(!ring.follow(Offset(9)), "once");
        assert_eq!((ring.look(Offset(5), all), ring.look(Offset(4), all)), (Look::End, Look::Older));
        ring.appended(Offset(8));
        assert_eq!(ring.look(Offset(5), all), Look::Coming);
        for offset in [5, 7, 7, 6, 9] {
            ring.push(record(offset), &total, 10_000);
        }
        assert_eq!(offsets(ring.look(Offset(5), all)), [5, 7, 9], "gaps are kept, repetitions are not");
        assert_eq!(offsets(ring.look(Offset(6), all)), [7, 9]);
        assert_eq!(ring.look(Offset(10), all), Look::End);
        assert_eq!(*ring.grown.borrow(), Offset(10));
        ring.push(record(10), &total, 400);
        assert_eq!(ring.look(Offset(5), all), Look::Older, "memory is bounded");
        assert_eq!(offsets(ring.look(Offset(8), all)), [9, 10]);
        assert!(ring.idle(&total));
        assert_eq!((total.load(Ordering::Relaxed), ring.look(Offset(10), all)), (0, Look::Idle));
    }
}
