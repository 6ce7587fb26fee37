//! What is put on the log where content is not kept as it was sent.

use std::borrow::Cow;
use std::sync::Arc;

use martingale_platform::log::{Cleanup, MemoryLog, TopicSpec};
use martingale_schemas::{Capture, Redact, Step, topics};
use serde_json::json;

use super::Bench;
use crate::Config;

/// Keeps the length of a text, and of a secret more than was there.
#[derive(Debug)]
struct Lengths {
    keeps_rejected: bool,
}

impl Redact for Lengths {
    fn redact<'a>(&self, step: Step<'a>) -> Step<'a> {
        let text = step.text.as_ref().map(|it| Cow::Owned(format!("{} bytes", it.len() * 1_000)));
        Step { capture: Capture::Fingerprint, text, ..step }
    }

    fn keeps_rejected(&self) -> bool {
        self.keeps_rejected
    }
}

#[tokio::test]
async fn a_step_is_captured_before_it_is_put_on_the_log() {
    for (keeps_rejected, payload) in [(true, r#"{"session_id":"s","text":"a secret"}"#), (false, "")] {
        let specs = [topics::STEPS, topics::DEAD_LETTER, topics::LINEAGES]
            .map(|topic| TopicSpec { topic, cleanup: Cleanup::of(topics::is_compacted(topic)) });
        let log = MemoryLog::new(super::PARTITIONS, &specs, super::Clock::manual(super::NOW_MICROS));
        let bench = Bench::redacting(log, Config::default(), Some(Arc::new(Lengths { keeps_rejected })));
        let sent = r#"{"session_id":"s","step_id":"1","kind":"plan","agent":{"id":"a"},"text":"a secret"}"#;
        let broken = r#"{"session_id":"s","text":"a secret"}"#;
        let reply = bench.steps(format!("[{sent},{broken}]")).await;
        assert_eq!(reply.summary().1, 1, "{reply:?}");
        let steps = bench.records("steps").await;
        assert_eq!((&steps[0]["text"], &steps[0]["capture"]), (&json!("8000 bytes"), &json!("fingerprint")));
        // What it was sent as decides whether it is the same.
        assert_eq!(bench.steps(sent).await.summary(), (200, 0, 1, vec![]));
        let letters = bench.records("dead_letter").await;
        assert_eq!(letters[0]["payload"].as_str().unwrap_or_default(), payload, "{}", letters[0]);
        assert_eq!(letters[0]["payload_truncated_from"].is_number(), !keeps_rejected, "{}", letters[0]);
    }
}
