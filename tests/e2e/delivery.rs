//! A halt reaches a webhook, signed as the reference implementation expects, once, and across a restart.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::harness::{PATIENCE, Server, python, step};

const SECRET: &str = "whsec_bWFydGluZ2FsZS10ZXN0LXNlY3JldC0wMTIzNDU2Nzg5";

struct Received {
    headers: HeaderMap,
    body: String,
}

/// An endpoint that answers as told and passes on what it was sent.
struct Endpoint {
    url: String,
    answer: Arc<Mutex<StatusCode>>,
    received: mpsc::Receiver<Received>,
}

impl Endpoint {
    async fn start() -> Self {
        let answer = Arc::new(Mutex::new(StatusCode::OK));
        let (sender, received) = mpsc::channel(64);
        let handler = async |State((answer, sender)): State<(Arc<Mutex<StatusCode>>, mpsc::Sender<Received>)>,
                             headers: HeaderMap,
                             body: String| {
            let _ = sender.send(Received { headers, body }).await;
            *answer.lock().expect("not poisoned")
        };
        let router = Router::new().route("/hook", post(handler)).with_state((answer.clone(), sender));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, answer, received }
    }

    async fn next(&mut self) -> Received {
        tokio::time::timeout(PATIENCE, self.received.recv()).await.expect("a delivery").expect("open")
    }

    fn answer(&self, status: StatusCode) {
        *self.answer.lock().expect("not poisoned") = status;
    }
}

fn config(folder: &std::path::Path, url: &str) -> String {
    let file = folder.join("martingale.toml");
    std::fs::write(&file, format!("[webhook]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nallow_private = true\n"))
        .expect("writes");
    file.to_str().expect("UTF-8").to_owned()
}

fn verify(received: &Received) -> Option<Value> {
    let python = python()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/verify_webhook.py");
    let mut child = Command::new(python)
        .args([script, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let headers: serde_json::Map<String, Value> =
        received.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("text").into())).collect();
    let delivery = json!({ "headers": headers, "body": received.body }).to_string();
    child.stdin.take().expect("piped").write_all(delivery.as_bytes()).expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_is_delivered_signed_and_the_next_gate_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut endpoint = Endpoint::start().await;
    let config = config(folder.path(), &endpoint.url);
    let server = Server::start_with(&folder.path().join("data"), &["--config", &config]);

    let call =
        |n: u32| step("s-1", &n.to_string(), "tool_call", json!({ "tool": "search", "input": { "q": n } })).to_string();
    let (status, gate) = server.post("/v1/gate", call(1)).await;
    assert_eq!((status, gate["decision"].as_str()), (200, Some("allow")), "{gate}");
    let order = json!({ "action": "halt", "session_id": "s-1", "reason": "a person said so", "by": "ops" }).to_string();
    let (status, control) = server.post("/v1/controls", order).await;
    assert_eq!((status, control["state"].as_str()), (200, Some("applied")), "{control}");
    let (_, gate) = server.post("/v1/gate", call(2)).await;
    assert_eq!(gate["decision"], "halt", "{gate}");

    let received = endpoint.next().await;
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert!(received.headers.contains_key(name), "{name} in {:?}", received.headers);
    }
    assert!(received.body.len() < 20_000 && received.body.contains("s-1"), "{}", received.body);
    if let Some(payload) = verify(&received) {
        assert_eq!(payload["type"], "session.halted", "{payload}");
    }

    // A descendant is halted with it; a person resumes; the descendant goes on.
    let child = |n: u32| {
        step(
            "s-1-child",
            &n.to_string(),
            "tool_call",
            json!({ "tool": "search", "parent_session_id": "s-1", "root_session_id": "s-1" }),
        )
    };
    let (_, gate) = server.post("/v1/gate", child(1).to_string()).await;
    assert_eq!(gate["decision"], "halt", "{gate}");
    let (status, _) =
        server.post("/v1/controls", json!({ "action": "resume", "session_id": "s-1", "by": "ops" }).to_string()).await;
    assert_eq!(status, 200);
    let (_, gate) = server.post("/v1/gate", child(2).to_string()).await;
    assert_eq!(gate["decision"], "allow", "{gate}");
    let (_, gate) = server.post("/v1/gate", call(3)).await;
    assert_eq!(gate["decision"], "allow", "{gate}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_failed_is_made_again_after_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut endpoint = Endpoint::start().await;
    let config = config(folder.path(), &endpoint.url);
    let data = folder.path().join("data");
    let server = Server::start_with(&data, &["--config", &config]);
    endpoint.answer(StatusCode::INTERNAL_SERVER_ERROR);
    let (status, _) = server.post("/v1/controls", json!({ "action": "halt", "session_id": "s-2" }).to_string()).await;
    assert_eq!(status, 200);
    let first = endpoint.next().await;
    server.kill_9();

    endpoint.answer(StatusCode::NO_CONTENT);
    let server = Server::start_with(&data, &["--config", &config]);
    let again = endpoint.next().await;
    assert_eq!(again.headers["webhook-id"], first.headers["webhook-id"], "the same delivery");

    // Delivered: it is not sent a second time, and says so.
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (_, deliveries) = server.get("/v1/deliveries").await;
        if deliveries.to_string().contains("\"delivered\"") {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{deliveries}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
