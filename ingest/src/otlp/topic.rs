//! OTLP from topics, as the Kafka exporter of the OpenTelemetry Collector writes it: `otlp_proto` and `otlp_json`.
//!
//! A record is a request of OTLP over HTTP without the HTTP, and is taken as one. Nobody waits for an answer, so what
//! would be refused there is kept as a dead letter here.

use std::borrow::Cow;
use std::time::Instant;

use axum::http::StatusCode;
use martingale_schemas::{Reason, Rejection};
use serde::{Deserialize, Serialize};

use super::status::Encoding;
use super::{Signal, take};
use crate::intake::{Envelope, Keep};
use crate::{Ingest, body};

/// Topics of others that carry OTLP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// Topics of spans, by their whole names.
    pub traces: Vec<String>,
    /// Topics of log records.
    pub logs: Vec<String>,
}

impl Default for Topics {
    fn default() -> Self {
        Self { traces: vec!["otlp_spans".to_owned()], logs: vec!["otlp_logs".to_owned()] }
    }
}

/// Nothing of the record was promised: it has to be offered again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Later(String);

/// No protobuf of OTLP begins with a brace. With a line feed it does: that is the tag of its first field, and a brace behind it
/// is a length.
fn encoding(value: &[u8]) -> Encoding {
    if value.first() == Some(&b'{') { Encoding::Json } else { Encoding::Protobuf }
}

impl Ingest {
    /// The topics it takes OTLP from, by their whole names.
    #[must_use]
    pub fn otlp_topics(&self) -> Vec<String> {
        let Topics { traces, logs } = &self.0.config.kafka;
        traces.iter().chain(logs).cloned().collect()
    }

    /// Takes a record of such a topic: when it returns, each of its spans has had its outcome, durable as configured.
    ///
    /// # Errors
    /// [`Later`] when the log takes nothing just now, or too much is in progress.
    pub async fn take_record(&self, topic: &str, value: &[u8]) -> Result<(), Later> {
        let parts = &*self.0;
        let since = Instant::now();
        let signal = if parts.config.kafka.logs.iter().any(|it| it == topic) { Signal::Logs } else { Signal::Traces };
        let encoding = encoding(value);
        let taken = match body::Received::of(value, &parts.config, &parts.budget) {
            Ok(received) => take(parts, signal, encoding, received).await.map(drop),
            Err(fault) => Err(crate::http::Problem::of_body(&fault, parts.config.retry_after_secs())),
        };
        parts.metrics.took(signal.door(), since);
        let Err(problem) = taken else { return Ok(()) };
        match problem.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => return Err(Later(problem.message)),
            // As a whole and before anything was made of it; what was refused otherwise is a dead letter already.
            StatusCode::PAYLOAD_TOO_LARGE if problem.reason == "too_large" => {}
            _ => return Ok(()),
        }
        let rejection = Rejection::new(Reason::TooLarge, problem.message);
        let envelope = Envelope::Refused { rejection, payload: Cow::Borrowed(value) };
        let kept = parts.intake.take(signal.door(), parts.now(), vec![envelope], Keep::DeadLetter).await;
        kept.failed.map_or(Ok(()), |error| Err(Later(error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
    use prost::Message;

    use super::{Encoding, encoding};

    /// A request whose first field has so many bytes.
    fn request(bytes: usize) -> Vec<u8> {
        let of = |name: usize| ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope { name: "x".repeat(name), ..Default::default() }),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let all = (0..bytes).map(|name| of(name).encode_to_vec());
        all.into_iter().find(|it| it.len() == bytes + 2).expect("a name of some length")
    }

    #[test]
    fn protobuf_and_json_are_told_apart() {
        let braced = request(usize::from(b'{'));
        assert_eq!(&braced[..2], b"\n{", "looks like JSON behind a line feed");
        for (value, is_json) in
            [(&br#"{"resourceSpans":[]}"#[..], true), (&braced, false), (&request(40), false), (b"", false)]
        {
            assert_eq!(matches!(encoding(value), Encoding::Json), is_json, "{value:?}");
        }
    }
}
