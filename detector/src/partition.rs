//! The loop of one partition: read → load → judge → commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use martingale_detector_core::Rules;
use martingale_platform::log::{self, Commit, Log, Offset, Partition, Progress, ReadLimit, Record, Settled, Topic};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{StepReader, Timestamp, topics};
use tokio::sync::watch;

use crate::controls::Orders;
use crate::fetched::Fetched;
use crate::judge::{Batch, Forgotten, Judge};
use crate::metrics::{Counts, Gauges, Metrics};
use crate::published::{Committed, Published};
use crate::{CONSUMER, Config, Error, Health};

/// What every loop shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) reader: StepReader,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) fetched: Fetched,
}

/// Waits before a loop starts again.
const RESTART: Wait = Wait { next: Duration::from_millis(10), max: Duration::from_secs(1) };
/// Waits while the log is busy: it writes a full queue in less than the longest.
const BUSY: Wait = Wait { next: Duration::from_millis(1), max: Duration::from_millis(50) };

/// While nothing comes, how often it is asked whether what was published has settled.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// State in memory is measured by walking all of it, so seldom.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// Orders of one page, and about as many of one turn; they are kept in memory until they are in force.
const ORDERS: ReadLimit = ReadLimit { records_max: 256, bytes_max: 1 << 20 };

/// Orders taken in by one turn.
#[derive(Clone, Copy)]
struct TakenIn {
    count: usize,
    /// There was no more to take in; otherwise there may be.
    all: bool,
}

/// Questions answered in one turn; a step that comes meanwhile waits for as many.
const ASKS: ReadLimit = ReadLimit { records_max: 64, bytes_max: 4 << 20 };

/// While steps never stop coming, one in so many turns goes to the sweep.
const TURNS_PER_SWEEP: u32 = 32;

/// Runs a partition until it is told to stop. What the log refuses for a while is tried again from the last commit, with
/// nothing kept in memory: whether the refused write will be seen is not known, and the commit says. A loop that was
/// fenced does the same, after a longer wait: either it is about to be stopped, or the partition was given away and back.
pub(crate) async fn follow(shared: Shared, partition: Partition, mut stop: Shutdown) -> Result<(), Error> {
    let mut wait = RESTART;
    // Shown while it starts again, too.
    let gauges = shared.metrics.gauges(partition);
    while let Err(error) = live(&shared, (partition, &gauges), &mut stop, &mut wait).await {
        if matches!(error, Error::Log(log::Error::Fenced(_))) {
            wait.next = wait.max;
        } else if !error.is_transient() {
            return Err(error);
        } else {
            shared.health.failed(partition, &error);
        }
        shared.metrics.restarts.inc();
        tracing::warn!(%partition, error = &error as &dyn std::error::Error, "partition starts again from its last commit");
        if !wait.over(&mut stop).await {
            break;
        }
    }
    shared.health.goes_on(partition);
    Ok(())
}

/// A wait that doubles each time.
#[derive(Clone, Copy)]
struct Wait {
    next: Duration,
    max: Duration,
}

impl Wait {
    /// Waits; false when it is time to stop.
    async fn over(&mut self, stop: &mut Shutdown) -> bool {
        let now = self.next;
        self.next = (now * 2).min(self.max);
        tokio::select! {
            biased;
            () = stop.stopping() => false,
            () = tokio::time::sleep(now) => true,
        }
    }
}

async fn live(
    shared: &Shared,
    (partition, gauges): (Partition, &Gauges),
    stop: &mut Shutdown,
    wait: &mut Wait,
) -> Result<(), Error> {
    let mut it = Loop::restore(shared, (partition, gauges), stop.clone()).await?;
    let mut unsettled = true;
    while !stop.is_stopping() {
        let judged = it.turn().await?;
        unsettled |= judged;
        // What is published may be undone yet, and then it is published again: only what is settled is getting on.
        let settled = if unsettled { shared.log.settled(CONSUMER, partition).await? } else { Settled::All };
        unsettled = settled != Settled::All;
        if settled == Settled::Some || !unsettled && it.is_at_the_end() {
            *wait = RESTART;
            shared.health.goes_on(partition);
        }
        if !judged && !it.sweep().await? {
            tokio::select! {
                biased;
                () = stop.stopping() => {}
                // That it was undone is told to nobody who does not ask.
                () = tokio::time::sleep(ASK_AGAIN), if unsettled => {}
                grown = it.steps.grown.changed() => it.steps.woken(grown)?,
                grown = it.orders_source.grown.changed() => it.orders_source.woken(grown)?,
                grown = it.asks.grown.changed() => it.asks.woken(grown)?,
            }
        }
    }
    Ok(())
}

struct Loop<'a> {
    shared: &'a Shared,
    partition: Partition,
    stop: Shutdown,
    gauges: &'a Gauges,
    judge: Judge,
    steps: Source,
    /// Every step below is judged and committed.
    next_step: Offset,
    orders_source: Source,
    orders: Orders,
    asks: Source,
    /// Heard and not answered yet.
    asked: Vec<Record>,
    /// Never committed: who asked before a restart waits no more.
    next_ask: Offset,
    verdicts_grown: watch::Receiver<Offset>,
    verdicts: Offset,
    sweep: Sweep,
    turns_to_sweep: u32,
    measured: Option<Instant>,
}

/// How far the search for forgotten sessions has come. Once through the store for each tick.
enum Sweep {
    Done,
    After(Option<Bytes>),
}

impl<'a> Loop<'a> {
    /// Everything that was decided before, state included, is in place when this returns.
    async fn restore(
        shared: &'a Shared,
        (partition, gauges): (Partition, &'a Gauges),
        stop: Shutdown,
    ) -> Result<Self, Error> {
        let log = &*shared.log;
        // Subscribed before anything is read: what is appended meanwhile wakes the loop.
        let steps = Source::new(log, topics::STEPS, partition);
        let orders_source = Source::new(log, topics::CONTROLS, partition);
        let asks = Source::new(log, topics::ASKS, partition);
        let next_ask = log.bounds(topics::ASKS, partition).await?.end;
        let verdicts_grown = log.grown(topics::VERDICTS, partition);
        let committed = Committed::read(log, partition, &shared.metrics).await?;
        let published = Published::read(log, partition, &committed).await?;
        let judge = Judge::restore(shared, partition).await?;
        tracing::info!(%partition, next_step = %committed.steps, judged_to = %published.judged_to, "partition starts");
        let mut it = Self {
            shared,
            partition,
            stop,
            gauges,
            judge,
            steps,
            next_step: committed.steps,
            orders_source,
            orders: Orders::new(committed.controls, published),
            asks,
            asked: Vec::new(),
            next_ask,
            verdicts_grown,
            verdicts: committed.verdicts,
            sweep: Sweep::After(None),
            turns_to_sweep: TURNS_PER_SWEEP,
            measured: None,
        };
        // A loop that cannot commit shows what it leaves undone.
        it.gauge();
        Ok(it)
    }

    /// Judges what is there; false when that was nothing.
    async fn turn(&mut self) -> Result<bool, Error> {
        let began = Instant::now();
        let shared = self.shared;
        let log = &*shared.log;
        self.hear().await?;
        let mut records = self.steps.read(log, self.next_step, self.steps_limit()).await?;
        // After both: an order that was on the log before a step or a question is in force when that is answered.
        let mut batch = Batch::default();
        let orders = self.take_orders(&mut batch).await?;
        self.choose(&mut records, orders);
        if records.is_empty() && orders.count == 0 && !self.orders.is_due(self.next_step) {
            return self.answer().await;
        }

        let reader = &shared.reader;
        let steps: Vec<_> =
            records.iter().map(|it| reader.read(&it.key, &it.value, Timestamp::from_micros(it.appended_at))).collect();
        let last = records.last().map_or(self.next_step, |it| it.offset);
        self.judge.prepare(&steps, self.orders.due_by(last)).await?;
        batch.counts.batch(steps.len());
        for (record, step) in records.iter().zip(steps) {
            if self.next_step.advance(record.offset).is_err() {
                continue;
            }
            while let Some(order) = self.orders.due(record.offset) {
                self.judge.order(order, &mut batch).await?;
            }
            self.judge.step(record, step, &mut batch).await?;
        }
        if records.is_empty() {
            while let Some(order) = self.orders.due(self.next_step) {
                self.judge.order(order, &mut batch).await?;
            }
        }
        let observed = began.elapsed();
        let counts = self.commit(batch).await?;
        self.judge.evict(shared.config.sessions_in_memory_max);
        shared.metrics.add(&counts, observed, began.elapsed().saturating_sub(observed));
        self.gauge();
        if orders.all && self.orders.is_empty() {
            self.answer().await?;
        }
        if self.turns_to_sweep == 0 {
            self.turns_to_sweep = TURNS_PER_SWEEP;
            self.sweep().await?;
        }
        self.turns_to_sweep -= 1;
        Ok(true)
    }

    /// Reads what gates ask again. Answered once every order is in force that was on the log by now.
    async fn hear(&mut self) -> Result<(), Error> {
        let log = &*self.shared.log;
        if !self.asked.is_empty() {
            return Ok(());
        }
        self.asked = match self.asks.read(log, self.next_ask, ASKS).await {
            Err(log::Error::Expired { start, .. }) => {
                self.next_ask = start;
                self.asks.read(log, start, ASKS).await?
            }
            read => read?,
        };
        if let Some(last) = self.asked.last() {
            self.next_ask = last.offset.next();
        }
        Ok(())
    }

    /// Answers what was heard, from what is committed; false when that was nothing.
    async fn answer(&mut self) -> Result<bool, Error> {
        if self.asked.is_empty() {
            return Ok(false);
        }
        let mut batch = Batch::default();
        for record in std::mem::take(&mut self.asked) {
            self.judge.ask(&record, &mut batch).await?;
        }
        self.commit(batch).await?;
        Ok(true)
    }

    /// Takes in the orders there are, unless some wait still. Pages until one is empty, since only that says that there is
    /// no more.
    async fn take_orders(&mut self, batch: &mut Batch) -> Result<TakenIn, Error> {
        let mut taken = TakenIn { count: 0, all: true };
        if !self.orders.is_empty() {
            return Ok(TakenIn { all: false, ..taken });
        }
        loop {
            let page = self.orders_source.read(&*self.shared.log, self.orders.next(), ORDERS).await?;
            if page.is_empty() {
                return Ok(taken);
            }
            for record in &page {
                if let Err(error) = self.orders.take_in(record, self.next_step) {
                    batch.dead_order(self.partition, record, &error);
                }
            }
            taken.count += page.len();
            if taken.count >= ORDERS.records_max {
                return Ok(TakenIn { all: false, ..taken });
            }
        }
    }

    /// Keeps of the records what this batch judges: the steps of one tick, none that an order may hold for which is left
    /// to read, and none while orders take force before a tick begins.
    fn choose(&mut self, records: &mut Vec<Record>, orders: TakenIn) {
        if !orders.all {
            self.leave_to_orders(records);
        }
        let Some(first) = records.first() else { return };
        let time = self.judge.time();
        let tick = time.tick_of(first.appended_at);
        if tick != time.tick() && self.orders.is_due(self.next_step) {
            records.clear();
            return;
        }
        if tick != time.tick() {
            self.judge.advance_to(tick);
            self.sweep = Sweep::After(None);
        }
        let time = self.judge.time();
        let later = records.iter().position(|it| time.tick_of(it.appended_at) != tick);
        records.truncate(later.unwrap_or(records.len()));
    }

    /// Leaves out the steps that an order may hold for which was not read. It takes force after those that were, so the
    /// steps below the last of them are judged before it is read.
    fn leave_to_orders(&mut self, records: &mut Vec<Record>) {
        let until = self.orders.last().unwrap_or(self.next_step);
        self.next_step = keep_below(records, until, self.next_step);
    }

    async fn commit(&mut self, mut batch: Batch) -> Result<Counts, Error> {
        // Verdicts below are of earlier commits, unless some of a lost one lie ahead still.
        let verdicts =
            if self.next_step >= self.orders.floor() { *self.verdicts_grown.borrow() } else { self.verdicts };
        self.verdicts = verdicts.max(self.verdicts);
        let at = |topic, next| Progress { topic, partition: self.partition, next };
        let lineages = batch.take_lineages();
        let Batch { mut answers, verdicts, dead_letters, standings, counts, .. } = batch;
        // Below the verdict that a gate waits for: its next step is put into the run that is kept here.
        answers.extend(lineages);
        answers.extend(verdicts);
        answers.extend(dead_letters);
        answers.extend(standings);
        let commit = Commit {
            consumer: CONSUMER,
            publish: answers,
            state: self.judge.changes()?,
            progress: vec![
                at(topics::STEPS, self.next_step),
                at(topics::CONTROLS, self.orders.progress()),
                at(topics::VERDICTS, self.verdicts),
            ],
        };
        self.write(commit).await?;
        Ok(counts)
    }

    /// Commits, again and again while the log is busy: then nothing was written, and it is the same commit.
    async fn write(&mut self, commit: Commit) -> Result<(), Error> {
        let mut wait = BUSY;
        loop {
            let busy = match self.shared.log.commit(commit.clone()).await {
                Err(busy @ log::Error::Full { .. }) => Err(busy),
                done => return Ok(done?),
            };
            self.shared.metrics.commit_retries.inc();
            if !wait.over(&mut self.stop).await {
                return busy.map_err(Into::into);
            }
        }
    }

    /// Looks for forgotten sessions among a few more entries of the store; false when all have been looked at.
    async fn sweep(&mut self) -> Result<bool, Error> {
        let Sweep::After(after) = std::mem::replace(&mut self.sweep, Sweep::Done) else { return Ok(false) };
        let (forgotten, next) = self.judge.forgotten(after).await?;
        if !(forgotten.state.is_empty() && forgotten.lineages.is_empty()) {
            self.shared.metrics.forgotten.inc_by(forgotten.state.len() as u64);
            let Forgotten { state, lineages } = forgotten;
            self.write(Commit { consumer: CONSUMER, publish: lineages, state, ..Commit::default() }).await?;
        }
        if next.is_some() {
            self.sweep = Sweep::After(next);
        }
        Ok(true)
    }

    /// Whether nothing waits to be judged, as far as is known.
    fn is_at_the_end(&self) -> bool {
        *self.steps.grown.borrow() <= self.next_step
    }

    fn steps_limit(&self) -> ReadLimit {
        ReadLimit { records_max: self.shared.config.batch_steps_max, bytes_max: self.shared.config.batch_bytes_max }
    }

    fn gauge(&mut self) {
        let end = *self.steps.grown.borrow();
        Gauges::set(&self.gauges.lag, end.0.saturating_sub(self.next_step.0));
        Gauges::set(&self.gauges.sessions, self.judge.detector().sessions_in_memory());
        if self.measured.is_none_or(|it| it.elapsed() >= MEASURE_EVERY) {
            self.measured = Some(Instant::now());
            Gauges::set(&self.gauges.state_bytes, self.judge.detector().state_bytes());
        }
    }
}

/// A topic of the partition, and whether there may be something to read.
struct Source {
    topic: Topic,
    partition: Partition,
    grown: watch::Receiver<Offset>,
    /// The last read returned something, so there may be more.
    due: bool,
}

impl Source {
    fn new(log: &dyn Log, topic: Topic, partition: Partition) -> Self {
        Self { topic, partition, grown: log.grown(topic, partition), due: true }
    }

    async fn read(&mut self, log: &dyn Log, from: Offset, limit: ReadLimit) -> Result<Vec<Record>, log::Error> {
        // An error means that the log is closed, which reading it will say.
        if !self.due && matches!(self.grown.has_changed(), Ok(false)) {
            return Ok(Vec::new());
        }
        self.grown.mark_unchanged();
        let records = log.read(self.topic, self.partition, from, limit).await?;
        self.due = !records.is_empty();
        Ok(records)
    }

    fn woken(&mut self, grown: Result<(), watch::error::RecvError>) -> Result<(), Error> {
        self.due = true;
        grown.map_err(|_| Error::Log(log::Error::Closed))
    }
}

/// Keeps of the records those below `until`, and says where the steps go on. When there are none, that is at `until`: no
/// step lies between, whatever offsets are missing, so nothing else would bring the orders that wait into force.
fn keep_below(records: &mut Vec<Record>, until: Offset, next_step: Offset) -> Offset {
    let Some(first) = records.first().map(|it| it.offset) else { return next_step };
    records.retain(|it| it.offset < until);
    if first >= until { next_step.max(until) } else { next_step }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn steps_go_on_where_an_order_waits_across_a_gap_of_offsets() {
        // The offsets of the records that were read, where the last order takes force, where the steps are; what is
        // left of them, and where the steps go on.
        for (read, until, next, left, goes_on) in [
            (&[2, 3, 4][..], 4, 2, &[2, 3][..], 2),
            (&[2, 3], 9, 2, &[2, 3], 2),
            (&[], 4, 2, &[], 2),
            // Offsets 2 to 4 hold no record: nothing is judged before the order at 4.
            (&[5, 6], 4, 2, &[], 4),
            (&[4, 5], 4, 2, &[], 4),
            // The gap is behind a step that is judged first.
            (&[2, 7], 4, 2, &[2], 2),
            // No order waits.
            (&[5], 5, 5, &[], 5),
            (&[7], 5, 5, &[], 5),
        ] {
            let record = |offset: &u64| Record {
                offset: Offset(*offset),
                appended_at: 0,
                key: Bytes::new(),
                value: Bytes::new(),
            };
            let mut records: Vec<_> = read.iter().map(record).collect();
            let next = keep_below(&mut records, Offset(until), Offset(next));
            let kept: Vec<u64> = records.iter().map(|it| it.offset.0).collect();
            assert_eq!((&*kept, next.0), (left, goes_on), "{read:?} until {until}");
        }
    }
}
