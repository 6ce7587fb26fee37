//! One process for each role: which doors it has, who answers, that all answer alike.

use serde_json::json;

use super::fleet::Fleet;
use super::{binary, brokers};
use crate::harness::{PATIENCE, Server, step};

#[tokio::test(flavor = "multi_thread")]
async fn whichever_process_is_asked_the_answer_is_the_same() {
    let Some(cluster) = brokers().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(&cluster, "roles.", &folder.path().join("data"), 4);

    // Doors: those of its role, and health.
    let detector = &fleet.detectors[0];
    assert_eq!((detector.otlp_grpc.as_str(), detector.otlp_http.as_str()), ("", ""));
    let (ingest, query_api) = (&fleet.ingests[0], &fleet.query_apis[0]);
    assert!(!ingest.otlp_grpc.is_empty() && !ingest.otlp_http.is_empty());
    for (server, path, status) in [
        (detector, "/healthz", 200),
        (detector, "/metrics", 200),
        (detector, "/v1/sessions", 404),
        (ingest, "/v1/dead-letters", 200),
        (ingest, "/v1/sessions", 404),
        (query_api, "/v1/sessions", 200),
        (query_api, "/v1/dead-letters", 404),
    ] {
        assert_eq!(server.get(path).await.0, status, "{path}");
    }
    for server in fleet.ingests.iter().chain(&fleet.detectors).chain(&fleet.query_apis) {
        server.ready().await;
    }

    // Observed through one, asked of both; the gate of either, and a halt through the other.
    let steps: Vec<String> = (0..200)
        .map(|it| {
            let more =
                json!({ "tool": "search", "input": { "q": it }, "time": format!("2026-01-01T00:00:{:02}Z", it / 20) });
            step(&format!("s{}", it % 20), &it.to_string(), "tool_call", more).to_string()
        })
        .collect();
    fleet.send(steps).await.expect("acknowledged");
    fleet.all_count("SELECT count(*) FROM steps", 200).await;
    let call = |id: &str| step("s1", id, "tool_call", json!({ "tool": "search" })).to_string();
    for (number, query_api) in fleet.query_apis.iter().enumerate() {
        let (status, answer) = query_api.post("/v1/gate", call(&format!("g{number}"))).await;
        assert_eq!((status, &answer["decision"]), (200, &json!("allow")), "{answer}");
    }
    let (_, again) = fleet.query_apis[1].post("/v1/gate", call("g0")).await;
    assert_eq!((&again["decision"], again.get("timed_out")), (&json!("allow"), None), "sent to the other before");
    let order = json!({ "action": "halt", "session_id": "s1", "reason": "test" }).to_string();
    let (status, given) = fleet.query_apis[1].post("/v1/controls", order).await;
    assert_eq!((status, &given["state"], &given["known"]), (200, &json!("applied"), &json!(true)), "{given}");
    let id = given["control_id"].as_str().expect("an id");
    let until = tokio::time::Instant::now() + PATIENCE;
    while fleet.query_apis[0].get(&format!("/v1/controls/{id}")).await.1["state"] != "applied" {
        assert!(tokio::time::Instant::now() < until, "the other hears of it");
    }
    for query_api in &fleet.query_apis {
        let (_, answer) = query_api.post("/v1/gate", call("g0")).await;
        assert_eq!(answer["decision"], "halt", "{answer}");
    }
    fleet.all_count("SELECT count(*) FROM steps", 202).await;
    // Past a flush of each: the rows are in the tables then, and counted once.
    for query_api in &fleet.query_apis {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (_, text) = query_api.get("/metrics").await;
            let text = text.as_str().unwrap_or_default();
            if text.lines().any(|it| it == "martingale_history_memory_bytes 0") {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "rows of others leave memory when those have written them");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(query_api.count("SELECT count(*) FROM steps").await, 202);
        assert_eq!(query_api.count("SELECT sum(steps) FROM sessions").await, 202);
    }

    // One of them has alerts and deliveries, the other says so.
    let mut statuses = Vec::new();
    for query_api in &fleet.query_apis {
        statuses.push(query_api.get("/v1/alerts").await.0);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
}

#[test]
fn a_start_that_cannot_work_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    for (args, words) in [
        (&["--role", "detector"][..], &["--kafka", "without the role ingest"][..]),
        (&["--kafka", "127.0.0.1:1"], &["no broker of `127.0.0.1:1` answers", "Check brokers"]),
        (&["--kafka", "127.0.0.1:1", "--topic-prefix", "a b"], &["topic_prefix is `a b`"]),
        (&["--role", "judge"], &["judge", "detector"]),
    ] {
        let mut command = binary();
        command.env("MARTINGALE__KAFKA__REQUEST_TIMEOUT", "1s");
        let said = Server::try_start(command, folder.path(), args).err().expect("refused");
        for word in words {
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}
