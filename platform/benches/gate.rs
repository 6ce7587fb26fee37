//! What a gate does on the log, at a fixed rate: the tail of its latency.
//!
//! A step is appended with its id and read back; its verdict, the state of its session and positions are committed; the
//! verdict is read back. Open loop: a latency counts from when the step was due, so a stall shows in every step it delays.
//!
//! Arguments, after `--`: steps a second (2,000), seconds (12), and `fsync` for that durability.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::log::{
    Append, Cleanup, Commit, Durability, EmbeddedConfig, EmbeddedLog, Log, Offset, Partition, Progress, ReadLimit,
    Record, StateChange, Topic, TopicSpec,
};
use tokio::sync::{mpsc, watch};

const STEPS: Topic = "steps";
const VERDICTS: Topic = "verdicts";
const TOPICS: [TopicSpec; 2] =
    [TopicSpec { topic: STEPS, cleanup: Cleanup::Retain }, TopicSpec { topic: VERDICTS, cleanup: Cleanup::Retain }];
const SESSIONS: u64 = 200;
const STEP_BYTES: usize = 400;
const VERDICT_BYTES: usize = 300;
const STATE_BYTES: usize = 1_000;
/// Threads that offer steps: sleeping ones, since an async runtime's timers tick in milliseconds.
const THREADS: u64 = 4;
const READ: ReadLimit = ReadLimit { records_max: 512, bytes_max: 256 << 10 };

type Due = Arc<Mutex<HashMap<[u8; 16], Instant>>>;

#[expect(clippy::print_stdout, reason = "what was measured")]
fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let (rate, seconds) = (numbers.first().copied().unwrap_or(2_000), numbers.get(1).copied().unwrap_or(12));
    let fsync = std::env::args().any(|it| it == "fsync");
    let dir = tempfile::tempdir_in(".").expect("folder on the disk of the working directory");
    let durability = if fsync { Durability::Fsync } else { Durability::Os };
    let config = EmbeddedConfig { dir: dir.path().join("log"), durability, ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(config, &TOPICS, Clock::System, &prometheus::Registry::new()).expect("open");

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let due = Due::default();
    let (answered, mut latencies) = mpsc::channel(65_536);
    for partition in (0..log.partitions()).map(Partition) {
        runtime.spawn(judge(Arc::clone(&log), partition));
        runtime.spawn(answer(Arc::clone(&log), partition, Arc::clone(&due), answered.clone()));
    }
    let begin = Instant::now() + Duration::from_millis(200);
    for first in 0..THREADS {
        let (runtime, log, due) = (runtime.handle().clone(), Arc::clone(&log), Arc::clone(&due));
        std::thread::spawn(move || {
            for n in (first..rate * seconds).step_by(THREADS as usize) {
                let at = begin + Duration::from_nanos(n * 1_000_000_000 / rate);
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                let step = step(n);
                due.lock().expect("due").insert(id_of(&step.value), at);
                let log = Arc::clone(&log);
                runtime.spawn(async move { log.append(vec![step]).await.expect("append") });
            }
        });
    }
    let mut all: Vec<Duration> = (0..rate * seconds).filter_map(|_| latencies.blocking_recv()).collect();
    all.sort_unstable();
    let ms = |share: f64| all[((all.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{rate}/s for {seconds} s: p50 {:.2} p90 {:.2} p99 {:.2} p99.9 {:.2} worst {:.1} ms",
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999),
        ms(1.0)
    );
    runtime.shutdown_background();
}

async fn judge(log: Arc<EmbeddedLog>, partition: Partition) {
    let (mut grown, mut next) = (log.grown(STEPS, partition), Offset::START);
    loop {
        let steps = read(&log, STEPS, partition, next, &mut grown).await;
        let Some(last) = steps.last() else { return };
        next = last.offset.next();
        let verdicts = steps.iter().map(|step| {
            let id = id_of(&step.value);
            let verdict = [&id[..], &text(step.offset.0, VERDICT_BYTES - 16)].concat();
            Append::new(VERDICTS, step.key.clone(), verdict.into()).to_partition(partition).with_id(id)
        });
        let state = steps.iter().map(|step| StateChange {
            store: "sessions",
            partition,
            key: step.key.clone(),
            value: Some(text(step.offset.0, STATE_BYTES).into()),
        });
        let progress = [STEPS, VERDICTS].map(|topic| Progress { topic, partition, next }).to_vec();
        let commit = Commit { consumer: "judge", publish: verdicts.collect(), state: state.collect(), progress };
        log.commit(commit).await.expect("commit");
    }
}

async fn answer(log: Arc<EmbeddedLog>, partition: Partition, due: Due, answered: mpsc::Sender<Duration>) {
    let (mut grown, mut next) = (log.grown(VERDICTS, partition), Offset::START);
    loop {
        let verdicts = read(&log, VERDICTS, partition, next, &mut grown).await;
        let Some(last) = verdicts.last() else { return };
        next = last.offset.next();
        for verdict in verdicts {
            let at = due.lock().expect("due").remove(&id_of(&verdict.value)).expect("a step that was offered");
            answered.send(at.elapsed()).await.expect("main waits for all");
        }
    }
}

/// The next records of a partition, once there are some; none when the log is closed.
async fn read(
    log: &EmbeddedLog,
    topic: Topic,
    partition: Partition,
    next: Offset,
    grown: &mut watch::Receiver<Offset>,
) -> Vec<Record> {
    loop {
        grown.mark_unchanged();
        let records = log.read(topic, partition, next, READ).await.expect("read");
        if !records.is_empty() || grown.changed().await.is_err() {
            return records;
        }
    }
}

fn step(n: u64) -> Append {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(n).to_be_bytes());
    id[8..].copy_from_slice(&n.to_be_bytes());
    let key = format!("session-{:06}", mix(n) % SESSIONS);
    Append::new(STEPS, key.into(), [&id[..], &text(n, STEP_BYTES - 16)].concat().into()).with_id(id)
}

fn id_of(value: &Bytes) -> [u8; 16] {
    *value.first_chunk().expect("begins with its id")
}

/// Compresses about as well as JSON does.
fn text(seed: u64, bytes: usize) -> Vec<u8> {
    let words = (seed..).map(|n| format!("\"{:016x}\":\"session\",", mix(n)));
    words.flat_map(String::into_bytes).take(bytes).collect()
}

/// `SplitMix64`.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
