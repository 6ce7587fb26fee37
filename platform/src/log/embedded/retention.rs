//! What is removed, and when.
//!
//! Whole segments leave, oldest first: those older than the age, and as many more as bring the log under its bytes. A
//! segment stays while a consumer that has committed a position on its topic has not passed it. Of a compacted topic,
//! records leave one by one: superseded, older than the age and passed by every consumer.

use std::sync::Condvar;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::codec::{self, Meta};
use super::queue::Trim;
use super::shared::Shared;
use super::space::Spaces;
use super::store::Failure;
use super::topics::{Segments, Slot};
use crate::log::{Error, Offset, ReadLimit};

/// How often the journal goes to the disk at least, and the thread looks whether the store still takes writes.
const TICK: Duration = Duration::from_secs(1);
/// Retention runs every so many ticks: once a minute.
const TICKS_PER_PASS: u32 = 60;
/// Superseded records removed in one pass over a partition.
const SUPERSEDED_MAX: usize = 4_096;
const ONE: ReadLimit = ReadLimit { records_max: 1, bytes_max: 0 };

/// What one pass removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Bytes of records of topics that are not compacted, before compression.
    pub bytes: u64,
    /// Superseded records of compacted topics.
    pub superseded: usize,
}

/// A partition as the plan sees it.
#[derive(Debug)]
struct Held {
    slot: Slot,
    segments: Segments,
    /// Below which every consumer has been; `None` without consumers.
    passed: Option<Offset>,
}

/// New starts: by age first, then by bytes, over all partitions. `before` is the oldest time that stays.
fn plan(partitions: &[Held], before: i64, bytes_max: u64) -> Vec<(Slot, Offset)> {
    let segments = |held: &Held| held.segments.marks.len();
    // The last segment is being written and stays.
    let free = |held: &Held, n: usize| {
        n + 1 < segments(held) && held.passed.is_none_or(|passed| held.segments.marks[n + 1].first <= passed)
    };
    let mut gone = vec![0; partitions.len()];
    for (gone, held) in gone.iter_mut().zip(partitions) {
        while free(held, *gone) && held.segments.marks[*gone + 1].at < before {
            *gone += 1;
        }
    }
    let left = |held: &Held, gone: usize| {
        held.segments.marks.get(gone).map_or(0, |first| held.segments.bytes_end - first.bytes_before)
    };
    let mut bytes: u64 = partitions.iter().zip(&gone).map(|(held, gone)| left(held, *gone)).sum();
    while bytes > bytes_max {
        let candidates = (0..partitions.len()).filter(|i| free(&partitions[*i], gone[*i]));
        let Some(oldest) = candidates.min_by_key(|i| partitions[*i].segments.marks[gone[*i]].at) else { break };
        bytes -= left(&partitions[oldest], gone[oldest]) - left(&partitions[oldest], gone[oldest] + 1);
        gone[oldest] += 1;
    }
    let moved = partitions.iter().zip(gone).filter(|(_, gone)| *gone > 0);
    moved.map(|(held, gone)| (held.slot, held.segments.marks[gone].first)).collect()
}

/// One pass at `now` (microseconds since the Unix epoch). Waits for the writer, so not for the writer's thread.
pub(super) fn enforce(shared: &Shared, now: i64) -> Result<Removed, Error> {
    let before = now.saturating_sub(shared.config.retention_age.as_micros());
    let topics = &shared.topics;
    let (compacted, retained): (Vec<_>, Vec<_>) = topics.slots().partition(|slot| topics.is_compacted(*slot));
    let held = |slot| Held { slot, segments: topics.segments(slot), passed: topics.passed(slot) };
    let starts = plan(&retained.into_iter().map(held).collect::<Vec<_>>(), before, shared.config.retention_bytes);
    let mut trim: Vec<_> = starts.iter().map(|(slot, start)| Trim::Before { slot: *slot, start: *start }).collect();
    for slot in compacted {
        trim.extend(superseded(shared, slot, before)?);
    }
    if trim.is_empty() {
        return Ok(Removed::default());
    }
    let held = |(slot, _): &(Slot, Offset)| topics.segments(*slot).bytes();
    let before: u64 = starts.iter().map(held).sum();
    let removed = trim.len() - starts.len();
    shared.submit_trim(trim)?.blocking_recv().map_err(|_| Error::Closed)??;
    let after: u64 = starts.iter().map(held).sum();
    // What the store gets later would not be dropped.
    shared.settle()?;
    for (slot, start) in starts {
        shared.with_store(|store| store.drop_before(slot, start))?;
    }
    let removed = Removed { bytes: before.saturating_sub(after), superseded: removed };
    tracing::info!(bytes = removed.bytes, superseded = removed.superseded, "log retention removed records");
    Ok(removed)
}

fn superseded(shared: &Shared, slot: Slot, before: i64) -> Result<Vec<Trim>, Failure> {
    let topics = &shared.topics;
    let (topic, partition) = (shared.topics.topic(slot).spec.topic, shared.topics.partition(slot));
    let (passed, end) = (shared.topics.passed(slot), shared.topics.bounds(slot).end);
    shared.with_view(|view| {
        let mut trim = Vec::new();
        let prefix = codec::meta(Meta::Superseded, topic, partition);
        for (key, id) in view.page(Spaces::META, &prefix, None, SUPERSEDED_MAX)? {
            let Some(offset) = key.last_chunk::<8>().map(|bytes| Offset(u64::from_be_bytes(*bytes))) else { continue };
            if passed.is_some_and(|passed| offset >= passed) {
                break;
            }
            let record = view.records(topics, slot, offset, end, ONE)?;
            if record.first().is_some_and(|record| record.appended_at >= before) {
                break;
            }
            trim.push(Trim::Superseded { slot, offset, id: codec::read_id(&id)? });
        }
        Ok(trim)
    })
}

/// Wakes the background thread to end it.
#[derive(Debug, Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn stop(&self) {
        *super::lock(&self.stopped) = true;
        self.changed.notify_all();
    }

    /// Whether to stop, known after `wait` at the latest.
    fn wait(&self, wait: Duration) -> bool {
        let stopped = super::lock(&self.stopped);
        let waited = self.changed.wait_timeout_while(stopped, wait, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The background thread: the journal to the disk, repair of a store that no append comes to repair, and retention.
pub(super) fn run(shared: &Arc<Shared>, stop: &Stop) {
    let mut ticks = 0;
    while !stop.wait(TICK) {
        shared.look_after();
        ticks = (ticks + 1) % TICKS_PER_PASS;
        if ticks == 0
            && let Err(error) = enforce(shared, shared.clock.now_micros())
        {
            tracing::warn!(error = %error, "log retention failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::embedded::codec::Mark;

    /// Segments of 10 records and 100 bytes each, one per `at`, the last one full.
    fn held(slot: usize, at: &[i64], passed: Option<u64>) -> Held {
        let mark = |(n, at): (u64, &i64)| Mark { first: Offset(n * 10), at: *at, bytes_before: n * 100 };
        let marks = (0..).zip(at).map(mark).collect();
        let segments = Segments { marks, bytes_end: at.len() as u64 * 100 };
        Held { slot: Slot(slot), segments, passed: passed.map(Offset) }
    }

    type Starts = &'static [(usize, u64)];

    #[test]
    fn old_segments_leave_then_the_oldest_until_it_fits() {
        let two = |a: Option<u64>, b: Option<u64>| vec![held(0, &[0, 10, 20], a), held(1, &[5, 15, 25], b)];
        let cases: [(&str, Vec<Held>, i64, u64, Starts); 12] = [
            ("nothing is old", two(None, None), 0, 1_000, &[]),
            ("a segment is as old as its newest record", two(None, None), 10, 1_000, &[]),
            ("one is old", two(None, None), 11, 1_000, &[(0, 10)]),
            ("the last one stays, however old", two(None, None), 1_000, 1_000, &[(0, 20), (1, 20)]),
            ("a consumer holds it", two(Some(9), None), 1_000, 1_000, &[(1, 20)]),
            ("a consumer has passed it", two(Some(10), None), 1_000, 1_000, &[(0, 10), (1, 20)]),
            ("bytes: the oldest of all", two(None, None), 0, 500, &[(0, 10)]),
            ("bytes: then the next", two(None, None), 0, 499, &[(0, 10), (1, 10)]),
            ("bytes: the held ones stay", two(Some(0), None), 0, 1, &[(1, 20)]),
            ("bytes after age", two(None, None), 11, 400, &[(0, 10), (1, 10)]),
            ("all held", two(Some(0), Some(3)), 1_000, 1, &[]),
            ("empty", vec![held(0, &[], None), held(1, &[1], None)], 1_000, 1, &[]),
        ];
        for (case, partitions, before, bytes_max, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(slot, start)| (Slot(*slot), Offset(*start))).collect();
            assert_eq!(plan(&partitions, before, bytes_max), expected, "{case}");
        }
    }
}
