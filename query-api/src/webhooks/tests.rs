//! Against a real receiver on a socket.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{Append, Commit, Log, MemoryLog, Offset, Partition, Progress, StateChange};
use martingale_platform::shutdown::{self, Trigger};
use martingale_schemas::{
    Control, ControlAction, ControlId, ControlState, Position, Scope, SessionId, Timestamp, topics,
};
use prometheus::Registry;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Config, Message, Secret, Webhooks};
use crate::lead::Current;
use crate::metrics::Metrics;
use crate::testing::{Rig, append_steps, call, holds, memory_log, step};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

type Call = (HeaderMap, Bytes);
/// Status, and `Location` or `Retry-After`.
type Reply = (u16, Option<&'static str>);

/// An endpoint that answers what it is told to, 204 when it was told nothing.
struct Receiver {
    url: String,
    calls: mpsc::Receiver<Call>,
    answers: Arc<Mutex<VecDeque<Reply>>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Desk {
    calls: mpsc::Sender<Call>,
    answers: Arc<Mutex<VecDeque<Reply>>>,
}

impl Receiver {
    async fn start(answers: &[Reply]) -> Self {
        async fn receive(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Response {
            desk.calls.send((headers, body)).await.expect("listened to");
            let (status, header) = desk.answers.lock().expect("lock").pop_front().unwrap_or((204, None));
            let mut response = StatusCode::from_u16(status).expect("status").into_response();
            if let Some(header) = header {
                let name = if status < 400 { "location" } else { "retry-after" };
                response.headers_mut().insert(name, HeaderValue::from_static(header));
            }
            response
        }
        let (sender, calls) = mpsc::channel(64);
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>()));
        let desk = Desk { calls: sender, answers: Arc::clone(&answers) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/hook", listener.local_addr().expect("address"));
        let router = Router::new().route("/{*path}", post(receive)).with_state(desk);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { url, calls, answers, server }
    }

    fn config(&self) -> Config {
        Config {
            url: self.url.clone(),
            secret: Some(Secret::new(SECRET.to_owned())),
            allow_private: true,
            retries: vec![Span::from_millis(0); 4],
            ..Config::default()
        }
    }

    /// The next call, its signature verified as receivers do.
    async fn call(&mut self) -> (String, Value) {
        let (headers, body) = self.calls.recv().await.expect("a call");
        Webhook::new(SECRET).expect("secret").verify(&body, &headers).expect("signature");
        assert!(body.len() < super::PAYLOAD_BYTES_MAX);
        let id = headers["webhook-id"].to_str().expect("text").to_owned();
        (id, serde_json::from_slice(&body).expect("JSON"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Webhooks over a log.
struct Hooks {
    router: Router,
    webhooks: Arc<Webhooks>,
    trigger: Trigger,
    tasks: JoinSet<()>,
}

impl Hooks {
    async fn start(log: &Arc<MemoryLog>, config: Config) -> Self {
        let metrics = Metrics::new(&Registry::new()).expect("metrics");
        let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
        let webhooks = Webhooks::open(config, log, Clock::System, metrics).await.expect("opens");
        let (trigger, shutdown) = shutdown::channel();
        let mut tasks = JoinSet::new();
        webhooks.start(&shutdown, &mut tasks).await.expect("starts");
        Self { router: super::router(Current::of(Arc::clone(&webhooks))), webhooks, trigger, tasks }
    }

    async fn stop(mut self) {
        self.trigger.stop();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn list(&self, query: &str) -> Value {
        call(&self.router, "GET", &format!("/v1/deliveries{query}"), &[], "").await.json()
    }

    /// Returns once `count` deliveries are settled.
    async fn settled(&self, count: usize) -> Value {
        let mut changes = self.webhooks.book.changes();
        loop {
            changes.mark_unchanged();
            let list = self.list("").await;
            let settled = |it: &&Value| it["state"] != "pending";
            if list["deliveries"].as_array().is_some_and(|all| all.iter().filter(settled).count() >= count) {
                return list;
            }
            changes.changed().await.expect("open");
        }
    }
}

#[tokio::test]
async fn each_halt_is_told_once_and_signed() {
    let log = memory_log(3);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut receiver = Receiver::start(&[]).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    for (id, tool) in [("1", "ls"), ("2", "curl"), ("3", "rm"), ("4", "ls"), ("5", "rm")] {
        rig.post("/v1/gate", &step("s", id, tool)).await;
    }
    let (first, payload) = receiver.call().await;
    assert_eq!(payload["type"], "session.halted");
    let data = &payload["data"];
    assert_eq!((&data["cause"], &data["session_id"], &data["step_id"]), (&json!("verdict"), &json!("s"), &json!("3")));
    assert_eq!((&data["message"], &data["rule"]), (&json!("rm is not for agents"), &json!("test-rule")));
    assert_eq!(data["findings"][0]["evidence"], json!(["3"]));

    // Halted by hand: one call, however many partitions apply it. A resume is not told.
    let order = r#"{"action":"halt","session_id":"t","by":"eve","reason":"odd","control_id":"c1"}"#;
    rig.post("/v1/controls", order).await;
    rig.post("/v1/controls", r#"{"action":"resume","session_id":"s"}"#).await;
    let (second, payload) = receiver.call().await;
    let data = &payload["data"];
    assert_eq!((&data["cause"], &data["session_id"], &data["by"]), (&json!("control"), &json!("t"), &json!("eve")));
    assert_eq!((&data["control_id"], &data["message"]), (&json!("c1"), &json!("odd")));

    // Halted again after the resume: another halt.
    rig.post("/v1/gate", &step("s", "6", "rm")).await;
    let (third, payload) = receiver.call().await;
    assert_eq!(payload["data"]["step_id"], "6");
    assert!(first != second && second != third && first != third);

    let list = hooks.settled(3).await;
    assert_eq!(list["deliveries"].as_array().map(Vec::len), Some(3));
    assert_eq!(list["endpoint"]["disabled"], Value::Null);
    assert_eq!(hooks.list("?state=failed").await["deliveries"], json!([]));
    assert!(!list.to_string().contains("whsec"), "the secret is shown");
    hooks.stop().await;
}

#[tokio::test]
async fn what_fails_is_tried_again_under_the_same_id_until_it_has_failed() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    // A redirect is a failure and is not followed.
    let mut receiver =
        Receiver::start(&[(500, None), (302, Some("/elsewhere")), (429, Some("0")), (503, None), (500, None)]).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    rig.post("/v1/gate", &step("s", "1", "rm")).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(receiver.call().await.0);
    }
    let list = hooks.settled(1).await;
    let delivery = &list["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("failed"), &json!(4)), "{delivery}");
    assert_eq!(delivery["last_attempt"]["status"], 503);
    assert!(list["endpoint"]["failing_since"].is_string());

    let retry = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().expect("id"));
    assert_eq!(call(&hooks.router, "POST", &retry, &[], "").await.status, 202);
    // Refused once more, then taken.
    for _ in 0..2 {
        ids.push(receiver.call().await.0);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let list = hooks.settled(1).await;
    assert_eq!(list["deliveries"][0]["state"], "delivered");
    assert_eq!(list["endpoint"]["failing_since"], Value::Null);
    assert_eq!(call(&hooks.router, "POST", "/v1/deliveries/msg_x/retry", &[], "").await.status, 404);
    hooks.stop().await;
}

#[tokio::test]
async fn gone_disables_until_somebody_retries() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut receiver = Receiver::start(&[(410, None)]).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    rig.post("/v1/gate", &step("s", "1", "rm")).await;
    receiver.call().await;
    hooks.settled(1).await;
    rig.post("/v1/gate", &step("t", "1", "rm")).await;
    let list = hooks.settled(2).await;
    assert_eq!(list["endpoint"]["disabled"]["why"], "it answered 410 Gone");
    let second = list["deliveries"].as_array().expect("list").iter().find(|it| it["attempts"] == 0).expect("not tried");
    assert_eq!(second["why"], "the endpoint is disabled: it answered 410 Gone");
    assert!(receiver.calls.try_recv().is_err(), "a disabled endpoint was called");
    let retry = format!("/v1/deliveries/{}/retry", second["id"].as_str().expect("id"));
    assert_eq!(call(&hooks.router, "POST", &retry, &[], "").await.status, 202);
    assert_eq!(receiver.call().await.1["data"]["session_id"], "t");
    hooks.stop().await;
}

#[tokio::test]
async fn a_restart_neither_loses_a_delivery_nor_adds_one() {
    let log = memory_log(2);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut receiver = Receiver::start(&[(500, None)]).await;
    let patient = Config { retries: vec![Span::from_millis(0), Span::from_millis(3_600_000)], ..receiver.config() };
    let hooks = Hooks::start(&log, patient.clone()).await;
    rig.post("/v1/gate", &step("s", "1", "rm")).await;
    let (failed, _) = receiver.call().await;
    let mut changes = hooks.webhooks.book.changes();
    while hooks.list("").await["deliveries"][0]["attempts"] != 1 {
        changes.changed().await.expect("open");
    }
    drop((hooks, rig));

    // Down while a session is halted: it is told when it is up again. The failed one still waits for its time.
    let log = log.reopen();
    let rig = Rig::judged(&log, |_| {}).await;
    append_steps(&log, &[step("t", "1", "rm")]).await;
    holds(&log, topics::VERDICTS, 2).await;
    let hooks = Hooks::start(&log, patient.clone()).await;
    let (told, payload) = receiver.call().await;
    assert_eq!(payload["data"]["session_id"], "t");
    let list = hooks.settled(1).await;
    assert_eq!(list["deliveries"].as_array().map(Vec::len), Some(2));
    assert_eq!(hooks.list("?state=pending").await["deliveries"][0]["id"], json!(failed));
    drop((hooks, rig));

    // Nothing new: nothing is told.
    let log = log.reopen();
    let hooks = Hooks::start(&log, patient).await;
    let list = hooks.list("?state=delivered").await;
    assert_eq!(list["deliveries"][0]["id"], json!(told));
    assert!(receiver.calls.try_recv().is_err());
    assert!(receiver.answers.lock().expect("lock").is_empty());
    hooks.stop().await;
}

#[tokio::test]
async fn a_kept_delivery_that_cannot_be_read_has_failed_and_is_left_alone() {
    let log = memory_log(1);
    let entry = |id: &str, value: &'static [u8]| StateChange {
        store: super::STORE,
        partition: super::FIRST,
        key: format!("d/{id}").into(),
        value: Some(Bytes::from_static(value)),
    };
    let state = vec![entry("msg_9", br#"{"v":9,"id":"msg_9"}"#), entry("msg_x", b"torn")];
    log.commit(Commit { consumer: super::CONSUMER, state, ..Commit::default() }).await.expect("commits");
    let receiver = Receiver::start(&[]).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    assert_eq!(hooks.webhooks.metrics.unreadable.with_label_values(&["webhooks"]).get(), 2);
    for query in ["", "?state=failed"] {
        let list = hooks.list(query).await;
        assert_eq!(
            (&list["deliveries"][0]["id"], &list["deliveries"][0]["state"]),
            (&json!("msg_9"), &json!("failed"))
        );
        assert!(list["deliveries"][0]["why"].as_str().is_some_and(|it| it.contains("version 9")), "{list}");
    }
    assert_eq!(hooks.list("?state=pending").await["deliveries"], json!([]));
    let answer = call(&hooks.router, "POST", "/v1/deliveries/msg_9/retry", &[], "").await;
    assert_eq!(answer.reason(), (409, "unreadable".to_owned()));
    assert!(log.state(super::STORE, super::FIRST, b"d/msg_9").await.expect("reads").is_some());
    hooks.stop().await;
}

#[tokio::test]
async fn halts_of_before_the_first_start_are_not_told() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    rig.post("/v1/gate", &step("old", "1", "rm")).await;
    let mut receiver = Receiver::start(&[]).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    rig.post("/v1/gate", &step("new", "1", "rm")).await;
    assert_eq!(receiver.call().await.1["data"]["session_id"], "new");
    hooks.stop().await;
}

#[tokio::test]
async fn settled_deliveries_are_forgotten_at_the_limit() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut receiver = Receiver::start(&[]).await;
    let hooks = Hooks::start(&log, Config { kept_max: 2, pending_max: 1, ..receiver.config() }).await;
    for session in 0..6 {
        rig.post("/v1/gate", &step(&session.to_string(), "1", "rm")).await;
        assert_eq!(receiver.call().await.1["data"]["session_id"], session.to_string());
        let mut changes = hooks.webhooks.book.changes();
        while hooks.webhooks.book.pending() > 0 {
            changes.changed().await.expect("open");
        }
    }
    let kept = hooks.list("").await["deliveries"].as_array().map(Vec::len);
    let stored = log.scan(super::STORE, super::FIRST, None, 100).await.expect("scans");
    let stored = stored.iter().filter(|(key, _)| key.starts_with(b"d/")).count();
    assert_eq!((kept, stored), (Some(2), 2));
    hooks.stop().await;
}

/// A record of `controls` as the detector of a partition, or whoever gave the order, puts it there.
async fn append_control(log: &MemoryLog, id: &str, partition: u32, state: ControlState) {
    let control = Control {
        control_id: ControlId::from(id.to_owned()),
        action: ControlAction::Halt,
        scope: Scope::Session { session_id: SessionId::from("s".to_owned()) },
        time: Timestamp::from_micros(1),
        by: None,
        reason: None,
        state,
    };
    let value = serde_json::to_vec(&control).expect("writes");
    let append = Append::new(topics::CONTROLS, Bytes::new(), value.into()).to_partition(Partition(partition));
    log.append(vec![append]).await.expect("appended");
}

#[tokio::test]
async fn a_halt_is_told_by_the_partition_its_session_lives_in() {
    let log = memory_log(4);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut receiver = Receiver::start(&[]).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    let home = |id: &str| log.partition_of(id.as_bytes());
    let child = (0..).map(|n| format!("child-{n}")).find(|id| home(id) != home("root")).expect("a child");
    let mut first: Value = serde_json::from_str(&step(&child, "1", "ls")).expect("JSON");
    first["root_session_id"] = json!("root");
    first["parent_session_id"] = json!("root");
    assert_eq!(rig.post("/v1/gate", &first.to_string()).await.json()["decision"], "allow");

    let halt = |session: &str| json!({ "action": "halt", "session_id": session }).to_string();
    assert_eq!(rig.post("/v1/controls", &halt(&child)).await.json()["known"], true);
    let data = receiver.call().await.1["data"].clone();
    assert_eq!((&data["session_id"], &data["known"]), (&json!(child), &json!(true)));
    assert_eq!(data["before"], json!({ "partition": home("root").0, "offset": 1 }));

    assert_eq!(rig.post("/v1/controls", &halt("nobody")).await.json()["known"], false);
    let data = receiver.call().await.1["data"].clone();
    assert_eq!((&data["session_id"], &data["known"], &data["before"]), (&json!("nobody"), &json!(false), &Value::Null));
    assert_eq!(hooks.settled(2).await["deliveries"].as_array().map(Vec::len), Some(2));
    hooks.stop().await;
}

#[tokio::test]
async fn a_halt_that_is_under_way_at_a_restart_is_told_when_it_holds() {
    let log = memory_log(2);
    let applied =
        |partition, known| ControlState::Applied { before: Position { partition, offset: 0 }, known, changed: None };
    let mut receiver = Receiver::start(&[]).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    for partition in 0..2 {
        append_control(&log, "slow", partition, ControlState::Requested).await;
    }
    append_control(&log, "slow", 0, applied(0, false)).await;
    append_control(&log, "fast", 0, ControlState::Requested).await;
    append_control(&log, "fast", 0, applied(0, true)).await;
    // Told, so everything before it was read too.
    assert_eq!(receiver.call().await.1["data"]["control_id"], "fast");
    hooks.settled(1).await;
    drop(hooks);

    let log = log.reopen();
    append_control(&log, "slow", 1, applied(1, false)).await;
    let hooks = Hooks::start(&log, receiver.config()).await;
    let data = receiver.call().await.1["data"].clone();
    assert_eq!((&data["control_id"], &data["known"]), (&json!("slow"), &json!(false)));
    assert_eq!(hooks.settled(2).await["deliveries"].as_array().map(Vec::len), Some(2), "and `fast` not again");
    hooks.stop().await;
}

#[tokio::test]
async fn no_more_deliveries_wait_than_may() {
    const HALTS: usize = 20;
    let log = memory_log(2);
    let _rig = Rig::judged(&log, |_| {}).await;
    let receiver = Receiver::start(&[(500, None), (500, None)]).await;
    let retries = vec![Span::from_millis(0), Span::from_millis(3_600_000)];
    let hooks = Hooks::start(&log, Config { pending_max: 2, retries, ..receiver.config() }).await;
    let halts: Vec<String> = (0..HALTS).map(|it| step(&it.to_string(), "1", "rm")).collect();
    append_steps(&log, &halts).await;
    holds(&log, topics::VERDICTS, HALTS).await;
    let mut changes = hooks.webhooks.book.changes();
    while hooks.list("").await["deliveries"]
        .as_array()
        .is_none_or(|all| all.iter().filter(|it| it["attempts"] == 1).count() < 2)
    {
        changes.changed().await.expect("open");
    }
    assert_eq!(hooks.webhooks.book.pending(), 2);
    // An alert has no place else to wait.
    let message = |of: &str| Message::new(super::MessageKind::AlertFiring, of, Timestamp::from_micros(1), &json!({}));
    let error = hooks.webhooks.queue(vec![message("a")]).await.err().expect("full").to_string();
    assert!(error.contains("webhook.pending_max"), "{error}");

    // Room again: the rest follows, two at a time.
    for delivery in hooks.list("").await["deliveries"].as_array().expect("list") {
        let retry = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().expect("id"));
        assert_eq!(call(&hooks.router, "POST", &retry, &[], "").await.status, 202);
    }
    loop {
        changes.mark_unchanged();
        assert!(hooks.webhooks.book.pending() <= 2);
        if hooks.list("?state=delivered").await["deliveries"].as_array().is_some_and(|all| all.len() == HALTS) {
            break;
        }
        changes.changed().await.expect("open");
    }
    // More at once than may wait are taken by themselves.
    let queued = hooks.webhooks.queue(["a", "b", "c"].map(message).to_vec()).await.expect("alone");
    assert_eq!(queued.state().iter().filter(|it| it.value.is_some()).count(), 3);
    drop(queued);
    assert_eq!(hooks.webhooks.book.pending(), 0, "what is not committed is not queued");
    hooks.stop().await;
}

/// Opened, with an endpoint, and not started: nothing is sent but by the test.
async fn not_started(log: &Arc<MemoryLog>, config: Config) -> Arc<Webhooks> {
    let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let config =
        Config { url: "https://example.com".to_owned(), secret: Some(Secret::new(SECRET.to_owned())), ..config };
    Webhooks::open(config, log, Clock::System, Metrics::new(&Registry::new()).expect("metrics")).await.expect("opens")
}

/// A delivery is sent once it is durable, and what is on its way there is not dropped: the stop ends the wait for room, and
/// nothing else.
#[tokio::test]
async fn a_delivery_waits_for_its_commit_and_a_stop_does_not_drop_that() {
    let log = memory_log(1);
    let webhooks = not_started(&log, Config { pending_max: 2, ..Config::default() }).await;
    let message = |it: &str| Message::new(super::MessageKind::SessionHalted, it, Timestamp::from_micros(1), &json!({}));
    let at = Progress { topic: topics::VERDICTS, partition: super::FIRST, next: Offset(7) };
    let committed = async || webhooks.log.committed(super::CONSUMER, at.topic, at.partition).await.expect("reads");
    let (trigger, mut stop) = shutdown::channel();

    log.faults(|it| it.hold_commits = true);
    let mut keeping = std::pin::pin!(webhooks.keep(super::FIRST, vec![message("a")], vec![at], &mut stop));
    assert!(futures::poll!(&mut keeping).is_pending(), "its commit is under way");
    assert_eq!((webhooks.book.pending(), committed().await), (0, None), "nobody sends it yet");
    trigger.stop();
    assert!(futures::poll!(&mut keeping).is_pending(), "a stop does not end it");
    log.faults(|it| it.hold_commits = false);
    assert!(keeping.await.expect("written"), "there is room");
    assert_eq!((webhooks.book.pending(), committed().await), (1, Some(Offset(7))));

    let on = Progress { next: Offset(9), ..at };
    let (trigger, mut stop) = shutdown::channel();
    trigger.stop();
    let kept = webhooks.keep(super::FIRST, ["b", "c"].map(message).to_vec(), vec![on], &mut stop).await;
    assert!(!kept.expect("written"), "the second finds no room");
    assert_eq!((webhooks.book.pending(), committed().await), (2, Some(Offset(7))), "progress comes with the last");
}

#[tokio::test]
async fn a_retry_by_hand_is_not_undone_by_the_attempt_it_overtook() {
    let webhooks = not_started(&memory_log(1), Config::default()).await;
    let message = Message::new(super::MessageKind::SessionHalted, "v", Timestamp::from_micros(1), &json!({}));
    let id = message.id.clone();
    let (_trigger, mut stop) = shutdown::channel();
    assert!(webhooks.keep(super::FIRST, vec![message], Vec::new(), &mut stop).await.expect("kept"));
    let (_, begun) = webhooks.book.get(&id).expect("kept");

    let router = super::router(Current::of(Arc::clone(&webhooks)));
    assert_eq!(call(&router, "POST", &format!("/v1/deliveries/{id}/retry"), &[], "").await.status, 202);
    super::send::settle(&webhooks, &begun, &super::delivery::Outcome::Gone).await;
    let list = call(&router, "GET", "/v1/deliveries", &[], "").await.json();
    let delivery = &list["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("pending"), &json!(0)), "{delivery}");
    assert_eq!(delivery["last_attempt"]["status"], 410);
    assert_eq!(list["endpoint"]["disabled"], Value::Null);
}

#[tokio::test]
async fn private_targets_are_refused_by_address_and_by_name() {
    let log = memory_log(1);
    let metrics = || Metrics::new(&Registry::new()).expect("metrics");
    let receiver = Receiver::start(&[]).await;
    let open = async |config: Config| {
        let log: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        Webhooks::open(config, log, Clock::System, metrics()).await
    };
    for url in [
        "http://127.0.0.1:9/x",
        "http://[::1]/x",
        "http://169.254.169.254/latest",
        "http://0x7f000001/",
        "http://10.1.2.3",
    ] {
        let config = Config { url: url.to_owned(), allow_private: false, ..receiver.config() };
        let error = open(config).await.err().expect(url).to_string();
        assert!(error.contains("webhook.allow_private"), "{url}: {error}");
    }
    // A name is checked when it is resolved.
    let named = receiver.url.replace("127.0.0.1", "localhost");
    let rig = Rig::judged(&log, |_| {}).await;
    let retries = vec![Span::from_millis(0)];
    let hooks = Hooks::start(&log, Config { url: named, allow_private: false, retries, ..receiver.config() }).await;
    rig.post("/v1/gate", &step("s", "1", "rm")).await;
    let list = hooks.settled(1).await;
    let error = list["deliveries"][0]["last_attempt"]["error"].as_str().expect("error").to_owned();
    assert!(error.contains("no public address"), "{error}");
    hooks.stop().await;
}

#[test]
fn configurations_that_do_not_hold_say_why_and_show_no_secret() {
    let good = || Config {
        url: "https://example.com/token-in-path".to_owned(),
        secret: Some(Secret::new(SECRET.to_owned())),
        ..Config::default()
    };
    assert!(super::Target::open(&good()).is_ok_and(|it| it.is_some()));
    assert!(super::Target::open(&Config::default()).is_ok_and(|it| it.is_none()));
    let short = Secret::new("whsec_c2hvcnQ=".to_owned());
    let bare = Secret::new(SECRET.trim_start_matches("whsec_").to_owned());
    for (config, says) in [
        (Config { url: "example.com".into(), ..good() }, "is no address"),
        (Config { url: "ftp://example.com".into(), ..good() }, "expected http"),
        (Config { url: "https://me:pw@example.com".into(), ..good() }, "leave out user"),
        (Config { secret: None, ..good() }, "there is no secret"),
        (Config { secret: Some(short), ..good() }, "24 to 64 bytes"),
        (Config { secret: Some(bare), ..good() }, "whsec_"),
        (Config { secret_file: Some("/nowhere/secret".into()), ..good() }, "keep one"),
        (Config { secret: None, secret_file: Some("/nowhere/secret".into()), ..good() }, "/nowhere/secret"),
        (Config { retries: Vec::new(), ..good() }, "webhook.retries"),
    ] {
        let error = super::Target::open(&config).err().expect(says).to_string();
        assert!(error.contains(says), "{says}: {error}");
        assert!(!error.contains("MDEy") && !error.contains("token-in-path") && !error.contains("pw"), "{error}");
    }
}
