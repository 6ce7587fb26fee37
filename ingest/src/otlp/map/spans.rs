//! The spans of a request, each with what the ones above it say.

use std::collections::HashMap;
use std::sync::Arc;

use martingale_schemas::Limits;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::context::{Context, Home, Parent, named_agent, named_session};
use super::conversation::Content;
use super::draft::{Agent, Draft, Who};
use super::events::{self, Extra};
use super::genai::{self, Operation};
use super::view::View;
use super::{Mapped, What, genai_legacy, hex, mcp, openinference, refused, shapes};

/// Spans above one that are looked at; a longer chain, or a circle, ends there.
const ANCESTORS_MAX: usize = 64;

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

/// A span that can be mapped.
struct Known<'a> {
    record: usize,
    span: &'a Span,
    home: usize,
    trace: String,
    base: String,
    view: View<'a>,
    content: Content,
    extra: Extra<'a>,
    convention: Option<Convention>,
}

/// What a span is to those below it.
struct Relative {
    parent: Option<String>,
    session: Option<String>,
    agent: Option<Agent>,
    /// Its first step; none for a span that is ignored.
    step: Option<String>,
    is_workflow: bool,
}

pub(super) fn map(request: &ExportTraceServiceRequest, limits: &Limits) -> Vec<Mapped> {
    let mut homes = Vec::with_capacity(request.resource_spans.len());
    let mut known = Vec::new();
    let mut mapped = Vec::new();
    let mut record = 0;
    for resource in &request.resource_spans {
        homes.push(Home::of(resource.resource.as_ref()));
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                match (hex::<16>(&span.trace_id), hex::<8>(&span.span_id)) {
                    (Some(trace), Some(id)) => known.push(Known::new(record, span, homes.len() - 1, trace, &id)),
                    (None, _) => mapped.push(refused(
                        record,
                        "`traceId` is not 16 bytes with one that is not zero",
                        alone(resource, scope, span),
                    )),
                    (_, None) => mapped.push(refused(
                        record,
                        "`spanId` is not 8 bytes with one that is not zero",
                        alone(resource, scope, span),
                    )),
                }
                record += 1;
            }
        }
    }
    let sessions = sessions(&known);
    let family: HashMap<String, Relative> = known.iter().map(|it| (it.base.clone(), it.relative())).collect();
    for it in known {
        let record = it.record;
        if it.convention.is_none() && it.extra.evaluations.is_empty() {
            mapped.push(Mapped { record, what: What::Ignored });
            continue;
        }
        let home = &homes[it.home];
        mapped.extend(
            it.steps(home, &family, &sessions, limits)
                .into_iter()
                .map(|step| Mapped { record, what: What::Step(Box::new(step)) }),
        );
    }
    mapped
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
    fn new(record: usize, span: &'a Span, home: usize, trace: String, id: &str) -> Self {
        let mut view = View::new(&span.attributes);
        let mut content = Content::default();
        let extra = events::absorb(&span.events, &mut view, &mut content);
        genai_legacy::modernise(&mut view);
        let convention = convention(&view);
        let base = format!("{trace}-{id}");
        Self { record, span, home, trace, base, view, content, extra, convention }
    }

    fn relative(&self) -> Relative {
        let view = &self.view;
        let step = self.convention.map(|convention| {
            let is_tool = match convention {
                Convention::GenAi(operation) => operation == Operation::ExecuteTool,
                Convention::Mcp => view.peek(mcp::METHOD) == Some("tools/call"),
                Convention::OpenInference => {
                    view.peek(openinference::KIND).is_some_and(|it| it.eq_ignore_ascii_case("tool"))
                }
                Convention::Traceloop => view.peek("traceloop.span.kind") == Some("tool"),
            };
            let call = ["gen_ai.tool.call.id", "tool.id", "tool_call.id"].iter().find_map(|name| view.peek(name));
            if is_tool { shapes::tool_ids(&self.base, call).0 } else { self.base.clone() }
        });
        let is_workflow = self.convention == Some(Convention::GenAi(Operation::InvokeWorkflow))
            || view.peek("traceloop.span.kind") == Some("workflow");
        Relative {
            parent: self.parent_base(),
            session: named_session(view).map(str::to_owned),
            agent: named_agent(view),
            step,
            is_workflow,
        }
    }

    fn parent_base(&self) -> Option<String> {
        let parent = hex::<8>(&self.span.parent_span_id).map(|parent| format!("{}-{parent}", self.trace));
        parent.filter(|parent| *parent != self.base)
    }

    fn steps(
        mut self,
        home: &Home,
        family: &HashMap<String, Relative>,
        sessions: &Sessions,
        limits: &Limits,
    ) -> Vec<Draft> {
        let above = Above::of(self.parent_base(), family);
        let session = above.session.or_else(|| sessions.get(&self.trace).cloned().flatten()).unwrap_or(self.trace);
        let who = Who::take(&mut self.view, home, above.agent, session);
        if let Some(service) = home.service.as_ref().filter(|it| **it != who.agent.id) {
            self.view.put("service.name", service.as_str());
        }
        let exception = self.extra.exception;
        let context = Context::of_span(self.span, &mut self.view, Arc::new(who), self.base, above.parent, exception);
        let evaluations = self.extra.evaluations;
        let mut content = self.content;
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

/// What the spans above one say, as far as they are in the request.
struct Above {
    parent: Option<Parent>,
    session: Option<String>,
    agent: Option<Agent>,
}

impl Above {
    fn of(direct: Option<String>, family: &HashMap<String, Relative>) -> Self {
        let Some(base) = direct else { return Self { parent: None, session: None, agent: None } };
        let (mut parent, mut session, mut agent) = (None, None, None);
        let mut at = Some(base.as_str());
        for _ in 0..ANCESTORS_MAX {
            let Some(here) = at else { break };
            let Some(relative) = family.get(here) else {
                // Not in this request: its first step will most likely have this id.
                parent.get_or_insert_with(|| (here.to_owned(), false));
                break;
            };
            if let (None, Some(step)) = (&parent, &relative.step) {
                parent = Some((step.clone(), relative.is_workflow));
            }
            agent = agent.or_else(|| relative.agent.clone());
            session = session.or_else(|| relative.session.clone());
            if parent.is_some() && agent.is_some() && session.is_some() {
                break;
            }
            at = relative.parent.as_deref();
        }
        let parent = parent.map(|(step, is_workflow)| Parent { step, is_workflow, base: base.clone() });
        Self { parent, session, agent }
    }
}

/// A request that holds one span only.
fn alone(resource: &ResourceSpans, scope: &ScopeSpans, span: &Span) -> Vec<u8> {
    let scope =
        ScopeSpans { spans: vec![span.clone()], scope: scope.scope.clone(), schema_url: scope.schema_url.clone() };
    let resource = ResourceSpans {
        resource: resource.resource.clone(),
        scope_spans: vec![scope],
        schema_url: resource.schema_url.clone(),
    };
    // Cannot fail: the messages are plain structs.
    serde_json::to_vec(&ExportTraceServiceRequest { resource_spans: vec![resource] }).unwrap_or_default()
}
