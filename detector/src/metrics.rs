//! Every metric of the detector. Loops count in [`Counts`] and add once for each batch.

use std::borrow::Cow;
use std::time::Duration;

use martingale_platform::log::{Partition, Topic};
use martingale_schemas::{Column, Decision, Verdict};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, exponential_buckets,
};

/// The metrics of a process. Labels are closed sets: decisions, columns, the rules that are loaded, partitions, topics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    judged: IntCounter,
    decisions: IntCounterVec,
    findings: IntCounterVec,
    duplicates: IntCounter,
    dead_letters: IntCounterVec,
    orders: IntCounter,
    pub(crate) condition_errors: IntCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) late: IntCounter,
    pub(crate) skipped: IntCounter,
    pub(crate) forgotten: IntCounter,
    pub(crate) states_loaded: IntCounter,
    pub(crate) commit_retries: IntCounter,
    pub(crate) restarts: IntCounter,
    expired: IntCounterVec,
    batch_steps: Histogram,
    observe_seconds: Histogram,
    commit_seconds: Histogram,
    lag: IntGaugeVec,
    sessions: IntGaugeVec,
    state_bytes: IntGaugeVec,
}

/// The gauges of one partition, removed when its loop ends.
#[derive(Debug)]
pub(crate) struct Gauges {
    metrics: Metrics,
    label: String,
    pub(crate) lag: IntGauge,
    pub(crate) sessions: IntGauge,
    pub(crate) state_bytes: IntGauge,
}

/// What one batch adds.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    steps: usize,
    judged: u64,
    duplicates: u64,
    orders: u64,
    dead_steps: u64,
    dead_orders: u64,
    decisions: [u64; Decision::ALL.len()],
    findings: Vec<(Column, Cow<'static, str>, u64)>,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let it = IntCounter::new(format!("martingale_detector_{name}_total"), help)?;
            registry.register(Box::new(it.clone())).map(|()| it)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let it = IntCounterVec::new(Opts::new(format!("martingale_detector_{name}_total"), help), labels)?;
            registry.register(Box::new(it.clone())).map(|()| it)
        };
        let gauges = |name: &str, help: &str| {
            let it = IntGaugeVec::new(Opts::new(format!("martingale_detector_{name}"), help), &["partition"])?;
            registry.register(Box::new(it.clone())).map(|()| it)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let opts = HistogramOpts::new(format!("martingale_detector_{name}"), help).buckets(buckets);
            let it = Histogram::with_opts(opts)?;
            registry.register(Box::new(it.clone())).map(|()| it)
        };
        // 10 µs to 2.6 s.
        let seconds = exponential_buckets(10e-6, 4.0, 10)?;
        Ok(Self {
            judged: counter("steps_judged", "Steps that got a verdict")?,
            decisions: counters("decisions", "Verdicts by decision", &["decision"])?,
            findings: counters("findings", "Findings, those in shadow mode included", &["column", "rule"])?,
            duplicates: counter("duplicates", "Steps that were judged before and left alone")?,
            dead_letters: counters("dead_letters", "Records that could not be read, by topic", &["topic"])?,
            orders: counter("orders_applied", "Standing orders that took force in a partition")?,
            condition_errors: counter("condition_errors", "Policy conditions that could not be evaluated")?,
            dropped: counter(
                "partial_matches_dropped",
                "Partial matches, windows, definitions of tools and secrets that a limit made a session or its run forget",
            )?,
            late: counter("steps_late", "Steps that came after one of their session with the same or a larger seq")?,
            skipped: counter("seq_skipped", "Numbers that sessions left out between two steps")?,
            forgotten: counter("states_forgotten", "Entries of state removed because their session was silent")?,
            states_loaded: counter("states_loaded", "Entries of state looked up in the store")?,
            commit_retries: counter("commit_retries", "Commits made again because the log was busy")?,
            restarts: counter("restarts", "Loops that started again from their last commit")?,
            expired: counters("expired", "Offsets that were removed from the log before they were read", &["topic"])?,
            batch_steps: histogram("batch_steps", "Steps in a batch", exponential_buckets(1.0, 2.0, 12)?)?,
            observe_seconds: histogram("observe_seconds", "Time to judge a batch, loads included", seconds.clone())?,
            commit_seconds: histogram("commit_seconds", "Time to commit a batch, retries included", seconds)?,
            lag: gauges("lag_steps", "Steps on the log that have no verdict yet")?,
            sessions: gauges("sessions_in_memory", "Sessions whose state is in memory")?,
            state_bytes: gauges("state_bytes", "Estimated bytes of state in memory")?,
        })
    }

    pub(crate) fn add(&self, counts: &Counts, observe: Duration, commit: Duration) {
        self.judged.inc_by(counts.judged);
        self.duplicates.inc_by(counts.duplicates);
        self.orders.inc_by(counts.orders);
        let decisions = Decision::ALL.into_iter().zip(counts.decisions);
        for (decision, n) in decisions.filter(|(_, n)| *n > 0) {
            self.decisions.with_label_values(&[decision.as_str()]).inc_by(n);
        }
        for (column, rule, n) in &counts.findings {
            self.findings.with_label_values(&[column.as_str(), rule]).inc_by(*n);
        }
        for (topic, n) in [("steps", counts.dead_steps), ("controls", counts.dead_orders)] {
            if n > 0 {
                self.dead_letters.with_label_values(&[topic]).inc_by(n);
            }
        }
        if counts.steps > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
            self.batch_steps.observe(counts.steps as f64);
            self.observe_seconds.observe(observe.as_secs_f64());
        }
        self.commit_seconds.observe(commit.as_secs_f64());
    }

    pub(crate) fn expired(&self, topic: Topic, offsets: u64) {
        self.expired.with_label_values(&[topic]).inc_by(offsets);
    }

    pub(crate) fn gauges(&self, partition: Partition) -> Gauges {
        let label = partition.to_string();
        Gauges {
            lag: self.lag.with_label_values(&[&label]),
            sessions: self.sessions.with_label_values(&[&label]),
            state_bytes: self.state_bytes.with_label_values(&[&label]),
            metrics: self.clone(),
            label,
        }
    }
}

impl Gauges {
    pub(crate) fn set(gauge: &IntGauge, value: impl TryInto<i64>) {
        gauge.set(value.try_into().unwrap_or(i64::MAX));
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        for gauges in [&self.metrics.lag, &self.metrics.sessions, &self.metrics.state_bytes] {
            // An error means it is gone already.
            let _ = gauges.remove_label_values(&[&self.label]);
        }
    }
}

impl Counts {
    pub(crate) const fn batch(&mut self, steps: usize) {
        self.steps = steps;
    }

    pub(crate) fn verdict(&mut self, verdict: &Verdict<'_>) {
        self.judged += 1;
        self.decisions[verdict.decision as usize] += 1;
        for finding in &verdict.findings {
            let same = |(column, rule, _): &&mut (Column, Cow<'static, str>, u64)| {
                *column == finding.column && *rule == finding.rule
            };
            match self.findings.iter_mut().find(same) {
                Some((_, _, n)) => *n += 1,
                None => self.findings.push((finding.column, finding.rule.clone(), 1)),
            }
        }
    }

    pub(crate) const fn duplicate(&mut self) {
        self.duplicates += 1;
    }

    pub(crate) const fn order(&mut self) {
        self.orders += 1;
    }

    pub(crate) const fn dead_step(&mut self) {
        self.dead_steps += 1;
    }

    pub(crate) const fn dead_order(&mut self) {
        self.dead_orders += 1;
    }
}
