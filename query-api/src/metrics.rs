//! Every metric of enforcement: name, help and labels in one place. No session or step is ever a label.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

/// Seconds; the goal is half a millisecond, so that is where the buckets are.
const GATE_SECONDS: [f64; 14] =
    [0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.002, 0.003, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) gate_seconds: Histogram,
    /// By `decision` and by `outcome`: judged, duplicate, conflict, timed_out, busy, unavailable, rejected.
    pub(crate) gate_answers: IntCounterVec,
    pub(crate) gate_waiting: IntGauge,
    pub(crate) streams: IntGauge,
    /// Times a stream fell behind what memory holds and went on from the log.
    pub(crate) stream_lagged: IntCounter,
    pub(crate) feed_errors: IntCounter,
    /// By `outcome`: delivered, retried, failed.
    pub(crate) deliveries: IntCounterVec,
    pub(crate) deliveries_pending: IntGauge,
    pub(crate) alerts_firing: IntGaugeVec,
    /// By `rule`.
    pub(crate) alert_errors: IntCounterVec,
    pub(crate) alertmanager_errors: IntCounter,
    /// By `store`.
    pub(crate) unreadable: IntGaugeVec,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counter = |name: &str, help: &str| registered(registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help)?);
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gate_seconds = HistogramOpts::new(
            "martingale_gate_seconds",
            "Time from a gate request to its answer, time-outs included.",
        );
        Ok(Self {
            gate_seconds: registered(registry, Histogram::with_opts(gate_seconds.buckets(GATE_SECONDS.to_vec()))?)?,
            gate_answers: counters(
                "martingale_gate_answers_total",
                "Answers of the gate by decision and by how it was reached.",
                &["decision", "outcome"],
            )?,
            gate_waiting: gauge("martingale_gate_waiting", "Gate requests that wait for their verdict.")?,
            streams: gauge("martingale_streams", "Open event streams.")?,
            stream_lagged: counter(
                "martingale_stream_lagged_total",
                "Times a stream fell behind memory and went on from the log.",
            )?,
            feed_errors: counter(
                "martingale_feed_errors_total",
                "Failed reads of the log by the follower of verdicts and controls.",
            )?,
            deliveries: counters(
                "martingale_webhook_attempts_total",
                "Attempts to deliver a webhook by outcome: delivered, retried, failed.",
                &["outcome"],
            )?,
            deliveries_pending: gauge("martingale_webhook_pending", "Webhook deliveries that are not settled.")?,
            alerts_firing: registered(
                registry,
                IntGaugeVec::new(Opts::new("martingale_alerts_firing", "Firing fleet alerts by rule."), &["rule"])?,
            )?,
            alert_errors: counters(
                "martingale_alert_errors_total",
                "Evaluations of a fleet alert rule that failed.",
                &["rule"],
            )?,
            alertmanager_errors: counter("martingale_alertmanager_errors_total", "Posts to Alertmanager that failed.")?,
            unreadable: registered(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "martingale_store_unreadable",
                        "Kept deliveries, endpoints and alerts that this release cannot read.",
                    ),
                    &["store"],
                )?,
            )?,
        })
    }
}
