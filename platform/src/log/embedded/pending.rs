//! What is in the journal and not in the store yet.
//!
//! The store writes its manifest to the disk under the lock that every insert and every read of a keyspace needs: five
//! flushes of the disk, each time a memtable or a compaction is done. Nobody who waits for an answer may wait for that. So
//! a write is durable with the journal and visible from here, and one thread behind brings it to the store, later and in
//! bulk. What was overwritten meanwhile never gets there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::space::{Space, Write};
use super::store::Failure;

/// Bytes that are brought to the store at once, before they are as old as [`LINGER`].
const FULL_BYTES: usize = 8 << 20;
/// Bytes at which the writer waits for the store. As many again may be on their way there.
const BYTES_MAX: usize = 32 << 20;
/// How long a write stays here so that later ones may replace it.
const LINGER: Duration = Duration::from_millis(500);
/// Between two looks at whether the store still takes writes, for who waits for it.
const LOOK: Duration = Duration::from_millis(100);
/// After a failure the store is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module. One thread adds, one takes, many look.
#[derive(Debug, Default)]
pub(super) struct Pending {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    active: Generation,
    /// On its way to the store; still looked at until it is there.
    applying: Option<Arc<Generation>>,
    /// Somebody waits for the store to have it all.
    urgent: bool,
    closed: bool,
    #[cfg(test)]
    paused: bool,
    /// Last group that was added, and the last that the store has.
    written: u64,
    applied: u64,
}

/// Changes that go to the store together; of each entry the newest.
#[derive(Debug, Default)]
pub(super) struct Generation {
    spaces: BTreeMap<Space, BTreeMap<Bytes, Option<Bytes>>>,
    bytes: usize,
    /// Number of its last group.
    last: u64,
    since: Option<Instant>,
}

/// Part of the entries of a range, in order; with `more` there are others after the last.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) entries: Vec<(Bytes, Option<Bytes>)>,
    pub(super) more: bool,
}

impl Generation {
    pub(super) fn spaces(&self) -> impl Iterator<Item = (Space, &BTreeMap<Bytes, Option<Bytes>>)> {
        self.spaces.iter().map(|(space, entries)| (*space, entries))
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    fn get(&self, space: Space, key: &[u8]) -> Option<Option<Bytes>> {
        self.spaces.get(&space)?.get(key).cloned()
    }

    fn range(&self, space: Space, range: (Bound<&[u8]>, Bound<&[u8]>), limit: usize) -> Entries {
        let Some(all) = self.spaces.get(&space) else { return Entries { entries: Vec::new(), more: false } };
        let mut range = all.range::<[u8], _>(range);
        let entries = range.by_ref().take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
        Entries { entries, more: range.next().is_some() }
    }

    fn is_due(&self, held: &Held) -> bool {
        #[cfg(test)]
        if held.paused && !held.closed {
            return false;
        }
        self.since
            .is_some_and(|since| held.closed || held.urgent || self.bytes >= FULL_BYTES || since.elapsed() >= LINGER)
    }
}

impl Pending {
    /// The newest value of a key, when it is here: one that was removed is `Some(None)`.
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Option<Option<Bytes>> {
        let held = self.lock();
        held.active.get(space, key).or_else(|| held.applying.as_ref()?.get(space, key))
    }

    /// Entries of a range, at most `limit` each, the older first. To be read before the store is: what leaves meanwhile is
    /// there.
    pub(super) fn range(&self, space: Space, range: (Bound<&[u8]>, Bound<&[u8]>), limit: usize) -> [Entries; 2] {
        let held = self.lock();
        let none = || Entries { entries: Vec::new(), more: false };
        let applying = held.applying.as_ref().map_or_else(none, |it| it.range(space, range, limit));
        [applying, held.active.range(space, range, limit)]
    }

    /// Adds a group that is durable.
    pub(super) fn add(&self, writes: Vec<Write>, number: u64) {
        let mut held = self.lock();
        let begins = held.active.since.is_none();
        held.active.since.get_or_insert_with(Instant::now);
        held.active.last = number;
        held.written = number;
        for write in writes {
            let bytes = write.bytes();
            let old = held.active.spaces.entry(write.space).or_default().insert(write.key, write.value);
            // One that is replaced is counted by its value; its key and place stay counted once.
            held.active.bytes += bytes;
            if let Some(old) = old {
                held.active.bytes = held.active.bytes.saturating_sub(old.map_or(0, |old| old.len()));
            }
        }
        let wakes = begins || held.active.bytes >= FULL_BYTES;
        drop(held);
        if wakes {
            self.changed.notify_all();
        }
    }

    /// Waits until there is room for a group. `healthy` says why there will be none.
    pub(super) fn wait_for_room(&self, healthy: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        self.wait_until(|held| held.active.bytes < BYTES_MAX, healthy)
    }

    /// Waits until the store has everything that was added before. `healthy` says why it will not.
    pub(super) fn settle(&self, healthy: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        let mut held = self.lock();
        let written = held.written;
        held.urgent = held.applied < written;
        drop(held);
        self.changed.notify_all();
        self.wait_until(|held| held.applied >= written, healthy)
    }

    fn wait_until(
        &self,
        done: impl Fn(&Held) -> bool,
        healthy: impl Fn() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut held = self.lock();
        while !done(&held) {
            healthy()?;
            held = self.wait(held, LOOK);
        }
        Ok(())
    }

    /// Takes what is due to the store; the same again until it was [`Pending::applied`]. `None` when closed and empty.
    pub(super) fn take(&self) -> Option<Arc<Generation>> {
        let mut held = self.lock();
        loop {
            if let Some(applying) = &held.applying {
                return Some(Arc::clone(applying));
            }
            if held.active.is_due(&held) {
                let generation = Arc::new(std::mem::take(&mut held.active));
                held.urgent = false;
                held.applying = Some(Arc::clone(&generation));
                drop(held);
                // The writer may wait for the room.
                self.changed.notify_all();
                return Some(generation);
            }
            held = match held.active.since {
                Some(since) => self.wait(held, LINGER.saturating_sub(since.elapsed())),
                None if held.closed => return None,
                None => self.changed.wait(held).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// The store has it.
    pub(super) fn applied(&self, generation: &Arc<Generation>) {
        let mut held = self.lock();
        if held.applying.as_ref().is_some_and(|applying| Arc::ptr_eq(applying, generation)) {
            held.applying = None;
            held.applied = generation.last;
            drop(held);
            self.changed.notify_all();
        }
    }

    /// Number of the last group that the store has.
    pub(super) fn applied_to(&self) -> u64 {
        self.lock().applied
    }

    pub(super) fn bytes(&self) -> usize {
        let held = self.lock();
        held.active.bytes + held.applying.as_ref().map_or(0, |it| it.bytes)
    }

    /// Waits before the store is tried again; false when it is not to be.
    pub(super) fn wait_to_retry(&self) -> bool {
        let held = self.lock();
        !held.closed && !self.wait(held, AGAIN).closed
    }

    /// The store has everything up to this group: it was opened anew.
    pub(super) fn restart(&self, applied: u64) {
        let mut held = self.lock();
        *held = Held { closed: held.closed, written: applied, applied, ..Held::default() };
        drop(held);
        self.changed.notify_all();
    }

    /// What is here goes to the store, then [`Pending::take`] ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Lets nothing more go to the store until it is closed.
    #[cfg(test)]
    pub(super) fn pause(&self) {
        self.lock().paused = true;
    }

    fn wait<'a>(&self, held: MutexGuard<'a, Held>, most: Duration) -> MutexGuard<'a, Held> {
        self.changed.wait_timeout(held, most).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        super::lock(&self.held)
    }
}
