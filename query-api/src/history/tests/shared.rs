//! Two processes that share the tables, each of which writes down some of the partitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{
    Append, Appended, Bounds, Commit, Consumer, Error, Log, MemoryLog, Offset, Partition, ReadLimit, Record, Store,
    Topic,
};
use martingale_platform::shutdown::{self, Trigger};
use martingale_schemas::{Limits, StepReader, topics};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::lane::{Lane, Pass};
use crate::history::metrics::Metrics;
use crate::history::{self, History};
use crate::services::s3::ObjectServer;
use crate::sql::{self, Engine};
use crate::tables::Pending;
use crate::world::{World, step};

/// A log as one of several processes sees it: with the partitions that are its own.
struct Seat {
    log: Arc<MemoryLog>,
    assigned: watch::Sender<Arc<[Partition]>>,
    /// Steps are on the log, and this process has not fetched them yet.
    is_behind: AtomicBool,
}

#[async_trait]
impl Log for Seat {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        self.log.append(records).await
    }

    async fn read(&self, topic: Topic, at: Partition, from: Offset, limit: ReadLimit) -> Result<Vec<Record>, Error> {
        if topic == topics::STEPS && self.is_behind.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        self.log.read(topic, at, from, limit).await
    }

    fn grown(&self, topic: Topic, partition: Partition) -> watch::Receiver<Offset> {
        self.log.grown(topic, partition)
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, Error> {
        self.log.bounds(topic, partition).await
    }

    async fn latest(&self, topic: Topic, after: Option<Bytes>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.log.latest(topic, after, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.log.commit(commit).await
    }

    async fn committed(&self, consumer: Consumer, topic: Topic, at: Partition) -> Result<Option<Offset>, Error> {
        self.log.committed(consumer, topic, at).await
    }

    async fn state(&self, store: Store, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.log.state(store, partition, key).await
    }

    async fn scan(
        &self,
        store: Store,
        partition: Partition,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.log.scan(store, partition, after, limit).await
    }

    fn identity(&self) -> Option<&str> {
        None
    }

    fn assigned(&self, _: Consumer) -> watch::Receiver<Arc<[Partition]>> {
        self.assigned.subscribe()
    }
}

struct Process {
    seat: Arc<Seat>,
    history: Arc<History>,
    engine: Engine,
    trigger: Trigger,
    task: JoinHandle<Result<(), history::Error>>,
}

impl Process {
    async fn start(world: &World, partitions: &[u32]) -> Self {
        let assigned = watch::Sender::new(partitions.iter().copied().map(Partition).collect());
        let seat = Arc::new(Seat { log: Arc::clone(&world.log), assigned, is_behind: AtomicBool::new(false) });
        let log = Arc::clone(&seat) as Arc<dyn Log>;
        let history =
            History::open(world.config.clone(), &Limits::DEFAULT, log, Clock::manual(0), &Default::default()).await;
        let history = history.expect("opens");
        let (trigger, shutdown) = shutdown::channel();
        let task = tokio::spawn(Arc::clone(&history).run(shutdown));
        let engine = Engine::new(Arc::clone(&history), sql::Config::default()).expect("threads");
        Self { seat, history, engine, trigger, task }
    }

    fn own(&self, partitions: &[u32]) {
        self.seat.assigned.send_replace(partitions.iter().copied().map(Partition).collect());
    }

    /// Steps by every table that counts them.
    async fn counts(&self) -> Vec<serde_json::Value> {
        let sql = "SELECT (SELECT count(*) FROM steps) AS a, (SELECT count(*) FROM verdicts) AS b, \
                   (SELECT count(DISTINCT verdict_id) FROM verdicts) AS c, (SELECT sum(steps) FROM sessions) AS d";
        self.engine.query(sql).await.expect("answers").rows.remove(0)
    }

    /// Waits until all of them are seen, and never more of them.
    async fn sees(&self, steps: u64) {
        let mut changes = self.history.changes();
        loop {
            let counts = self.counts().await;
            if counts == vec![json!(steps); 4] {
                return;
            }
            assert!(counts.iter().all(|it| it.as_u64().unwrap_or(0) <= steps), "{counts:?} of {steps}");
            assert!(changes.changed().await, "history ended at {counts:?} of {steps}");
        }
    }

    /// Rows of its own or of others that are in memory.
    fn in_memory(&self) -> usize {
        self.history.snapshot().tables[0].fresh.iter().map(|it| it.num_rows()).sum()
    }

    async fn stop(self) {
        self.trigger.stop();
        self.task.await.expect("no panic").expect("stops");
    }
}

async fn judge(world: &World, from: u64, to: u64) {
    let steps: Vec<_> = (from..to).map(|it| step(&format!("s{}", it % 11), it, "plan", json!({}))).collect();
    world.judge(&steps).await;
}

#[tokio::test]
async fn processes_that_share_the_tables_answer_alike() {
    answer_alike(World::new(4)).await;
}

#[tokio::test]
async fn processes_that_share_a_bucket_answer_alike() {
    if let Some(server) = ObjectServer::shared() {
        answer_alike(World::in_bucket(4, server)).await;
    }
}

async fn answer_alike(mut world: World) {
    world.config.flush_age = Span::from_millis(300);
    world.config.follow_every = Span::from_millis(500);
    let (first, second) = (Process::start(&world, &[0, 1]).await, Process::start(&world, &[2, 3]).await);
    for round in 1..=3 {
        judge(&world, (round - 1) * 100 + 1, round * 100 + 1).await;
        first.sees(round * 100).await;
        second.sees(round * 100).await;
    }
    // Each writes down its own, and lets go of what the other has written.
    for process in [&first, &second] {
        let mut changes = process.history.changes();
        while process.in_memory() > 0 {
            assert!(changes.changed().await, "history ended");
            process.sees(300).await;
        }
    }
    // One is gone, and its partitions are the other's; what it had not written is on the log.
    judge(&world, 301, 401).await;
    first.history.kill();
    second.own(&[0, 1, 2, 3]);
    second.sees(400).await;
    judge(&world, 401, 501).await;
    second.sees(500).await;
    let third = Process::start(&world, &[]).await;
    third.sees(500).await;
    second.stop().await;
    third.sees(500).await;
    third.stop().await;
}

/// Two processes that both believe all partitions are theirs, as while one is paused: rows are there once.
#[tokio::test]
async fn a_partition_that_two_write_down_is_written_once() {
    written_once(World::new(2)).await;
}

#[tokio::test]
async fn a_partition_that_two_write_into_a_bucket_is_written_once() {
    if let Some(server) = ObjectServer::shared() {
        written_once(World::in_bucket(2, server)).await;
    }
}

async fn written_once(mut world: World) {
    world.config.flush_steps = 20;
    let (first, second) = (Process::start(&world, &[0, 1]).await, Process::start(&world, &[0, 1]).await);
    for round in 1..=5 {
        judge(&world, (round - 1) * 50 + 1, round * 50 + 1).await;
        first.sees(round * 50).await;
        second.sees(round * 50).await;
    }
    first.own(&[]);
    first.sees(250).await;
    second.stop().await;
    first.stop().await;
    let after = Process::start(&world, &[0, 1]).await;
    after.sees(250).await;
    after.stop().await;
}

/// A verdict may be fetched before its step is: then the step is waited for, and not taken for one that is gone.
#[tokio::test]
async fn a_step_that_is_not_fetched_yet_is_waited_for() {
    let world = World::new(1);
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    let assigned = watch::Sender::new(Arc::from([Partition(0)]));
    let seat = Seat { log: Arc::clone(&world.log), assigned, is_behind: AtomicBool::new(true) };
    let (reader, metrics) =
        (StepReader::new(false, &Limits::DEFAULT), Metrics::new(&Default::default()).expect("registers"));
    let (mut lane, mut rows) = (Lane::new(Partition(0), Default::default()), Pending::new());
    lane.begin(&seat).await.expect("begins");
    let mut pass = Pass::default();
    let error = lane.read(&seat, &reader, &mut rows, &metrics, &mut pass).await.expect_err("not yet");
    assert!(error.is_transient(), "{error}");
    seat.is_behind.store(false, Ordering::Relaxed);
    lane.read(&seat, &reader, &mut rows, &metrics, &mut pass).await.expect("reads");
    assert_eq!((rows.is_empty(), pass.records, metrics.steps_missing.get()), (false, 1, 0));
}
