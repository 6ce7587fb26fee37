//! Verdicts of recorded steps without log or server, to compare others with.

use std::sync::Arc;

use martingale_detector_core::{Detector, Observed, Rules};
use martingale_schemas::{Position, Step, Verdict};

/// Judges steps (JSON as the log holds it) in the order given, everything in memory, and answers one line for each that
/// is no duplicate, as `replay --verdicts` writes it.
///
/// # Panics
/// When a step is none.
#[must_use]
pub fn offline(rules: Arc<Rules>, steps: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<String> {
    let mut detector = Detector::new(rules);
    let mut lines = Vec::new();
    for json in steps {
        let step = Step::from_log(json.as_ref()).unwrap_or_else(|rejection| panic!("no step: {rejection}"));
        while let Some(key) = detector.absent(&step).pop() {
            detector.load(key, None);
        }
        if let Observed::Judged(judgement) = detector.observe(&step) {
            lines.push(line(&judgement.into_verdict(&step, Position { partition: 0, offset: 0 })));
        }
        // Nothing is stored: what changed stays in memory.
        detector.drain_changed(|_, _| {});
    }
    lines
}

/// A verdict as `replay --verdicts` writes it: what does not depend on where the step stands.
#[must_use]
pub fn line(verdict: &Verdict<'_>) -> String {
    serde_json::json!({
        "session_id": verdict.session_id,
        "seq": verdict.seq,
        "step_id": verdict.step_id,
        "decision": verdict.decision,
        "scores": verdict.scores,
        "findings": verdict.findings,
    })
    .to_string()
}
