//! `bench kafka`: a detector process beside the brokers it is given.
//!
//! * Throughput: steps that lie on the log, from the first that are judged to the last whose verdict is committed, by
//!   detectors in processes of their own; for each number of partitions, and of processes, on topics of its own, beside a
//!   bare consumer that reads the same steps and does nothing.
//! * Latency: one step at a time at a fixed rate, from when it was due until its verdict was read back. Open loop: a step
//!   that is late counts from when it should have been sent.
//! * Restore: so many sessions are live, and a process takes them all over.
//!
//! Brokers, security, detector and policies are configured as for `up`. The topics stay on the brokers, under a prefix of
//! their own: these are brokers to measure with.

mod processes;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use martingale_detector_core::Rules;
use martingale_platform::clock::Clock;
use martingale_platform::log::{Append, KafkaConfig, KafkaLog, Log, Offset, Partition, ReadLimit};
use martingale_platform::shutdown;
use martingale_schemas::{SessionId, StepId, VerdictId, bench_steps, topics};
use prometheus::Registry;
use tokio::task::JoinSet;

use self::processes::Detectors;
use super::Facts;
use crate::cli::bench::Kafka;
use crate::cmd::up::Signals;
use crate::config::{Config, Layer};
use crate::log::{CONSUMERS, all_topics};

const SESSION_STEPS: u64 = 50;
/// Steps of one append when the log is filled.
const APPEND: u64 = 2_000;
const READ: ReadLimit = ReadLimit { records_max: 4_096, bytes_max: 4 << 20 };
/// A measurement that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(600);
const MICROS_MAX: u64 = 60_000_000;
/// Before the rate counts: connections are made and caches filled.
const WARM_UP: u64 = 200;

/// What is measured.
struct Setup {
    config: Config,
    rules: Arc<Rules>,
    prefix: String,
}

impl Setup {
    fn new(args: &Kafka) -> Result<Self> {
        let mut layers = Layer::sources(args.config.as_deref(), std::env::vars_os())?;
        layers.extend(args.brokers.as_deref().map(|it| Layer::flag("--brokers", "kafka.brokers", it)));
        let config = Config::from_layers(&layers)?;
        ensure!(config.on_kafka(), "no brokers: name them with --brokers, or as kafka.brokers in the configuration");
        let rules = crate::policies::configured(&config)?.rules;
        let prefix = format!("bench-{:x}-", Clock::System.now_micros() / 1_000);
        Ok(Self { config, rules: Arc::new(rules), prefix })
    }

    /// Topics of their own, with so many partitions.
    fn topics(&self, name: &str, partitions: u32) -> KafkaConfig {
        let topic_prefix = format!("{}{name}.", self.prefix);
        KafkaConfig { topic_prefix, partitions, ..self.config.kafka.clone() }
    }

    fn judging(&self, log: &Arc<KafkaLog>) -> Judging {
        Judging::start(log, &self.config, Arc::clone(&self.rules))
    }
}

/// Ends the processes it started, also when it is told to stop.
pub(super) async fn run(args: &Kafka) -> Result<Facts> {
    let mut signals = Signals::new()?;
    tokio::select! {
        facts = measure(args) => facts,
        () = signals.next() => bail!("stopped before everything was measured"),
    }
}

async fn measure(args: &Kafka) -> Result<Facts> {
    let setup = Setup::new(args)?;
    let token = setup.config.auth.secret()?;
    let mut facts = Facts::new();
    facts.insert("topic_prefix".into(), setup.prefix.clone().into());
    let most = args.partitions.iter().copied().max().unwrap_or(1);
    let by_partitions = args.partitions.iter().map(|it| (*it, 1, format!("{it}_partitions")));
    let by_processes = args.processes.iter().map(|it| (most, *it, format!("{it}_processes")));
    for (partitions, processes, name) in by_partitions.chain(by_processes) {
        let topics = setup.topics(&name, partitions);
        let theirs = (args.config.as_deref(), token.as_deref());
        let (bare, judged) = throughput(&topics, theirs, (u64::from(args.steps), processes)).await?;
        for (figure, value) in [("bare_per_second", bare), ("judged_per_second", judged), ("share", judged / bare)] {
            facts.insert(format!("{name}_{figure}"), value.into());
        }
    }
    let latency = latency(&setup, args).await?;
    for (name, quantile) in [("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999)] {
        let ms = latency.value_at_quantile(quantile) as f64 / 1e3;
        facts.insert(format!("step_to_verdict_{name}"), ms.into());
    }
    facts.insert("rate_per_second".into(), args.rate.into());
    if args.sessions > 0 {
        let took = restore(&setup, u64::from(args.sessions)).await?;
        facts.insert("restored_sessions".into(), args.sessions.into());
        facts.insert("restore_seconds".into(), took.as_secs_f64().into());
    }
    Ok(facts)
}

async fn open(config: &KafkaConfig) -> Result<Arc<KafkaLog>> {
    Ok(KafkaLog::open(config.clone(), &all_topics(), &CONSUMERS, &Registry::new()).await?)
}

fn step(line: &mut Vec<u8>, session: &str, number: u64) -> Append {
    bench_steps::write(line, session, number);
    Append::new(topics::STEPS, Bytes::copy_from_slice(session.as_bytes()), Bytes::copy_from_slice(line))
}

/// Steps of many sessions, some under way at once.
async fn fill(log: &KafkaLog, count: u64) -> Result<()> {
    const AT_ONCE: u64 = 1_000;
    let bar = super::progress(count, "steps appended");
    let mut line = Vec::with_capacity(512);
    let mut batch = Vec::new();
    for number in 0..count {
        let block = number / (AT_ONCE * SESSION_STEPS);
        let session = format!("bench-{block:06}-{:04}", number % AT_ONCE);
        batch.push(step(&mut line, &session, number / AT_ONCE % SESSION_STEPS));
        if batch.len() as u64 == APPEND || number + 1 == count {
            bar.inc(batch.len() as u64);
            log.append(std::mem::take(&mut batch)).await?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Steps per second of a reader that does nothing, and of so many detectors.
async fn throughput(
    config: &KafkaConfig,
    theirs: (Option<&Path>, Option<&str>),
    (count, processes): (u64, u32),
) -> Result<(f64, f64)> {
    let log = open(config).await?;
    fill(&log, count).await?;
    log.close().await;

    let log = open(config).await?;
    let began = Instant::now();
    let mut readers = JoinSet::new();
    for partition in (0..config.partitions).map(Partition) {
        let log = Arc::clone(&log);
        readers.spawn(async move {
            let (mut next, mut read) = (Offset::START, 0);
            loop {
                let records = log.read(topics::STEPS, partition, next, READ).await?;
                let Some(last) = records.last() else { return anyhow::Ok(read) };
                next = last.offset.next();
                read += records.len() as u64;
            }
        });
    }
    let mut read = 0;
    while let Some(one) = readers.join_next().await {
        read += one??;
    }
    let bare = began.elapsed();
    ensure!(read == count, "{read} of {count} steps were read");
    log.close().await;

    let judged = Detectors::start(config, theirs, processes).await?.pace(count).await?;
    Ok((count as f64 / bare.as_secs_f64(), judged))
}

/// A detector of this process.
struct Judging {
    registry: Registry,
    stop: shutdown::Trigger,
    task: tokio::task::JoinHandle<Result<(), martingale_detector::Error>>,
}

impl Judging {
    fn start(log: &Arc<KafkaLog>, config: &Config, rules: Arc<Rules>) -> Self {
        let registry = Registry::new();
        let (stop, stopping) = shutdown::channel();
        let (log, of) = (Arc::clone(log) as Arc<dyn Log>, registry.clone());
        let (config, limits) = (config.detector.clone(), config.ingest.limits.clone());
        let task = tokio::spawn(async move {
            let watched =
                martingale_detector::Watched { registry: &of, health: martingale_detector::Health::default() };
            martingale_detector::run(config, &limits, log, rules, watched, stopping).await
        });
        Self { registry, stop, task }
    }

    /// Waits until so many steps have their verdict committed.
    async fn until(&self, count: u64) -> Result<()> {
        let bar = super::progress(count, "steps judged");
        let began = Instant::now();
        loop {
            let judged = self.judged();
            bar.set_position(judged);
            if judged >= count {
                bar.finish_and_clear();
                return Ok(());
            }
            ensure!(!self.task.is_finished(), "the detector ended");
            ensure!(began.elapsed() < PATIENCE, "{judged} of {count} steps were judged within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn judged(&self) -> u64 {
        let families = self.registry.gather();
        let of = families.iter().find(|it| it.name() == "martingale_detector_steps_judged_total");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        of.map_or(0, |it| it.get_metric().iter().map(|it| it.get_counter().get_value() as u64).sum())
    }

    async fn stop(self) -> Result<()> {
        self.stop.stop();
        Ok(self.task.await??)
    }
}

/// From when a step was due until its verdict was read, in microseconds.
async fn latency(setup: &Setup, args: &Kafka) -> Result<Histogram<u64>> {
    let config = &setup.topics("latency", 4);
    let log = open(config).await?;
    let mut assigned = log.assigned(martingale_detector::CONSUMER);
    assigned.wait_for(|it| it.len() == config.partitions as usize).await.context("the log is closed")?;
    let detector = setup.judging(&log);
    let (rate, count) = (u64::from(args.rate), u64::from(args.rate) * u64::from(args.seconds) + WARM_UP);
    let (sender, mut seen) = tokio::sync::mpsc::channel(16_384);
    let mut readers = JoinSet::new();
    for partition in (0..config.partitions).map(Partition) {
        readers.spawn(follow(Arc::clone(&log), partition, sender.clone()));
    }
    drop(sender);
    let due = {
        let begin = Instant::now() + Duration::from_millis(500);
        move |number: u64| begin + Duration::from_micros(number * 1_000_000 / rate)
    };
    let mut senders = JoinSet::new();
    let mut of_verdict = HashMap::new();
    for number in 0..count {
        let session = format!("rate-{:03}", number % 200);
        let id = VerdictId::of(&SessionId::from(session.clone()), &StepId::from((number / 200).to_string()));
        of_verdict.insert(id.as_str().to_owned(), number);
    }
    let appending = Arc::clone(&log);
    senders.spawn(async move {
        let mut line = Vec::new();
        let mut under_way = JoinSet::new();
        for number in 0..count {
            tokio::time::sleep_until(due(number).into()).await;
            let append = step(&mut line, &format!("rate-{:03}", number % 200), number / 200);
            let log = Arc::clone(&appending);
            under_way.spawn(async move { log.append(vec![append]).await.map(drop) });
            while let Some(appended) = under_way.try_join_next() {
                appended??;
            }
        }
        while let Some(appended) = under_way.join_next().await {
            appended??;
        }
        anyhow::Ok(())
    });
    let mut histogram = Histogram::new_with_bounds(1, MICROS_MAX, 3)?;
    let bar = super::progress(count, "steps at the rate");
    let mut left = count;
    while left > 0 {
        let next = tokio::time::timeout(PATIENCE, seen.recv()).await.context("no verdict comes any more")?;
        let (id, at): (String, Instant) = next.ok_or_else(|| anyhow!("the log is closed"))?;
        // A verdict may be published twice.
        let Some(number) = of_verdict.remove(&id) else { continue };
        left -= 1;
        bar.inc(1);
        if number >= WARM_UP {
            let micros = at.saturating_duration_since(due(number)).as_micros();
            histogram.saturating_record(u64::try_from(micros).unwrap_or(MICROS_MAX).max(1));
        }
    }
    bar.finish_and_clear();
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    readers.abort_all();
    detector.stop().await?;
    log.close().await;
    Ok(histogram)
}

/// Tells of each verdict of a partition when it is read.
async fn follow(
    log: Arc<KafkaLog>,
    partition: Partition,
    seen: tokio::sync::mpsc::Sender<(String, Instant)>,
) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Head {
        verdict_id: String,
    }
    let mut grown = log.grown(topics::VERDICTS, partition);
    let mut next = Offset::START;
    loop {
        grown.mark_unchanged();
        let records = log.read(topics::VERDICTS, partition, next, READ).await?;
        let at = Instant::now();
        let Some(last) = records.last() else {
            grown.changed().await?;
            continue;
        };
        next = last.offset.next();
        for record in records {
            let Head { verdict_id } = serde_json::from_slice(&record.value)?;
            seen.send((verdict_id, at)).await?;
        }
    }
}

/// How long a process takes until the partitions of so many live sessions are its own, state and all.
async fn restore(setup: &Setup, sessions: u64) -> Result<Duration> {
    let config = &setup.topics("restore", 4);
    let log = open(config).await?;
    let detector = setup.judging(&log);
    let mut line = Vec::new();
    let mut batch = Vec::new();
    for session in 0..sessions {
        batch.push(step(&mut line, &format!("live-{session:08}"), 1));
        if batch.len() as u64 == APPEND || session + 1 == sessions {
            log.append(std::mem::take(&mut batch)).await?;
        }
    }
    detector.until(sessions).await?;
    detector.stop().await?;
    log.close().await;
    let log = open(config).await?;
    let began = Instant::now();
    let mut assigned = log.assigned(martingale_detector::CONSUMER);
    let all = assigned.wait_for(|it| it.len() == config.partitions as usize);
    tokio::time::timeout(PATIENCE, all).await.context("partitions are not restored")?.context("the log is closed")?;
    let took = began.elapsed();
    log.close().await;
    Ok(took)
}
