//! The loop of the history writer: read → rows → publish → flush.

use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use martingale_platform::background::give_way;
use martingale_platform::log::{self, Commit, Offset, Partition, Progress};
use martingale_platform::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use super::disk::{Disk, Written, write};
use super::lane::{Lane, Pass};
use super::replica::{self, Replica};
use super::standing::{LATE, Standing};
use super::store::{Stored, maintain};
use super::tail::{Marks, Reach, Tail};
use super::{CONSUMER, Error, History, Seen, Snapshot, Stores};
use crate::tables::{Pending, TABLES};

/// How long the next partition may take while more are to come.
const MORE_PARTITIONS: Duration = Duration::from_millis(200);

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Records that come one by one are read and made visible together after so long: doing it for each took a third of a core at
/// 2,000 steps a second.
const GATHER: Duration = Duration::from_millis(20);

/// Follows the log until shutdown. When the partitions of this process change, it starts again from what is on disk.
pub(super) async fn run(history: Arc<History>, mut stores: Stores, mut shutdown: Shutdown) -> Result<(), Error> {
    let mut assigned = history.log.assigned(CONSUMER);
    loop {
        let begun = loop {
            let owned = given(&history, &mut assigned).await;
            match replica::begin(&history, &mut stores, &owned).await {
                Ok(begun) => break begun,
                Err(error) if error.may_pass() => {
                    let lost = if matches!(error, Error::Log(_)) { Standing::LogUnreadable } else { Standing::Unseen };
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "history cannot go on now and tries again");
                    history.standing.send_if_modified(|it| it.loses(lost));
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = shutdown.stopping() => return Ok(()),
            }
        };
        let mut writer = Writer::start(&history, stores, begun).await?;
        let stop = loop {
            match writer.pass(&mut assigned, &mut shutdown).await? {
                Next::Continue => {}
                Next::Again => break false,
                Next::Stop => break true,
            }
        };
        stores = writer.finish().await?;
        if stop {
            return Ok(());
        }
    }
}

/// The partitions of this process. Those that come one after the other are waited for: each beginning asks the tables where
/// they end.
async fn given(history: &History, assigned: &mut watch::Receiver<Arc<[Partition]>>) -> Arc<[Partition]> {
    while history.log.gaining(CONSUMER).is_some() {
        assigned.mark_unchanged();
        if !matches!(tokio::time::timeout(MORE_PARTITIONS, assigned.changed()).await, Ok(Ok(()))) {
            break;
        }
    }
    Arc::clone(&assigned.borrow_and_update())
}

struct Writer<'h> {
    history: &'h History,
    lanes: Vec<Lane>,
    grown: Vec<watch::Receiver<Offset>>,
    pending: Pending,
    pending_at: Option<i64>,
    published: Instant,
    tail: Tail,
    /// How far the tables are, or will be when the flush that is under way has landed.
    flushed: Marks,
    /// The partitions that others write down.
    replica: Replica,
    follow_at: Instant,
    stored: [Stored; TABLES],
    disk: Disk,
    /// The last flush failed.
    unwritten: bool,
    /// The tables could not be looked at last.
    unseen: bool,
    /// When the log could not be read just now.
    read_again: Option<Instant>,
    /// To begin again from what is on disk.
    again: bool,
    maintenance: Option<JoinHandle<()>>,
}

enum Next {
    Continue,
    /// From what is on disk: other partitions are this process's now, or rows of its own were written by another.
    Again,
    Stop,
}

impl<'h> Writer<'h> {
    async fn start(history: &'h History, stores: Stores, begun: (Vec<Lane>, Replica)) -> Result<Self, Error> {
        let ((lanes, replica), log) = (begun, &*history.log);
        let mut grown: Vec<_> = lanes.iter().flat_map(|lane: &Lane| lane.grown(log)).collect();
        grown.extend(replica.grown(log));
        let mut stored = Vec::with_capacity(TABLES);
        for store in stores.iter() {
            stored.push(store.stored()?);
        }
        let Ok(stored) = stored.try_into() else { unreachable!("one for every table") };
        let writer = Self {
            history,
            flushed: lanes.iter().map(|it| (it.partition, it.marks)).collect(),
            lanes,
            grown,
            pending: Pending::new(),
            pending_at: None,
            published: Instant::now(),
            tail: Tail::default(),
            replica,
            follow_at: Instant::now() + history.config.follow_every.0,
            stored,
            disk: Disk::Idle(stores),
            unwritten: false,
            unseen: false,
            read_again: None,
            again: false,
            maintenance: None,
        };
        // Retention waits for every consumer that has committed: from here on, for this one.
        let marks: Vec<_> = writer.marks();
        writer.commit_progress(&marks).await?;
        history.standing.send_replace(Standing::CatchingUp);
        writer.publish_snapshot();
        Ok(writer)
    }

    /// One round: read what there is, make it visible, start a flush when one is due, or wait for either.
    async fn pass(
        &mut self,
        assigned: &mut watch::Receiver<Arc<[Partition]>>,
        shutdown: &mut Shutdown,
    ) -> Result<Next, Error> {
        if shutdown.is_stopping() {
            return Ok(Next::Stop);
        }
        if assigned.has_changed().unwrap_or(false) {
            return Ok(Next::Again);
        }
        if let Disk::Flushing { task, .. } = &mut self.disk
            && task.is_finished()
        {
            let done = task.await?;
            self.landed(done).await?;
        }
        if self.again {
            return Ok(Next::Again);
        }
        self.follow().await?;
        let full = self.memory_bytes() >= self.history.config.memory_bytes_max;
        let read = if full { Pass::default() } else { self.read().await? };
        self.pending_at = self.pending_at.max(read.appended_at);
        let overdue = self.published.elapsed() >= self.history.config.publish_every.0;
        let is_pending = !self.pending.is_empty() || self.replica.is_pending();
        if is_pending && (read.records == 0 || overdue) {
            self.publish()?;
        }
        self.tell_standing(full, &read);
        if self.flush_is_due() {
            self.flush()?;
        }
        if read.records > 0 {
            tokio::task::yield_now().await;
        } else if let Some(done) = self.wait(full, assigned, shutdown).await {
            self.landed(done?).await?;
        }
        Ok(Next::Continue)
    }

    async fn read(&mut self) -> Result<Pass, Error> {
        for receiver in &mut self.grown {
            receiver.mark_unchanged();
        }
        self.read_again = None;
        let mut total = Pass::default();
        let history = self.history;
        let (others, rows) = self.replica.parts();
        let own = self.lanes.iter_mut().map(|it| (it, true));
        for (lane, is_own) in own.chain(others.iter_mut().map(|it| (it, false))) {
            let into = if is_own { &mut self.pending } else { &mut *rows };
            match lane.read(&*history.log, &history.reader, into, &history.metrics, &mut total).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, partition = %lane.partition, "log cannot be read now; history tries again");
                    self.read_again = Some(Instant::now() + AGAIN);
                }
                other => other?,
            }
            give_way();
        }
        Ok(total)
    }

    /// Returns when there is something to do: records, the end of a flush or the time for one, or an order.
    async fn wait(
        &mut self,
        full: bool,
        assigned: &mut watch::Receiver<Arc<[Partition]>>,
        shutdown: &mut Shutdown,
    ) -> Option<Result<Written, JoinError>> {
        let due = self.deadline();
        let gathered = self.published + GATHER;
        let Self { grown, disk, .. } = self;
        let more = async {
            // Full memory is freed by a flush only, and a log without partitions never grows.
            if full || grown.is_empty() {
                return std::future::pending().await;
            }
            // An error means the log is closed, which the next read reports.
            let _ = select_all(grown.iter_mut().map(|it| Box::pin(it.changed()))).await;
            sleep_until(gathered).await;
        };
        let written = async {
            match disk {
                Disk::Flushing { task, .. } => task.await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.stopping() => None,
            _ = assigned.changed() => { assigned.mark_changed(); None }
            done = written => Some(done),
            () = more => None,
            () = sleep_until(due) => None,
        }
    }

    /// Says how what is visible stands to the log.
    fn tell_standing(&self, full: bool, read: &Pass) {
        let has_own = || self.pending.is_empty() && self.lanes.iter().all(Lane::has_caught_up);
        let begun = self.history.is_current() || (has_own() && self.replica.has_caught_up());
        let late = |at: i64| self.history.clock.now_micros() - at > i64::try_from(LATE.as_micros()).unwrap_or(i64::MAX);
        let standing = match begun {
            false => Standing::CatchingUp,
            true if full => Standing::Full,
            true if self.unwritten => Standing::Unwritten,
            true if self.unseen => Standing::Unseen,
            true if self.read_again.is_some() => Standing::LogUnreadable,
            true if read.appended_at.is_some_and(late) => Standing::Late,
            true => Standing::Current,
        };
        self.history.standing.send_if_modified(|it| std::mem::replace(it, standing) != standing);
    }

    fn publish(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let before = self.tail.steps();
        self.tail.absorb(&mut self.pending, now)?;
        self.replica.absorb()?;
        self.publish_snapshot();
        self.published = now;
        let metrics = &self.history.metrics;
        metrics.steps.inc_by((self.tail.steps() - before) as u64);
        if let Some(at) = self.pending_at.take() {
            #[expect(clippy::cast_precision_loss, reason = "a span of seconds")]
            metrics.visible_seconds.observe((self.history.clock.now_micros() - at).max(0) as f64 / 1e6);
        }
        Ok(())
    }

    fn publish_snapshot(&self) {
        let mut at = 0;
        let tables = self.stored.clone().map(|stored| {
            let frozen = self.disk.frozen().into_iter().flat_map(|it| it.batches[at].iter());
            let fresh = frozen.chain(&self.tail.batches[at]).chain(&self.replica.tail.batches[at]).cloned().collect();
            at += 1;
            Seen { stored, fresh }
        });
        self.history.metrics.memory_bytes.set(i64::try_from(self.memory_bytes()).unwrap_or(i64::MAX));
        self.history.seen.send_replace(Arc::new(Snapshot { tables }));
    }

    fn memory_bytes(&self) -> usize {
        self.tail.bytes() + self.replica.tail.bytes() + self.disk.frozen().map_or(0, |it| it.bytes)
    }

    fn marks(&self) -> Marks {
        self.lanes.iter().map(|it| (it.partition, it.marks)).collect()
    }

    fn flush_is_due(&self) -> bool {
        let config = &self.history.config;
        match &self.disk {
            Disk::Idle(_) => self.tail.since.is_some_and(|since| {
                since.elapsed() >= config.flush_age.0
                    || self.tail.steps() >= config.flush_steps
                    || self.tail.bytes() >= config.flush_bytes
            }),
            Disk::Failed { again, .. } => Instant::now() >= *again,
            Disk::Flushing { .. } | Disk::Moving => false,
        }
    }

    /// When to look again if nothing happens before.
    fn deadline(&self) -> Instant {
        let flush = match &self.disk {
            Disk::Idle(_) => self.tail.since.map(|it| it + self.history.config.flush_age.0),
            Disk::Failed { again, .. } => Some(*again),
            Disk::Flushing { .. } | Disk::Moving => None,
        };
        let never = Instant::now() + Duration::from_secs(24 * 3600);
        let follow = (!self.replica.lanes.is_empty() && matches!(self.disk, Disk::Idle(_))).then_some(self.follow_at);
        flush.into_iter().chain(self.read_again).chain(follow).min().unwrap_or(never)
    }

    /// Looks every moment how far other processes have taken the tables.
    async fn follow(&mut self) -> Result<(), Error> {
        let Disk::Idle(stores) = &mut self.disk else { return Ok(()) };
        if self.replica.lanes.is_empty() || Instant::now() < self.follow_at {
            return Ok(());
        }
        self.follow_at = Instant::now() + self.history.config.follow_every.0;
        for store in stores.iter_mut() {
            if let Err(error) = store.refresh().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "tables of other processes cannot be looked at now");
                self.unseen = true;
                return Ok(());
            }
        }
        self.unseen = false;
        match self.replica.follow(self.history, stores).await {
            Ok(false) => Ok(()),
            Ok(true) => self.show_stored(),
            Err(error) => self.begin_again(error),
        }
    }

    /// What may pass ends this round and not history: what is shown stays what it was until the next.
    fn begin_again(&mut self, error: Error) -> Result<(), Error> {
        if !error.may_pass() {
            return Err(error);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "history begins again from the tables");
        (self.tail, self.pending, self.again) = (Tail::default(), Pending::new(), true);
        Ok(())
    }

    /// Shows the tables as they are, with the rows that are not in them.
    fn show_stored(&mut self) -> Result<(), Error> {
        let Disk::Idle(stores) = &self.disk else { return Ok(()) };
        for (stored, store) in self.stored.iter_mut().zip(stores.iter()) {
            *stored = store.stored()?;
        }
        self.publish_snapshot();
        Ok(())
    }

    /// Starts to write what is in memory, while reading goes on.
    fn flush(&mut self) -> Result<(), Error> {
        let (frozen, stores) = match std::mem::replace(&mut self.disk, Disk::Moving) {
            // The marks reach as far as the rows that were read, so those must be in.
            Disk::Idle(stores) => {
                if !self.pending.is_empty() {
                    self.tail.absorb(&mut self.pending, Instant::now())?;
                }
                let to = self.marks();
                let from = std::mem::replace(&mut self.flushed, to.clone());
                (self.tail.freeze(from, to)?, stores)
            }
            Disk::Failed { frozen, stores, .. } => (frozen, stores),
            other => {
                self.disk = other;
                return Ok(());
            }
        };
        let task = tokio::spawn(write(stores, Arc::clone(&frozen.flush)));
        self.disk = Disk::Flushing { frozen, task, began: Instant::now() };
        Ok(())
    }

    /// Takes over what a flush did.
    async fn landed(&mut self, (mut stores, written): Written) -> Result<(), Error> {
        let Disk::Flushing { frozen, began, .. } = std::mem::replace(&mut self.disk, Disk::Moving) else {
            unreachable!("only a flush lands");
        };
        self.history.metrics.flush_seconds.observe(began.elapsed().as_secs_f64());
        if let Err(error @ Error::Overtaken { .. }) = written {
            self.disk = Disk::Idle(stores);
            return self.begin_again(error);
        }
        if let Err(error) = written {
            self.unwritten = true;
            self.history.metrics.flush_failures.inc();
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "history cannot be written; its rows stay in memory"
            );
            self.disk = Disk::Failed { frozen, stores, again: Instant::now() + AGAIN };
            return Ok(());
        }
        self.unwritten = false;
        // The tables may hold rows of others as well by now, which are then not shown from memory any more.
        let followed = self.replica.follow(self.history, &stores).await;
        self.maintain(&mut stores);
        self.disk = Disk::Idle(stores);
        if let Err(error) = followed {
            return self.begin_again(error);
        }
        self.show_stored()?;
        self.commit_progress(&frozen.flush.marks).await
    }

    /// Starts compaction when it is due and none is running.
    fn maintain(&mut self, stores: &mut Stores) {
        // One process does it for all.
        if !self.lanes.iter().any(|it| it.partition == Partition(0)) {
            return;
        }
        let every = self.history.config.compact_every;
        if self.maintenance.as_ref().is_some_and(|it| !it.is_finished()) || stores.iter().all(|it| it.commits < every) {
            return;
        }
        let failures = self.history.metrics.maintenance_failures.clone();
        let tables: Vec<_> = stores.iter().map(|it| (it.kind, it.handle())).collect();
        for store in stores.iter_mut() {
            store.commits = 0;
        }
        self.maintenance = Some(tokio::spawn(async move {
            for (kind, table) in tables {
                if let Err(error) = maintain(table, kind).await {
                    failures.inc();
                    tracing::warn!(table = kind.name(), %error, "table was not compacted");
                }
            }
        }));
    }

    /// Tells the log how far all tables are, so that retention may pass.
    async fn commit_progress(&self, marks: &[Reach]) -> Result<(), Error> {
        if marks.is_empty() {
            return Ok(());
        }
        let progress = marks
            .iter()
            .flat_map(|(partition, marks)| Lane::progress(marks).map(|(topic, next)| (topic, *partition, next)))
            .map(|(topic, partition, next)| Progress { topic, partition, next })
            .collect();
        let commit = Commit { consumer: CONSUMER, progress, ..Commit::default() };
        match self.history.log.commit(commit).await {
            // Of a partition that is another's now: that one does.
            Err(error) if error.is_transient() || matches!(error, log::Error::Fenced(_)) => {
                tracing::warn!(%error, "progress of history was not committed; the next flush does");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Writes everything that was read, trying each flush once more, and gives the tables back.
    async fn finish(mut self) -> Result<Stores, Error> {
        self.settle().await?;
        if matches!(self.disk, Disk::Failed { .. }) {
            self.flush()?;
            self.settle().await?;
        }
        if !self.pending.is_empty() || self.tail.since.is_some() {
            self.flush()?;
            self.settle().await?;
        }
        if let Some(task) = self.maintenance.take() {
            task.abort();
        }
        match self.disk {
            Disk::Idle(stores) | Disk::Failed { stores, .. } => Ok(stores),
            Disk::Flushing { .. } | Disk::Moving => unreachable!("a flush was awaited"),
        }
    }

    /// Waits for the flush that is under way.
    async fn settle(&mut self) -> Result<(), Error> {
        if let Disk::Flushing { task, .. } = &mut self.disk {
            let done = task.await?;
            self.landed(done).await?;
        }
        Ok(())
    }
}
