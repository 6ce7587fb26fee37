//! Every metric of the log on Kafka. Those of the same meaning have the names of the embedded log.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) records: IntCounterVec,
    pub(super) bytes: IntCounterVec,
    pub(super) queue_bytes: IntGauge,
    pub(super) refused: IntCounter,
    pub(super) write_failures: IntCounter,
    pub(super) commit_seconds: Histogram,
    /// From the claim of a partition until its state is there.
    pub(super) restore_seconds: Histogram,
    /// What the indices of compacted topics hold in memory.
    pub(super) newest_bytes: IntGauge,
    pub(super) healthy: IntGauge,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let by_topic = |name, help| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["topic"])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let histogram = |name, help, buckets| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone())).map(|()| histogram)
        };
        Ok(Self {
            records: by_topic("martingale_log_appended_records_total", "Records appended")?,
            bytes: by_topic("martingale_log_appended_bytes_total", "Bytes of records appended, before compression")?,
            queue_bytes: gauge("martingale_log_queue_bytes", "Bytes that wait or are being written")?,
            refused: counter("martingale_log_refused_total", "Appends and commits refused because the queue was full")?,
            write_failures: counter("martingale_log_write_failures_total", "Appends and commits that failed")?,
            commit_seconds: histogram(
                "martingale_log_commit_seconds",
                "Duration of one commit, until what it publishes is acknowledged",
                prometheus::exponential_buckets(2.5e-4, 2.0, 14)?,
            )?,
            restore_seconds: histogram(
                "martingale_log_restore_seconds",
                "From the claim of a partition until its state is restored",
                prometheus::exponential_buckets(0.01, 2.5, 10)?,
            )?,
            newest_bytes: gauge("martingale_log_newest_bytes", "Bytes of the index of newest records by key")?,
            healthy: gauge("martingale_log_healthy", "1 while the log takes writes")?,
        })
    }
}
