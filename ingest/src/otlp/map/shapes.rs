//! Steps that several conventions have in common: a tool's call and result, an agent's beginning, a model call.

use martingale_schemas::{Kind, Limits};
use serde_json::{Map, Value};

use super::calls::Key;
use super::context::Context;
use super::conversation::Content;
use super::draft::{Draft, Usage};

/// A tool that was executed, as a span tells it.
#[derive(Debug, Default)]
pub(super) struct Tool {
    pub(super) name: Option<String>,
    /// Joins the call with the model's request for it.
    pub(super) call: Option<String>,
    pub(super) input: Option<Value>,
    pub(super) output: Option<Value>,
    pub(super) attributes: Map<String, Value>,
}

/// A tool's call at the start of its span and its result at the end.
///
/// A result with content has the id of the call, so that it is the same step as the one in the next model call's
/// messages. One without content has the span's: were it to take the call's, the content would come later and be
/// dropped as its duplicate.
pub(super) fn tool(context: &Context<'_>, tool: Tool) -> Vec<Draft> {
    let key = tool
        .call
        .as_deref()
        .and_then(|id| context.asked.borrow().executed(&context.trace, id, tool.name.as_deref(), tool.input.as_ref()));
    let call = key.as_ref().map_or_else(|| format!("{}:call", context.base), Key::call);
    let result = key.filter(|_| tool.output.is_some());
    let result = result.map_or_else(|| format!("{}:result", context.base), |it| it.result());
    let mut called = context.step(Kind::ToolCall, call.clone());
    called.tool.clone_from(&tool.name);
    called.input = tool.input;
    called.attributes.clone_from(&tool.attributes);
    context.named(&mut called);
    let mut answered = Draft::new(&context.who, Kind::ToolResult, result, context.end);
    answered.tool = tool.name;
    answered.output = tool.output;
    answered.attributes = tool.attributes;
    answered.causes.push(call);
    context.conclude(&mut answered);
    vec![called, answered]
}

/// How an agent begins: a root begins the session, one in a workflow takes over, any other is started by its parent.
pub(super) fn beginning(context: &Context<'_>) -> Kind {
    match &context.parent {
        _ if context.is_root() => Kind::SessionStart,
        Some(parent) if parent.is_workflow => Kind::Handoff,
        _ => Kind::Spawn,
    }
}

/// An agent's or workflow's beginning with what it was given, and, for a root, its last word and the session's end.
pub(super) fn agent(context: &Context<'_>, first: Draft, mut content: Content) -> Vec<Draft> {
    let begins = first.kind == Kind::SessionStart;
    let last = if begins { content.take_last_text() } else { None };
    let said = content.said(context, &first.step_id);
    let mut steps = Vec::with_capacity(said.steps.len() + 2);
    let by = first.step_id.clone();
    steps.push(first);
    steps.extend(said.steps);
    if let Some(text) = last {
        let mut word = Draft::new(&context.who, Kind::FinalMessage, format!("{}:final", context.base), context.end);
        word.text = Some(text);
        word.causes.push(by.clone());
        steps.push(word);
    }
    if begins && context.ends_session() {
        let mut end = Draft::new(&context.who, Kind::SessionEnd, format!("{}:end", context.base), context.end);
        end.causes.push(by);
        steps.push(end);
    }
    steps
}

/// A model call, with what it saw before it and what it said after it. Its causes are the messages in view, so the
/// conversation is not written again with every call.
pub(super) fn model_call(
    context: &Context<'_>,
    mut first: Draft,
    content: Content,
    usage: Usage,
    limits: &Limits,
) -> Vec<Draft> {
    first.usage = usage.or_none();
    let said = content.said(context, &first.step_id);
    let room = limits.list_max.saturating_sub(first.causes.len());
    let newest = said.in_view.len().saturating_sub(room);
    first.causes.extend(said.in_view[newest..].iter().cloned());
    let mut steps = Vec::with_capacity(said.steps.len() + 1);
    let before = said.in_view.len();
    let mut said = said.steps.into_iter();
    steps.extend(said.by_ref().take(before));
    steps.push(first);
    steps.extend(said);
    steps
}
