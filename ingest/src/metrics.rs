//! Every metric of ingest: names, help texts and labels.

use std::time::Instant;

use martingale_schemas::Reason;
use martingale_schemas::lineage::Said;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Through which door something came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    HttpSteps,
    OtlpTraces,
    OtlpLogs,
    /// Dead letters that an operator feeds in again.
    Replay,
}

impl Door {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpSteps => "http_steps",
            Self::OtlpTraces => "otlp_traces",
            Self::OtlpLogs => "otlp_logs",
            Self::Replay => "replay",
        }
    }

    /// What a step that came through it has said: telemetry shows what the spans of one request show.
    pub(crate) fn hears(self, said: Said) -> Said {
        match self {
            Self::OtlpTraces | Self::OtlpLogs => Said::Shown,
            _ => said,
        }
    }
}

/// Why a request was turned away whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The bodies in progress are at their limit.
    Inflight,
    /// The log's queue of writes is at its limit.
    LogFull,
    /// The log cannot be written.
    LogBroken,
    /// Too large, too slow, broken or of an unknown type.
    Body,
}

impl Refused {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Inflight => "inflight",
            Self::LogFull => "log_full",
            Self::LogBroken => "log_broken",
            Self::Body => "body",
        }
    }
}

/// How many envelopes of one request ended in each outcome: counted locally, added once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) shed: u64,
    pub(crate) ignored: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    steps: IntCounterVec,
    rejected: IntCounterVec,
    refused: IntCounterVec,
    seconds: HistogramVec,
    body_bytes: HistogramVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let it = Self {
            steps: counter(
                "martingale_ingest_steps_total",
                "Envelopes by their outcome: accepted, duplicate, rejected, shed, or ignored (telemetry with no agent step in it).",
                &["door", "outcome"],
            )?,
            rejected: counter(
                "martingale_ingest_rejected_total",
                "Rejected envelopes by reason.",
                &["door", "reason"],
            )?,
            refused: counter(
                "martingale_ingest_requests_refused_total",
                "Requests turned away whole: inflight and log_full are back-pressure (429), log_broken is 503, body is 4xx.",
                &["door", "cause"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "martingale_ingest_request_seconds",
                    "Time from the end of a request's head to its answer.",
                )
                .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0]),
                &["door"],
            )?,
            body_bytes: HistogramVec::new(
                HistogramOpts::new("martingale_ingest_body_bytes", "Size of a request's body after decompression.")
                    .buckets(vec![
                        256.0,
                        1024.0,
                        4096.0,
                        16384.0,
                        65536.0,
                        262_144.0,
                        1_048_576.0,
                        4_194_304.0,
                        16_777_216.0,
                        67_108_864.0,
                    ]),
                &["door"],
            )?,
        };
        for part in [&it.steps, &it.rejected, &it.refused] {
            registry.register(Box::new(part.clone()))?;
        }
        for part in [&it.seconds, &it.body_bytes] {
            registry.register(Box::new(part.clone()))?;
        }
        Ok(it)
    }

    pub(crate) fn count(&self, door: Door, tally: Tally) {
        let outcomes = [
            ("accepted", tally.accepted),
            ("duplicate", tally.duplicate),
            ("rejected", tally.rejected),
            ("shed", tally.shed),
            ("ignored", tally.ignored),
        ];
        for (outcome, n) in outcomes {
            if n > 0 {
                self.steps.with_label_values(&[door.as_str(), outcome]).inc_by(n);
            }
        }
    }

    pub(crate) fn rejected(&self, door: Door, reason: Reason) {
        self.rejected.with_label_values(&[door.as_str(), reason.as_str()]).inc();
    }

    pub(crate) fn refused(&self, door: Door, cause: Refused) {
        self.refused.with_label_values(&[door.as_str(), cause.as_str()]).inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "a histogram's bucket")]
    pub(crate) fn body(&self, door: Door, bytes: usize) {
        self.body_bytes.with_label_values(&[door.as_str()]).observe(bytes as f64);
    }

    pub(crate) fn took(&self, door: Door, since: Instant) {
        self.seconds.with_label_values(&[door.as_str()]).observe(since.elapsed().as_secs_f64());
    }
}
