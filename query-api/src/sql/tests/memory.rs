//! That the pool hears of what operators hold. Who asks it is known by names that are nobody's promise, and what stands
//! between an operator and the pool by the operator's type: another release may change both, and nothing else would notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;

use crate::sql::context::session;
use crate::sql::memory::Pool;

/// What was asked for by name, and what the pool took for it.
#[derive(Debug)]
struct Overheard {
    pool: Pool,
    asked: Mutex<BTreeMap<String, (usize, usize)>>,
}

impl std::fmt::Display for Overheard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pool.fmt(f)
    }
}

impl Overheard {
    fn note(&self, reservation: &MemoryReservation, asked: usize, before: usize) {
        let mut all = self.asked.lock().expect("lock");
        let of = all.entry(reservation.consumer().name().to_owned()).or_default();
        *of = (of.0 + asked, of.1 + self.pool.reserved().saturating_sub(before));
    }

    /// Asked for and taken by consumers whose name begins so.
    fn of(&self, name: &str) -> (usize, usize) {
        let all = self.asked.lock().expect("lock");
        let of = all.iter().filter(|(it, _)| it.starts_with(name)).map(|(_, it)| *it);
        of.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }
}

impl MemoryPool for Overheard {
    fn name(&self) -> &'static str {
        "overheard"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let before = self.pool.reserved();
        self.pool.grow(reservation, additional);
        self.note(reservation, additional, before);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> datafusion::error::Result<()> {
        let before = self.pool.reserved();
        self.pool.try_grow(reservation, additional)?;
        self.note(reservation, additional, before);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

/// Sessions as queries have them, on one partition, so that what is asked and what is taken for it are told apart.
async fn run(sql: &str, settings: &[&str]) -> (Arc<Overheard>, String) {
    let pool = Arc::new(Overheard { pool: Pool::new(1 << 30), asked: Mutex::default() });
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(&pool) as _).build_arc().expect("a runtime");
    let session: SessionContext = session(runtime, "public");
    for setting in settings.iter().chain(&["datafusion.execution.target_partitions = 1"]) {
        session.sql(&format!("SET {setting}")).await.expect("a setting");
    }
    let frame = session.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let plan = frame.clone().create_physical_plan().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(pool.reserved(), 0, "{sql}: all is given back");
    (pool, shown)
}

/// A text of some hundred bytes for each of so many rows.
fn texts(rows: usize) -> String {
    let text = "concat('a text that is long enough to fill some memory with, given enough rows of it, number ', value)";
    format!("(SELECT {text} AS t, value AS v FROM generate_series(1, {rows}))")
}

#[tokio::test]
async fn what_is_kept_and_put_together_is_asked_for_twice() {
    const ROWS: usize = 4_000;
    /// Rows that come at once ([`session`]).
    const BATCH: usize = 1_024;
    let (kept, other) = (texts(ROWS), texts(ROWS + 1));
    let piecewise = "datafusion.optimizer.enable_piecewise_merge_join = true";
    for (sql, settings, operator, consumer, (times, rows)) in [
        (
            format!("SELECT a.t, b.t FROM {kept} a JOIN {other} b ON a.v = b.v"),
            &[][..],
            "HashJoinExec",
            "HashJoinInput",
            (2, ROWS),
        ),
        (
            format!("SELECT max(a.t), max(b.t) FROM {kept} a JOIN {} b ON a.v % 7 + b.v % 5 < 2", texts(10)),
            &[],
            "NestedLoopJoinExec",
            "NestedLoopJoinLoad",
            (2, ROWS),
        ),
        (
            format!("SELECT max(a.t), max(b.t) FROM {kept} a CROSS JOIN {} b", texts(3)),
            &[],
            "CrossJoinExec",
            "CrossJoinExec",
            (2, ROWS),
        ),
        (
            format!("SELECT max(a.t), max(b.t) FROM {kept} a JOIN {kept} b ON a.v < b.v"),
            &[piecewise],
            "PiecewiseMergeJoin",
            "PiecewiseMergeJoinInput",
            (2, ROWS),
        ),
        (
            format!("SELECT max(t), max(n) FROM (SELECT t, count(*) OVER () AS n FROM {kept})"),
            &[],
            "WindowAggExec",
            "WindowInput",
            (2, ROWS),
        ),
        (
            format!(
                "SELECT max(t), max(n) FROM (SELECT t, sum(v) OVER (ORDER BY v ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) \
                 AS n FROM {kept})"
            ),
            &[],
            "BoundedWindowAggExec",
            "PassingWindowInput",
            // What has passed is let go, sooner or later: a batch is there at least.
            (1, BATCH),
        ),
    ] {
        let (pool, plan) = run(&sql, settings).await;
        assert!(plan.contains(operator), "{operator}: {plan}");
        let (asked, taken) = pool.of(consumer);
        // The kept side alone is some 100 bytes a row: a part of it would show.
        assert!(asked >= rows * 90, "{operator} asked for {asked} as {consumer}: {:?}\n{plan}", pool.asked);
        assert_eq!(taken, asked * times, "{operator}: {:?}", pool.asked);
    }
}

/// What is collected is asked for as often as there may be of it; what is only counted is not.
#[tokio::test]
async fn what_aggregates_collect_is_asked_for_more_than_once() {
    const ROWS: usize = 4_000;
    // Some 95 bytes a row, and each is collected.
    let bytes = ROWS * 90;
    for (aggregate, operator, least) in [
        ("string_agg(t, ',')", "AggregateStream", 4 * bytes),
        ("string_agg(t, ',' ORDER BY v DESC)", "AggregateStream", 4 * bytes),
        ("string_agg(DISTINCT t, ',')", "AggregateStream", 4 * bytes),
        ("array_agg(t)", "AggregateStream", 4 * bytes),
        ("array_agg(t ORDER BY v DESC)", "AggregateStream", 4 * bytes),
        ("max(t)", "AggregateStream", 0),
    ] {
        let (pool, _) = run(&format!("SELECT {aggregate} FROM {}", texts(ROWS)), &[]).await;
        let (asked, _) = pool.of(operator);
        assert!(asked >= least, "{aggregate}: {:?}", pool.asked);
        assert!(least > 0 || asked < bytes / 10, "{aggregate}: {:?}", pool.asked);
        let (pool, _) = run(&format!("SELECT v % 7, {aggregate} FROM {} GROUP BY 1", texts(ROWS)), &[]).await;
        let grouped: usize = pool.asked.lock().expect("lock").values().map(|it| it.0).sum();
        assert!(grouped >= least, "{aggregate} by group: {:?}", pool.asked);
        assert!(least > 0 || grouped < bytes / 2, "{aggregate} by group: {:?}", pool.asked);
    }
}
