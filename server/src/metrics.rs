//! Every metric of the server itself: what no crate below it knows the whole of.

use std::sync::Arc;

use martingale_detector_core::Redactor;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry};

/// What the doors of this process forgot of what they hid.
struct Forgotten {
    redactor: Arc<Redactor>,
    counter: IntCounter,
}

impl Collector for Forgotten {
    fn desc(&self) -> Vec<&Desc> {
        self.counter.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.counter.inc_by(self.redactor.take_forgotten());
        self.counter.collect()
    }
}

pub(crate) fn watch(redactor: Arc<Redactor>, registry: &Registry) -> Result<(), prometheus::Error> {
    let counter = IntCounter::new(
        "martingale_capture_values_forgotten_total",
        "Values hidden in a run that are no longer remembered, since those of newer runs took their place.",
    )?;
    registry.register(Box::new(Forgotten { redactor, counter }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use martingale_detector_core::Redactor;
    use martingale_schemas::wire::StepV1;
    use martingale_schemas::{Capture, Limits, Redact, Timestamp};
    use prometheus::Registry;
    use serde_json::json;

    use super::watch;

    /// 65 values of 4,000 bytes fit in 256 KiB.
    #[test]
    fn what_capture_forgot_is_counted() {
        let (registry, limits) = (Registry::new(), Limits::DEFAULT);
        let fields = ["pin".to_owned()];
        let redactor = Redactor::new(&[b'k'; 32], Capture::Redacted, &[], &fields, limits.content_bytes_max).unwrap();
        let redactor = Arc::new(redactor);
        watch(Arc::clone(&redactor), &registry).unwrap();
        let forgotten = || registry.gather()[0].get_metric()[0].get_counter().get_value();
        for (runs, expected) in [(0..65, 0.0), (65..70, 5.0), (70..70, 5.0)] {
            for run in runs {
                let step = json!({
                    "session_id": run.to_string(), "kind": "tool_result", "agent": { "id": "a" },
                    "output": { "pin": format!("{run:04000}") },
                });
                let step = step.to_string();
                let step = StepV1::parse(step.as_bytes()).unwrap().check(Timestamp::from_micros(1), &limits).unwrap();
                redactor.redact(step);
            }
            assert!((forgotten() - expected).abs() < 0.5, "{} of {expected}", forgotten());
        }
    }
}
