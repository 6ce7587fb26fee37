//! OTLP in: traces and logs over gRPC and HTTP, mapped to steps.
//!
//! A span or log record becomes any number of steps (none: [`crate::Outcome::Ignored`]); the steps of a request are
//! taken in the order of their times, because an exporter sends children before their parents. A span with a step that
//! was rejected counts as rejected in the partial success; its other steps are taken.

pub(crate) mod grpc;
pub(crate) mod http;
mod map;
mod status;

use std::borrow::Cow;
use std::collections::BTreeMap;

use martingale_platform::log;
use martingale_schemas::Limits;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::intake::{Envelope, Keep, Outcome};
use crate::{Door, Parts};
use map::{Mapped, What};

/// What was rejected of a request that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Spans or log records of which something was rejected.
    pub(crate) rejected: i64,
    /// The count and the first reasons; empty when nothing was rejected.
    pub(crate) message: String,
}

/// Envelopes of a request, each with the number of the span or log record it comes from.
pub(crate) type Numbered = (Vec<usize>, Vec<Envelope<'static>>);

pub(crate) fn of_traces(request: &ExportTraceServiceRequest, limits: &Limits) -> Numbered {
    numbered(map::traces(request, limits))
}

pub(crate) fn of_logs(request: &ExportLogsServiceRequest, limits: &Limits) -> Numbered {
    numbered(map::logs(request, limits))
}

fn numbered(mapped: Vec<Mapped>) -> Numbered {
    mapped.into_iter().map(|it| (it.record, envelope(it))).unzip()
}

/// Decodes or maps a request, beside the runtime's own threads when it is so large that others would wait for it.
///
/// # Errors
/// [`log::Error::Closed`] when the process is going down.
pub(crate) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, log::Error> {
    const ASIDE_BYTES_MIN: usize = 256 * 1024;
    if bytes < ASIDE_BYTES_MIN {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| log::Error::Closed)
}

/// Takes the steps of a request.
///
/// # Errors
/// When the log is full or broken: nothing is acknowledged.
pub(crate) async fn take(parts: &Parts, door: Door, (records, envelopes): Numbered) -> Result<Partial, log::Error> {
    const REASONS_MAX: usize = 3;
    let taken = parts.intake.take(door, parts.now(), envelopes, Keep::DeadLetter).await;
    if let Some(error) = taken.failed {
        return Err(error);
    }
    let mut rejected = BTreeMap::new();
    for (record, outcome) in records.into_iter().zip(taken.outcomes) {
        if let Outcome::Rejected(rejection) = outcome {
            rejected.entry(record).or_insert(rejection);
        }
    }
    if rejected.is_empty() {
        return Ok(Partial::default());
    }
    let reasons: Vec<String> = rejected
        .iter()
        .take(REASONS_MAX)
        .map(|(record, it)| format!("#{record} {}: {}", it.reason, it.message))
        .collect();
    let tail = match rejected.len() - reasons.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let noun = if door == Door::OtlpLogs { "log records" } else { "spans" };
    let message = format!("{} {noun} rejected: {}{tail}", rejected.len(), reasons.join("; "));
    Ok(Partial { rejected: i64::try_from(rejected.len()).unwrap_or(i64::MAX), message })
}

fn envelope(mapped: Mapped) -> Envelope<'static> {
    match mapped.what {
        What::Step(draft) => Envelope::Step(Cow::Owned(draft.to_json())),
        What::Refused { rejection, payload } => Envelope::Refused { rejection, payload: Cow::Owned(payload) },
        What::Ignored => Envelope::Ignored,
    }
}

/// The envelopes of a dead letter: a step, or an OTLP request in the encoding it came in.
pub(crate) fn envelopes_of<'a>(source: &str, payload: &'a [u8], limits: &Limits) -> Vec<Envelope<'a>> {
    fn all<'a>(mapped: Vec<Mapped>) -> Vec<Envelope<'a>> {
        mapped.into_iter().map(envelope).collect()
    }
    let is_json = payload.trim_ascii_start().first() == Some(&b'{');
    if source == Door::OtlpTraces.as_str() {
        let request = if is_json {
            status::from_json(payload, "resourceSpans")
        } else {
            ExportTraceServiceRequest::decode(payload).ok()
        };
        if let Some(request) = request {
            return all(map::traces(&request, limits));
        }
    }
    if source == Door::OtlpLogs.as_str() {
        let request = if is_json {
            status::from_json(payload, "resourceLogs")
        } else {
            ExportLogsServiceRequest::decode(payload).ok()
        };
        if let Some(request) = request {
            return all(map::logs(&request, limits));
        }
    }
    vec![Envelope::Step(Cow::Borrowed(payload))]
}
