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
//! | cause | | first step of the nearest span above that has one | the id it will have; none for the beginning of an agent |
//!
//! Nothing is remembered from one request to the next, so that a request sent again gives the same steps.

mod calls;
mod context;
mod conversation;
mod draft;
mod events;
mod family;
mod genai;
mod genai_legacy;
mod mcp;
mod message;
mod openinference;
mod records;
mod shapes;
mod spans;
mod view;

use martingale_schemas::{Kind, Limits, Rejection};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::room::{Full, Room};
use draft::Draft;

/// What one span or log record came to, or one step of it.
#[derive(Debug)]
pub(super) struct Mapped {
    /// Number of the span or log record in its request.
    pub(super) record: usize,
    /// Nanoseconds since the Unix epoch, and whether it ends what was before it; only the order counts.
    order: (u64, bool),
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A step in wire format v1.
    Step(Vec<u8>),
    /// Cannot be mapped; `payload` is a request in OTLP JSON that holds nothing else.
    Refused {
        rejection: Rejection,
        payload: Vec<u8>,
    },
    Ignored,
}

/// # Errors
/// When the request has no room in memory.
pub(super) fn traces(
    request: &ExportTraceServiceRequest,
    limits: &Limits,
    room: &mut Room,
) -> Result<Vec<Mapped>, Full> {
    let mut out = Out { room, mapped: Vec::new() };
    spans::map(request, limits, &mut out)?;
    Ok(out.in_time())
}

/// # Errors
/// When the request has no room in memory.
pub(super) fn logs(request: &ExportLogsServiceRequest, limits: &Limits, room: &mut Room) -> Result<Vec<Mapped>, Full> {
    let mut out = Out { room, mapped: Vec::new() };
    records::map(request, limits, &mut out)?;
    Ok(out.in_time())
}

/// What a request came to so far.
struct Out<'r> {
    room: &'r mut Room,
    mapped: Vec<Mapped>,
}

impl Out<'_> {
    fn push(&mut self, record: usize, order: (u64, bool), what: What) -> Result<(), Full> {
        let content = match &what {
            What::Step(json) => json.len(),
            What::Refused { payload, .. } => payload.len(),
            What::Ignored => 0,
        };
        self.room.keep(size_of::<Mapped>() + content)?;
        self.mapped.push(Mapped { record, order, what });
        Ok(())
    }

    /// The steps of one record, written down at once: their value trees take a multiple of it.
    fn steps(&mut self, record: usize, steps: Vec<Draft>) -> Result<(), Full> {
        for step in steps {
            let order = (if step.nanos > 0 { step.nanos } else { u64::MAX }, step.kind == Kind::SessionEnd);
            self.push(record, order, What::Step(step.to_json()))?;
        }
        Ok(())
    }

    fn ignored(&mut self, record: usize) -> Result<(), Full> {
        self.push(record, LAST, What::Ignored)
    }

    /// `bytes` is about how many the payload has.
    fn refused(
        &mut self,
        record: usize,
        rejection: Rejection,
        bytes: usize,
        payload: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Full> {
        self.room.keep(bytes)?;
        self.push(record, LAST, What::Refused { rejection, payload: payload() })
    }

    /// By event time; what has none stays in its place at the end.
    fn in_time(mut self) -> Vec<Mapped> {
        self.mapped.sort_by_key(|it| it.order);
        self.mapped
    }
}

const LAST: (u64, bool) = (u64::MAX, false);

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
