//! What an append and a commit cost on the embedded log, on the disk the temporary folder is on.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use martingale_platform::clock::Clock;
use martingale_platform::log::{
    Append, Cleanup, Commit, Durability, EmbeddedConfig, EmbeddedLog, Log, Offset, Partition, Progress, ReadLimit,
    StateChange, TopicSpec,
};
use prometheus::Registry;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const TOPICS: [TopicSpec; 2] =
    [TopicSpec { topic: "steps", cleanup: Cleanup::Retain }, TopicSpec { topic: "verdicts", cleanup: Cleanup::Retain }];
const BATCH: u64 = 1_000;

struct Bench {
    runtime: Runtime,
    log: Arc<EmbeddedLog>,
    next: u64,
    _dir: TempDir,
}

impl Bench {
    #[expect(clippy::expect_used, reason = "a bench that cannot start has nothing to measure")]
    fn new(durability: Durability) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let config = EmbeddedConfig { dir: dir.path().to_owned(), durability, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(config, &TOPICS, Clock::System, &Registry::new()).expect("open");
        Self { runtime: Runtime::new().expect("runtime"), log, next: 0, _dir: dir }
    }

    /// 400 bytes, of one of 1,000 sessions, with an id.
    fn record(&mut self) -> Append {
        self.next += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let value = format!("{:0>400}", self.next);
        Append::new("steps", format!("session-{}", self.next % 1_000).into(), value.into()).with_id(id)
    }

    fn commit(&mut self) -> Commit {
        let partition = Partition(0);
        let verdict = Append { topic: "verdicts", id: None, ..self.record() }.to_partition(partition);
        Commit {
            consumer: "detector",
            publish: vec![verdict],
            state: vec![StateChange {
                store: "detector",
                partition,
                key: "s/1".into(),
                value: Some(vec![7; 1_000].into()),
            }],
            progress: vec![Progress { topic: "steps", partition, next: Offset(self.next) }],
        }
    }
}

fn log(c: &mut Criterion) {
    for (name, durability) in [("os", Durability::Os), ("fsync", Durability::Fsync)] {
        let mut bench = Bench::new(durability);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(BATCH));
        group.bench_function("append of 1000 x 400 B", |b| {
            let (log, runtime) = (Arc::clone(&bench.log), bench.runtime.handle().clone());
            b.iter_batched(
                || (0..BATCH).map(|_| bench.record()).collect::<Vec<_>>(),
                |records| runtime.block_on(log.append(records)).is_ok(),
                BatchSize::PerIteration,
            );
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function("append of one", |b| {
            let (log, runtime) = (Arc::clone(&bench.log), bench.runtime.handle().clone());
            b.iter_batched(
                || vec![bench.record()],
                |one| runtime.block_on(log.append(one)).is_ok(),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("append of one, then its commit", |b| {
            let (log, runtime) = (Arc::clone(&bench.log), bench.runtime.handle().clone());
            b.iter_batched(
                || (vec![bench.record()], bench.commit()),
                |(one, commit)| {
                    runtime.block_on(async { log.append(one).await.is_ok() && log.commit(commit).await.is_ok() })
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
    let mut bench = Bench::new(Durability::Os);
    for _ in 0..200 {
        let records = (0..BATCH).map(|_| bench.record()).collect();
        assert!(bench.runtime.block_on(bench.log.append(records)).is_ok());
    }
    let limit = ReadLimit { records_max: 1_000, bytes_max: usize::MAX };
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(1_000));
    for (name, from) in [("1000 from the disk", 0), ("1000 from memory", 48_000)] {
        let read = || bench.runtime.block_on(bench.log.read("steps", Partition(1), Offset(from), limit));
        assert!(read().is_ok_and(|records| records.len() == 1_000), "{name}");
        group.bench_function(name, |b| b.iter(|| black_box(read())));
    }
}

criterion_group!(benches, log);
criterion_main!(benches);
