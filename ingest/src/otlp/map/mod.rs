//! Spans and log records to steps.
//!
//! Which convention a span follows is told by its attributes, in this order: a GenAI operation, MCP, OpenInference,
//! OpenLLMetry, an older GenAI span. A span of none is ignored.
//!
//! The steps of a span: the first has the id `{trace}-{span}`, others a suffix (`:call`, `:result`, `:final`), and
//! messages and tool calls the ids that [`conversation`] derives, so that each is one step however often it is told.
//!
//! Spans of a trace arrive in pieces, children first. What other spans tell (the session, the agent, the step that is
//! the cause) is taken from those in the same request, nearest above first:
//!
//! | | own attribute | else | else |
//! |---|---|---|---|
//! | session | `gen_ai.conversation.id`, `session.id` | of a span above, or the only one named in the trace | the trace id |
//! | agent | `gen_ai.agent.id`, `gen_ai.agent.name`, `agent.name` | of a span above | `service.name` |
//! | cause | | first step of the nearest span above that has one | the id it will have |
//!
//! Nothing is remembered from one request to the next, so that a request sent again gives the same steps.

mod context;
mod conversation;
mod draft;
mod events;
mod genai;
mod genai_legacy;
mod mcp;
mod message;
mod openinference;
mod records;
mod shapes;
mod spans;
mod view;

use martingale_schemas::{Limits, Reason, Rejection};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

pub(super) use draft::Draft;

/// What one span or log record came to, or one step of it.
#[derive(Debug)]
pub(super) struct Mapped {
    /// Number of the span or log record in its request.
    pub(super) record: usize,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Step(Box<Draft>),
    /// Cannot be mapped; `payload` is a request in OTLP JSON that holds nothing else.
    Refused {
        rejection: Rejection,
        payload: Vec<u8>,
    },
    Ignored,
}

pub(super) fn traces(request: &ExportTraceServiceRequest, limits: &Limits) -> Vec<Mapped> {
    in_time(spans::map(request, limits))
}

pub(super) fn logs(request: &ExportLogsServiceRequest, limits: &Limits) -> Vec<Mapped> {
    in_time(records::map(request, limits))
}

/// By event time; what has none stays in its place at the end.
fn in_time(mut mapped: Vec<Mapped>) -> Vec<Mapped> {
    mapped.sort_by_key(|it| match &it.what {
        What::Step(draft) if draft.nanos > 0 => draft.nanos,
        _ => u64::MAX,
    });
    mapped
}

fn refused(record: usize, message: &str, payload: Vec<u8>) -> Mapped {
    let rejection = Rejection::new(Reason::InvalidOtlp, message);
    Mapped { record, what: What::Refused { rejection, payload } }
}

/// Identity of a trace or span as lower-case hexadecimal; `None` when it has another length or is all zero.
fn hex<const N: usize>(id: &[u8]) -> Option<String> {
    let id: &[u8; N] = id.try_into().ok()?;
    if id.iter().all(|byte| *byte == 0) {
        return None;
    }
    Some(
        id.iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|it| char::from_digit(u32::from(it), 16))
            .collect(),
    )
}
