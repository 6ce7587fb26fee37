//! All brokers gone for a while: what was accepted is kept, what is not is said, and nobody has to start anything again.

use std::sync::Arc;

use serde_json::json;

use super::{binary, brokers_alone};
use crate::harness::{PATIENCE, Server, step};

#[tokio::test(flavor = "multi_thread")]
async fn without_brokers_it_says_so_and_goes_on_when_they_are_back() {
    let Some(cluster) = brokers_alone().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = binary();
    command.env("MARTINGALE__KAFKA__WRITE_TIMEOUT", "2s").env("MARTINGALE__KAFKA__REQUEST_TIMEOUT", "2s");
    command.env("MARTINGALE__GATE__TIMEOUT", "5s");
    let args = ["--kafka", &cluster.brokers(), "--topic-prefix", "away."];
    let server = Server::try_start(command, &folder.path().join("data"), &args).expect("starts");
    server.ready().await;
    let send = async |id: &str| {
        server.post("/v1/steps", step("s", id, "tool_call", json!({ "tool": "search" })).to_string()).await.0
    };
    let gate = async |id: &str| {
        server.post("/v1/gate", step("g", id, "tool_call", json!({ "tool": "search" })).to_string()).await
    };
    assert_eq!(send("1").await, 200);
    assert_eq!(gate("1").await.1["decision"], "allow");

    let brokers = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || (0..3).for_each(|it| brokers.kill(it))).await.expect("killed");
    let status = send("2").await;
    assert!(matches!(status, 429 | 503), "not acknowledged: {status}");
    let (_, answer) = gate("2").await;
    assert_eq!(answer["decision"], "deny", "by `gate.on_timeout`: {answer}");
    let (status, ready) = server.get("/readyz").await;
    let why = ready["checks"]["log"].as_str().unwrap_or_default();
    assert!(status == 503 && why.contains("broker"), "{ready}");
    assert_eq!(server.get("/healthz").await.0, 200, "alive: nobody needs to start it again");

    let brokers = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || brokers.start_all()).await.expect("started");
    server.ready().await;
    assert_eq!(send("3").await, 200);
    // The first may come before the detector has found its place again, and is answered by `on_timeout` once more.
    let until = tokio::time::Instant::now() + PATIENCE;
    while gate("3").await.1["decision"] != "allow" {
        assert!(tokio::time::Instant::now() < until, "gates are answered again");
    }
    for id in ["1", "3"] {
        let query = format!("SELECT count(*) FROM steps WHERE step_id = '{id}'");
        server.count_reaches(&query, 2).await;
    }
}
