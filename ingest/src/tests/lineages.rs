//! A session stays in its run, whatever its later steps leave away.

use martingale_platform::log::{Log as _, Offset, ReadLimit};
use martingale_schemas::topics;
use serde_json::{Value, json};

use super::Bench;

fn step(session: &str, id: u32, lineage: &Value) -> Value {
    let mut step = json!({ "session_id": session, "step_id": id.to_string(), "kind": "plan", "agent": { "id": "a" } });
    for (name, value) in lineage.as_object().expect("members") {
        step[format!("{name}_session_id")] = value.clone();
    }
    step
}

/// Steps on the log as `session step: root parent`, in the order of their partitions, each under the key of its root.
async fn on_the_log(bench: &Bench) -> Vec<String> {
    let mut out = Vec::new();
    for partition in (0..bench.log.partitions()).map(martingale_platform::log::Partition) {
        let all = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };
        for record in bench.log.read(topics::STEPS, partition, Offset::START, all).await.expect("readable") {
            let step: Value = serde_json::from_slice(&record.value).expect("JSON");
            // What the log leaves out is the session itself.
            let root = step["root_session_id"].as_str().or_else(|| step["session_id"].as_str()).expect("a root");
            assert_eq!(record.key, root.as_bytes());
            let text = |name: &str| step[name].as_str().unwrap_or("-").to_owned();
            out.push(format!("{} {}: {root} {}", text("session_id"), text("step_id"), text("parent_session_id")));
        }
    }
    out.sort();
    out
}

#[tokio::test]
async fn a_session_that_told_its_lineage_once_keeps_it() {
    let bench = Bench::new();
    // In one request, and in later ones through another server over the same log.
    let first = [step("kid", 1, &json!({ "root": "r", "parent": "p" })), step("kid", 2, &json!({}))];
    assert_eq!(bench.steps(json!(first).to_string()).await.summary(), (200, 2, 0, vec![]));
    let later = Bench::over(bench.log.clone(), crate::Config::default());
    let second =
        [step("kid", 3, &json!({})), step("grandkid", 1, &json!({ "parent": "kid" })), step("other", 1, &json!({}))];
    assert_eq!(later.steps(json!(second).to_string()).await.summary(), (200, 3, 0, vec![]));
    let expected = ["grandkid 1: r kid", "kid 1: r p", "kid 2: r p", "kid 3: r p", "other 1: other -"];
    assert_eq!(on_the_log(&bench).await, expected);
    assert_eq!(bench.records(topics::LINEAGES).await.len(), 3, "each is written once");
}

/// Also in the same request: what is rejected was not heard.
#[tokio::test]
async fn a_step_that_no_record_holds_tells_nothing_of_its_session() {
    let bench = Bench::new();
    bench.log.faults(|it| it.record_bytes_max = Some(20_000));
    let mut large = step("kid", 1, &json!({ "root": "r" }));
    large["text"] = "x".repeat(15_000).into();
    let first = json!([large, step("kid", 2, &json!({}))]).to_string();
    let answer = bench.steps(first).await.summary();
    assert_eq!((answer.0, answer.1, answer.3.len()), (200, 1, 1), "{answer:?}");
    assert!(answer.3[0].starts_with("0 too_large"), "{answer:?}");
    let mut fits = step("kid", 3, &json!({}));
    fits["text"] = "x".repeat(10_000).into();
    assert_eq!(bench.steps(json!([fits]).to_string()).await.summary(), (200, 1, 0, vec![]));
    assert_eq!(on_the_log(&bench).await, ["kid 2: kid -", "kid 3: kid -"]);
    assert_eq!(bench.records(topics::DEAD_LETTER).await.len(), 1);
}

#[tokio::test]
async fn a_step_that_tells_another_lineage_is_rejected_and_kept() {
    let bench = Bench::new();
    let steps = [
        step("kid", 1, &json!({ "root": "r" })),
        step("kid", 2, &json!({ "root": "kid" })),
        step("kid", 3, &json!({ "root": "r", "parent": "p" })),
        step("kid", 4, &json!({ "root": "r", "parent": "q" })),
        step("kid", 5, &json!({})),
    ];
    let rejected = ["1 contradiction root_session_id", "3 contradiction parent_session_id"].map(str::to_owned).to_vec();
    assert_eq!(bench.steps(json!(steps).to_string()).await.summary(), (200, 3, 0, rejected));
    assert_eq!(on_the_log(&bench).await, ["kid 1: r -", "kid 3: r p", "kid 5: r p"]);
    let letters = bench.records(topics::DEAD_LETTER).await;
    assert_eq!(letters.len(), 2);
    let message = letters.iter().filter_map(|it| it["message"].as_str()).find(|it| it.contains("root_session_id"));
    assert!(message.is_some_and(|it| it.contains("\"kid\"") && it.contains("\"r\"")), "{letters:?}");
}
