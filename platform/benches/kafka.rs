//! What the log on Kafka does with one broker on the same machine: rates of appends, reads, commits, the latency from a
//! step to its verdict, the time of a restore. Each line is one figure.

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use martingale_platform::log::{
    Append, Cleanup, Commit, ConsumerSpec, KafkaConfig, KafkaLog, Log, Offset, Partition, Progress, ReadLimit, Settle,
    Share, StateChange, TopicSpec,
};
use martingale_platform::testing::KafkaCluster;
use prometheus::Registry;

const TOPICS: [TopicSpec; 2] =
    [TopicSpec { topic: "steps", cleanup: Cleanup::Retain }, TopicSpec { topic: "verdicts", cleanup: Cleanup::Retain }];
const DETECTOR: ConsumerSpec =
    ConsumerSpec { consumer: "detector", stores: &["detector"], share: Share::All, settle: Settle::Behind };
const PAGE: ReadLimit = ReadLimit { records_max: 1_024, bytes_max: 4 << 20 };
const STEPS: u64 = 800_000;

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[expect(clippy::expect_used, reason = "a bench that cannot start has nothing to measure")]
fn main() {
    let Some(cluster) = KafkaCluster::start(1) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    runtime.block_on(run(cluster.brokers()));
}

async fn open(brokers: &str, prefix: &str) -> Arc<KafkaLog> {
    let config = KafkaConfig { brokers: brokers.to_owned(), topic_prefix: prefix.to_owned(), ..KafkaConfig::default() };
    let opened = KafkaLog::open(config, &TOPICS, &[DETECTOR], &Registry::new()).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

fn step(number: u64) -> Append {
    Append::new("steps", format!("session-{}", number % 10_000).into(), format!("{number:0>400}").into())
}

async fn run(brokers: String) {
    let log = open(&brokers, "bench.").await;
    let began = Instant::now();
    let writer = |writer: u64| {
        let log = Arc::clone(&log);
        async move {
            for batch in 0..STEPS / 4_000 {
                let first = (batch * 4 + writer) * 1_000;
                log.append((first..first + 1_000).map(step).collect()).await.unwrap_or_else(|it| panic!("{it:?}"));
            }
        }
    };
    each(4, writer).await;
    rate("append, 4 writers, batches of 1,000 of 400 bytes", STEPS, began);

    let began = Instant::now();
    let read = |partition: u64| {
        let log = Arc::clone(&log);
        async move {
            follow(&*log, Partition(u32::try_from(partition).unwrap_or_default()), false).await;
        }
    };
    each(4, read).await;
    rate("read from the beginning, 4 partitions", STEPS, began);

    let began = Instant::now();
    let judge = |partition: u64| {
        let log = Arc::clone(&log);
        async move {
            follow(&*log, Partition(u32::try_from(partition).unwrap_or_default()), true).await;
        }
    };
    each(4, judge).await;
    rate("read, then commit a verdict for each step and state for each session, 4 partitions", STEPS, began);
    log.close().await;

    restore(&brokers).await;
    for per_second in [200, 1_000] {
        latency(&brokers, per_second).await;
    }
}

async fn each<F: Future<Output = ()> + Send + 'static>(count: u64, make: impl Fn(u64) -> F) {
    for task in (0..count).map(|it| tokio::spawn(make(it))).collect::<Vec<_>>() {
        task.await.unwrap_or_else(|it| panic!("{it:?}"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(what: &str, count: u64, began: Instant) {
    say(&format!("{:>10.0}/s  {what}", count as f64 / began.elapsed().as_secs_f64()));
}

/// Reads a partition of steps to its end, and commits as a detector does.
async fn follow(log: &dyn Log, partition: Partition, commits: bool) {
    let mut next = Offset::START;
    loop {
        let records = log.read("steps", partition, next, PAGE).await.unwrap_or_else(|it| panic!("{it:?}"));
        let Some(last) = records.last() else { return };
        next = last.offset.next();
        if !commits {
            continue;
        }
        let verdict = |it: &martingale_platform::log::Record| {
            Append::new("verdicts", it.key.clone(), it.value.clone()).to_partition(partition)
        };
        let state = |it: &martingale_platform::log::Record| StateChange {
            store: "detector",
            partition,
            key: it.key.clone(),
            value: Some(vec![7; 500].into()),
        };
        let commit = Commit {
            consumer: "detector",
            publish: records.iter().map(verdict).collect(),
            // A session has some steps in a batch; its state is written once.
            state: records.iter().step_by(8).map(state).collect(),
            progress: vec![Progress { topic: "steps", partition, next }],
        };
        log.commit(commit).await.unwrap_or_else(|it| panic!("{it:?}"));
    }
}

/// 100,000 sessions of 1,000 bytes in 4 partitions.
async fn restore(brokers: &str) {
    let log = open(brokers, "restore.").await;
    for number in 0..100 {
        let partition = Partition(number % 4);
        let state = |it: u32| StateChange {
            store: "detector",
            partition,
            key: format!("s/{number}-{it}").into(),
            value: Some(vec![7; 1_000].into()),
        };
        let commit = Commit { consumer: "detector", state: (0..1_000).map(state).collect(), ..Commit::default() };
        log.commit(commit).await.unwrap_or_else(|it| panic!("{it:?}"));
    }
    log.close().await;
    let log = open(brokers, "restore.").await;
    let began = Instant::now();
    let claim = |partition: u64| {
        let log = Arc::clone(&log);
        async move {
            let partition = Partition(u32::try_from(partition).unwrap_or_default());
            log.committed("detector", "steps", partition).await.unwrap_or_else(|it| panic!("{it:?}"));
        }
    };
    each(4, claim).await;
    say(&format!(
        "{:>10.2} s   claim of 4 partitions and restore of 100,000 entries of 1,000 bytes",
        began.elapsed().as_secs_f64()
    ));
    log.close().await;
}

/// From the call that appends a step until a reader has the verdict that a consumer published for it.
async fn latency(brokers: &str, per_second: u64) {
    let log = open(brokers, &format!("latency-{per_second}.")).await;
    for partition in (0..4).map(Partition) {
        log.committed("detector", "steps", partition).await.unwrap_or_else(|it| panic!("{it:?}"));
    }
    let count = per_second * 20;
    let began = Instant::now();
    let judges: Vec<_> = (0..4)
        .map(Partition)
        .map(|partition| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let (mut grown, mut next) = (log.grown("steps", partition), Offset::START);
                loop {
                    let records = log.read("steps", partition, next, PAGE).await.unwrap_or_else(|it| panic!("{it:?}"));
                    let Some(last) = records.last() else {
                        if grown.changed().await.is_err() {
                            return;
                        }
                        continue;
                    };
                    next = last.offset.next();
                    let verdict = |it: &martingale_platform::log::Record| {
                        Append::new("verdicts", it.key.clone(), it.value.clone()).to_partition(partition)
                    };
                    let state = |it: &martingale_platform::log::Record| StateChange {
                        store: "detector",
                        partition,
                        key: it.key.clone(),
                        value: Some(vec![7; 500].into()),
                    };
                    let commit = Commit {
                        consumer: "detector",
                        publish: records.iter().map(verdict).collect(),
                        state: records.iter().map(state).collect(),
                        progress: vec![Progress { topic: "steps", partition, next }],
                    };
                    log.commit(commit).await.unwrap_or_else(|it| panic!("{it:?}"));
                }
            })
        })
        .collect();
    let (sender, mut taken) = tokio::sync::mpsc::channel(100_000);
    let feeds: Vec<_> = (0..4)
        .map(Partition)
        .map(|partition| {
            let (log, sender) = (Arc::clone(&log), sender.clone());
            tokio::spawn(async move {
                let (mut grown, mut next) = (log.grown("verdicts", partition), Offset::START);
                loop {
                    let records =
                        log.read("verdicts", partition, next, PAGE).await.unwrap_or_else(|it| panic!("{it:?}"));
                    for record in &records {
                        next = record.offset.next();
                        let text = String::from_utf8_lossy(&record.value);
                        let sent = text.trim_start_matches('0').parse().unwrap_or_default();
                        let took = began.elapsed().saturating_sub(Duration::from_nanos(sent));
                        let _ = sender.send(took).await;
                    }
                    if records.is_empty() && grown.changed().await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    let mut every = tokio::time::interval(Duration::from_nanos(1_000_000_000 / per_second));
    for number in 0..count {
        every.tick().await;
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let sent = began.elapsed().as_nanos();
            let it = Append::new("steps", format!("session-{number}").into(), format!("{sent:0>400}").into());
            log.append(vec![it]).await.unwrap_or_else(|it| panic!("{it:?}"));
        });
    }
    let mut took = Vec::new();
    while took.len() < usize::try_from(count).unwrap_or_default() {
        took.extend(taken.recv().await);
    }
    for task in judges.into_iter().chain(feeds) {
        task.abort();
    }
    // The first seconds warm the broker up.
    let mut rest = took.split_off(took.len() / 4);
    rest.sort_unstable();
    let at = |share: usize| rest[(rest.len() * share / 1_000).min(rest.len() - 1)];
    say(&format!(
        "{per_second:>10}/s  step to verdict: p50 {:?}, p90 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        at(500),
        at(900),
        at(990),
        at(999),
        at(1_000)
    ));
    log.close().await;
}
