//! OTLP in: traces and logs over gRPC and HTTP, mapped to steps.
//!
//! A span or log record becomes any number of steps (none: [`crate::Outcome::Ignored`]); the steps of a request are
//! taken in the order of their times, because an exporter sends children before their parents. A span with a step that
//! was rejected counts as rejected in the partial success; its other steps are taken.

pub(crate) mod grpc;
pub(crate) mod http;
mod map;
mod room;
mod status;
pub(crate) mod topic;
mod weigh;

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::StatusCode;
use martingale_platform::log;
use martingale_schemas::{Limits, Reason, Rejection};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use prost::Message;
use serde::de::DeserializeOwned;

use crate::http::Problem;
use crate::intake::{Envelope, Keep, Outcome, Taken};
use crate::{Door, Parts, body};
use map::{Mapped, What};
use room::{Full, Room};
use status::Encoding;

/// What was rejected of a request that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Spans or log records of which something was rejected.
    pub(crate) rejected: i64,
    /// The count and the first reasons; empty when nothing was rejected.
    pub(crate) message: String,
}

/// Envelopes of a request, each with the number of the span or log record it comes from.
type Numbered = (Vec<usize>, Vec<Envelope<'static>>);

/// Why a request gives no envelopes.
enum Unread {
    NotOtlp(String),
    Full(Full),
}

/// Which of the two requests of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Traces,
    Logs,
}

impl Signal {
    const fn door(self) -> Door {
        match self {
            Self::Traces => Door::OtlpTraces,
            Self::Logs => Door::OtlpLogs,
        }
    }
}

fn read(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    limits: &Limits,
    room: &mut Room,
) -> Result<Vec<Mapped>, Unread> {
    room.keep(match (encoding, signal) {
        (Encoding::Json, _) => weigh::json(body),
        (Encoding::Protobuf, Signal::Traces) => weigh::traces(body),
        (Encoding::Protobuf, Signal::Logs) => weigh::logs(body),
    })
    .map_err(Unread::Full)?;
    match signal {
        Signal::Traces => {
            let request: ExportTraceServiceRequest = decode(encoding, body, room)?;
            map::traces(&request, limits, room)
        }
        Signal::Logs => {
            let request: ExportLogsServiceRequest = decode(encoding, body, room)?;
            map::logs(&request, limits, room)
        }
    }
    .map_err(Unread::Full)
}

fn decode<M: Message + Default + DeserializeOwned>(
    encoding: Encoding,
    body: &[u8],
    room: &mut Room,
) -> Result<M, Unread> {
    let message = match encoding.read(body) {
        Ok(request) => return Ok(request),
        Err(message) => message,
    };
    match status::with_doubles_as_text(body).filter(|_| encoding == Encoding::Json) {
        Some(mended) => {
            room.keep(mended.len()).map_err(Unread::Full)?;
            encoding.read(&mended).map_err(Unread::NotOtlp)
        }
        None => Err(Unread::NotOtlp(message)),
    }
}

/// Reads and maps a request, beside the runtime's own threads when it is so large that others would wait for it.
async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, log::Error> {
    const ASIDE_BYTES_MIN: usize = 256 * 1024;
    if bytes < ASIDE_BYTES_MIN {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| log::Error::Closed)
}

/// Takes the body of a request, whichever transport it came by.
async fn take(parts: &Parts, signal: Signal, encoding: Encoding, received: body::Received) -> Result<Partial, Problem> {
    let (door, retry_after) = (signal.door(), parts.config.retry_after_secs());
    let bytes = received.bytes.len();
    parts.metrics.body(door, bytes);
    let limits = parts.config.limits.clone();
    let mut room = Room::new(&parts.config, &parts.budget, bytes);
    let read = aside(bytes, move || {
        let mapped = read(signal, encoding, &received.bytes, &limits, &mut room);
        (received, room, mapped)
    });
    // The room is held until the end: its bytes count against the budget.
    let (received, _room, mapped) = read.await.map_err(|error| Problem::of_log(&error, retry_after))?;
    let (records, envelopes): Numbered = match mapped {
        Ok(mapped) => mapped.into_iter().map(|it| (it.record, envelope(it))).unzip(),
        Err(Unread::Full(full)) => {
            parts.metrics.refused(door, full.cause());
            return Err(Problem::of_body(&full, retry_after));
        }
        Err(Unread::NotOtlp(message)) => return Err(not_otlp(parts, door, message, &received.bytes).await),
    };
    let taken = parts.intake.take(door, parts.now(), envelopes, Keep::DeadLetter).await;
    if let Some(error) = &taken.failed {
        return Err(Problem::of_log(error, retry_after));
    }
    answer(door, &records, taken)
}

/// A body that is no OTLP: one envelope, rejected whole.
async fn not_otlp(parts: &Parts, door: Door, message: String, bytes: &[u8]) -> Problem {
    let rejection = Rejection::new(Reason::InvalidOtlp, message.clone());
    let envelope = Envelope::Refused { rejection, payload: Cow::Borrowed(bytes) };
    let taken = parts.intake.take(door, parts.now(), vec![envelope], Keep::DeadLetter).await;
    match &taken.failed {
        Some(error) => Problem::of_log(error, parts.config.retry_after_secs()),
        None => Problem::new(StatusCode::BAD_REQUEST, Reason::InvalidOtlp.as_str(), message),
    }
}

/// A request of which nothing was taken because all of it is too much is refused as one, so that its sender sees it.
fn answer(door: Door, records: &[usize], taken: Taken) -> Result<Partial, Problem> {
    const REASONS_MAX: usize = 3;
    let tally = taken.tally();
    let mut rejected = BTreeMap::new();
    for (record, outcome) in records.iter().zip(taken.outcomes) {
        if let Outcome::Rejected(rejection) = outcome {
            rejected.entry(*record).or_insert(rejection);
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
    let too_much = |it: &Rejection| it.field.is_none() && matches!(it.reason, Reason::TooMany | Reason::TooLarge);
    if tally.accepted + tally.duplicate == 0 && rejected.values().all(too_much) {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many", message));
    }
    Ok(Partial { rejected: i64::try_from(rejected.len()).unwrap_or(i64::MAX), message })
}

fn envelope(mapped: Mapped) -> Envelope<'static> {
    match mapped.what {
        What::Step(json) => Envelope::Step(Cow::Owned(json)),
        What::Refused { rejection, payload } => Envelope::Refused { rejection, payload: Cow::Owned(payload) },
        What::Ignored => Envelope::Ignored,
    }
}

/// The envelopes of a dead letter: a step, or an OTLP request in the encoding it came in. The room is to be held as long
/// as they are.
pub(crate) fn envelopes_of<'a>(parts: &Parts, source: &str, payload: &'a [u8]) -> (Vec<Envelope<'a>>, Room) {
    let mut room = Room::new(&parts.config, &parts.budget, payload.len());
    let is_json = payload.trim_ascii_start().first() == Some(&b'{');
    let encoding = if is_json { Encoding::Json } else { Encoding::Protobuf };
    for (signal, field) in [(Signal::Traces, "resourceSpans"), (Signal::Logs, "resourceLogs")] {
        if source != signal.door().as_str() || (is_json && !status::has_field(payload, field)) {
            continue;
        }
        match read(signal, encoding, payload, &parts.config.limits, &mut room) {
            Ok(mapped) => return (mapped.into_iter().map(envelope).collect(), room),
            Err(Unread::Full(full)) => {
                let rejection = Rejection::new(Reason::TooLarge, full.to_string());
                return (vec![Envelope::Refused { rejection, payload: Cow::Borrowed(payload) }], room);
            }
            Err(Unread::NotOtlp(_)) => {}
        }
    }
    (vec![Envelope::Step(Cow::Borrowed(payload))], room)
}
