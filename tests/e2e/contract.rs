//! The contract for programs: paths, fields and statuses others script against.

use serde_json::{Value, json};

use crate::harness::{Server, json_of, step};

#[tokio::test(flavor = "multi_thread")]
async fn steps_gate_sql_and_sessions_answer_as_promised() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());

    let steps = json!([
        step("c-1", "1", "user_message", json!({ "seq": 1, "text": "find the cheapest flight" })),
        step("c-1", "2", "tool_call", json!({ "seq": 2, "tool": "search", "input": { "q": "flights" }, "causes": ["1"] })),
        step("c-1", "2", "tool_call", json!({ "seq": 2, "tool": "search", "input": { "q": "flights" }, "causes": ["1"] })),
        step("c-1", "3", "tool_result", json!({ "seq": 3, "tool": "search", "output": "none", "causes": ["2"] })),
        { "session_id": "c-1", "kind": "wish", "agent": { "id": "e2e" } },
    ]);
    let (status, answer) = server.post("/v1/steps", steps.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["accepted"], &answer["duplicate"]), (&json!(3), &json!(1)), "{answer}");
    let rejected = &answer["rejected"][0];
    assert_eq!(
        (&rejected["index"], &rejected["reason"], &rejected["field"]),
        (&json!(4), &json!("unknown_kind"), &json!("kind"))
    );

    let gated =
        step("c-1", "4", "tool_call", json!({ "seq": 4, "tool": "book", "input": { "id": 7 }, "causes": ["3"] }));
    let (status, gate) = server.post("/v1/gate", gated.to_string()).await;
    assert_eq!(status, 200, "{gate}");
    assert_eq!(gate["decision"], "allow", "{gate}");
    assert!(gate["verdict_id"].is_string() && gate["findings"].is_array(), "{gate}");
    let (_, again) = server.post("/v1/gate", gated.to_string()).await;
    assert_eq!(
        (&again["verdict_id"], &again["decision"]),
        (&gate["verdict_id"], &gate["decision"]),
        "asked twice, answered the same"
    );

    server.count_reaches("SELECT count(*) FROM steps", 4).await;
    let query =
        "SELECT session_id, step_id, seq, time, kind, agent_id, agent_version, tool, decision FROM steps ORDER BY seq";
    let (status, answer) = server.post("/v1/sql", json!({ "query": query }).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let names: Vec<&str> =
        answer["columns"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names.join(", "), "session_id, step_id, seq, time, kind, agent_id, agent_version, tool, decision");
    assert!(answer["columns"].as_array().unwrap().iter().all(|it| it["type"].is_string()), "{answer}");
    assert_eq!(answer["rows"].as_array().unwrap().len(), 4);
    // Which were asked before they ran is in both tables.
    for table in ["steps", "verdicts"] {
        let query = format!("SELECT step_id, gated FROM {table} ORDER BY seq");
        let (_, answer) = server.post("/v1/sql", json!({ "query": query }).to_string()).await;
        assert_eq!(answer["rows"], json!([["1", false], ["2", false], ["3", false], ["4", true]]), "{answer}");
    }
    for table in ["steps", "sessions", "verdicts", "findings", "controls"] {
        server.count(&format!("SELECT count(*) FROM {table}")).await;
    }

    let (status, timeline) = server.get("/v1/sessions/c-1/timeline").await;
    assert_eq!((status, timeline["steps"].as_array().map(Vec::len)), (200, Some(4)), "{timeline}");
    assert_eq!((&timeline["steps"][0]["gated"], &timeline["steps"][3]["gated"]), (&json!(false), &json!(true)));
    let (status, why) = server.get("/v1/sessions/c-1/steps/4/why").await;
    assert_eq!(status, 200, "{why}");
    let edges: Vec<&Value> = why["edges"].as_array().expect("edges").iter().collect();
    assert!(edges.iter().any(|it| it["kind"] == "declared"), "{why}");
    let (status, missing) = server.get("/v1/sessions/nobody/timeline").await;
    assert_eq!(status, 404, "{missing}");

    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/sessions",
        "/v1/controls",
        "/v1/alerts",
        "/v1/deliveries",
        "/v1/dead-letters",
    ] {
        let (status, answer) = server.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let (_, letters) = server.get("/v1/dead-letters").await;
    assert!(letters.to_string().contains("unknown_kind"), "the rejected step can be inspected: {letters}");

    let cli = json_of(&server.martingale(&["sql", "SELECT count(*) AS n FROM steps", "--json"]));
    assert_eq!(cli["rows"][0][0], 4, "{cli}");
    let shown = server.martingale(&["timeline", "c-1"]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("search"), "{shown:?}");
    let shown = server.martingale(&["why", "c-1", "4"]);
    assert!(shown.status.success(), "{shown:?}");
    server.terminate();
}

/// The document says of every path which methods it takes; that every path is in it is checked beside the routers.
#[tokio::test(flavor = "multi_thread")]
async fn every_path_takes_the_methods_of_the_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let (_, document) = server.get("/openapi.json").await;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let target = path.replace("{id}", "none").replace("{session}", "none").replace("{step}", "none");
        for method in ["get", "post", "put", "patch", "delete"] {
            let verb = method.to_uppercase().parse().expect("a method");
            let answer = server.client.request(verb, server.url(&target)).send().await.expect("an answer");
            assert_eq!(
                answer.status() == 405,
                operations.get(method).is_none(),
                "{method} {path}: {}",
                answer.status()
            );
        }
    }
}

/// A stream that is cut is taken up where it ended, across a restart of the server.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_resumes_where_it_was_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let client = server.client.clone();
    let (first_id, first) = {
        let mut stream = client.get(server.url("/v1/stream?min_decision=halt")).send().await.expect("opens");
        let (status, _) =
            server.post("/v1/controls", json!({ "action": "halt", "session_id": "t-1" }).to_string()).await;
        assert_eq!(status, 200);
        event(&mut stream).await
    };
    assert!(first.contains("t-1"), "{first}");
    let (status, _) = server.post("/v1/controls", json!({ "action": "halt", "session_id": "t-2" }).to_string()).await;
    assert_eq!(status, 200);
    server.kill_9();

    let server = Server::start(folder.path());
    let request = client.get(server.url("/v1/stream?min_decision=halt")).header("last-event-id", first_id);
    let mut stream = request.send().await.expect("opens");
    // Each partition answers an order for itself: what is left of the first comes before the second.
    let mut missed = event(&mut stream).await.1;
    while missed.contains("t-1") {
        missed = event(&mut stream).await.1;
    }
    assert!(missed.contains("t-2"), "{missed}");
}

/// Id and data of the next event; comments are passed over.
async fn event(stream: &mut reqwest::Response) -> (String, String) {
    let mut text = String::new();
    loop {
        while let Some(end) = text.find("\n\n") {
            let block: String = text.drain(..end + 2).collect();
            let field =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|it| it.trim().to_owned());
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                return (id, data);
            }
        }
        let chunk = stream.chunk().await.expect("open").expect("more");
        text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
    }
}
