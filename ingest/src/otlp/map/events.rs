//! GenAI events: on a span, or as log records of their own.
//!
//! | event | becomes |
//! |---|---|
//! | `gen_ai.client.inference.operation.details` | the attributes of its span: a model call with its messages |
//! | `gen_ai.{system,user,assistant,tool}.message`, `gen_ai.content.prompt` | messages that went in |
//! | `gen_ai.choice`, `gen_ai.content.completion` | messages that came out |
//! | `gen_ai.evaluation.result` | guardrail |
//! | `gen_ai.client.operation.exception` | error; on a span, the span's error |

use martingale_schemas::{Kind, Limits, Status, ids};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use serde_json::{Map, Value};

use super::context::Context;
use super::conversation::Content;
use super::draft::{Draft, Failure};
use super::message::{Role, message, messages};
use super::view::{View, unpacked};

pub(super) const DETAILS: &str = "gen_ai.client.inference.operation.details";
const EVALUATION: &str = "gen_ai.evaluation.result";
const EXCEPTION: &str = "gen_ai.client.operation.exception";

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Details,
    Input(Role),
    Output,
    Prompt,
    Completion,
    Evaluation,
    Exception,
}

impl Meaning {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            DETAILS => Self::Details,
            "gen_ai.system.message" => Self::Input(Role::System),
            "gen_ai.user.message" => Self::Input(Role::User),
            "gen_ai.assistant.message" => Self::Input(Role::Assistant),
            "gen_ai.tool.message" => Self::Input(Role::Tool),
            "gen_ai.choice" => Self::Output,
            "gen_ai.content.prompt" => Self::Prompt,
            "gen_ai.content.completion" => Self::Completion,
            EVALUATION => Self::Evaluation,
            EXCEPTION | "exception" => Self::Exception,
            _ => return None,
        })
    }
}

/// What the events of a span add to it.
#[derive(Debug, Default)]
pub(super) struct Extra<'a> {
    pub(super) exception: Option<Failure>,
    pub(super) evaluations: Vec<View<'a>>,
}

/// Takes the GenAI events of a span into its attributes, all but the messages.
pub(super) fn absorb<'a>(events: &'a [Event], view: &mut View<'a>) -> Extra<'a> {
    let mut extra = Extra::default();
    for event in events {
        match Meaning::of(&event.name) {
            Some(Meaning::Details) => view.add(&event.attributes),
            Some(Meaning::Evaluation) => extra.evaluations.push(View::new(&event.attributes)),
            Some(Meaning::Exception) => extra.exception = Some(failure(&mut View::new(&event.attributes))),
            _ => {}
        }
    }
    extra
}

/// Takes the messages in the events of a span.
pub(super) fn take_content(events: &[Event], content: &mut Content) {
    for event in events {
        if let Some(meaning @ (Meaning::Input(_) | Meaning::Output | Meaning::Prompt | Meaning::Completion)) =
            Meaning::of(&event.name)
        {
            said(meaning, &mut View::new(&event.attributes), None, content);
        }
    }
}

/// Adds the messages of an event to a conversation.
pub(super) fn said(meaning: Meaning, view: &mut View<'_>, body: Option<Value>, content: &mut Content) {
    match meaning {
        Meaning::Prompt => {
            let prompt = view.json("gen_ai.prompt").or(body);
            content.input.extend(prompt.map(|it| messages(it, Role::User)).unwrap_or_default());
        }
        Meaning::Completion => {
            let completion = view.json("gen_ai.completion").or(body);
            content.output.extend(completion.map(|it| messages(it, Role::Assistant)).unwrap_or_default());
        }
        Meaning::Input(role) => content.input.extend(message(fields(view, body), role)),
        _ => content.output.extend(message(fields(view, body), Role::Assistant)),
    }
}

/// An event's message: fields of its body, of `gen_ai.event.content`, or attributes each.
fn fields(view: &mut View<'_>, body: Option<Value>) -> Value {
    let content = view.json("gen_ai.event.content");
    match body.or(content) {
        Some(whole @ Value::Object(_)) => whole,
        Some(text) => Value::Object(Map::from_iter([("content".to_owned(), text)])),
        None => {
            const NAMES: [&str; 8] =
                ["role", "id", "name", "content", "parts", "tool_calls", "message", "tool_call_id"];
            Value::Object(NAMES.iter().filter_map(|name| Some(((*name).to_owned(), view.value(name)?))).collect())
        }
    }
}

pub(super) fn failure(view: &mut View<'_>) -> Failure {
    Failure {
        kind: view.text(&["exception.type"]).or_else(|| view.text(&["error.type"])),
        message: view.text(&["exception.message"]),
    }
}

/// A judgement of what an agent said, by whatever evaluates it: the same on a span and as a log record.
pub(super) fn evaluation(context: &Context<'_>, mut view: View<'_>, limits: &Limits) -> Draft {
    let explanation = view.text(&["gen_ai.evaluation.explanation"]);
    let failure = view.has("error.type").then(|| failure(&mut view));
    let attributes = view.rest(limits);
    let shown = Value::Object(attributes.clone()).to_string();
    let id = ids::derive(":eval-", &[shown.as_bytes(), explanation.as_deref().unwrap_or_default().as_bytes()]);
    let mut draft = Draft::new(&context.who, Kind::Guardrail, format!("{}{id}", context.base), context.end);
    draft.causes.push(context.base.clone());
    draft.text = explanation;
    draft.status = failure.is_some().then_some(Status::Error);
    draft.error = failure;
    draft.attributes = attributes;
    draft
}

/// A failed operation that is told by a log record.
pub(super) fn exception(context: &Context<'_>, mut view: View<'_>, limits: &Limits) -> Draft {
    let mut draft = Draft::new(&context.who, Kind::Error, format!("{}:exception", context.base), context.end);
    draft.causes.push(context.base.clone());
    draft.error = Some(failure(&mut view));
    draft.status = Some(Status::Error);
    draft.attributes = view.rest(limits);
    draft
}

/// The body of a log record: fields, or text that holds them.
pub(super) fn body(value: Value) -> Option<Value> {
    Some(unpacked(value)).filter(|it| !it.is_null())
}
