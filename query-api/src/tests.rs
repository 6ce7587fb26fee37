//! The service as a whole: one router over log, history and a detector.

use std::sync::Arc;

use martingale_platform::clock::Clock;
use martingale_platform::log::{Log, MemoryLog};
use martingale_platform::shutdown::{self, Trigger};
use martingale_schemas::{Limits, Timestamp};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::history::{self, History};
use crate::testing::{Answer, append_steps, call, memory_log, spawn_detector, step};
use crate::{Config, Parts, QueryApi, alerts, sql};

struct Service {
    api: QueryApi,
    history: Arc<History>,
    engine: sql::Engine,
    trigger: Trigger,
    _detector: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Service {
    async fn start(log: &Arc<MemoryLog>, config: Config) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let registry = Registry::new();
        let clock = Clock::System;
        let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
        let history_config = history::Config { dir: dir.path().to_owned().into(), ..history::Config::default() };
        let history = History::open(history_config, &Limits::DEFAULT, Arc::clone(&shared), clock.clone(), &registry)
            .await
            .expect("history");
        let engine = sql::Engine::new(Arc::clone(&history), sql::Config::default()).expect("threads");
        let parts = Parts {
            log: shared,
            history: Arc::clone(&history),
            engine: engine.clone(),
            clock,
            registry,
            limits: Limits::DEFAULT,
            redact: None,
            checks: Vec::new(),
        };
        let (trigger, shutdown) = shutdown::channel();
        let api = QueryApi::start(config, parts, shutdown).await.expect("starts");
        let mut detector = JoinSet::new();
        spawn_detector(log, &mut detector);
        Self { api, history, engine, trigger, _detector: detector, _dir: dir }
    }

    async fn get(&self, path: &str) -> Answer {
        call(&self.api.router(), "GET", path, &[], "").await
    }

    /// Returns once history shows `count` steps.
    async fn shows_steps(&self, count: i64) {
        let mut changes = self.history.changes();
        while self.engine.query("SELECT count(*) FROM steps").await.expect("answers").rows[0][0] != json!(count) {
            assert!(changes.changed().await, "history stopped");
        }
    }
}

#[tokio::test]
async fn the_service_is_ready_answers_and_stops() {
    let log = memory_log(2);
    let service = Service::start(&log, Config::default()).await;
    let router = service.api.router();
    let gate = call(&router, "POST", "/v1/gate", &[], &step("s", "1", "curl")).await;
    assert_eq!(gate.json()["decision"], "warn");
    service.shows_steps(1).await;

    assert_eq!(service.get("/healthz").await.json(), json!({ "alive": true }));
    let ready = service.get("/readyz").await;
    let checks = json!({ "feed": "ok", "history": "ok", "log": "ok" });
    assert_eq!((ready.status.as_u16(), ready.json()["checks"].clone()), (200, checks));
    let metrics = service.get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).expect("UTF-8");
    assert!(text.contains("martingale_gate_answers_total{decision=\"warn\",outcome=\"judged\"} 1"), "{text}");
    let openapi = service.get("/openapi.json").await.json();
    assert!(openapi["paths"]["/v1/gate"]["post"].is_object());

    let alerts = service.get("/v1/alerts").await.json();
    assert_eq!((&alerts["alerts"], &alerts["rules"][0]["id"]), (&json!([]), &json!("findings-share")));
    assert_eq!(service.get("/v1/deliveries").await.json(), json!({ "endpoint": null, "deliveries": [] }));

    for (method, path, status, reason) in [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/gate", 405, "method_not_allowed"),
        ("GET", "/v1/alerts?state=odd", 400, "invalid_value"),
        ("GET", "/v1/deliveries?state=odd", 400, "invalid_value"),
    ] {
        let answer = call(&router, method, path, &[], "").await;
        assert_eq!(answer.reason(), (status, reason.to_owned()), "{path}");
    }
    service.trigger.stop();
    service.api.join().await.expect("ends well");
}

#[tokio::test]
async fn readiness_says_what_is_wrong() {
    let log = memory_log(1);
    let service = Service::start(&log, Config::default()).await;
    let _elsewhere = log.reopen();
    let ready = service.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["checks"]["log"], "the log is closed");
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn every_path_of_the_document_is_served() {
    let log = memory_log(1);
    let service = Service::start(&log, Config::default()).await;
    let document = crate::openapi::document();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        // Ingest's own.
        if path == "/v1/steps" || path.starts_with("/v1/dead-letters") || path == "/v1/stream" {
            continue;
        }
        for method in operations.as_object().expect("operations").keys() {
            let path = path.replace("{id}", "none").replace("{session}", "none").replace("{step}", "none");
            let answer = call(&service.api.router(), &method.to_uppercase(), &path, &[], "").await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(answer.status != 405 && !text.contains("no path"), "{method} {path}: {text}");
        }
    }
}

/// Steps of sessions that ended so many hours ago; the first `with` of them have a finding.
fn sessions(prefix: &str, hours_ago: i64, count: usize, with: usize) -> Vec<String> {
    let at = Timestamp::from_micros(Clock::System.now_micros() - hours_ago * 3_600_000_000);
    (0..count)
        .map(|it| {
            let tool = if it < with { "curl" } else { "ls" };
            let mut json: Value = serde_json::from_str(&step(&format!("{prefix}{it}"), "1", tool)).expect("JSON");
            json["time"] = json!(at);
            json.to_string()
        })
        .collect()
}

#[tokio::test]
async fn the_shipped_rule_compares_an_agent_version_with_its_own_past() {
    let rule = alerts::Rule::parse("f", include_str!("../../deploy/alerts/findings-share.yaml")).expect("rule");
    for (recent, recent_with, past, past_with, fires) in [
        (25, 10, 60, 6, true),
        // Not twice as many, not ten points more, too few recent, too few past.
        (25, 10, 60, 15, false),
        (25, 2, 60, 1, false),
        (19, 19, 60, 0, false),
        (25, 25, 49, 0, false),
    ] {
        let log = memory_log(2);
        let config =
            Config { alerts: alerts::Config { shipped: false, ..alerts::Config::default() }, ..Config::default() };
        let service = Service::start(&log, config).await;
        append_steps(&log, &sessions("now", 0, recent, recent_with)).await;
        append_steps(&log, &sessions("then", 48, past, past_with)).await;
        // Older than the week: in neither share.
        append_steps(&log, &sessions("old", 200, 40, 40)).await;
        service.shows_steps(i64::try_from(recent + past + 40).expect("small")).await;
        let answer = service.engine.query(&rule.query).await.expect("answers");
        assert_eq!(answer.rows.len(), usize::from(fires), "{answer:?}");
        if fires {
            let now = Timestamp::from_micros(0);
            let alert = alerts::read(&rule, &answer, 10, now).expect("reads").remove(0);
            let summary = &alert.annotations["summary"];
            assert!(summary.contains("10 of 25") && summary.contains("6 of 60"), "{summary}");
            assert_eq!((alert.value, alert.labels["agent_id"].as_str()), (0.4, "support-eu"));
        }
    }
}
