//! The spans of a request, each with what the ones above it say.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use martingale_schemas::{Kind, Limits, Reason, Rejection};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::calls::Asked;
use super::context::{Context, Home, Standing, named_agent, named_session};
use super::conversation::Content;
use super::draft::{Draft, Who};
use super::events::{self, Extra};
use super::family::{self, Above, Family, Relative};
use super::genai::{self, Operation};
use super::view::View;
use super::{Out, genai_legacy, hex, mcp, openinference};
use crate::otlp::room::Full;
use crate::otlp::weigh;

/// How a span is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Convention {
    GenAi(Operation),
    Mcp,
    OpenInference,
    Traceloop,
}

fn convention(view: &View<'_>) -> Option<Convention> {
    if let Some(name) = view.peek("gen_ai.operation.name") {
        return Some(Convention::GenAi(Operation::of(name)));
    }
    if view.has(mcp::METHOD) {
        return mcp::is_step(view).then_some(Convention::Mcp);
    }
    if view.has(openinference::KIND) {
        return Some(Convention::OpenInference);
    }
    if view.has("traceloop.span.kind") {
        return Some(Convention::Traceloop);
    }
    genai_legacy::operation(view).map(Convention::GenAi)
}

/// What a span needs of the others.
struct InRequest<'a> {
    homes: &'a [Home],
    family: &'a Family,
    sessions: &'a Sessions,
    asked: &'a RefCell<Asked>,
}

/// A span that can be mapped.
struct Known<'a> {
    record: usize,
    within: Within<'a>,
    home: usize,
    trace: String,
    base: String,
    view: View<'a>,
    extra: Extra<'a>,
    convention: Option<Convention>,
}

pub(super) fn map(request: &ExportTraceServiceRequest, limits: &Limits, out: &mut Out<'_>) -> Result<(), Full> {
    let mut homes = Vec::with_capacity(request.resource_spans.len());
    let mut known = Vec::new();
    let mut record = 0;
    for resource in &request.resource_spans {
        homes.push(Home::of(resource.resource.as_ref()));
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let within = Within { resource, scope, span };
                out.room.keep(within.view_weight())?;
                match (hex::<16>(&span.trace_id), hex::<8>(&span.span_id)) {
                    (Some(trace), Some(id)) => known.push(Known::new(record, within, homes.len() - 1, trace, &id)),
                    (None, _) => {
                        within.refused(record, invalid("`traceId` is not 16 bytes with one that is not zero"), out)?;
                    }
                    (_, None) => {
                        within.refused(record, invalid("`spanId` is not 8 bytes with one that is not zero"), out)?;
                    }
                }
                record += 1;
            }
        }
    }
    let sessions = sessions(&known);
    let mut family: Family = known.iter().map(|it| (it.base.clone(), it.relative())).collect();
    let asked = RefCell::default();
    // As they began: a model call before the tools it asks for, and a tool before what happens in it.
    known.sort_by_key(|it| it.within.span.start_time_unix_nano);
    for it in known {
        let base = it.base.clone();
        let (record, within) = (it.record, it.within);
        if it.convention.is_none() && it.extra.evaluations.is_empty() {
            out.ignored(record)?;
            continue;
        }
        let mapped = match out.room.unpack(within.weight())? {
            Err(rejection) => Err(rejection),
            // Held while its value trees are.
            Ok(_share) => {
                let request = InRequest { homes: &homes, family: &family, sessions: &sessions, asked: &asked };
                let steps = it.steps(&request, limits, out.room.steps_left());
                out.room.take_steps(steps.len()).map(|()| steps)
            }
        };
        match mapped {
            Ok(steps) => {
                if let (Some(relative), Some(first)) =
                    (family.get_mut(&base), steps.iter().find(|it| it.kind == Kind::ToolCall))
                {
                    relative.called(&first.step_id);
                }
                out.steps(record, steps)?;
            }
            Err(rejection) => within.refused(record, rejection, out)?,
        }
    }
    Ok(())
}

fn invalid(message: &str) -> Rejection {
    Rejection::new(Reason::InvalidOtlp, message)
}

/// The session that the spans of a trace name, where they name one only.
type Sessions = HashMap<String, Option<String>>;

fn sessions(known: &[Known<'_>]) -> Sessions {
    let mut sessions = Sessions::new();
    for it in known {
        if let Some(session) = named_session(&it.view) {
            let one = sessions.entry(it.trace.clone()).or_insert_with(|| Some(session.to_owned()));
            if one.as_deref() != Some(session) {
                *one = None;
            }
        }
    }
    sessions
}

impl<'a> Known<'a> {
    fn new(record: usize, within: Within<'a>, home: usize, trace: String, id: &str) -> Self {
        let span = within.span;
        let mut view = View::new(&span.attributes);
        let extra = events::absorb(&span.events, &mut view);
        genai_legacy::modernise(&mut view);
        let convention = convention(&view);
        let base = format!("{trace}-{id}");
        Self { record, within, home, trace, base, view, extra, convention }
    }

    fn relative(&self) -> Relative {
        let view = &self.view;
        let is_tool = match self.convention {
            Some(Convention::GenAi(operation)) => operation == Operation::ExecuteTool,
            Some(Convention::Mcp) => view.peek(mcp::METHOD) == Some("tools/call"),
            Some(Convention::OpenInference) => {
                view.peek(openinference::KIND).is_some_and(|it| it.eq_ignore_ascii_case("tool"))
            }
            Some(Convention::Traceloop) => view.peek("traceloop.span.kind") == Some("tool"),
            None => false,
        };
        let step = if is_tool { format!("{}:call", self.base) } else { self.base.clone() };
        let step = self.convention.map(|_| step);
        let is_workflow = self.convention == Some(Convention::GenAi(Operation::InvokeWorkflow))
            || view.peek("traceloop.span.kind") == Some("workflow");
        Relative {
            parent: self.parent_base(),
            session: named_session(view).map(str::to_owned),
            agent: named_agent(view),
            step,
            is_tool,
            is_workflow,
        }
    }

    fn parent_base(&self) -> Option<String> {
        let parent = hex::<8>(&self.within.span.parent_span_id).map(|parent| format!("{}-{parent}", self.trace));
        parent.filter(|parent| *parent != self.base)
    }

    fn steps(mut self, request: &InRequest<'_>, limits: &Limits, steps_max: usize) -> Vec<Draft> {
        let home = &request.homes[self.home];
        let parent = self.parent_base();
        let above = Above::of(parent.as_deref(), request.family);
        let only = request.sessions.get(&self.trace).cloned().flatten().unwrap_or_else(|| self.trace.clone());
        let mut who = Who::take(&mut self.view, home, above.agent, above.session.unwrap_or_else(|| only.clone()));
        (who.root_session_id, who.parent_session_id) =
            family::lineage(parent.as_deref(), request.family, &who.session_id, &only);
        if let Some(service) = home.service.as_ref().filter(|it| **it != who.agent.id) {
            self.view.put("service.name", service.as_str());
        }
        let exception = self.extra.exception;
        let standing = Standing {
            who: Arc::new(who),
            trace: self.trace,
            asked: request.asked,
            base: self.base,
            parent: above.parent,
            top: self.within.span.parent_span_id.iter().all(|byte| *byte == 0),
            steps_max,
        };
        let context = Context::of_span(self.within.span, &mut self.view, standing, exception);
        let evaluations = self.extra.evaluations;
        let mut content = Content::default();
        events::take_content(&self.within.span.events, &mut content);
        genai::take_content(&mut self.view, &mut content);
        genai_legacy::take_content(&mut self.view, &mut content);
        let mut steps = match self.convention {
            Some(Convention::GenAi(operation)) => genai::steps(operation, &context, self.view, content, limits),
            Some(Convention::Mcp) => mcp::steps(&context, self.view, content, limits),
            Some(Convention::OpenInference) => openinference::steps(&context, self.view, content, limits),
            Some(Convention::Traceloop) => genai_legacy::traceloop(&context, self.view, content, limits),
            None => Vec::new(),
        };
        steps.extend(evaluations.into_iter().map(|it| events::evaluation(&context, it, limits)));
        steps
    }
}

/// A span with what it stands in.
#[derive(Clone, Copy)]
struct Within<'a> {
    resource: &'a ResourceSpans,
    scope: &'a ScopeSpans,
    span: &'a Span,
}

impl Within<'_> {
    /// What is noted of it before it is mapped: names and places of its attributes.
    fn view_weight(self) -> usize {
        const ENTRY_BYTES: usize = 96;
        const VIEW_BYTES: usize = 768;
        let span = self.span;
        size_of::<Known<'_>>()
            + size_of::<Relative>()
            + span.attributes.len() * ENTRY_BYTES
            + span.events.iter().map(|it| VIEW_BYTES + it.attributes.len() * ENTRY_BYTES).sum::<usize>()
            + VIEW_BYTES
    }

    /// What its value trees take.
    fn weight(self) -> usize {
        let events = self.span.events.iter().map(|it| weigh::attributes(&it.attributes));
        events.fold(weigh::attributes(&self.span.attributes), usize::saturating_add)
    }

    fn refused(self, record: usize, rejection: Rejection, out: &mut Out<'_>) -> Result<(), Full> {
        let bytes = self.resource.resource.as_ref().map_or(0, Message::encoded_len)
            + self.scope.scope.as_ref().map_or(0, Message::encoded_len)
            + self.resource.schema_url.len()
            + self.scope.schema_url.len()
            + self.span.encoded_len();
        out.refused(record, rejection, bytes, || self.alone())
    }

    /// A request that holds this span only.
    fn alone(self) -> Vec<u8> {
        let scope = ScopeSpans {
            spans: vec![self.span.clone()],
            scope: self.scope.scope.clone(),
            schema_url: self.scope.schema_url.clone(),
        };
        let resource = ResourceSpans {
            resource: self.resource.resource.clone(),
            scope_spans: vec![scope],
            schema_url: self.resource.schema_url.clone(),
        };
        // Cannot fail: the messages are plain structs.
        serde_json::to_vec(&ExportTraceServiceRequest { resource_spans: vec![resource] }).unwrap_or_default()
    }
}
