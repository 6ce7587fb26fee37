use martingale_platform::config::Span;
use martingale_platform::log::{Append, Log};
use martingale_schemas::{SessionId, StepId, VerdictId, topics};
use serde_json::{Value, json};

use super::{OnTimeout, Override};
use crate::http::bodies::{Bodies, whole};
use crate::testing::{Rig, append_steps, call, holds, memory_log, memory_logs, step};

#[tokio::test]
async fn the_verdict_is_the_answer_and_a_halt_stands() {
    let log = memory_log(4);
    let rig = Rig::judged(&log, |_| {}).await;
    for (session, id, tool, decision, standing, message, findings) in [
        ("s", "1", "ls", "allow", "allow", Value::Null, 0),
        ("s", "2", "curl", "warn", "warn", json!("curl again"), 1),
        ("s", "3", "rm", "halt", "halt", json!("rm is not for agents"), 1),
        ("s", "4", "ls", "halt", "halt", json!("halted before"), 1),
        ("other", "1", "ls", "allow", "allow", Value::Null, 0),
    ] {
        let answer = rig.post("/v1/gate", &step(session, id, tool)).await;
        let json = answer.json();
        assert_eq!(answer.status, 200, "{json}");
        assert_eq!(
            (&json["decision"], &json["standing"], &json["message"]),
            (&json!(decision), &json!(standing), &message),
            "{session} {id}"
        );
        assert_eq!(json["findings"].as_array().map(Vec::len), Some(findings));
        assert!(json["verdict_id"].as_str().is_some_and(|id| id.starts_with("v-")));
        assert!(json.get("timed_out").is_none() && json.get("error").is_none());
    }
    assert_eq!(rig.metrics.gate_answers.with_label_values(&["halt", "judged"]).get(), 2);
    assert_eq!(rig.metrics.gate_waiting.get(), 0);
}

#[tokio::test]
async fn a_step_sent_again_gets_the_verdict_it_was_given() {
    for log in memory_logs(2) {
        let rig = Rig::judged(&log, |_| {}).await;
        let first = rig.post("/v1/gate", &step("s", "0", "curl")).await.json();
        // The session is halted by then, and many verdicts lie in between.
        append_steps(&log, &(1..500).map(|it| step("s", &it.to_string(), "ls")).collect::<Vec<_>>()).await;
        append_steps(&log, &[step("s", "500", "rm")]).await;
        holds(&log, topics::VERDICTS, 501).await;
        let again = rig.post("/v1/gate", &step("s", "0", "curl")).await.json();
        assert_eq!(again["verdict_id"], first["verdict_id"]);
        assert_eq!((&again["decision"], &again["standing"]), (&json!("halt"), &json!("halt")));
        assert_eq!(again["findings"].as_array().map(Vec::len), Some(2), "the one of then and the one of now: {again}");
        assert_eq!(rig.post("/v1/gate", &step("s", "250", "ls")).await.json()["decision"], "halt");
        assert_eq!(rig.post("/v1/gate", &step("s", "500", "rm")).await.json()["decision"], "halt");
        assert_eq!(rig.metrics.gate_answers.with_label_values(&["halt", "duplicate"]).get(), 3);
        holds(&log, topics::STEPS, 501).await;
    }
}

#[tokio::test]
async fn a_step_sent_again_is_answered_under_what_stands_by_then() {
    for log in memory_logs(2) {
        let rig = Rig::judged(&log, |_| {}).await;
        let ask = async || rig.post("/v1/gate", &step("s", "0", "curl")).await.json();
        let first = ask().await;
        assert_eq!(ask().await["decision"], first["decision"], "nothing came in between");
        for (action, decision, standing, findings) in [("halt", "halt", "halt", 2), ("resume", "warn", "allow", 1)] {
            let order = json!({ "action": action, "session_id": "s", "reason": "to see" }).to_string();
            assert_eq!(rig.post("/v1/controls", &order).await.json()["state"], "applied");
            let again = ask().await;
            assert_eq!((&again["decision"], &again["standing"]), (&json!(decision), &json!(standing)), "{again}");
            assert_eq!(again["findings"].as_array().map(Vec::len), Some(findings), "{again}");
        }
        for (action, standing) in [("halt", "halt"), ("resume", "allow")] {
            let order = json!({ "action": action, "session_id": "s", "reason": "to see" }).to_string();
            assert_eq!(rig.post("/v1/controls", &order).await.json()["state"], "applied");
            let refused = rig.post("/v1/gate", &step("s", "1", "ls")).await.json();
            assert_eq!((&refused["decision"], &refused["standing"]), (&json!("halt"), &json!(standing)), "{refused}");
        }
        holds(&log, topics::STEPS, 2).await;
    }
}

/// A child says whose it is on its first step alone; that is enough for a halt of its run, whatever it leaves away later.
#[tokio::test]
async fn a_step_that_leaves_its_lineage_away_is_judged_in_its_run() {
    for log in memory_logs(4) {
        let rig = Rig::judged(&log, |_| {}).await;
        let told = |id: &str, root: &str| {
            let more = format!(r#"{{"root_session_id":"{root}","parent_session_id":"mother","#);
            step("kid", id, "ls").replacen('{', &more, 1)
        };
        let before = rig.post("/v1/gate", &told("1", "root")).await.json();
        assert_eq!(before["decision"], "allow");
        assert_eq!(rig.post("/v1/gate", &step("kid", "2", "ls")).await.json()["decision"], "allow");
        let halt = r#"{"action":"halt","session_id":"root","reason":"odd"}"#;
        assert_eq!(rig.post("/v1/controls", halt).await.json()["state"], "applied");
        assert_eq!(rig.post("/v1/gate", &step("kid", "3", "ls")).await.json()["decision"], "halt");
        for (body, field) in [(told("4", "kid"), "root_session_id"), (told("5", "another"), "root_session_id")] {
            let refused = rig.post("/v1/gate", &body).await;
            assert_eq!(refused.reason(), (400, "contradiction".to_owned()));
            assert_eq!(refused.json()["error"]["field"], field);
        }
        let again = rig.post("/v1/gate", &told("1", "root")).await;
        assert_eq!((again.status.as_u16(), &again.json()["verdict_id"]), (200, &before["verdict_id"]));
        assert_eq!(again.json()["decision"], "halt", "it is the same step, and what stands now is what counts");
        // One that has begun without a word on it is the root of its run.
        assert_eq!(rig.post("/v1/gate", &step("late", "0", "ls")).await.json()["decision"], "allow");
        let refused = rig.post("/v1/gate", &told("7", "root").replace("kid", "late")).await;
        assert_eq!(refused.reason(), (400, "contradiction".to_owned()));
        holds(&log, topics::DEAD_LETTER, 3).await;
        holds(&log, topics::STEPS, 4).await;

        // A server that starts over the same log knows it as well.
        drop(rig);
        let rig = Rig::judged(&log.reopen(), |_| {}).await;
        assert_eq!(rig.post("/v1/gate", &step("kid", "6", "ls")).await.json()["decision"], "halt");
    }
}

#[tokio::test]
async fn without_an_id_each_proposal_is_a_step_of_its_own() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let body = step("s", "1", "curl").replace(r#""step_id":"1","#, "");
    let (first, second) = (rig.post("/v1/gate", &body).await.json(), rig.post("/v1/gate", &body).await.json());
    assert_ne!(first["step_id"], second["step_id"]);
    assert!(first["step_id"].as_str().is_some_and(|id| id.starts_with("g-")), "{first}");
    let named = body.replacen('{', &format!(r#"{{"step_id":{},"#, first["step_id"]), 1);
    assert_eq!(rig.post("/v1/gate", &named).await.json()["verdict_id"], first["verdict_id"], "asked again by that id");
    holds(&log, topics::STEPS, 2).await;
}

#[tokio::test]
async fn another_step_under_an_id_that_is_taken_is_refused() {
    for log in memory_logs(1) {
        let rig = Rig::judged(&log, |_| {}).await;
        assert_eq!(rig.post("/v1/gate", &step("s", "1", "ls")).await.json()["decision"], "allow");
        let answer = rig.post("/v1/gate", &step("s", "1", "drop_database")).await;
        let json = answer.json();
        assert_eq!(answer.reason(), (409, "conflict".to_owned()));
        assert_eq!((&json["decision"], &json["error"]["field"]), (&json!("deny"), &json!("step_id")));
        assert!(json["message"].as_str().is_some_and(|it| it.contains("another step")), "{json}");
    }
}

/// A log that knows no duplicates, and a gate that has forgotten the verdict or comes after it: what stands is the answer
/// then, and the operator's choice where nothing does.
#[tokio::test]
async fn a_step_whose_verdict_is_forgotten_is_answered_by_what_stands() {
    let [_, log] = memory_logs(1);
    let rig = Rig::judged(&log, |config| {
        config.gate.remembered_max = 1;
        config.gate.on_timeout = OnTimeout::Allow;
    })
    .await;
    for (session, id, tool) in [("calm", "1", "curl"), ("wild", "1", "ls"), ("wild", "2", "rm")] {
        rig.post("/v1/gate", &step(session, id, tool)).await;
    }
    for (session, tool, decision) in [("calm", "curl", "allow"), ("wild", "ls", "halt")] {
        let json = rig.post("/v1/gate", &step(session, "1", tool)).await.json();
        assert_eq!((&json["decision"], json.get("timed_out")), (&json!(decision), None), "{json}");
    }
    assert_eq!(rig.metrics.gate_answers.with_label_values(&["halt", "duplicate"]).get(), 1);
    holds(&log, topics::STEPS, 5).await;
    let late = Rig::start(&log, |_| {}).await;
    let json = late.post("/v1/gate", &step("wild", "2", "rm")).await.json();
    assert_eq!((&json["decision"], json.get("timed_out")), (&json!("halt"), None), "read at the start: {json}");
}

#[tokio::test]
async fn a_step_sent_twice_at_once_is_judged_once_and_answered_twice() {
    let log = memory_log(1);
    let mut rig = Rig::start(&log, |_| {}).await;
    let body = step("s", "1", "curl");
    let both = async {
        let (first, second) = tokio::join!(rig.post("/v1/gate", &body), rig.post("/v1/gate", &body));
        (first.json(), second.json())
    };
    // The detector comes only when both wait.
    let detector = async {
        let mut waiting = log.grown(topics::STEPS, martingale_platform::log::Partition(0));
        waiting.wait_for(|end| end.0 > 0).await.expect("open");
        tokio::task::yield_now().await;
    };
    let ((first, second), ()) = tokio::join!(both, async {
        detector.await;
        let mut tasks = tokio::task::JoinSet::new();
        crate::testing::spawn_detector(&log, &mut tasks);
        tasks.detach_all();
    });
    assert_eq!(first["verdict_id"], second["verdict_id"]);
    assert_eq!((&first["decision"], &second["decision"]), (&json!("warn"), &json!("warn")));
    rig.tasks.abort_all();
}

#[tokio::test]
async fn what_is_no_step_is_refused_as_ingest_refuses_it() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let large = step("s", "1", &"x".repeat(5 << 20));
    // Taken by every limit, and by no record.
    log.faults(|it| it.record_bytes_max = Some(20_000));
    let text = "x".repeat(15_000);
    let padded = format!(r#"{{"session_id":"s","kind":"tool_call","agent":{{"id":"a"}},"text":"{text}"}}"#);
    for (body, headers, status, reason) in [
        ("{", &[][..], 400, "invalid_json"),
        ("[]", &[], 400, "not_an_object"),
        (r#"{"kind":"tool_call","agent":{"id":"a"}}"#, &[], 400, "missing_field"),
        (r#"{"session_id":"s","kind":"x","agent":{"id":"a"}}"#, &[], 400, "unknown_kind"),
        (&large, &[], 413, "too_large"),
        (&padded, &[], 413, "too_large"),
        ("{}", &[("content-encoding", "gzip")], 415, "unsupported_encoding"),
    ] {
        let answer = call(&rig.router, "POST", "/v1/gate", headers, body).await;
        assert_eq!(answer.reason(), (status, reason.to_owned()), "{:?}", answer.body);
        assert!(answer.json()["error"]["message"].as_str().is_some_and(|it| !it.is_empty()));
    }
    let bounds = log.bounds(topics::STEPS, martingale_platform::log::Partition(0)).await.expect("bounds");
    assert_eq!(bounds.start, bounds.end, "nothing was appended");
    // Whatever could be read is counted and kept; a body that could not has been refused by its size.
    holds(&log, topics::DEAD_LETTER, 5).await;
    assert_eq!(rig.metrics.gate_answers.with_label_values(&["none", "rejected"]).get(), 5);
}

#[tokio::test(start_paused = true)]
async fn without_a_verdict_in_time_the_operator_has_chosen() {
    let log = memory_log(1);
    let rig = Rig::start(&log, |config| {
        config.gate.on_timeout = OnTimeout::Allow;
        config.gate.overrides = vec![Override { agent: "support-*".into(), on_timeout: OnTimeout::Deny }];
    })
    .await;
    let other = step("s", "1", "ls").replace("support-eu", "sales-eu");
    for (body, decision) in [(other, "allow"), (step("s", "2", "ls"), "deny")] {
        let begun = tokio::time::Instant::now();
        let answer = rig.post("/v1/gate", &body).await;
        let json = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &json["decision"], &json["timed_out"]),
            (200, &json!(decision), &json!(true))
        );
        assert!(json["message"].as_str().is_some_and(|it| it.contains("no verdict within 2s")), "{json}");
        assert_eq!(begun.elapsed().as_secs(), 2);
    }
    // It stays on the log and is judged when somebody does; asked again, it is answered with that.
    let mut tasks = tokio::task::JoinSet::new();
    crate::testing::spawn_detector(&log, &mut tasks);
    let late = rig.post("/v1/gate", &step("s", "2", "ls")).await.json();
    assert_eq!((&late["decision"], late.get("timed_out")), (&json!("allow"), None));
}

/// Nobody judges here, and the operator has chosen `allow`: a halt that a person gave stands all the same, for the session,
/// its children and its run, and no longer than until it is lifted.
#[tokio::test(start_paused = true)]
async fn a_halt_that_stands_is_not_softened_for_want_of_a_verdict() {
    let log = memory_log(2);
    let rig = Rig::start(&log, |config| {
        config.gate.on_timeout = OnTimeout::Allow;
        config.controls.timeout = Span::from_millis(10);
    })
    .await;
    let of = |session: &str, id: &str, parent: &str| {
        step(session, id, "ls").replacen(
            '{',
            &format!(r#"{{"parent_session_id":"{parent}","root_session_id":"root","#),
            1,
        )
    };
    let asks = async |body: String| {
        let answer = rig.post("/v1/gate", &body).await;
        let json = answer.json();
        assert_eq!((answer.status.as_u16(), &json["timed_out"]), (200, &json!(true)), "{json}");
        (json["decision"].clone(), json["standing"].clone())
    };
    let (allow, halt) = ((json!("allow"), Value::Null), (json!("halt"), json!("halt")));
    for (action, scope, id, expected) in [
        ("halt", "session_id", "other", [&allow, &allow]),
        ("halt", "session_id", "s", [&halt, &halt]),
        ("resume", "session_id", "s", [&allow, &allow]),
        ("halt", "root_session_id", "root", [&halt, &halt]),
    ] {
        let order = json!({ "action": action, scope: id, "reason": "to see" }).to_string();
        assert_eq!(rig.post("/v1/controls", &order).await.status, 202, "on the log, and nobody has applied it");
        let n = format!("{action}-{id}");
        assert_eq!(&asks(of("s", &n, "x")).await, expected[0], "{action} {id}");
        assert_eq!(&asks(of("kid", &n, "s")).await, expected[1], "{action} {id}, of its child");
    }
    log.faults(|it| it.full = true);
    let answer = rig.post("/v1/gate", &of("s", "busy", "x")).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["decision"]), (429, &json!("halt")));
    let message = answer.json()["message"].to_string();
    assert!(message.contains("run \\\"root\\\" was halted by control"), "{message}");
}

#[tokio::test]
async fn a_log_that_is_busy_or_broken_is_said() {
    let log = memory_log(1);
    let rig = Rig::start(&log, |config| config.gate.on_timeout = OnTimeout::Allow).await;
    log.faults(|it| it.full = true);
    let answer = rig.post("/v1/gate", &step("s", "1", "ls")).await;
    assert_eq!((answer.reason(), &answer.json()["decision"]), ((429, "busy".to_owned()), &json!("allow")));
    assert_eq!(answer.headers["retry-after"], "1");
    log.faults(|it| {
        it.full = false;
        it.fail_next_append = true;
    });
    let answer = rig.post("/v1/gate", &step("s", "1", "ls")).await;
    let json = answer.json();
    assert_eq!((answer.reason(), &json["decision"]), ((503, "unavailable".to_owned()), &json!("allow")));
}

/// It may be a halt: nothing that is configured for want of a verdict makes it `allow`, when it is given or when the gate
/// remembers that it was.
#[tokio::test]
async fn a_verdict_that_cannot_be_read_refuses_the_step() {
    for (log, asked) in memory_logs(1).into_iter().zip([1, 2]) {
        let rig = Rig::start(&log, |config| config.gate.on_timeout = OnTimeout::Allow).await;
        let body = step("s", "1", "ls");
        let detector = async {
            let mut steps = log.grown(topics::STEPS, martingale_platform::log::Partition(0));
            steps.wait_for(|end| end.0 > 0).await.expect("open");
            let verdict = json!({
                "verdict_id": VerdictId::of(&SessionId::from("s"), &StepId::from("1")),
                "session_id": "s",
                "position": { "partition": 0, "offset": 0 },
                "decision": "unheard of",
            });
            let record = Append::new(topics::VERDICTS, "s".into(), verdict.to_string().into());
            log.append(vec![record]).await.expect("appended");
        };
        let (answer, ()) = tokio::join!(rig.post("/v1/gate", &body), detector);
        assert_eq!((answer.reason(), &answer.json()["decision"]), ((503, "unavailable".to_owned()), &json!("deny")));
        if log.is_open() {
            let again = rig.post("/v1/gate", &body).await;
            assert_eq!((again.reason(), &again.json()["decision"]), ((503, "unavailable".to_owned()), &json!("deny")));
        }
        assert_eq!(rig.metrics.gate_answers.with_label_values(&["deny", "unreadable"]).get(), asked);
        holds(&log, topics::STEPS, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_steps_have_a_limit() {
    let log = memory_log(1);
    let rig = Rig::start(&log, |config| {
        config.gate.waiting_max = 1;
        config.gate.timeout = Span::from_millis(60_000);
    })
    .await;
    let first = step("s", "1", "ls");
    let second = async {
        let mut grown = log.grown(topics::STEPS, martingale_platform::log::Partition(0));
        grown.wait_for(|end| end.0 > 0).await.expect("open");
        rig.post("/v1/gate", &step("s", "2", "ls")).await
    };
    let (first, second) = tokio::join!(rig.post("/v1/gate", &first), second);
    assert_eq!(first.json()["timed_out"], true);
    assert_eq!(second.reason(), (429, "busy".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_time_a_body_takes_to_come_is_part_of_the_time_to_the_answer() {
    let log = memory_log(1);
    let rig = Rig::start(&log, |_| {}).await;
    let bodies = Bodies::new(&crate::http::bodies::Config::default(), 1 << 20);
    let router = rig.router.clone().layer(axum::middleware::from_fn_with_state(bodies, whole));
    let text = step("s", "1", "ls");
    let body = futures::stream::once(async move {
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        Ok::<_, std::convert::Infallible>(text)
    });
    let request = axum::http::Request::post("/v1/gate").body(axum::body::Body::from_stream(body)).expect("request");
    let begun = tokio::time::Instant::now();
    let response = tower::ServiceExt::oneshot(router, request).await.expect("infallible");
    assert_eq!((response.status().as_u16(), begun.elapsed().as_millis()), (200, 2_000));
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("body");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(answer["timed_out"], json!(true), "nobody judges here: {answer}");
    assert!((rig.metrics.gate_seconds.get_sample_sum() - 2.0).abs() < 0.01, "the metric sees all of it");
}
