use martingale_platform::log::{Offset, Partition};
use martingale_schemas::topics;
use serde_json::Value;

use crate::testing::{Rig, append_steps, holds, memory_log, step};

async fn page(rig: &Rig, query: &str) -> (Vec<Value>, String) {
    let answer = rig.get(&format!("/v1/verdicts?{query}")).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (lines, answer.headers["martingale-cursor"].to_str().expect("text").to_owned())
}

#[tokio::test]
async fn pages_hold_every_verdict_once_in_the_order_of_its_partition() {
    const STEPS: usize = 1_500;
    let log = memory_log(3);
    let rig = Rig::judged(&log, |_| {}).await;
    let steps: Vec<String> = (0..STEPS).map(|it| step(&format!("s{}", it % 11), &it.to_string(), "ls")).collect();
    append_steps(&log, &steps).await;
    holds(&log, topics::VERDICTS, STEPS).await;
    let (mut cursor, mut seen) = ("start".to_owned(), Vec::new());
    loop {
        let (lines, next) = page(&rig, &format!("after={cursor}&limit=97")).await;
        if lines.is_empty() {
            assert_eq!(next, cursor);
            break;
        }
        assert!(lines.len() <= 97);
        seen.extend(lines);
        cursor = next;
    }
    let mut last = [None; 3];
    for verdict in &seen {
        let at = usize::try_from(verdict["position"]["partition"].as_u64().expect("partition")).expect("small");
        let offset = verdict["position"]["offset"].as_u64();
        assert!(offset > last[at], "out of order");
        last[at] = offset;
    }
    assert_eq!(seen.len(), STEPS);
    assert_eq!(page(&rig, "after=end").await, (Vec::new(), cursor));
}

#[tokio::test]
async fn a_reader_at_the_end_may_wait() {
    let log = memory_log(2);
    let rig = Rig::judged(&log, |_| {}).await;
    let steps = [step("s", "1", "ls")];
    let (page, ()) = tokio::join!(page(&rig, "after=end&wait=30s"), append_steps(&log, &steps));
    assert_eq!(page.0.len(), 1);
}

#[tokio::test]
async fn cursors_that_do_not_hold_are_refused() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    append_steps(&log, &(0..9).map(|it| step("s", &it.to_string(), "ls")).collect::<Vec<_>>()).await;
    holds(&log, topics::VERDICTS, 9).await;
    log.expire(topics::VERDICTS, Partition(0), Offset(5)).expect("expires");
    for (query, expected) in [
        ("after=2", (410, "expired")),
        ("after=99", (400, "invalid_value")),
        ("after=1.2", (400, "invalid_value")),
        ("wait=soon", (400, "invalid_value")),
        ("from=1", (400, "unknown_field")),
    ] {
        let (status, reason) = rig.get(&format!("/v1/verdicts?{query}")).await.reason();
        assert_eq!((status, reason.as_str()), expected, "{query}");
    }
    assert_eq!(page(&rig, "").await.0.len(), 4);
}

#[tokio::test]
async fn a_page_of_nothing_still_brings_one() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |config| config.verdicts.limit_max = 0).await;
    rig.post("/v1/gate", &step("s", "1", "ls")).await;
    let page = rig.get("/v1/verdicts").await;
    assert_eq!(
        (page.status.as_u16(), page.body.split(|it| *it == b'\n').filter(|it| !it.is_empty()).count()),
        (200, 1)
    );
}
