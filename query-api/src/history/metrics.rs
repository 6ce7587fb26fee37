//! Names and help texts of the history writer's metrics.

use martingale_platform::log::{Offset, Partition, Topic};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub(super) struct Metrics {
    pub(super) steps: IntCounter,
    pub(super) steps_missing: IntCounter,
    pub(super) expired: IntCounter,
    unreadable: IntCounterVec,
    pub(super) memory_bytes: IntGauge,
    pub(super) files_damaged: IntGauge,
    pub(super) visible_seconds: Histogram,
    pub(super) flush_seconds: Histogram,
    pub(super) flush_failures: IntCounter,
    pub(super) maintenance_failures: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let it = IntCounter::new(name, help)?;
            registry.register(Box::new(it.clone()))?;
            Ok(it)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> Result<Histogram, prometheus::Error> {
            let it = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(it.clone()))?;
            Ok(it)
        };
        let unreadable = IntCounterVec::new(
            Opts::new("martingale_history_unreadable_total", "Records of the log that history could not read"),
            &["topic"],
        )?;
        registry.register(Box::new(unreadable.clone()))?;
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let it = IntGauge::new(name, help)?;
            registry.register(Box::new(it.clone()))?;
            Ok(it)
        };
        let memory_bytes = gauge("martingale_history_memory_bytes", "Rows in memory that are not on disk yet")?;
        Ok(Self {
            steps: counter("martingale_history_steps_total", "Judged steps that became visible to SQL")?,
            steps_missing: counter(
                "martingale_history_steps_missing_total",
                "Verdicts whose step was no longer on the log",
            )?,
            expired: counter(
                "martingale_history_expired_total",
                "Offsets of the log that retention removed before history had them",
            )?,
            unreadable,
            memory_bytes,
            files_damaged: gauge(
                "martingale_history_files_damaged",
                "Files of the tables that are missing or not as long as they were, when it was last looked",
            )?,
            visible_seconds: histogram(
                "martingale_history_visible_seconds",
                "From append of a verdict to its visibility in SQL",
                vec![0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 60.0],
            )?,
            flush_seconds: histogram(
                "martingale_history_flush_seconds",
                "Writing the rows in memory to the Delta tables",
                vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            )?,
            flush_failures: counter("martingale_history_flush_failures_total", "Flushes that failed and are repeated")?,
            maintenance_failures: counter(
                "martingale_history_maintenance_failures_total",
                "Compactions that failed; the next one starts anew",
            )?,
        })
    }

    pub(super) fn unreadable(&self, topic: Topic, partition: Partition, offset: Offset, error: &dyn std::fmt::Display) {
        self.unreadable.with_label_values(&[topic]).inc();
        tracing::warn!(topic, %partition, %offset, %error, "record of the log cannot be read; history passes over it");
    }
}
