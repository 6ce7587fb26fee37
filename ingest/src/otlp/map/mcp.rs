//! MCP: `mcp.method.name` says what a span is, where no GenAI operation does.
//!
//! | method | steps |
//! |---|---|
//! | tools/call | tool_call, tool_result |
//! | resources/read, prompts/get | retrieval |
//! | sampling/createMessage | model_call |
//! | elicitation/create | approval |
//! | ping, notifications/progress, notifications/message, logging/setLevel | none |
//! | any other | state |
//!
//! A server's span of a tool call has the ids of the client's, its parent: instrumented on both sides, one call is one
//! step. `mcp.session.id` is no session: the protocol's sessions are not an agent's, and newer versions have none.

use martingale_schemas::{Kind, Limits};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::context::Context;
use super::conversation::Content;
use super::draft::{Draft, Usage};
use super::shapes::{Tool, model_call, tool};
use super::view::View;

pub(super) const METHOD: &str = "mcp.method.name";

/// Whether a span of this method is an agent's step; the rest keeps connections alive.
pub(super) fn is_step(view: &View<'_>) -> bool {
    const NOISE: [&str; 4] = ["ping", "notifications/progress", "notifications/message", "logging/setLevel"];
    view.peek(METHOD).is_some_and(|method| !NOISE.contains(&method))
}

pub(super) fn steps(context: &Context<'_>, mut view: View<'_>, content: Content, limits: &Limits) -> Vec<Draft> {
    let method = view.peek(METHOD).unwrap_or_default().to_owned();
    if method == "tools/call" {
        return call(context, view, limits);
    }
    let kind = match method.as_str() {
        "resources/read" | "prompts/get" => Kind::Retrieval,
        "sampling/createMessage" => Kind::ModelCall,
        "elicitation/create" => Kind::Approval,
        _ => Kind::State,
    };
    let mut first = context.first(kind);
    first.input = match kind {
        Kind::Retrieval => {
            ["mcp.resource.uri", "gen_ai.prompt.name"].iter().find_map(|it| view.peek(it)).map(Into::into)
        }
        _ => None,
    };
    // OpenLLMetry's names of what was asked and answered.
    first.input = first.input.or_else(|| view.json("mcp.request.argument"));
    first.output = view.json("mcp.response.value");
    first.attributes.extend(view.rest(limits));
    model_call(context, first, content, Usage::default(), limits)
}

fn call(context: &Context<'_>, mut view: View<'_>, limits: &Limits) -> Vec<Draft> {
    let name = view.text(&["gen_ai.tool.name"]).or_else(|| context.name.strip_prefix("tools/call ").map(str::to_owned));
    let call = view.text(&["gen_ai.tool.call.id"]);
    let input = view.json("gen_ai.tool.call.arguments").or_else(|| view.json("mcp.request.argument"));
    let output = view.json("gen_ai.tool.call.result").or_else(|| view.json("mcp.response.value"));
    let of_client = call.is_none() && context.kind == SpanKind::Server;
    let client = context.parent.as_ref().filter(|_| of_client).map(|it| it.base.clone());
    let mut steps = tool(context, Tool { name, call, input, output, attributes: view.rest(limits) });
    if let Some(base) = client {
        let id = format!("{base}:call");
        for step in &mut steps {
            match step.kind {
                // Its parent is the very call.
                Kind::ToolCall => (step.step_id, step.causes) = (id.clone(), Vec::new()),
                _ => (step.step_id, step.causes) = (format!("{base}:result"), vec![id.clone()]),
            }
        }
    }
    steps
}
