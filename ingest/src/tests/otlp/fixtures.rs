//! `fixtures/otlp/*.json`: a request as OTLP JSON, and what comes of it. `UPDATE_EXPECT=1 cargo test -p
//! martingale-ingest fixtures` writes what comes of it now; read the difference before it is committed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::tests::Bench;

const PROTOBUF: &str = "application/x-protobuf";

fn files() -> Vec<(PathBuf, Map<String, Value>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/otlp");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect(folder).map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let file = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, file)
    };
    paths.into_iter().map(read).collect()
}

/// Path, request and the same request as protobuf.
fn request(file: &Map<String, Value>) -> (&'static str, &Value, Vec<u8>) {
    if let Some(request) = file.get("traces") {
        let decoded: ExportTraceServiceRequest = serde_json::from_value(request.clone()).expect("OTLP JSON");
        return ("/v1/traces", request, decoded.encode_to_vec());
    }
    let request = file.get("logs").expect("`traces` or `logs`");
    let decoded: ExportLogsServiceRequest = serde_json::from_value(request.clone()).expect("OTLP JSON");
    ("/v1/logs", request, decoded.encode_to_vec())
}

/// The step as the producer's words make it: that it was not gated is said by the door.
fn reported(mut step: Value) -> Value {
    assert_eq!(step.as_object_mut().and_then(|it| it.remove("gated")), Some(json!(false)));
    step
}

#[tokio::test]
async fn each_request_gives_its_steps_in_either_encoding() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let files = files();
    assert!(files.len() >= 16, "{}", files.len());
    for (path, mut file) in files {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let (url, request, protobuf) = request(&file);
        let door = if url == "/v1/traces" { "otlp_traces" } else { "otlp_logs" };
        let bench = Bench::new();
        let reply = bench.post(url, &[("content-type", "application/json")], request.to_string()).await;
        let [accepted, duplicate, rejected, shed, ignored] = bench.outcomes(door);
        let outcome = json!({
            "status": reply.status.as_u16(),
            "answer": reply.json(),
            "outcomes": {
                "accepted": accepted, "duplicate": duplicate, "rejected": rejected, "shed": shed, "ignored": ignored
            },
            "steps": bench.records("steps").await.into_iter().map(reported).collect::<Vec<_>>(),
        });

        let again = bench.post(url, &[("content-type", PROTOBUF)], protobuf).await;
        assert_eq!(again.headers["content-type"], PROTOBUF, "{name}");
        let [now, ..] = bench.outcomes(door);
        assert_eq!(now, accepted, "{name}: as protobuf it gives other steps than as JSON");

        if update {
            file.insert("becomes".to_owned(), outcome);
            let text = serde_json::to_string_pretty(&file).expect("JSON");
            std::fs::write(&path, text + "\n").expect("writable");
        } else {
            let expected = file.get("becomes").unwrap_or_else(|| panic!("{name}: nothing expected"));
            for (part, is) in outcome.as_object().expect("an object") {
                if part != "steps" {
                    assert_eq!(is, &expected[part], "{name}: {part}");
                }
            }
            let steps = |of: &Value| of["steps"].as_array().expect("steps").clone();
            for (index, (is, expected)) in steps(&outcome).iter().zip(&steps(expected)).enumerate() {
                assert_eq!(is, expected, "{name}: step {index}");
            }
            assert_eq!(steps(&outcome).len(), steps(expected).len(), "{name}");
        }
    }
}

/// Every name a convention has, old and new; each is in the input of some fixture.
const NAMES: &str = "
    chat generate_content text_completion embeddings retrieval create_agent invoke_agent invoke_workflow execute_tool
    plan create_memory_store delete_memory_store create_memory update_memory upsert_memory delete_memory search_memory

    gen_ai.provider.name gen_ai.operation.name gen_ai.conversation.id gen_ai.workflow.name gen_ai.prompt.name
    gen_ai.data_source.id gen_ai.output.type
    gen_ai.agent.id gen_ai.agent.name gen_ai.agent.description gen_ai.agent.version
    gen_ai.tool.name gen_ai.tool.type gen_ai.tool.description gen_ai.tool.definitions
    gen_ai.tool.call.id gen_ai.tool.call.arguments gen_ai.tool.call.result
    gen_ai.system_instructions gen_ai.input.messages gen_ai.output.messages
    text tool_call tool_call_response reasoning
    gen_ai.request.model gen_ai.request.max_tokens gen_ai.request.choice.count gen_ai.request.temperature
    gen_ai.request.top_p gen_ai.request.top_k gen_ai.request.stop_sequences gen_ai.request.frequency_penalty
    gen_ai.request.presence_penalty gen_ai.request.seed gen_ai.request.stream gen_ai.request.encoding_formats
    gen_ai.response.id gen_ai.response.model gen_ai.response.finish_reasons gen_ai.response.time_to_first_chunk
    gen_ai.usage.input_tokens gen_ai.usage.output_tokens gen_ai.usage.cache_read.input_tokens
    gen_ai.usage.cache_creation.input_tokens gen_ai.usage.reasoning.output_tokens
    gen_ai.retrieval.documents gen_ai.retrieval.query.text
    gen_ai.evaluation.name gen_ai.evaluation.score.value gen_ai.evaluation.score.label gen_ai.evaluation.explanation
    gen_ai.memory.store.id gen_ai.memory.record.id gen_ai.memory.record.count gen_ai.memory.records
    gen_ai.memory.query.text
    error.type server.address server.port openai.request.service_tier openai.response.service_tier
    openai.response.system_fingerprint openai.api.type aws.bedrock.guardrail.id aws.bedrock.knowledge_base.id
    gen_ai.client.inference.operation.details gen_ai.evaluation.result gen_ai.client.operation.exception

    gen_ai.system gen_ai.usage.prompt_tokens gen_ai.usage.completion_tokens gen_ai.prompt gen_ai.completion
    az.ai.inference az.ai.openai vertex_ai gemini xai
    gen_ai.system.message gen_ai.user.message gen_ai.assistant.message gen_ai.tool.message gen_ai.choice
    gen_ai.content.prompt gen_ai.content.completion

    openinference.span.kind LLM EMBEDDING CHAIN RETRIEVER RERANKER TOOL AGENT GUARDRAIL EVALUATOR PROMPT DECISION
    session.id user.id agent.name graph.node.id graph.node.name graph.node.parent_id
    tool.name tool.id tool.parameters input.value output.value llm.model_name llm.token_count.prompt
    llm.token_count.completion llm.token_count.total llm.token_count.prompt_details.cache_read llm.cost.total
    llm.input_messages.0.message.role llm.input_messages.0.message.content llm.output_messages.0.message.role
    llm.tools.0.tool.json_schema llm.invocation_parameters llm.prompts.0.prompt.text llm.choices.0.completion.text

    traceloop.span.kind traceloop.workflow.name traceloop.entity.name traceloop.entity.path traceloop.entity.version
    traceloop.entity.input traceloop.entity.output traceloop.association.properties.session_id
    traceloop.association.properties.user_id workflow task agent tool llm.request.type
    gen_ai.prompt.0.role gen_ai.prompt.0.content gen_ai.completion.0.content gen_ai.prompt.2.tool_calls.0.name

    mcp.method.name mcp.protocol.version mcp.resource.uri mcp.session.id jsonrpc.request.id network.transport
    pipe tcp quic tool_error tools/call resources/read prompts/get sampling/createMessage elicitation/create

    service.name service.version deployment.environment.name deployment.environment enduser.id
";

#[test]
fn every_name_has_a_fixture() {
    fn texts(value: &Value, out: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                out.insert(text.clone());
            }
            Value::Array(list) => list.iter().for_each(|it| texts(it, out)),
            Value::Object(map) => map.values().for_each(|it| texts(it, out)),
            _ => {}
        }
    }
    let mut told = BTreeSet::new();
    for (_, file) in files() {
        texts(request(&file).1, &mut told);
    }
    let missing: Vec<&str> = NAMES.split_whitespace().filter(|name| !told.contains(*name)).collect();
    assert!(missing.is_empty(), "in no fixture: {missing:?}");
}
