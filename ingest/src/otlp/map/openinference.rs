//! OpenInference: `openinference.span.kind` says what a span is.
//!
//! | kind | steps |
//! |---|---|
//! | LLM | messages in view, model_call, reasoning, assistant_message, tool_call |
//! | EMBEDDING | model_call |
//! | TOOL | tool_call, tool_result |
//! | AGENT | session_start at a root, handoff in a workflow, else spawn; final_message of a root |
//! | CHAIN | session_start at a root, else state |
//! | RETRIEVER, RERANKER | retrieval |
//! | GUARDRAIL, EVALUATOR | guardrail |
//! | DECISION | plan |
//! | PROMPT, any other | state |

use martingale_schemas::{Kind, Limits};
use serde_json::Value;

use super::context::Context;
use super::conversation::Content;
use super::draft::{Draft, Usage};
use super::message::{Message, Part, Role, messages};
use super::shapes::{Tool, agent, beginning, model_call, tool};
use super::view::View;

pub(super) const KIND: &str = "openinference.span.kind";

pub(super) fn steps(context: &Context<'_>, mut view: View<'_>, mut content: Content, limits: &Limits) -> Vec<Draft> {
    let kind = view.text(&[KIND]).unwrap_or_default().to_ascii_uppercase();
    view.value("input.mime_type");
    view.value("output.mime_type");
    let input = view.json("input.value");
    let output = view.json("output.value");
    match kind.as_str() {
        "LLM" => {
            take_content(&mut view, &mut content);
            llm(context, view, content, (input, output), limits)
        }
        "TOOL" => {
            let name = view.text(&["tool.name"]).unwrap_or_else(|| context.name.to_owned());
            let call = view.text(&["gen_ai.tool.call.id", "tool.id", "tool_call.id"]);
            let input = input.or_else(|| view.json("tool.parameters"));
            tool(context, Tool { name: Some(name), call, input, output, attributes: view.rest(limits) })
        }
        "AGENT" | "CHAIN" => {
            // Chains nest, so that one below a span not seen is more likely a part than the whole.
            let is_state = kind == "CHAIN" && context.parent.is_some();
            let mut first = context.first(if is_state { Kind::State } else { beginning(context) });
            if first.kind == Kind::SessionStart && content.output.is_empty() {
                content.output.extend(final_message(output.as_ref()));
            }
            (first.input, first.output) = (input, output);
            first.attributes.extend(view.rest(limits));
            agent(context, first, content)
        }
        _ => other(&kind, context, view, (input, output), limits),
    }
}

fn other(
    kind: &str,
    context: &Context<'_>,
    mut view: View<'_>,
    (input, output): (Option<Value>, Option<Value>),
    limits: &Limits,
) -> Vec<Draft> {
    let step = match kind {
        "EMBEDDING" => Kind::ModelCall,
        "RETRIEVER" | "RERANKER" => Kind::Retrieval,
        "GUARDRAIL" | "EVALUATOR" => Kind::Guardrail,
        "DECISION" => Kind::Plan,
        _ => Kind::State,
    };
    let mut first = context.first(step);
    first.model = view.text(&["embedding.model_name", "reranker.model_name", "llm.model_name"]);
    first.input = input.or_else(|| view.json("reranker.query")).or_else(|| view.list("embedding.embeddings"));
    first.output = view.list("retrieval.documents").or_else(|| view.list("reranker.output_documents")).or(output);
    first.attributes.extend(view.rest(limits));
    vec![first]
}

fn take_content(view: &mut View<'_>, content: &mut Content) {
    let mut take = |names: [&str; 2]| names.iter().find_map(|name| view.list(name).or_else(|| view.json(name)));
    content.input.extend(
        take(["llm.input_messages", "llm.prompts"]).map(|it| said(it, "prompt", Role::User)).unwrap_or_default(),
    );
    content.output.extend(
        take(["llm.output_messages", "llm.choices"])
            .map(|it| said(it, "completion", Role::Assistant))
            .unwrap_or_default(),
    );
}

/// Messages; of a completions API `[{"prompt": {"text": …}}]`.
fn said(value: Value, wrapper: &str, role: Role) -> Vec<Message> {
    let texts: Option<Vec<Message>> = value.as_array().and_then(|list| {
        let text = |it: &Value| it.get(wrapper)?.get("text")?.as_str().map(str::to_owned);
        list.iter().map(|it| Some(Message { role, parts: vec![Part::Text(text(it)?)] })).collect()
    });
    texts.unwrap_or_else(|| messages(value, role))
}

fn llm(
    context: &Context<'_>,
    mut view: View<'_>,
    content: Content,
    (input, output): (Option<Value>, Option<Value>),
    limits: &Limits,
) -> Vec<Draft> {
    let mut first = context.first(Kind::ModelCall);
    first.model = view.text(&["llm.request.model_name", "llm.model_name", "llm.response.model_name"]);
    let usage = Usage {
        input_tokens: view.count("llm.token_count.prompt"),
        output_tokens: view.count("llm.token_count.completion"),
        cached_tokens: view.count("llm.token_count.prompt_details.cache_read"),
        cost_usd: view.amount("llm.cost.total"),
    };
    // The raw request and response say the same once more where there are messages.
    if content.input.is_empty() {
        first.input = input;
    }
    if content.output.is_empty() {
        first.output = output;
    }
    if let Some(tools) = view.list("llm.tools") {
        view.put("llm.tools", tools);
    }
    first.attributes.extend(view.rest(limits));
    model_call(context, first, content, usage, limits)
}

fn final_message(output: Option<&Value>) -> Option<Message> {
    let text = output?.as_str()?;
    Some(Message { role: Role::Assistant, parts: vec![Part::Text(text.to_owned())] })
}
