//! Names that OpenTelemetry GenAI has left behind, and OpenLLMetry's, read as the new ones.

use martingale_schemas::{Kind, Limits};
use serde_json::Value;

use super::context::Context;
use super::conversation::Content;
use super::draft::Draft;
use super::genai::{Operation, steps as genai_steps};
use super::message::{Role, messages};
use super::shapes::{Tool, agent, beginning, tool};
use super::view::View;

const RENAMED: [(&str, &str); 8] = [
    ("gen_ai.system", "gen_ai.provider.name"),
    ("gen_ai.usage.prompt_tokens", "gen_ai.usage.input_tokens"),
    ("gen_ai.usage.completion_tokens", "gen_ai.usage.output_tokens"),
    ("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cache_read.input_tokens"),
    ("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    ("gen_ai.openai.request.service_tier", "openai.request.service_tier"),
    ("gen_ai.openai.response.service_tier", "openai.response.service_tier"),
    ("gen_ai.openai.response.system_fingerprint", "openai.response.system_fingerprint"),
];

/// Old values of `gen_ai.provider.name`.
const PROVIDERS: [(&str, &str); 5] = [
    ("az.ai.inference", "azure.ai.inference"),
    ("az.ai.openai", "azure.ai.openai"),
    ("vertex_ai", "gcp.vertex_ai"),
    ("gemini", "gcp.gemini"),
    ("xai", "x_ai"),
];

/// Moves old names and values to their new ones; where both are there, the new one stands.
pub(super) fn modernise(view: &mut View<'_>) {
    for (old, new) in RENAMED {
        view.rename(old, new);
    }
    let provider = view.peek("gen_ai.provider.name").and_then(|is| PROVIDERS.iter().find(|(old, _)| *old == is));
    if let Some((_, new)) = provider {
        view.put("gen_ai.provider.name", *new);
    }
}

/// The operation of a span that names none, from what it carries.
pub(super) fn operation(view: &View<'_>) -> Option<Operation> {
    if view.has("gen_ai.tool.name") || view.has("gen_ai.tool.call.id") {
        return Some(Operation::ExecuteTool);
    }
    let signs = ["gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "llm.request.type"];
    signs.iter().any(|name| view.has(name)).then_some(Operation::Inference)
}

/// Takes prompts and completions as one attribute (JSON or text) or as OpenLLMetry's numbered ones.
pub(super) fn take_content(view: &mut View<'_>, content: &mut Content) {
    let mut take = |name: &str| view.json(name).or_else(|| view.list(name));
    if let Some(prompt) = take("gen_ai.prompt") {
        content.input.extend(messages(prompt, Role::User));
    }
    if let Some(completion) = take("gen_ai.completion") {
        content.output.extend(messages(completion, Role::Assistant));
    }
}

/// OpenLLMetry's own spans: `traceloop.span.kind` is workflow, task, agent or tool.
pub(super) fn traceloop(context: &Context<'_>, mut view: View<'_>, content: Content, limits: &Limits) -> Vec<Draft> {
    let kind = view.text(&["traceloop.span.kind"]).unwrap_or_default();
    if kind == "unknown" && operation(&view).is_some() {
        return genai_steps(Operation::Inference, context, view, content, limits);
    }
    let entity = view.text(&["traceloop.entity.name"]);
    let input = view.json("traceloop.entity.input");
    let output = view.json("traceloop.entity.output");
    if kind == "tool" {
        let call = view.text(&["gen_ai.tool.call.id"]);
        return tool(context, Tool { name: entity, call, input, output, attributes: view.rest(limits) });
    }
    let step = match kind.as_str() {
        "agent" => beginning(context),
        "workflow" if context.is_root() => Kind::SessionStart,
        _ => Kind::State,
    };
    let mut first = context.first(step);
    (first.input, first.output) = (input, output);
    first.attributes.extend(view.rest(limits));
    if let Some(entity) = entity {
        first.attributes.insert("traceloop.entity.name".to_owned(), Value::from(entity));
    }
    agent(context, first, content)
}
