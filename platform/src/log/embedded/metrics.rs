//! Every metric of the embedded log.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of one topic, looked up once.
#[derive(Clone, Debug)]
pub(super) struct TopicMetrics {
    pub(super) records: IntCounter,
    pub(super) bytes: IntCounter,
    pub(super) duplicates: IntCounter,
    pub(super) removed_bytes: IntCounter,
}

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    records: IntCounterVec,
    bytes: IntCounterVec,
    duplicates: IntCounterVec,
    removed_bytes: IntCounterVec,
    /// Records in one write to disk.
    pub(super) group_records: Histogram,
    /// From the start of a write to disk until it is durable.
    pub(super) commit_seconds: Histogram,
    /// From the sync of the journal before it until the store has a part of it.
    pub(super) apply_seconds: Histogram,
    /// In the journal and not in the store.
    pub(super) pending_bytes: IntGauge,
    /// What waits or is being written.
    pub(super) queue_bytes: IntGauge,
    /// Appends and commits refused because the queue was full.
    pub(super) refused: IntCounter,
    pub(super) write_failures: IntCounter,
    /// 1 while the log takes writes.
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
            duplicates: by_topic("martingale_log_duplicates_total", "Records not appended because they were there")?,
            removed_bytes: by_topic("martingale_log_removed_bytes_total", "Bytes of records removed by retention")?,
            group_records: histogram(
                "martingale_log_group_records",
                "Records in one write to disk",
                prometheus::exponential_buckets(1.0, 4.0, 8)?,
            )?,
            commit_seconds: histogram(
                "martingale_log_commit_seconds",
                "Duration of one write to disk",
                prometheus::exponential_buckets(5e-6, 3.0, 12)?,
            )?,
            apply_seconds: histogram(
                "martingale_log_apply_seconds",
                "Duration of bringing a part of the journal to the store",
                prometheus::exponential_buckets(1e-3, 3.0, 10)?,
            )?,
            pending_bytes: gauge(
                "martingale_log_pending_bytes",
                "Bytes in the journal that the store has not got yet",
            )?,
            queue_bytes: gauge("martingale_log_queue_bytes", "Bytes that wait or are being written")?,
            refused: counter("martingale_log_refused_total", "Appends and commits refused because the queue was full")?,
            write_failures: counter("martingale_log_write_failures_total", "Writes to disk that failed")?,
            healthy: gauge("martingale_log_healthy", "1 while the log takes writes")?,
        })
    }

    pub(super) fn topic(&self, topic: &str) -> TopicMetrics {
        TopicMetrics {
            records: self.records.with_label_values(&[topic]),
            bytes: self.bytes.with_label_values(&[topic]),
            duplicates: self.duplicates.with_label_values(&[topic]),
            removed_bytes: self.removed_bytes.with_label_values(&[topic]),
        }
    }
}
