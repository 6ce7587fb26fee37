//! OpenTelemetry GenAI: `gen_ai.operation.name` says what a span is.
//!
//! | operation | steps |
//! |---|---|
//! | chat, generate_content, text_completion, embeddings | messages in view, model_call, reasoning, assistant_message, tool_call |
//! | execute_tool | tool_call, tool_result |
//! | create_agent, invoke_agent | session_start at a root, handoff in a workflow, else spawn; final_message of a root |
//! | invoke_workflow | session_start at a root, else state |
//! | retrieval | retrieval |
//! | plan | plan |
//! | search_memory | memory_read |
//! | create_, update_, upsert_, delete_memory, create_, delete_memory_store | memory_write |
//!
//! An operation of another name is a `state`.

use martingale_schemas::{Kind, Limits};

use super::context::Context;
use super::conversation::Content;
use super::draft::{Draft, Usage};
use super::message::{Role, messages, parts};
use super::shapes::{Tool, agent, beginning, model_call, tool};
use super::view::View;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Inference,
    ExecuteTool,
    CreateAgent,
    InvokeAgent,
    InvokeWorkflow,
    Retrieval,
    Plan,
    MemoryRead,
    MemoryWrite,
    Other,
}

impl Operation {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "chat" | "generate_content" | "text_completion" | "embeddings" => Self::Inference,
            "execute_tool" => Self::ExecuteTool,
            "create_agent" => Self::CreateAgent,
            "invoke_agent" => Self::InvokeAgent,
            "invoke_workflow" => Self::InvokeWorkflow,
            "retrieval" => Self::Retrieval,
            "plan" => Self::Plan,
            "search_memory" => Self::MemoryRead,
            "create_memory"
            | "update_memory"
            | "upsert_memory"
            | "delete_memory"
            | "create_memory_store"
            | "delete_memory_store" => Self::MemoryWrite,
            _ => Self::Other,
        }
    }
}

/// Takes the messages a span carries as attributes.
pub(super) fn take_content(view: &mut View<'_>, content: &mut Content) {
    content.system.extend(view.json("gen_ai.system_instructions").map(parts).unwrap_or_default());
    content.input.extend(view.json("gen_ai.input.messages").map(|it| messages(it, Role::User)).unwrap_or_default());
    content
        .output
        .extend(view.json("gen_ai.output.messages").map(|it| messages(it, Role::Assistant)).unwrap_or_default());
}

pub(super) fn steps(
    operation: Operation,
    context: &Context<'_>,
    mut view: View<'_>,
    mut content: Content,
    limits: &Limits,
) -> Vec<Draft> {
    match operation {
        Operation::Inference => inference(context, view, content, limits),
        Operation::ExecuteTool => execute_tool(context, view, content, limits),
        Operation::CreateAgent | Operation::InvokeAgent | Operation::InvokeWorkflow => {
            let kind = match operation {
                Operation::CreateAgent => Kind::Spawn,
                Operation::InvokeWorkflow if !context.is_root() => Kind::State,
                _ => beginning(context),
            };
            let mut first = context.first(kind);
            // What the model calls below used is theirs to count; here it is a sum.
            first.model = view.text(&["gen_ai.request.model"]);
            first.attributes.extend(view.rest(limits));
            agent(context, first, content)
        }
        Operation::Retrieval => {
            let mut first = context.first(Kind::Retrieval);
            first.input = view.json("gen_ai.retrieval.query.text");
            first.output = view.json("gen_ai.retrieval.documents");
            with_messages(context, first, view, content, limits)
        }
        Operation::Plan => {
            let mut first = context.first(Kind::Plan);
            first.text = content.take_last_text();
            first.model = view.text(&["gen_ai.request.model"]);
            with_messages(context, first, view, content, limits)
        }
        Operation::MemoryRead => {
            let mut first = context.first(Kind::MemoryRead);
            first.input = view.json("gen_ai.memory.query.text");
            first.output = view.json("gen_ai.memory.records");
            with_messages(context, first, view, content, limits)
        }
        Operation::MemoryWrite => {
            let mut first = context.first(Kind::MemoryWrite);
            first.input = view.json("gen_ai.memory.records");
            with_messages(context, first, view, content, limits)
        }
        Operation::Other => {
            let first = context.first(Kind::State);
            with_messages(context, first, view, content, limits)
        }
    }
}

fn with_messages(
    context: &Context<'_>,
    mut first: Draft,
    view: View<'_>,
    content: Content,
    limits: &Limits,
) -> Vec<Draft> {
    first.attributes.extend(view.rest(limits));
    model_call(context, first, content, Usage::default(), limits)
}

fn inference(context: &Context<'_>, mut view: View<'_>, content: Content, limits: &Limits) -> Vec<Draft> {
    let mut first = context.first(Kind::ModelCall);
    // The requested model, as the answered one names a build and changes without a decision of anyone here.
    first.model =
        view.text(&["gen_ai.request.model"]).or_else(|| view.peek("gen_ai.response.model").map(str::to_owned));
    let usage = Usage {
        input_tokens: view.count("gen_ai.usage.input_tokens"),
        output_tokens: view.count("gen_ai.usage.output_tokens"),
        cached_tokens: view.count("gen_ai.usage.cache_read.input_tokens"),
        cost_usd: None,
    };
    first.attributes.extend(view.rest(limits));
    model_call(context, first, content, usage, limits)
}

fn execute_tool(context: &Context<'_>, mut view: View<'_>, mut content: Content, limits: &Limits) -> Vec<Draft> {
    let name =
        view.text(&["gen_ai.tool.name"]).or_else(|| context.name.strip_prefix("execute_tool ").map(str::to_owned));
    let call = view.text(&["gen_ai.tool.call.id"]);
    // Arguments and result may be in the span's events alone.
    let (asked, answered) = (content.take_arguments(call.as_deref()), content.take_response(call.as_deref()));
    let input = view.json("gen_ai.tool.call.arguments").or(asked);
    let output = view.json("gen_ai.tool.call.result").or(answered);
    let mut steps = tool(context, Tool { name, call, input, output, attributes: view.rest(limits) });
    let by = steps[0].step_id.clone();
    steps.extend(content.said(context, &by).steps);
    steps
}
