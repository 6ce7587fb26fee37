use std::collections::BTreeMap;

use martingale_platform::config::Span;
use martingale_schemas::{Severity, Timestamp};
use serde_json::{Value, json};

use super::Rule;
use super::instance::{self, Change, Instances, State};
use crate::sql::{Answer, Column};

const MINUTE: i64 = 60_000_000;

fn rule(hold_minutes: u64) -> Rule {
    Rule {
        id: "r".into(),
        title: "T".into(),
        query: "SELECT".into(),
        every: Span::from_millis(60_000),
        hold: Span::from_millis(hold_minutes * 60_000),
        severity: Severity::High,
        labels: BTreeMap::from([("team".into(), "a".into())]),
        annotations: BTreeMap::from([("summary".into(), "{{agent}}: {{ n }} of {{value}}, {{nothing}} {{".into())]),
    }
}

fn answer(rows: &[(&str, f64)]) -> Answer {
    let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into() };
    Answer {
        columns: vec![column("agent", "Utf8View"), column("value", "Float64"), column("n", "Int64")],
        rows: rows.iter().map(|(agent, value)| vec![json!(agent), json!(value), json!(3)]).collect(),
        truncated: false,
    }
}

/// One evaluation a minute; each line is the agents the query answers and the changes expected of it.
fn check(hold_minutes: u64, keep_minutes: i64, evaluations: &[(&[&str], &[&str])]) {
    let rule = rule(hold_minutes);
    let mut instances = Instances::default();
    for (minute, (rows, expected)) in (0..).zip(evaluations) {
        let now = Timestamp::from_micros(minute * MINUTE);
        let rows: Vec<(&str, f64)> = rows.iter().map(|agent| (*agent, 0.5)).collect();
        let seen = instance::read(&rule, &answer(&rows), 10, now).expect("reads");
        let mut changes: Vec<String> = instances
            .evaluate(&rule, seen, now, keep_minutes * MINUTE)
            .iter()
            .map(|change| match change {
                Change::To(alert) => format!("{} {}", alert.labels["agent"], alert.state.as_str()),
                Change::Gone(alert) => format!("{} gone", alert.labels["agent"]),
                Change::Forgotten(alert) => format!("{} forgotten", alert.labels["agent"]),
                Change::Ended(alert) => format!("{} ended", alert.labels["agent"]),
            })
            .collect();
        changes.sort();
        assert_eq!(changes, *expected, "minute {minute}");
    }
}

#[test]
fn states_follow_the_rows() {
    // At once.
    check(0, 60, &[(&["a"], &["a firing"]), (&["a"], &[]), (&[], &["a resolved"]), (&["a"], &["a firing"])]);
    // After having been there for two minutes.
    check(2, 60, &[(&["a"], &["a pending"]), (&["a"], &[]), (&["a"], &["a firing"]), (&["a"], &[])]);
    // A gap begins it again, and nobody is told.
    check(2, 60, &[(&["a"], &["a pending"]), (&[], &["a gone"]), (&["a"], &["a pending"]), (&["a"], &[])]);
    // Each row by itself.
    check(0, 60, &[(&["a", "b"], &["a firing", "b firing"]), (&["b"], &["a resolved"]), (&["b", "c"], &["c firing"])]);
    // Resolved ones are kept for a while.
    check(0, 2, &[(&["a"], &["a firing"]), (&[], &["a resolved"]), (&[], &[]), (&[], &["a forgotten"]), (&[], &[])]);
}

#[test]
fn an_alert_carries_what_its_row_says() {
    let alerts = instance::read(&rule(0), &answer(&[("x", 0.25)]), 10, Timestamp::from_micros(1)).expect("reads");
    let alert = &alerts[0];
    assert_eq!(alert.annotations["summary"], "x: 3 of 0.25, {{nothing}} {{");
    assert_eq!((alert.value, alert.state), (0.25, State::Pending));
    let labels: Vec<(&str, &str)> = alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("agent", "x"), ("alertname", "r"), ("severity", "high"), ("team", "a")]);
}

#[test]
fn what_was_kept_once_is_read_for_ever() {
    let at = |minutes: i64| Timestamp::from_micros(1_767_225_600_000_000 + minutes * MINUTE);
    let mut instances = Instances::default();
    let mut samples = Vec::new();
    for (minute, rows) in (0..).zip([&[("x", 0.1)][..], &[("x", 0.25)], &[]]) {
        let seen = instance::read(&rule(1), &answer(rows), 10, at(minute)).expect("reads");
        instances.evaluate(&rule(1), seen, at(minute), 60 * MINUTE);
        samples.extend(instances.iter().cloned());
    }
    let states: Vec<&str> = samples.iter().map(|it| it.state.as_str()).collect();
    assert_eq!(states, ["pending", "firing", "resolved"]);
    crate::store::check_fixture("alert", instance::VERSION, &samples);
}

#[test]
fn an_answer_of_another_shape_changes_nothing_and_says_why() {
    let good = || answer(&[("x", 1.0)]);
    let without = || {
        let mut it = good();
        it.columns[1].name = "share".into();
        it
    };
    let null = || {
        let mut it = good();
        it.rows[0][1] = Value::Null;
        it
    };
    for (answer, says) in [
        (without(), "no numeric column `value`"),
        (null(), "is null"),
        (answer(&[("x", 1.0), ("x", 2.0)]), "same text columns"),
        (answer(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]), "at most 2"),
        (Answer { truncated: true, ..good() }, "at most 2"),
    ] {
        let error = instance::read(&rule(0), &answer, 2, Timestamp::from_micros(1)).expect_err(says);
        assert!(error.contains(says), "{says}: {error}");
    }
}

mod service {
    //! The parts around the states: log, webhook, Alertmanager, restart.

    use std::sync::Arc;

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::routing::post;
    use martingale_platform::clock::Clock;
    use martingale_platform::log::{Commit, Log, MemoryLog, Offset, Partition, ReadLimit, StateChange};
    use martingale_schemas::{Timestamp, topics};
    use prometheus::Registry;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::{MINUTE, answer, rule};
    use crate::alerts::{Alerts, Config, Rule, run};
    use crate::history::{self, History};
    use crate::metrics::Metrics;
    use crate::sql;
    use crate::testing::{START_MICROS, call, memory_log};
    use crate::webhooks::{self, Secret, Webhooks};

    const YAML: &str = "id: r\ntitle: T\nquery: SELECT 'x' AS agent, 1.0 AS value\nevery: 1m\n";

    struct Fleet {
        alerts: Arc<Alerts>,
        webhooks: Arc<Webhooks>,
        _dir: tempfile::TempDir,
    }

    async fn open(log: &Arc<MemoryLog>, clock: &Clock, alertmanager_url: &str) -> Result<Fleet, crate::alerts::Error> {
        open_with(log, clock, alertmanager_url, YAML).await
    }

    async fn open_with(
        log: &Arc<MemoryLog>,
        clock: &Clock,
        alertmanager_url: &str,
        yaml: &str,
    ) -> Result<Fleet, crate::alerts::Error> {
        let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
        let dir = tempfile::tempdir().expect("folder");
        std::fs::create_dir(dir.path().join("rules")).expect("folder");
        std::fs::write(dir.path().join("rules/r.yaml"), yaml).expect("writes");
        let registry = Registry::new();
        let history = history::Config { dir: dir.path().join("history").into(), ..history::Config::default() };
        let history =
            History::open(history, &martingale_schemas::Limits::DEFAULT, Arc::clone(&log), clock.clone(), &registry)
                .await
                .expect("history");
        let engine = sql::Engine::new(history, sql::Config::default()).expect("threads");
        let metrics = Metrics::new(&registry).expect("metrics");
        let endpoint = webhooks::Config {
            url: "https://example.com/hook".to_owned(),
            secret: Some(Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned())),
            ..webhooks::Config::default()
        };
        // Opened and not started: deliveries are queued and not sent.
        let webhooks =
            Webhooks::open(endpoint, Arc::clone(&log), clock.clone(), metrics.clone()).await.expect("webhooks");
        let config = Config {
            dir: Some(dir.path().join("rules")),
            shipped: false,
            alertmanager_url: alertmanager_url.to_owned(),
            external_url: "http://here/".to_owned(),
            ..Config::default()
        };
        let alerts = Alerts::open(config, log, engine, clock.clone(), Arc::clone(&webhooks), metrics).await?;
        Ok(Fleet { alerts, webhooks, _dir: dir })
    }

    impl Fleet {
        /// Takes in what the query might answer, and lists the alerts.
        async fn evaluate(&self, rows: &[(&str, f64)], minute: i64) -> Value {
            let now = Timestamp::from_micros(START_MICROS + minute * MINUTE);
            self.alerts.take(&rule(1), &answer(rows), now).await.expect("takes");
            self.list().await
        }

        async fn list(&self) -> Value {
            let router = crate::alerts::router(crate::lead::Current::of(Arc::clone(&self.alerts)));
            call(&router, "GET", "/v1/alerts", &[], "").await.json()["alerts"].clone()
        }

        async fn deliveries(&self) -> Vec<String> {
            let router = webhooks::router(crate::lead::Current::of(Arc::clone(&self.webhooks)));
            let list = call(&router, "GET", "/v1/deliveries", &[], "").await.json();
            let mut types: Vec<String> =
                list["deliveries"].as_array().expect("list").iter().map(|it| it["type"].to_string()).collect();
            types.sort();
            types
        }
    }

    #[tokio::test]
    async fn changes_are_on_the_log_told_and_known_after_a_restart() {
        let log = memory_log(2);
        let clock = Clock::manual(START_MICROS);
        let fleet = open(&log, &clock, "").await.expect("opens");
        assert_eq!(fleet.evaluate(&[("x", 0.5)], 0).await[0]["state"], "pending");
        assert!(fleet.deliveries().await.is_empty());

        // The `for` goes on over a restart.
        let log = log.reopen();
        let fleet = open(&log, &clock, "").await.expect("opens");
        assert_eq!(fleet.list().await[0]["state"], "pending");
        let list = fleet.evaluate(&[("x", 0.6)], 1).await;
        assert_eq!((&list[0]["state"], &list[0]["value"]), (&json!("firing"), &json!(0.6)));
        assert_eq!(fleet.deliveries().await, ["\"alert.firing\""]);

        let log = log.reopen();
        let fleet = open(&log, &clock, "").await.expect("opens");
        assert_eq!(fleet.list().await[0]["state"], "firing");
        fleet.evaluate(&[("x", 0.6)], 2).await;
        assert_eq!(fleet.deliveries().await, ["\"alert.firing\""], "told once");
        assert_eq!(fleet.evaluate(&[], 3).await[0]["state"], "resolved");
        assert_eq!(fleet.deliveries().await, ["\"alert.firing\"", "\"alert.resolved\""]);

        let limit = ReadLimit { records_max: 10, bytes_max: 1 << 20 };
        let records = log.read(topics::ALERTS, Partition(0), Offset::START, limit).await.expect("reads");
        let states: Vec<Value> = records
            .iter()
            .map(|it| serde_json::from_slice::<Value>(&it.value).expect("JSON")["state"].clone())
            .collect();
        assert_eq!(states, ["pending", "firing", "resolved"]);
    }

    #[tokio::test]
    async fn a_kept_alert_that_cannot_be_read_is_shown_and_left_alone() {
        let log = memory_log(1);
        let entry = StateChange {
            store: crate::alerts::STORE,
            partition: Partition(0),
            key: "r/a-1".into(),
            value: Some(Bytes::from_static(br#"{"v":9}"#)),
        };
        log.commit(Commit { consumer: "later", state: vec![entry], ..Commit::default() }).await.expect("commits");
        let fleet = open(&log, &Clock::manual(START_MICROS), "").await.expect("opens");
        let router = crate::alerts::router(crate::lead::Current::of(Arc::clone(&fleet.alerts)));
        let list = call(&router, "GET", "/v1/alerts", &[], "").await.json();
        assert_eq!(list["unreadable"][0]["key"], "r/a-1");
        assert!(list["unreadable"][0]["why"].as_str().is_some_and(|it| it.contains("version 9")), "{list}");
        assert_eq!(fleet.alerts.metrics.unreadable.with_label_values(&["alerts"]).get(), 1);
        assert!(log.state(crate::alerts::STORE, Partition(0), b"r/a-1").await.expect("reads").is_some());
    }

    #[tokio::test]
    async fn a_change_happens_and_is_told_in_one_commit_or_not_at_all() {
        let log = memory_log(1);
        let clock = Clock::manual(START_MICROS);
        let at = |minute: i64| Timestamp::from_micros(START_MICROS + minute * MINUTE);
        // Fires at once, so that an evaluation that is repeated would be of another alert.
        for commits in 0..2 {
            let log = log.fork();
            let fleet = open(&log, &clock, "").await.expect("opens");
            log.faults(|it| it.fail_commit_after = u32::try_from(commits).ok());
            let taken = fleet.alerts.take(&rule(0), &answer(&[("x", 0.5)]), at(0)).await;
            assert_eq!(taken.is_ok(), commits > 0);
            assert_eq!(fleet.list().await.as_array().map(Vec::len), Some(commits));
            assert_eq!(fleet.deliveries().await.len(), commits);
            log.faults(|it| it.fail_commit_after = None);
            fleet.alerts.take(&rule(0), &answer(&[("x", 0.5)]), at(1)).await.expect("takes");
            assert_eq!(fleet.deliveries().await, ["\"alert.firing\""], "told once");
            drop(fleet);
            let fleet = open(&log.reopen(), &clock, "").await.expect("opens");
            assert_eq!(fleet.deliveries().await, ["\"alert.firing\""], "once after a restart too");
            assert_eq!(fleet.list().await[0]["state"], "firing");
        }
    }

    #[tokio::test]
    async fn what_a_rule_that_is_gone_left_behind_is_resolved() {
        let log = memory_log(1);
        let clock = Clock::manual(START_MICROS);
        let fleet = open(&log, &clock, "").await.expect("opens");
        fleet.evaluate(&[("x", 0.5)], 0).await;
        fleet.evaluate(&[("x", 0.5), ("y", 0.5)], 1).await;
        assert_eq!(fleet.deliveries().await, ["\"alert.firing\""], "y is pending");
        clock.advance(2 * MINUTE);
        let log = log.reopen();
        let other = YAML.replace("id: r", "id: other");
        let fleet = open_with(&log, &clock, "", &other).await.expect("opens");
        assert_eq!(fleet.list().await, json!([]));
        assert_eq!(fleet.deliveries().await, ["\"alert.firing\"", "\"alert.resolved\""]);
        assert!(log.scan(crate::alerts::STORE, Partition(0), None, 9).await.expect("scans").is_empty());
        let limit = ReadLimit { records_max: 10, bytes_max: 1 << 20 };
        let last = log.read(topics::ALERTS, Partition(0), Offset::START, limit).await.expect("reads").pop();
        let last: Value = serde_json::from_slice(&last.expect("records").value).expect("JSON");
        assert_eq!((&last["state"], &last["labels"]["agent"]), (&json!("resolved"), &json!("x")));
        let at = Timestamp::from_micros(START_MICROS + 2 * MINUTE);
        assert_eq!(last["resolved_at"], json!(at));
        // Only once.
        let fleet = open_with(&log.reopen(), &clock, "", &other).await.expect("opens");
        assert_eq!(fleet.deliveries().await.len(), 2);
    }

    #[tokio::test]
    async fn alertmanager_hears_of_what_fires_and_of_its_end() {
        async fn receive(State(posts): State<mpsc::Sender<Value>>, body: Bytes) -> StatusCode {
            posts.send(serde_json::from_slice(&body).expect("JSON")).await.expect("listened to");
            StatusCode::OK
        }
        let (sender, mut posts) = mpsc::channel(8);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/", listener.local_addr().expect("address"));
        let router = Router::new().route("/api/v2/alerts", post(receive)).with_state(sender);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });

        let log = memory_log(1);
        let clock = Clock::manual(START_MICROS);
        let fleet = open(&log, &clock, &url).await.expect("opens");
        fleet.evaluate(&[("x", 0.5)], 0).await;
        assert!(fleet.alerts.tell_alertmanager(&rule(1)).await, "nothing to tell");
        fleet.evaluate(&[("x", 0.5)], 1).await;
        clock.advance(MINUTE);
        assert!(fleet.alerts.tell_alertmanager(&rule(1)).await);
        let told = posts.recv().await.expect("a post");
        assert_eq!(told.as_array().map(Vec::len), Some(1), "the pending one was not told");
        let alert = &told[0];
        assert_eq!((&alert["labels"]["alertname"], &alert["labels"]["agent"]), (&json!("r"), &json!("x")));
        assert_eq!((&alert["annotations"]["title"], &alert["annotations"]["value"]), (&json!("T"), &json!("0.5")));
        assert_eq!(alert["generatorURL"], "http://here/v1/alerts?rule=r");
        let at = |minutes: i64| json!(Timestamp::from_micros(START_MICROS + minutes * MINUTE));
        assert_eq!((&alert["startsAt"], &alert["endsAt"]), (&at(1), &at(5)), "ends by itself if not sent again");

        // A rule that cannot be evaluated still fires, so Alertmanager is told again.
        let broken = Rule { query: "SELECT nothing FROM nowhere".to_owned(), ..rule(1) };
        run::evaluate(&fleet.alerts, &broken, &mut None).await;
        let told = posts.recv().await.expect("a post");
        assert_eq!((&told[0]["labels"]["agent"], &told[0]["endsAt"]), (&json!("x"), &at(5)));
        let router = crate::alerts::router(crate::lead::Current::of(Arc::clone(&fleet.alerts)));
        let list = call(&router, "GET", "/v1/alerts", &[], "").await.json();
        assert!(list["rules"][0]["error"].is_string(), "{list}");

        fleet.evaluate(&[], 2).await;
        assert!(fleet.alerts.tell_alertmanager(&rule(1)).await);
        assert_eq!(posts.recv().await.expect("a post")[0]["endsAt"], at(2));
        server.abort();
        let _ = server.await;
        assert!(!fleet.alerts.tell_alertmanager(&rule(1)).await, "nobody listens");
    }

    #[tokio::test]
    async fn rules_whose_query_cannot_be_planned_do_not_start() {
        let log = memory_log(1);
        let clock = Clock::manual(START_MICROS);
        for query in ["SELECT nothing FROM steps", "SELEC 1", "DROP TABLE steps"] {
            let yaml = YAML.replace("SELECT 'x' AS agent, 1.0 AS value", query);
            let error = open_with(&log, &clock, "", &yaml).await.err().expect(query).to_string();
            assert!(error.contains("`query` cannot be planned"), "{query}: {error}");
        }
        assert!(open(&log, &clock, "ftp://x").await.is_err());
    }
}
