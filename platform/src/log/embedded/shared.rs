//! What the threads of the log and its callers have in common: the open store, what memory knows of it, what waits.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::folder::Folder;
use super::journal::Journal;
use super::metrics::Metrics;
use super::pending::Pending;
use super::queue::{Queue, Request, Trim};
use super::stage::SegmentLimits;
use super::store::{Failure, Store};
use super::tail::Tail;
use super::topics::{Slot, Topics};
use super::view::View;
use super::{EmbeddedConfig, codec, lock};
use crate::clock::Clock;
use crate::log::{Append, Appended, Commit, Error, Placement, position};

/// The longest key of a compacted topic or of a state store, with its prefix: the store's own limit is 65,535.
const KEY_BYTES_MAX: usize = 65_000;
const VALUE_BYTES_MAX: usize = 1 << 30;
pub(super) const NAME_BYTES_MAX: usize = 128;

/// What the threads and the callers have in common.
pub(super) struct Shared {
    pub(super) config: EmbeddedConfig,
    pub(super) clock: Clock,
    pub(super) folder: Folder,
    pub(super) topics: Topics,
    pub(super) tail: Tail,
    pub(super) queue: Queue,
    pub(super) journal: Journal,
    pub(super) pending: Pending,
    /// Nothing while it is being opened again, and after it was closed.
    pub(super) store: RwLock<Option<Store>>,
    /// Why the store takes no writes.
    pub(super) broken: Mutex<Option<String>>,
    pub(super) metrics: Metrics,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn healthy(&self) -> Result<(), String> {
        lock(&self.broken).clone().map_or(Ok(()), Err)
    }

    pub(super) fn set_broken(&self, failure: &Failure) {
        self.metrics.healthy.set(0);
        *lock(&self.broken) = Some(failure.to_string());
    }

    /// Opens the store, again if need be, and takes over what it holds.
    pub(super) fn reopen(&self) -> Result<(), Failure> {
        let mut held = self.store.write().unwrap_or_else(PoisonError::into_inner);
        // The old one has to be gone first: two cannot have the folder.
        *held = None;
        let opened = || {
            let store = Store::open(&self.folder.store(), (self.config.cache_bytes / 2) as u64, &self.topics)?;
            let last = self.journal.replay(store.applied()?, |names, group| store.replay(names, group))?;
            store.set_applied(last)?;
            store.sync()?;
            self.journal.restart(last)?;
            self.pending.restart(last);
            let (partitions, committed) = (store.find_partitions(&self.topics)?, store.find_committed()?);
            self.tail.clear();
            self.topics.load(partitions, committed);
            Ok(store)
        };
        *held = Some(opened().inspect_err(|failure| self.set_broken(failure))?);
        *lock(&self.broken) = None;
        self.metrics.healthy.set(1);
        Ok(())
    }

    pub(super) fn with_store<T>(&self, f: impl FnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
        let held = self.store.read().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(store) => f(store),
            None => Err(self.healthy().map_or_else(Failure::Storage, |()| Failure::Closed)),
        }
    }

    /// Brings the journal to the disk and removes what the store has of it, notices a store that broke in the background,
    /// and has the writer repair one.
    pub(super) fn look_after(&self) {
        if self.healthy().is_ok()
            && let Err(failure) = self.with_store(|store| self.keep_journal(store))
        {
            tracing::error!(error = %failure, "log store broke in the background");
            self.set_broken(&failure);
        }
        self.metrics.pending_bytes.set(i64::try_from(self.pending.bytes()).unwrap_or(i64::MAX));
        if self.healthy().is_err() {
            // The writer repairs before it writes, and there is nothing to write. When it is busy it will soon anyway.
            let _ = self.push(Request::empty());
        }
    }

    fn keep_journal(&self, store: &Store) -> Result<(), Failure> {
        self.journal.sync()?;
        store.check()?;
        let applied = self.pending.applied_to();
        if self.journal.has_superfluous(applied) {
            store.sync()?;
            self.journal.remove(applied)?;
        }
        Ok(self.journal.prepare()?)
    }

    pub(super) const fn view<'a>(&'a self, store: &'a Store) -> View<'a> {
        View { store, pending: &self.pending }
    }

    pub(super) fn with_view<T>(&self, f: impl FnOnce(View<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        self.with_store(|store| f(self.view(store)))
    }

    /// Waits until the store has everything that is durable now.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        self.pending.settle(|| self.healthy().map_err(Failure::Storage))
    }

    pub(super) async fn blocking<T: Send + 'static, E: Into<Error> + Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || f(&shared)).await.map_err(|_| Error::Closed)?.map_err(Into::into)
    }

    pub(super) fn push(&self, request: Request) -> Result<(), Error> {
        self.queue.push(request).inspect_err(|error| {
            if matches!(error, Error::Full { .. }) {
                self.metrics.refused.inc();
            }
        })
    }

    pub(super) fn submit_trim(
        &self,
        trim: Vec<Trim>,
    ) -> Result<oneshot::Receiver<Result<Vec<Appended>, Error>>, Error> {
        let (answer, answered) = oneshot::channel();
        self.push(Request { trim, answer, ..Request::empty() })?;
        Ok(answered)
    }

    pub(super) fn segment_limits(&self) -> SegmentLimits {
        // A sixteenth of the age: what stays too long is a small part of what is kept.
        let age_max = (self.config.retention_age.as_micros() / 16).max(1);
        SegmentLimits { bytes_max: self.config.segment_bytes, age_max }
    }

    /// Checks and places a record, so that nothing in a group can be wrong but the disk.
    fn place(&self, record: Append) -> Result<(Slot, Append), Error> {
        let partition = match record.to {
            Placement::ByKey => position::partition_of(&record.key, self.topics.partitions),
            Placement::Partition(partition) => partition,
        };
        let slot = self.topics.slot(record.topic, partition)?;
        let key_max = if self.topics.is_compacted(slot) { KEY_BYTES_MAX } else { VALUE_BYTES_MAX };
        within("key of a record", record.key.len(), key_max)?;
        within("value of a record", record.value.len(), VALUE_BYTES_MAX)?;
        Ok((slot, record))
    }

    pub(super) fn request(&self, commit: Commit) -> Result<Request, Error> {
        within("name of a consumer", commit.consumer.len(), NAME_BYTES_MAX)?;
        let mut request = Request::empty();
        request.bytes = commit.publish.iter().map(Append::bytes).sum();
        for change in commit.state {
            self.topics.check_partition(change.store, change.partition)?;
            within("name of a state store", change.store.len(), NAME_BYTES_MAX)?;
            within("key of a state store", change.key.len(), KEY_BYTES_MAX)?;
            let value = change.value.as_ref().map_or(0, Bytes::len);
            within("value of a state store", value, VALUE_BYTES_MAX)?;
            request.bytes += change.key.len() + value + 64;
            request.state.push((codec::state(change.store, change.partition, &change.key), change.value));
        }
        for progress in commit.progress {
            self.topics.slot(progress.topic, progress.partition)?;
            request.bytes += 64;
            let key = codec::committed(commit.consumer, progress.topic, progress.partition);
            request.progress.push((key, progress.next));
        }
        request.publish = commit.publish.into_iter().map(|record| self.place(record)).collect::<Result<_, _>>()?;
        Ok(request)
    }
}

fn within(what: &str, bytes: usize, bytes_max: usize) -> Result<(), Error> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::Storage(format!("{what} has {bytes} bytes, at most {bytes_max} may be").into()))
}
