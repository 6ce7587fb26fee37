//! Content that is not kept as it was sent, and followed all the same.

use serde_json::{Value, json};

use crate::harness::{Server, step};

const TOOLS: &str = "tools:
  - { name: read_file, read_only: true }
  - { name: send_email, open_world: true }
";
const SECRET: &str = "hunter22x-and-more";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("writes");
        path.to_str().expect("UTF-8").to_owned()
    };
    let key = path("capture.key", "0123456789abcdef0123456789abcdef\n");
    let config = path(
        "config.toml",
        &format!(
            "[capture]\nmode = \"redacted\"\noverrides = [{{ agent = \"hr\", mode = \"fingerprint\" }}]\nkey_file = {key:?}\n"
        ),
    );
    path("policies/tools.yaml", TOOLS);
    let policies = folder.path().join("policies");
    let args = ["--config", &config, "--policies", policies.to_str().expect("UTF-8")];
    let server = Server::start_with(&folder.path().join("data"), &args);

    for (session, agent) in [("c-1", "e2e"), ("c-2", "hr")] {
        let as_agent = |mut it: Value| {
            it["agent"] = json!({ "id": agent });
            it
        };
        let read = json!([
            as_agent(step(session, "1", "user_message", json!({ "text": "mail the report to ada@example.com" }))),
            as_agent(step(
                session,
                "2",
                "tool_result",
                json!({ "tool": "read_file", "output": { "password": SECRET } })
            )),
        ]);
        let (status, answer) = server.post("/v1/steps", read.to_string()).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
        // "hunter22x-and-more", in base64.
        let input = json!({ "to": "ada@example.com", "body": "aHVudGVyMjJ4LWFuZC1tb3Jl" });
        let call = as_agent(step(session, "3", "tool_call", json!({ "tool": "send_email", "input": input })));
        let (status, gate) = server.post("/v1/gate", call.to_string()).await;
        assert_eq!((status, &gate["findings"][0]["rule"]), (200, &json!("secret_leak")), "{gate}");
        assert_eq!(gate["decision"], "halt", "{gate}");
        assert!(!gate.to_string().contains("hunter22x"), "{gate}");
    }
    server.count_reaches("SELECT count(*) FROM steps", 6).await;
    let query = "SELECT session_id, step_id, text, input, output, capture FROM steps ORDER BY session_id, step_id";
    let rows = server.sql(query).await;
    let all = Value::from(rows.clone()).to_string();
    assert!(rows.len() == 6 && !all.contains("hunter22x") && !all.contains("aHVudGVy"), "{all}");
    assert_eq!(all.matches("redacted_").count(), 4, "{all}");
    assert_eq!(all.matches("ada@example.com").count(), 2, "of the session that is redacted: {all}");
    let captures: Vec<_> = rows.iter().filter_map(|row| row[5].as_str()).collect();
    assert_eq!(captures, [["redacted"; 3], ["fingerprint"; 3]].concat());
    // The address that the user named is known in either session.
    let edges =
        server.sql("SELECT session_id, argument, from_step_id, authored FROM edges WHERE argument = 'to'").await;
    assert_eq!(edges.len(), 2, "{edges:?}");
    assert!(edges.iter().all(|it| it[2] == "1" && it[3] == true), "{edges:?}");
    // What nobody can tell whose it is, is not kept.
    let named = step("c-3", "1", SECRET, json!({}));
    let (_, answer) = server.post("/v1/steps", json!([{ "text": SECRET }, named]).to_string()).await;
    assert!(answer.to_string().contains(SECRET), "its sender is told: {answer}");
    let (_, letters) = server.get("/v1/dead-letters").await;
    let letters = letters.to_string();
    assert!(letters.contains("missing_field") && letters.contains("unknown_kind"), "{letters}");
    assert!(!letters.contains(SECRET), "{letters}");
    // The run of a session whose parent alone was named, once, is that of its parent's parent.
    let child = |id: &str, parent: &str| step(id, "1", "plan", json!({ "parent_session_id": parent, "text": "go on" }));
    let (_, answer) = server.post("/v1/steps", json!([child("c-4", "c-1"), child("c-5", "c-4")]).to_string()).await;
    assert_eq!(answer["accepted"], 2, "{answer}");
    let said = step("c-5", "2", "plan", json!({ "text": format!("use {SECRET}") }));
    server.post("/v1/steps", said.to_string()).await;
    server.count_reaches("SELECT count(*) FROM steps", 9).await;
    let rows = server.sql("SELECT text FROM steps WHERE session_id = 'c-5' ORDER BY step_id").await;
    assert!(rows[1][0].as_str().is_some_and(|it| it.starts_with("use redacted_")), "{rows:?}");
    server.terminate();
}
