use martingale_platform::clock::Clock;
use martingale_platform::log::Log;
use martingale_schemas::topics;
use serde_json::json;

use crate::testing::{Rig, START_MICROS, holds, memory_log, step};

const HALT: &str = r#"{"action":"halt","session_id":"s","reason":"odd","by":"eve","control_id":"c1"}"#;

#[tokio::test]
async fn a_halt_holds_everywhere_when_it_is_answered_and_until_it_is_lifted() {
    let log = memory_log(3);
    let rig = Rig::judged(&log, |_| {}).await;
    assert_eq!(rig.post("/v1/gate", &step("s", "1", "ls")).await.json()["decision"], "allow");
    let answer = rig.post("/v1/controls", HALT).await;
    let given = answer.json();
    assert_eq!(answer.status, 200, "{given}");
    assert_eq!((&given["state"], &given["known"], &given["by"]), (&json!("applied"), &json!(true), &json!("eve")));
    assert_eq!(given["scope"], json!({ "type": "session", "session_id": "s" }));
    assert_eq!(given["applied_before"].as_array().map(Vec::len), Some(3));
    assert_eq!(rig.post("/v1/gate", &step("s", "2", "ls")).await.json()["decision"], "halt");

    assert_eq!(rig.get("/v1/controls/c1").await.json(), given);
    let resume = rig.post("/v1/controls", r#"{"action":"resume","session_id":"s"}"#).await.json();
    assert_eq!(resume["state"], "applied");
    assert!(resume["control_id"].as_str().is_some_and(|it| it.starts_with("c-")), "{resume}");
    assert_eq!(rig.post("/v1/gate", &step("s", "3", "ls")).await.json()["decision"], "allow");
    let list = rig.get("/v1/controls?session_id=s").await.json();
    assert_eq!(list["controls"].as_array().map(Vec::len), Some(2));
    let list = rig.get("/v1/controls?root_session_id=other").await.json();
    assert_eq!(list["controls"], json!([]));
}

#[tokio::test]
async fn a_repeated_request_is_the_same_order_and_another_is_refused() {
    let log = memory_log(2);
    let rig = Rig::judged(&log, |_| {}).await;
    let first = rig.post("/v1/controls", HALT).await.json();
    assert_eq!((&first["changed"], first.get("repeated")), (&json!(true), None), "{first}");
    let mut repeated = first.clone();
    (repeated["changed"], repeated["repeated"]) = (json!(false), json!(true));
    assert_eq!(rig.post("/v1/controls", HALT).await.json(), repeated, "nothing was done now");
    assert_eq!(rig.get("/v1/controls/c1").await.json(), first, "and this is what it did then");
    let other = rig.post("/v1/controls", &HALT.replace("\"s\"", "\"t\"")).await;
    assert_eq!(other.reason(), (409, "conflict".to_owned()));
    // Two partitions, requested and applied, and nothing besides.
    let mut records = 0;
    for partition in 0..2 {
        let bounds =
            log.bounds(topics::CONTROLS, martingale_platform::log::Partition(partition)).await.expect("bounds");
        records += bounds.end.0 - bounds.start.0;
    }
    assert_eq!(records, 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_applied_in_time_is_accepted_and_applied_later() {
    let log = memory_log(2);
    let rig = Rig::start(&log, |_| {}).await;
    let answer = rig.post("/v1/controls", HALT).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["state"]), (202, &json!("requested")));
    let mut tasks = tokio::task::JoinSet::new();
    crate::testing::spawn_detector(&log, &mut tasks);
    // The same request waits for the same order, whether it is the first to hear of it or not.
    let answer = rig.post("/v1/controls", HALT).await;
    assert_eq!(answer.json()["repeated"], true);
    assert_eq!((answer.status.as_u16(), &answer.json()["state"]), (200, &json!("applied")));
}

#[tokio::test]
async fn controls_are_known_after_a_restart() {
    let log = memory_log(2);
    let rig = Rig::judged(&log, |_| {}).await;
    let given = rig.post("/v1/controls", HALT).await.json();
    holds(&log, topics::CONTROLS, 4).await;
    drop(rig);
    let log = log.reopen();
    let rig = Rig::start(&log, |_| {}).await;
    assert_eq!(rig.get("/v1/controls/c1").await.json(), given);
    assert_eq!(rig.get("/v1/controls/c2").await.reason(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn more_controls_than_are_kept_are_applied_after_a_restart_too() {
    let log = memory_log(3);
    let clock = Clock::manual(START_MICROS);
    let rig = Rig::judged_at(&log, &clock, |config| config.controls.controls_max = 2).await;
    let halt = |id: &str| json!({ "action": "halt", "session_id": "s", "control_id": id }).to_string();
    let mut given = Vec::new();
    let told_again = |mut it: serde_json::Value| {
        (it["changed"], it["repeated"]) = (json!(false), json!(true));
        it
    };
    for id in ["a", "b", "c", "d"] {
        given.push(rig.post("/v1/controls", &halt(id)).await.json());
        clock.advance(1);
    }
    drop(rig);
    let rig = Rig::start(&log.reopen(), |config| config.controls.controls_max = 2).await;
    let list = rig.get("/v1/controls").await.json();
    assert_eq!(list["controls"], json!([given[3], given[2]]));
    let again = rig.post("/v1/controls", &halt("d")).await;
    assert_eq!(
        (again.status.as_u16(), again.json()),
        (200, told_again(given.remove(3))),
        "without waiting for anything"
    );
}

#[tokio::test]
async fn grants_are_listed_as_they_were_applied() {
    let log = memory_log(3);
    let clock = Clock::manual(START_MICROS);
    let rig = Rig::judged_at(&log, &clock, |config| config.controls.controls_max = 1).await;
    let grant = |id: &str, agent: &str, lasts: &str| {
        json!({
            "action": "grant", "control_id": id, "agent_id": agent, "tool": "send", "source": "mail", "environment": "eu",
            "for": lasts, "by": "eve", "reason": "rent",
        })
        .to_string()
    };
    for (id, agent, lasts) in [("g1", "a", "1d"), ("g2", "b", "2d"), ("g3", "c", "3d")] {
        assert_eq!(rig.post("/v1/controls", &grant(id, agent, lasts)).await.status, 200);
        clock.advance(1);
    }
    let ids = |list: &serde_json::Value| {
        let grants = list["grants"].as_array().cloned().unwrap_or_default();
        grants.iter().map(|it| it["control_id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let list = rig.get("/v1/grants").await.json();
    assert_eq!((ids(&list), list.get("known_since")), (vec!["g3".to_owned(), "g2".into(), "g1".into()], None));
    assert_eq!(
        list["grants"][2],
        json!({
            "control_id": "g1", "agent_id": "a", "environment": "eu", "source": "mail", "tool": "send", "by": "eve",
            "reason": "rent", "time": "2027-01-15T08:00:00Z", "until": "2027-01-16T08:00:00Z",
        })
    );
    // Of what the board has forgotten too.
    let revoked = rig.post("/v1/controls", r#"{"action":"revoke","grant_id":"g2"}"#).await;
    assert_eq!((revoked.status.as_u16(), &revoked.json()["scope"]["agent_id"]), (200, &json!("b")));
    assert_eq!(ids(&rig.get("/v1/grants").await.json()), ["g3", "g1"]);
    clock.advance(86_400_000_000);
    assert_eq!(ids(&rig.get("/v1/grants").await.json()), ["g3"], "the other one is over");

    drop(rig);
    let rig = Rig::start(&log.reopen(), |_| {}).await;
    assert_eq!(ids(&rig.get("/v1/grants").await.json()), ["g3", "g1"], "by the clock of this one");
}

#[tokio::test]
async fn mistakes_are_answered_in_the_shape_of_errors() {
    let log = memory_log(1);
    let rig = Rig::start(&log, |_| {}).await;
    let answer = rig.post("/v1/controls", r#"{"action":"pause","session_id":"s"}"#).await;
    assert_eq!(answer.reason(), (400, "invalid_value".to_owned()));
    assert_eq!(answer.json()["error"]["field"], "action");
    for (body, field) in [
        (r#"{"action":"halt","session_id":"s","action":"resume"}"#, "action"),
        (r#"{"action":"halt","session_id":"s","session_id":"t"}"#, "session_id"),
        (r#"{"action":"halt","session_id":"s","control_id":"c","control_id":"c"}"#, "control_id"),
    ] {
        let answer = rig.post("/v1/controls", body).await;
        assert_eq!(answer.reason(), (400, "duplicate_field".to_owned()), "{body}");
        assert_eq!(answer.json()["error"]["field"], field);
    }
    let answer = rig.get("/v1/controls?limit=x").await;
    assert_eq!(
        (answer.reason(), &answer.json()["error"]["field"]),
        ((400, "invalid_value".to_owned()), &json!("limit"))
    );
    let large = format!(r#"{{"action":"halt","session_id":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(rig.post("/v1/controls", &large).await.reason(), (413, "too_large".to_owned()));
}
