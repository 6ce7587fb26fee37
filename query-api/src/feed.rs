//! Follows `verdicts` and `controls` on the log, for everybody who waits for one.
//!
//! One task a topic and partition, woken by the log and never by a timer. What a gate waits for is handed over first and
//! undecoded: only the identity is read out of the record. Streams come after, and only if there are any.

mod event;
mod lookup;
mod remembered;
#[cfg(test)]
mod tests;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use martingale_platform::log::{self, Log, Offset, Partition, ReadLimit, Record, Topic};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Control, topics};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::controls::Board;
use crate::gate;
use crate::metrics::Metrics;

pub(crate) use event::{Batch, Event, Head};
pub(crate) use lookup::{Lookup, verdict_at, verdict_of};
use remembered::Remembered;
pub(crate) use waiters::{TooMany, Waiting};

/// Records of one read. Small enough that a waiter at the front of a burst is not kept for its end.
const READ: ReadLimit = ReadLimit { records_max: 512, bytes_max: 256 * 1024 };

/// Verdicts of one read at the start.
const REMEMBER: ReadLimit = ReadLimit { records_max: 8_192, bytes_max: 4 << 20 };

/// Batches kept in memory for streams that are a little behind: with [`READ`] at most 64 MiB, and twice that of
/// texts for streams (`stream/told.rs`). A stream further behind reads the log.
pub(crate) const BATCHES_MAX: usize = 256;

/// Pause after a failed read, so that a broken disk is not asked in a tight loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// What is known of the newest verdicts and controls.
pub struct Feed {
    log: Arc<dyn Log>,
    waiters: Vec<waiters::Waiters>,
    /// Of each partition, where the log does not know its duplicates.
    remembered: Vec<Remembered>,
    /// Verdicts of each partition below are handed out.
    handed_out: Vec<AtomicU64>,
    batches: broadcast::Sender<Arc<Batch>>,
    board: Board,
    metrics: Metrics,
    trouble: std::sync::Mutex<std::collections::BTreeMap<(Topic, Partition), String>>,
}

impl Feed {
    /// Reads the controls that are on the log, then follows both topics in `tasks`. Verdicts are followed from the end:
    /// nobody can wait for one that was published before.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn start(
        log: Arc<dyn Log>,
        board: Board,
        gate: &gate::Config,
        metrics: Metrics,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<Self>, log::Error> {
        let partitions = log.partitions();
        let remembered_max = if log.is_open() { gate.remembered_max / partitions.max(1) as usize } else { 0 };
        let remembers = if log.is_open() { partitions } else { 0 };
        let feed = Arc::new(Self {
            waiters: (0..partitions).map(|_| waiters::Waiters::new(gate.waiting_max)).collect(),
            remembered: (0..remembers).map(|_| Remembered::new(remembered_max)).collect(),
            handed_out: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            batches: broadcast::channel(BATCHES_MAX).0,
            board,
            metrics,
            trouble: std::sync::Mutex::default(),
            log,
        });
        for partition in (0..partitions).map(Partition) {
            let next = feed.remember(partition, remembered_max as u64).await?;
            tasks.spawn(Arc::clone(&feed).follow(topics::VERDICTS, partition, next, shutdown.clone()));
            let end = feed.log.bounds(topics::STANDINGS, partition).await?.end;
            tasks.spawn(Arc::clone(&feed).follow(topics::STANDINGS, partition, end, shutdown.clone()));
            let next = feed.read_board(partition).await?;
            tasks.spawn(Arc::clone(&feed).follow(topics::CONTROLS, partition, next, shutdown.clone()));
        }
        Ok(feed)
    }

    /// Waits for what is said of a step from now on: its verdict, or its standing when it had one. Dropping the answer stops waiting.
    pub(crate) fn wait_for(&self, partition: Partition, step: [u8; 16]) -> Result<Waiting<'_>, TooMany> {
        // A partition of the log's own numbering is always there.
        let at = partition.0 as usize % self.waiters.len();
        self.waiters[at].register(step)
    }

    /// Everything published from now on. A receiver that falls behind is told so and goes on from the log.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.batches.subscribe()
    }

    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// Why the feed is not to be relied on just now.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ((topic, partition), error) = trouble.first_key_value()?;
        Some(format!("`{topic}` of partition {partition} cannot be followed: {error}"))
    }

    /// Where the verdict of a step is on a log that does not know its duplicates, of the newest that were handed out.
    pub(crate) fn verdict_remembered(&self, partition: Partition, step: &[u8; 16]) -> Option<Offset> {
        self.remembered.get(partition.0 as usize)?.get(step)
    }

    /// The same of all that are on the log by now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn verdict_published(
        &self,
        partition: Partition,
        step: [u8; 16],
    ) -> Result<Option<Offset>, log::Error> {
        let at = partition.0 as usize;
        let Some(remembered) = self.remembered.get(at) else { return Ok(None) };
        // Read first: what is handed out meanwhile is then found in both.
        let mut next = Offset(self.handed_out[at].load(Ordering::Acquire));
        if let Some(found) = remembered.get(&step) {
            return Ok(Some(found));
        }
        loop {
            let records = self.page(topics::VERDICTS, partition, &mut next, READ).await?;
            if records.is_empty() {
                return Ok(None);
            }
            if let Some(found) = records.iter().find(|it| event::step_key(&it.value) == Some(step)) {
                return Ok(Some(found.offset));
            }
        }
    }

    /// The next records from a place on, which moves behind them; from the oldest there are when it was removed.
    async fn page(
        &self,
        topic: Topic,
        partition: Partition,
        next: &mut Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, log::Error> {
        loop {
            match self.log.read(topic, partition, *next, limit).await {
                Err(log::Error::Expired { start, .. }) => *next = start,
                read => {
                    let records = read?;
                    *next = records.last().map_or(*next, |it| it.offset.next());
                    return Ok(records);
                }
            }
        }
    }

    /// Reads the newest verdicts of a partition where they have to be known; where the next will be.
    async fn remember(&self, partition: Partition, newest: u64) -> Result<Offset, log::Error> {
        let bounds = self.log.bounds(topics::VERDICTS, partition).await?;
        let at = partition.0 as usize;
        let mut next = bounds.end;
        if let Some(remembered) = self.remembered.get(at) {
            next = bounds.start.max(Offset(bounds.end.0.saturating_sub(newest)));
            loop {
                let records = self.page(topics::VERDICTS, partition, &mut next, REMEMBER).await?;
                if records.is_empty() {
                    break;
                }
                remembered.note(&records);
            }
        }
        self.handed_out[at].store(next.0, Ordering::Release);
        Ok(next)
    }

    async fn read_board(&self, partition: Partition) -> Result<Offset, log::Error> {
        let mut next = self.log.bounds(topics::CONTROLS, partition).await?.start;
        if partition == Partition(0) && next > Offset::START {
            self.board.lacks_beginning();
        }
        loop {
            let records = self.page(topics::CONTROLS, partition, &mut next, READ).await?;
            if records.is_empty() {
                return Ok(next);
            }
            self.note_controls(partition, &records);
        }
    }

    async fn follow(self: Arc<Self>, topic: Topic, partition: Partition, mut next: Offset, mut shutdown: Shutdown) {
        let mut grown = self.log.grown(topic, partition);
        loop {
            // Seen before the read: growth during it wakes the wait below.
            grown.mark_unchanged();
            match self.log.read(topic, partition, next, READ).await {
                Ok(records) => {
                    self.mend(topic, partition);
                    if let Some(last) = records.last() {
                        next = last.offset.next();
                        self.hand_out(topic, partition, next, records);
                        continue;
                    }
                    tokio::select! {
                        changed = grown.changed() => if changed.is_err() { return },
                        () = shutdown.stopping() => return,
                    }
                }
                Err(log::Error::Expired { start, .. }) => next = start,
                Err(error) => {
                    self.complain(topic, partition, &error);
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                        () = shutdown.stopping() => return,
                    }
                }
            }
        }
    }

    fn hand_out(&self, topic: Topic, partition: Partition, next: Offset, records: Vec<Record>) {
        match topic {
            topics::CONTROLS => self.note_controls(partition, &records),
            topics::VERDICTS => {
                let at = partition.0 as usize % self.waiters.len();
                // Remembered before it is handed over: who waits from then on finds it there.
                if let Some(remembered) = self.remembered.get(at) {
                    remembered.note(&records);
                }
                self.handed_out[at].store(next.0, Ordering::Release);
                self.waiters[at].complete(&records);
            }
            _ => self.waiters[partition.0 as usize % self.waiters.len()].complete(&records),
        }
        // A standing is for the gate that asked alone.
        if topic != topics::STANDINGS && self.batches.receiver_count() > 0 {
            // No receiver any more is no error.
            let _ = self.batches.send(Arc::new(Batch::decode(topic, partition, next, records)));
        }
    }

    fn note_controls(&self, partition: Partition, records: &[Record]) {
        for record in records {
            match serde_json::from_slice::<Control>(&record.value) {
                Ok(control) => self.board.note(partition, &control),
                Err(error) => {
                    tracing::warn!(%partition, offset = %record.offset, %error, "record of controls is no control");
                }
            }
        }
    }

    fn complain(&self, topic: Topic, partition: Partition, error: &log::Error) {
        let text = crate::http::with_causes(error);
        tracing::error!(topic, %partition, error = %text, "log cannot be followed");
        self.metrics.feed_errors.inc();
        let mut trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        trouble.insert((topic, partition), text);
    }

    fn mend(&self, topic: Topic, partition: Partition) {
        let mut trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !trouble.is_empty() {
            trouble.remove(&(topic, partition));
        }
    }
}
