//! Messages to steps, each step once although every model call repeats the conversation before it.
//!
//! The step id of a message is derived from its content and its place in the conversation, so that a repeat is the same
//! step and the log drops it. A place is told by the message before and, among equal ones, by number. It is not told by
//! index: a history that drops its oldest messages to fit a window would turn all that remain into new steps. System
//! messages have no place, as they are put in front or kept apart at will, and reasoning does not mark one, as
//! histories leave it out.
//!
//! A tool call and its result have the id of the call: the model's request and the span that executes it are one step.

use std::collections::HashMap;

use martingale_schemas::{Kind, Status, ids};
use serde_json::Value;

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

pub(super) fn call_id(call: &str) -> String {
    joined("call", call)
}

pub(super) fn result_id(call: &str) -> String {
    joined("result", call)
}

/// Readable where it can be: the session is part of a step's identity already.
fn joined(what: &str, call: &str) -> String {
    const READABLE_BYTES_MAX: usize = 96;
    if call.len() <= READABLE_BYTES_MAX && !call.chars().any(char::is_control) {
        format!("{what}:{call}")
    } else {
        ids::derive(&format!("{what}:"), &[call.as_bytes()])
    }
}

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
        let said = Said { steps: Vec::new(), in_view: Vec::new() };
        let mut writer = Writer { context, seen: HashMap::new(), tools: HashMap::new(), said };
        let start = context.start;
        for part in self.system {
            writer.part(part, Role::System, Place::default(), start, None);
        }
        let mut place = Place::default();
        for message in self.input {
            let here = if message.role == Role::System { Place::default() } else { place };
            if message.role != Role::System {
                place = after(&message);
            }
            for part in message.parts {
                writer.part(part, message.role, here, start, None);
            }
        }
        for message in self.output {
            // Several choices stand in the same place.
            for part in message.parts {
                writer.part(part, message.role, place, context.end, Some(by));
            }
        }
        writer.said
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
        Part::Call { id: Some(id), .. } => format!("call {id}").into_bytes(),
        Part::Call { id: None, name, arguments } => {
            format!("call {} {}", name.as_deref().unwrap_or_default(), shown(arguments.as_ref())).into_bytes()
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
    seen: HashMap<Place, u32>,
    /// Names of the tools by call: a result names its call only.
    tools: HashMap<String, String>,
    said: Said,
}

impl Writer<'_> {
    fn part(&mut self, part: Part, role: Role, place: Place, nanos: u64, by: Option<&str>) {
        if self.said.steps.len() > self.context.steps_max {
            return;
        }
        let kind = kind(&part, role);
        let step_id = match &part {
            Part::Call { id: Some(id), .. } => call_id(id),
            Part::Response { id: Some(id), .. } => result_id(id),
            _ => self.derived(kind, &identity(&part), place),
        };
        let mut draft = Draft::new(&self.context.who, kind, step_id, nanos);
        draft.causes.extend(by.map(str::to_owned));
        match part {
            Part::Text(text) if kind == Kind::ToolResult => draft.output = Some(Value::String(text)),
            Part::Text(text) | Part::Reasoning(text) => draft.text = Some(text),
            Part::Call { id, name, arguments } => {
                if let (Some(id), Some(name)) = (id, &name) {
                    self.tools.insert(id, name.clone());
                }
                (draft.tool, draft.input) = (name, arguments);
            }
            Part::Response { id, response, failed } => {
                draft.tool = id.as_ref().and_then(|id| self.tools.get(id)).cloned();
                draft.causes.extend(id.as_deref().map(call_id));
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

    fn derived(&mut self, kind: Kind, identity: &[u8], place: Place) -> String {
        let nth = self.seen.entry(ids::digest(&[kind.as_str().as_bytes(), identity, &place])).or_default();
        *nth += 1;
        ids::derive("m-", &[kind.as_str().as_bytes(), identity, &place, &nth.to_le_bytes()])
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
