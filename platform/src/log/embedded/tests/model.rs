//! Random operations on the embedded log and on the one in memory: they answer the same and hold the same.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::log::MemoryLog;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<Written>),
    Commit { publish: Vec<Written>, state: Vec<(u8, Option<u8>)>, next: u8 },
    Expire(u8),
    Reopen,
    Read { from: u8, records_max: u8 },
}

#[derive(Clone, Debug)]
struct Written {
    topic: u8,
    key: u8,
    value: u8,
    id: Option<u8>,
    to: Option<u8>,
}

impl Written {
    fn record(&self) -> Append {
        let topic = TOPICS[usize::from(self.topic)].topic;
        let value = if self.value == 0 { Bytes::new() } else { vec![self.value; usize::from(self.value)].into() };
        let mut record = Append::new(topic, vec![b'k', self.key].into(), value);
        if let Some(id) = self.id {
            record = record.with_id([id; 16]);
        }
        if let Some(to) = self.to {
            record = record.to_partition(Partition(to.into()));
        }
        record
    }
}

fn written() -> impl Strategy<Value = Written> {
    let (id, to) = (prop::option::weighted(0.7, 0..30_u8), prop::option::weighted(0.2, 0..4_u8));
    (0..3_u8, 0..6_u8, 0..5_u8, id, to).prop_map(|(topic, key, value, id, to)| Written { topic, key, value, id, to })
}

fn op() -> impl Strategy<Value = Op> {
    let commit = (vec(written(), 0..3), vec((0..5_u8, prop::option::of(0..9_u8)), 0..4), 0..20_u8);
    prop_oneof![
        6 => vec(written(), 0..6).prop_map(Op::Append),
        4 => commit.prop_map(|(publish, state, next)| Op::Commit { publish, state, next }),
        1 => (0..20_u8).prop_map(Op::Expire),
        1 => Just(Op::Reopen),
        3 => (0..20_u8, 0..6_u8).prop_map(|(from, records_max)| Op::Read { from, records_max }),
    ]
}

struct Pair {
    log: Arc<EmbeddedLog>,
    model: Arc<MemoryLog>,
    config: EmbeddedConfig,
    clock: Clock,
}

impl Pair {
    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(records) => {
                let records: Vec<_> = records.iter().map(Written::record).collect();
                let expected = self.model.append(records.clone()).await.expect("model");
                assert_eq!(self.log.append(records).await.expect("append"), expected);
            }
            Op::Commit { publish, state, next } => {
                let change = |(key, value): &(u8, Option<u8>)| StateChange {
                    store: "s",
                    partition: P0,
                    key: vec![*key].into(),
                    value: value.map(|value| vec![value].into()),
                };
                let commit = Commit {
                    consumer: "c",
                    publish: publish.iter().map(Written::record).collect(),
                    state: state.iter().map(change).collect(),
                    progress: vec![Progress { topic: A, partition: P0, next: Offset(u64::from(*next)) }],
                };
                self.model.commit(commit.clone()).await.expect("model");
                self.log.commit(commit).await.expect("commit");
            }
            Op::Expire(next) => self.expire(Offset(u64::from(*next))).await,
            Op::Reopen => {
                self.log.close().expect("close");
                self.log = open(self.config.clone(), self.clock.clone()).expect("open");
                self.model = self.model.reopen();
            }
            Op::Read { from, records_max } => {
                let limit = ReadLimit { records_max: usize::from(*records_max), bytes_max: 20 };
                let from = Offset(u64::from(*from));
                let read = self.log.read(A, P0, from, limit).await;
                let expected = self.model.read(A, P0, from, limit).await;
                assert_eq!(read.map_err(|error| error.to_string()), expected.map_err(|error| error.to_string()));
            }
        }
    }

    /// Retention decides alone how far it goes; the model follows.
    async fn expire(&mut self, next: Offset) {
        // A consumer that goes back does not bring records back.
        let before = self.log.bounds(A, P0).await.expect("bounds").start;
        let progress = vec![Progress { topic: A, partition: P0, next }];
        let commit = Commit { consumer: "keeper", progress, ..Commit::default() };
        self.model.commit(commit.clone()).await.expect("model");
        self.log.commit(commit).await.expect("commit");
        self.clock.advance(1_000_000_000);
        self.log.enforce_retention(self.clock.now_micros()).await.expect("retention");
        for topic in [A, B] {
            for partition in (0..4).map(Partition) {
                let Bounds { start, end } = self.log.bounds(topic, partition).await.expect("bounds");
                let held = topic == A && partition == P0 && start > next.max(before);
                assert!(
                    !held && (start < end || end == Offset::START),
                    "{topic} {partition}: {start} to {end}, {next}"
                );
                self.model.expire(topic, partition, start).expect("model");
            }
        }
    }

    async fn compare(&self) {
        for spec in TOPICS {
            let topic = spec.topic;
            for partition in (0..4).map(Partition) {
                let bounds = self.log.bounds(topic, partition).await.expect("bounds");
                assert_eq!(bounds, self.model.bounds(topic, partition).await.expect("model"), "{topic} {partition}");
                let read = self.log.read(topic, partition, bounds.start, ALL).await.expect("read");
                assert_eq!(read, self.model.read(topic, partition, bounds.start, ALL).await.expect("model"));
                assert_eq!(*self.log.grown(topic, partition).borrow(), bounds.end);
            }
        }
        let (latest, expected) = (self.log.latest(COMPACTED, None, 99), self.model.latest(COMPACTED, None, 99));
        assert_eq!(latest.await.expect("latest"), expected.await.expect("model"));
        let (state, expected) = (self.log.scan("s", P0, None, 99), self.model.scan("s", P0, None, 99));
        assert_eq!(state.await.expect("scan"), expected.await.expect("model"));
        for consumer in ["c", "keeper", "nobody"] {
            let committed = self.log.committed(consumer, A, P0).await.expect("committed");
            assert_eq!(committed, self.model.committed(consumer, A, P0).await.expect("model"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn embedded_log_and_model_agree(ops in vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let dir = folder();
            let clock = Clock::manual(1_000);
            // Little memory, so that reads come from the disk as well; what is superseded stays, as in the model.
            let config = EmbeddedConfig {
                segment_bytes: 60,
                retention_bytes: 200,
                cache_bytes: 4_000,
                ..config(dir.path())
            };
            let log = open(config.clone(), clock.clone()).expect("open");
            let mut pair = Pair { log, model: MemoryLog::new(4, &TOPICS, clock.clone()), config, clock };
            for op in &ops {
                pair.apply(op).await;
            }
            pair.compare().await;
            pair.apply(&Op::Reopen).await;
            pair.compare().await;
        });
    }
}
