//! Where a span stands: session, agent, parent, time and outcome.

use std::cell::RefCell;
use std::sync::Arc;

use martingale_schemas::{Kind, Status};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;

use super::calls::Asked;
use super::draft::{Agent, Draft, Failure, Principal, Usage, Who};
use super::view::View;

/// What OpenTelemetry calls a service that says no name.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// What a resource says about all its spans.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    pub(super) service: Option<String>,
    version: Option<String>,
    environment: Option<String>,
    agent: Option<Agent>,
}

impl Home {
    pub(super) fn of(resource: Option<&Resource>) -> Self {
        let mut view = View::new(resource.map_or(&[] as &[KeyValue], |it| &it.attributes));
        let agent = named_agent(&view);
        Self {
            service: view.text(&["service.name"]),
            version: view.text(&["service.version"]),
            environment: view.text(&["deployment.environment.name", "deployment.environment"]),
            agent,
        }
    }
}

/// What names a session, most telling first.
const SESSIONS: [&str; 3] = ["gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id"];

/// The session a span names itself.
pub(super) fn named_session<'v>(view: &'v View<'_>) -> Option<&'v str> {
    SESSIONS.iter().find_map(|name| view.peek(name))
}

/// The agent a span names itself.
pub(super) fn named_agent(view: &View<'_>) -> Option<Agent> {
    let name = view.peek("gen_ai.agent.name").or_else(|| view.peek("agent.name"));
    let id = view.peek("gen_ai.agent.id").or(name)?;
    let version = view.peek("gen_ai.agent.version").map(str::to_owned);
    Some(Agent { id: id.to_owned(), name: name.map(str::to_owned), version })
}

/// One span, as its steps need it.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) who: Arc<Who>,
    /// The trace; of what has none, the session.
    pub(super) trace: String,
    pub(super) asked: &'a RefCell<Asked>,
    /// `{trace}-{span}`: id of the span's first step, and the beginning of the others'.
    pub(super) base: String,
    /// Step of the nearest span above that has one.
    pub(super) parent: Option<Parent>,
    /// Whether it is the root of its trace.
    top: bool,
    /// Nanoseconds since the Unix epoch, 0 when unknown.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) name: &'a str,
    pub(super) kind: SpanKind,
    /// Most steps it may come to; with more of them it is refused, so that one more than these is enough.
    pub(super) steps_max: usize,
    status: Option<Status>,
    failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) step: String,
    /// Whether the span of that step is in the request; otherwise it is not known to have one.
    pub(super) seen: bool,
    /// Whether it is known to run a workflow.
    pub(super) is_workflow: bool,
    /// `{trace}-{span}` of the direct parent span.
    pub(super) base: String,
}

impl Who {
    /// Takes who acts from the attributes; `session` and `agent` are what others say, and count where it says nothing.
    pub(super) fn take(view: &mut View<'_>, home: &Home, agent: Option<Agent>, session: String) -> Self {
        let inherited = agent;
        let named_session = SESSIONS.iter().find(|name| view.peek(name).is_some()).and_then(|name| view.text(&[name]));
        let named = named_agent(view);
        let version = view.text(&["gen_ai.agent.version"]);
        if named.is_some() {
            view.text(&["gen_ai.agent.id"]);
            view.text(&["gen_ai.agent.name", "agent.name"]);
        }
        let service = || home.service.clone().unwrap_or_else(|| UNKNOWN_SERVICE.to_owned());
        let mut agent = named.or(inherited).or_else(|| home.agent.clone()).unwrap_or_else(|| Agent {
            id: service(),
            name: None,
            version: None,
        });
        agent.version = version.or(agent.version).or_else(|| home.version.clone());
        let environment = view.text(&["deployment.environment.name", "deployment.environment"]);
        let principal = view.text(&["enduser.id", "user.id", "traceloop.association.properties.user_id"]);
        Self {
            session_id: named_session.unwrap_or(session),
            root_session_id: None,
            parent_session_id: None,
            agent,
            environment: environment.or_else(|| home.environment.clone()),
            principal: principal.map(|id| Principal { id }),
        }
    }
}

/// Where a span or a moment stands among the others of its request.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub(super) who: Arc<Who>,
    pub(super) trace: String,
    pub(super) asked: &'a RefCell<Asked>,
    /// `{trace}-{span}`, or another identity.
    pub(super) base: String,
    pub(super) parent: Option<Parent>,
    /// Whether it is the root of its trace.
    pub(super) top: bool,
    pub(super) steps_max: usize,
}

impl<'a> Context<'a> {
    pub(super) fn of_span(
        span: &'a Span,
        view: &mut View<'_>,
        standing: Standing<'a>,
        exception: Option<Failure>,
    ) -> Self {
        let Standing { who, trace, asked, base, parent, top, steps_max } = standing;
        let failed = span.status.as_ref().is_some_and(|it| it.code() == StatusCode::Error);
        let kind = view.text(&["error.type"]).or_else(|| exception.as_ref().and_then(|it| it.kind.clone()));
        let said = span.status.as_ref().map(|it| it.message.clone()).filter(|it| failed && !it.is_empty());
        let message = said.or_else(|| exception.and_then(|it| it.message));
        let failure = (failed || kind.is_some()).then_some(Failure { kind, message });
        let succeeded = span.status.as_ref().is_some_and(|it| it.code() == StatusCode::Ok);
        let status = if failure.is_some() { Some(Status::Error) } else { succeeded.then_some(Status::Ok) };
        let start = span.start_time_unix_nano;
        let end = span.end_time_unix_nano.max(start);
        let (name, kind) = (span.name.as_str(), span.kind());
        Self { who, trace, asked, base, parent, top, start, end, name, kind, steps_max, status, failure }
    }

    /// For what is no span: one moment, and no outcome but an error.
    pub(super) fn of_moment(view: &mut View<'_>, standing: Standing<'a>, nanos: u64) -> Self {
        let Standing { who, trace, asked, base, parent, top, steps_max } = standing;
        let failure = view.text(&["error.type"]).map(|kind| Failure { kind: Some(kind), message: None });
        Self {
            who,
            trace,
            asked,
            base,
            parent,
            top,
            start: nanos,
            end: nanos,
            name: "",
            kind: SpanKind::Unspecified,
            steps_max,
            status: failure.is_some().then_some(Status::Error),
            failure,
        }
    }

    /// Whether nothing is known to have started it. A span above that is not in the request may be a web server's as
    /// well as an agent's.
    pub(super) fn is_root(&self) -> bool {
        self.parent.as_ref().is_none_or(|it| !it.seen)
    }

    /// Whether the end of the span is the end of its session: the session is the trace, and the span is its root.
    pub(super) fn ends_session(&self) -> bool {
        self.top && self.who.session_id == self.trace
    }

    /// A step at the start of the span, caused by the parent's.
    pub(super) fn step(&self, kind: Kind, step_id: String) -> Draft {
        let mut draft = Draft::new(&self.who, kind, step_id, self.start);
        draft.causes.extend(self.parent.as_ref().map(|it| it.step.clone()));
        draft
    }

    /// The span's first step, with its outcome and the span's name.
    pub(super) fn first(&self, kind: Kind) -> Draft {
        let mut draft = self.step(kind, self.base.clone());
        if kind == Kind::SessionStart {
            draft.causes.clear();
        }
        self.conclude(&mut draft);
        self.named(&mut draft);
        draft
    }

    /// Puts outcome and duration of the span on a step.
    pub(super) fn conclude(&self, draft: &mut Draft) {
        draft.status = self.status;
        draft.error = self.failure.clone().filter(|it| *it != Failure::default());
        if self.start > 0 && self.end > self.start {
            #[expect(clippy::cast_precision_loss, reason = "a duration")]
            let millis = (self.end - self.start) as f64 / 1e6;
            draft.duration_ms = Some(millis);
        }
    }

    pub(super) fn named(&self, draft: &mut Draft) {
        const NAME_BYTES_MAX: usize = 256;
        if !self.name.is_empty() {
            let name = &self.name[..self.name.floor_char_boundary(NAME_BYTES_MAX)];
            draft.attributes.insert("span.name".to_owned(), Value::from(name));
        }
    }
}

impl Usage {
    pub(super) fn or_none(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }
}
