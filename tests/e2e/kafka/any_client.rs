//! One process on Kafka, and what other clients put on its topics.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use super::{binary, brokers, produce};
use crate::harness::{Server, step};

#[tokio::test(flavor = "multi_thread")]
async fn one_process_does_on_kafka_what_it_does_in_a_folder() {
    let Some(cluster) = brokers().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["--kafka", &cluster.brokers(), "--topic-prefix", "one."];
    let start = || Server::try_start(binary(), &folder.path().join("data"), &args).expect("starts");
    let server = start();
    server.ready().await;
    let gate = async |server: &Server, id: &str, tool: &str| {
        let (status, answer) =
            server.post("/v1/gate", step("s", id, "tool_call", json!({ "tool": tool })).to_string()).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let first = gate(&server, "1", "search").await;
    assert_eq!(first["decision"], "allow", "{first}");
    assert_eq!(gate(&server, "1", "search").await, first, "asked again");
    let (status, other) =
        server.post("/v1/gate", step("s", "1", "tool_call", json!({ "tool": "rm" })).to_string()).await;
    assert_eq!((status, &other["decision"]), (409, &json!("deny")), "{other}");

    let halt = json!({ "action": "halt", "session_id": "s", "reason": "test", "control_id": "c1" }).to_string();
    for _ in 0..2 {
        let (status, given) = server.post("/v1/controls", halt.clone()).await;
        assert_eq!((status, &given["state"]), (200, &json!("applied")), "{given}");
    }
    assert_eq!(gate(&server, "2", "search").await["decision"], "halt");
    assert_eq!(gate(&server, "1", "search").await["decision"], "halt", "what stands now is the answer");
    server.count_reaches("SELECT count(*) FROM steps", 2).await;

    server.terminate();
    let server = start();
    server.ready().await;
    assert_eq!(gate(&server, "1", "search").await["decision"], "halt", "known after a restart, and halted");
    assert_eq!(gate(&server, "3", "search").await["decision"], "halt");
    server.kill_9();
    let server = start();
    server.ready().await;
    assert_eq!(gate(&server, "4", "search").await["decision"], "halt");
    server.count_reaches("SELECT count(*) FROM steps", 4).await;
    assert_eq!(server.count("SELECT count(*) FROM controls").await, 1, "an order that was sent twice is one");
    // Asked until it is: on a busy machine what it has just read may be old already.
    server.ready().await;
}

/// Steps that no ingest has seen, good ones and bad ones: each is judged or a dead letter, and none stops a partition.
#[tokio::test(flavor = "multi_thread")]
async fn any_client_may_produce_steps_and_none_stops_a_partition() {
    let Some(cluster) = brokers().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = binary();
    command.env("MARTINGALE__INGEST__LIMITS__STEP_BYTES_MAX", "100000");
    let args = ["--kafka", &cluster.brokers(), "--topic-prefix", "raw."];
    let server = Server::try_start(command, &folder.path().join("data"), &args).expect("starts");

    let bare = |session: &str, more: Value| {
        let mut step =
            json!({ "session_id": session, "kind": "tool_call", "agent": { "id": "raw" }, "tool": "search" });
        step.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        step.to_string().into_bytes()
    };
    let topic = "raw.steps";
    let mut records = Vec::new();
    let sessions: Vec<String> = (0..16).map(|it| format!("raw-{it}")).collect();
    for session in &sessions {
        let key = || Some(session.clone());
        records.push((topic, key(), bare(session, json!({}))));
        records.push((topic, key(), b"no json".to_vec()));
        records.push((topic, key(), bare(session, json!({ "kind": "no kind" }))));
        records.push((topic, key(), bare(session, json!({ "text": "x".repeat(400_000) }))));
        records.push((topic, None, bare(session, json!({ "step_id": "no key" }))));
        records.push((topic, key(), Vec::new()));
        // Each takes six bytes where it is kept, and a record of a million bytes is the largest there is.
        records.push((topic, key(), vec![1; 200_000]));
        records.push((topic, Some("k".repeat(700_000)), bare(session, json!({ "step_id": "long key" }))));
        records.push((topic, key(), bare(session, json!({ "step_id": "far", "time": "2999-01-01T00:00:00Z" }))));
        // The same bytes are the same step.
        records.push((topic, key(), bare(session, json!({}))));
    }
    let brokers = cluster.brokers();
    tokio::task::spawn_blocking(move || produce(&brokers, &records)).await.expect("produced");

    server.count_reaches("SELECT count(*) FROM steps", 32).await;
    assert_eq!(server.count("SELECT count(*) FROM verdicts").await, 32);
    assert_eq!(server.count("SELECT count(*) FROM steps WHERE step_id LIKE 'd-%'").await, 16);
    assert_eq!(server.count("SELECT count(*) FROM steps WHERE time > now() + interval '1 day'").await, 0);
    let mut reasons = std::collections::BTreeMap::<String, u64>::new();
    let (status, letters) = server.get("/v1/dead-letters?limit=1000").await;
    assert_eq!(status, 200, "{letters}");
    for letter in letters["dead_letters"].as_array().expect("a list") {
        *reasons.entry(letter["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let expected =
        [("invalid_json", 48), ("missing_field", 16), ("too_large", 16), ("too_long", 16), ("unknown_kind", 16)];
    assert_eq!(reasons, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
}

fn span(number: u8) -> Span {
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    Span {
        trace_id: vec![1; 16],
        span_id: vec![number; 8],
        name: "execute_tool search".to_owned(),
        start_time_unix_nano: 1_767_225_600_000_000_000 + u64::from(number) * 1_000_000,
        end_time_unix_nano: 1_767_225_600_000_500_000 + u64::from(number) * 1_000_000,
        attributes: vec![
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", "search"),
            text("gen_ai.conversation.id", "by-topic"),
            text("gen_ai.agent.id", "collected"),
        ],
        ..Span::default()
    }
}

const SPANS: &str = "spans-of-a-collector";

/// What the Kafka exporter of the OpenTelemetry Collector writes, in both encodings, and rubbish between.
#[tokio::test(flavor = "multi_thread")]
async fn otlp_comes_from_topics_as_it_comes_over_http() {
    let Some(cluster) = brokers().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["--kafka", &cluster.brokers(), "--topic-prefix", "otlp."];
    // Names of its own: the usual ones have no prefix, and what is in them would come to every test after this.
    let start = || {
        let mut command = binary();
        command.env("MARTINGALE__INGEST__KAFKA__TRACES", format!("[\"{SPANS}\"]"));
        command.env("MARTINGALE__INGEST__KAFKA__LOGS", "[]");
        Server::try_start(command, &folder.path().join("data"), &args).expect("starts")
    };
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.brokers()).create().expect("admin");
    let topic = NewTopic::new(SPANS, 3, TopicReplication::Fixed(3));
    let created = admin.create_topics([&topic], &AdminOptions::new()).await.expect("asked");
    assert!(created.iter().all(Result::is_ok), "{created:?}");

    let request = |numbers: std::ops::Range<u8>| ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: numbers.map(span).collect(), ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let server = start();
    let brokers = cluster.brokers();
    let proto = request(1..11).encode_to_vec();
    let json = serde_json::to_vec(&request(11..21)).expect("JSON");
    let sent = move |values: Vec<Vec<u8>>| {
        let brokers = brokers.clone();
        tokio::task::spawn_blocking(move || {
            let records: Vec<_> = values.into_iter().map(|it| (SPANS, None, it)).collect();
            produce(&brokers, &records);
        })
    };
    sent(vec![b"rubbish".to_vec(), proto.clone(), b"{\"resourceSpans\": 7}".to_vec(), json]).await.expect("sent");
    // Ten spans of each encoding, a call and a result of each.
    server.count_reaches("SELECT count(*) FROM steps WHERE agent_id = 'collected'", 40).await;
    let (_, letters) = server.get("/v1/dead-letters").await;
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(2), "{letters}");
    server.terminate();

    // What was taken is not taken again by the next process, and what came meanwhile is.
    sent(vec![request(21..31).encode_to_vec()]).await.expect("sent");
    let server = start();
    server.count_reaches("SELECT count(*) FROM steps WHERE agent_id = 'collected'", 60).await;
    let (_, text) = server.get("/metrics").await;
    let text = text.as_str().expect("text");
    let accepted = text
        .lines()
        .find(|it| it.starts_with("martingale_ingest_") && it.contains("otlp_traces") && it.contains("accepted"));
    assert!(accepted.is_some_and(|it| it.ends_with(" 20")), "{accepted:?}");
}
