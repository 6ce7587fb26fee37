//! Messages to steps, each step once although every model call repeats the conversation before it.
//!
//! The step id of a message is derived from its content and its place in the conversation, so that a repeat is the same
//! step and the log drops it. A place is told by the message before and, among equal ones, by number. It is not told by
//! index: a history that drops its oldest messages to fit a window would turn all that remain into new steps. System
//! messages have no place, as they are put in front or kept apart at will, and reasoning does not mark one, as
//! histories leave it out.
//!
//! A conversation may go on over several traces, and its history may be kept by the model's provider, so that a model
//! call is told the newest message only. So messages with no earlier turn before them are scoped by their trace: "yes"
//! twice, in two traces, is two messages. A turn begins with what a user says after an answer. Of the earlier turns in
//! a history, what is scoped by a trace not known here is left out, as it was told by the spans of its own trace: the
//! oldest turn, and all tool calls and results. Where the session is the trace nothing is left out.
//!
//! Tool calls: see [`super::calls`].

use std::collections::HashMap;

use martingale_schemas::{Kind, Status, ids};
use serde_json::Value;

use super::calls::{self, Key};
use super::context::Context;
use super::draft::Draft;
use super::message::{Message, Part, Role};

/// What a model call saw and said.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) system: Vec<Part>,
    pub(super) input: Vec<Message>,
    pub(super) output: Vec<Message>,
}

/// Steps of a conversation.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) steps: Vec<Draft>,
    /// Ids of the messages that were in view, oldest first.
    pub(super) in_view: Vec<String>,
}

type Place = [u8; 16];

impl Content {
    /// Takes the call `id` out, or the first call when it is not known which, and says its arguments.
    pub(super) fn take_arguments(&mut self, call: Option<&str>) -> Option<Value> {
        let is_it = |part: &Part| matches!(part, Part::Call { id, .. } if call.is_none() || id.as_deref() == call);
        match self.take(is_it)? {
            Part::Call { arguments, .. } => arguments,
            _ => None,
        }
    }

    /// Takes the response to the call `id` out, or the first one when it is not known which.
    pub(super) fn take_response(&mut self, call: Option<&str>) -> Option<Value> {
        let is_it = |part: &Part| matches!(part, Part::Response { id, .. } if call.is_none() || id.as_deref() == call);
        match self.take(is_it)? {
            Part::Response { response, .. } => response,
            _ => None,
        }
    }

    fn take(&mut self, is_it: impl Fn(&Part) -> bool) -> Option<Part> {
        self.input.iter_mut().chain(&mut self.output).find_map(|message| {
            let at = message.parts.iter().position(&is_it)?;
            Some(message.parts.remove(at))
        })
    }

    /// Takes what the last message of the output says, its texts joined.
    pub(super) fn take_last_text(&mut self) -> Option<String> {
        let last = self.output.last_mut()?;
        let (texts, parts): (Vec<Part>, Vec<Part>) =
            std::mem::take(&mut last.parts).into_iter().partition(|part| matches!(part, Part::Text(_)));
        last.parts = parts;
        let texts: Vec<String> = texts
            .into_iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text),
                _ => None,
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// Steps of what went in, at the start of the span, and of what came out, at its end and caused by `by`.
    pub(super) fn said(self, context: &Context<'_>, by: &str) -> Said {
        let turns = Turns::of(&self.input);
        let named = context.trace != context.who.session_id;
        let scope = if named && turns.is_none() { context.trace.as_str() } else { "" };
        let said = Said { steps: Vec::new(), in_view: Vec::new() };
        let mut writer = Writer { context, scope: "", seen: HashMap::new(), calls: HashMap::new(), said };
        let start = context.start;
        for part in self.system {
            writer.part(part, Role::System, Place::default(), start, None);
        }
        let mut place = Place::default();
        for (at, message) in self.input.into_iter().enumerate() {
            let here = if message.role == Role::System { Place::default() } else { place };
            if message.role != Role::System {
                place = after(&message);
            }
            writer.scope = if message.role == Role::System { "" } else { scope };
            let turns = turns.as_ref().filter(|_| named && message.role != Role::System);
            for part in message.parts {
                let is_call = matches!(part, Part::Call { .. } | Part::Response { .. });
                if turns.is_some_and(|it| at < it.second || (is_call && at < it.last)) {
                    writer.pass_over(&part, message.role, here);
                } else {
                    writer.part(part, message.role, here, start, None);
                }
            }
        }
        writer.scope = scope;
        for message in self.output {
            // Several choices stand in the same place.
            for part in message.parts {
                writer.part(part, message.role, place, context.end, Some(by));
            }
        }
        writer.said
    }
}

/// Where the second and the last turn of a history begin.
struct Turns {
    second: usize,
    last: usize,
}

impl Turns {
    /// `None` for a history of one turn.
    fn of(messages: &[Message]) -> Option<Self> {
        let mut turns: Option<Self> = None;
        let mut answered = false;
        for (at, message) in messages.iter().enumerate().filter(|(_, it)| it.role != Role::System) {
            let is = |kind: fn(&Part) -> bool| message.parts.iter().any(kind);
            let asks = message.role == Role::User && is(|it| !matches!(it, Part::Response { .. }));
            if asks && answered {
                turns.get_or_insert(Self { second: at, last: at }).last = at;
            }
            answered = message.role == Role::Assistant && !is(|it| matches!(it, Part::Call { .. }));
        }
        turns
    }
}

fn after(message: &Message) -> Place {
    let mut bytes = vec![message.role as u8];
    for part in &message.parts {
        if !matches!(part, Part::Reasoning(_)) {
            bytes.extend_from_slice(&ids::digest(&[kind(part, message.role).as_str().as_bytes(), &identity(part)]));
        }
    }
    ids::digest(&[&bytes])
}

/// What makes a part the same part when it is repeated.
fn identity(part: &Part) -> Vec<u8> {
    match part {
        Part::Text(text) => text.as_bytes().to_vec(),
        Part::Reasoning(text) => text.as_bytes().to_vec(),
        Part::Call { id, name, arguments } => {
            calls::digest(id.as_deref().unwrap_or_default(), name.as_deref(), arguments.as_ref()).to_vec()
        }
        Part::Response { id: Some(id), .. } => format!("response {id}").into_bytes(),
        Part::Response { id: None, response, .. } => format!("response {}", shown(response.as_ref())).into_bytes(),
        Part::Other(value) => value.to_string().into_bytes(),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map(Value::to_string).unwrap_or_default()
}

struct Writer<'c> {
    context: &'c Context<'c>,
    /// The trace, where places are told apart by it.
    scope: &'c str,
    seen: HashMap<Place, u32>,
    /// The latest call of each id: a result names its call only.
    calls: HashMap<String, (Option<String>, Key)>,
    said: Said,
}

impl Writer<'_> {
    fn part(&mut self, part: Part, role: Role, place: Place, nanos: u64, by: Option<&str>) {
        if self.said.steps.len() > self.context.steps_max {
            return;
        }
        let kind = kind(&part, role);
        let (step_id, cause, tool) = match &part {
            Part::Call { id: Some(id), name, arguments } => {
                let key = self.call(id, name.as_deref(), arguments.as_ref());
                self.context.asked.borrow_mut().note(
                    &self.context.trace,
                    id,
                    name.as_deref(),
                    arguments.as_ref(),
                    &key,
                );
                (key.call(), None, name.clone())
            }
            Part::Response { id: Some(id), response, .. } => self.result(id, response.as_ref()),
            _ => (self.derived(kind, &identity(&part), place), None, None),
        };
        let mut draft = Draft::new(&self.context.who, kind, step_id, nanos);
        draft.causes.extend(by.map(str::to_owned));
        draft.causes.extend(cause);
        draft.tool = tool;
        match part {
            Part::Text(text) if kind == Kind::ToolResult => draft.output = Some(Value::String(text)),
            Part::Text(text) | Part::Reasoning(text) => draft.text = Some(text),
            Part::Call { name, arguments, .. } => (draft.tool, draft.input) = (name, arguments),
            Part::Response { response, failed, .. } => {
                draft.output = response;
                draft.status = failed.then_some(Status::Error);
            }
            Part::Other(value) => draft.output = Some(value),
        }
        if by.is_none() {
            self.said.in_view.push(draft.step_id.clone());
        }
        self.said.steps.push(draft);
    }

    /// Counts a part that is no step here, so that equal ones after it keep their number.
    fn pass_over(&mut self, part: &Part, role: Role, place: Place) {
        match part {
            Part::Call { id: Some(id), name, arguments } => {
                self.call(id, name.as_deref(), arguments.as_ref());
            }
            Part::Response { id: Some(_), .. } => {}
            _ => {
                self.derived(kind(part, role), &identity(part), place);
            }
        }
    }

    fn call(&mut self, id: &str, name: Option<&str>, arguments: Option<&Value>) -> Key {
        let nth = self.seen.entry(calls::digest(id, name, arguments)).or_default();
        *nth += 1;
        let key = Key::of(&self.context.trace, id, name, arguments, *nth);
        self.calls.insert(id.to_owned(), (name.map(str::to_owned), key.clone()));
        key
    }

    /// Id, cause and tool of a result: those of its call where that is known, and its own where it is not.
    fn result(&self, id: &str, response: Option<&Value>) -> (String, Option<String>, Option<String>) {
        let trace = &self.context.trace;
        let known = self.calls.get(id).cloned().or_else(|| self.context.asked.borrow().latest(trace, id));
        match known {
            Some((tool, key)) => (key.result(), Some(key.call()), tool),
            None => (Key::of_result(trace, id, response).result(), None, None),
        }
    }

    fn derived(&mut self, kind: Kind, identity: &[u8], place: Place) -> String {
        let scope = self.scope.as_bytes();
        let nth = self.seen.entry(ids::digest(&[kind.as_str().as_bytes(), identity, &place, scope])).or_default();
        *nth += 1;
        ids::derive("m-", &[kind.as_str().as_bytes(), identity, &place, scope, &nth.to_le_bytes()])
    }
}

const fn kind(part: &Part, role: Role) -> Kind {
    match (part, role) {
        (Part::Call { .. }, _) => Kind::ToolCall,
        (Part::Response { .. }, _) | (Part::Text(_) | Part::Other(_), Role::Tool) => Kind::ToolResult,
        (Part::Reasoning(_), _) => Kind::Reasoning,
        (_, Role::System) => Kind::SystemPrompt,
        (_, Role::User) => Kind::UserMessage,
        (_, Role::Assistant) => Kind::AssistantMessage,
    }
}

#[cfg(test)]
mod tests;
