use bytes::Bytes;
use martingale_platform::log::MemoryLog;
use martingale_platform::log::{Append, Log, Offset, Partition, Position};
use martingale_schemas::topics;

use super::{Lookup, verdict_of};
use crate::testing::memory_log;

async fn publish(log: &MemoryLog, steps: &[u64]) {
    for step in steps {
        let value = format!(r#"{{"verdict_id":"v-{step}","position":{{"partition":0,"offset":{step}}}}}"#);
        let record = Append::new(topics::VERDICTS, Bytes::new(), value.into()).to_partition(Partition(0));
        log.append(vec![record]).await.expect("appended");
    }
}

async fn look_up(log: &MemoryLog, step: u64) -> Option<u64> {
    let position = Position { partition: Partition(0), offset: Offset(step) };
    match verdict_of(log, position).await.expect("reads") {
        Lookup::Found(value) => {
            let json: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
            json["position"]["offset"].as_u64()
        }
        Lookup::Missing | Lookup::Expired => None,
    }
}

#[tokio::test]
async fn every_judged_step_is_found_and_no_other() {
    for judged in [
        &[][..],
        &[7],
        &[0, 1, 2, 3, 4],
        &[1, 4, 9, 16, 25, 36],
        // Published again after a crash, once and twice.
        &[0, 1, 2, 3, 2, 3, 4, 5],
        &[0, 2, 4, 6, 0, 2, 4, 6, 4, 6, 8],
        &[5, 5, 5, 5, 5, 6],
    ] {
        let log = memory_log(1);
        publish(&log, judged).await;
        for step in 0..40 {
            let expected = judged.contains(&step).then_some(step);
            assert_eq!(look_up(&log, step).await, expected, "{step} among {judged:?}");
        }
    }
}

#[tokio::test]
async fn what_retention_removed_is_told_from_what_is_not_judged() {
    let log = memory_log(1);
    publish(&log, &[1, 2, 3, 4, 5, 6]).await;
    log.expire(topics::VERDICTS, Partition(0), Offset(3)).expect("expires");
    let at = |offset| Position { partition: Partition(0), offset: Offset(offset) };
    assert_eq!(verdict_of(&*log, at(2)).await.expect("reads"), Lookup::Expired);
    assert!(matches!(verdict_of(&*log, at(4)).await.expect("reads"), Lookup::Found(_)));
    assert_eq!(verdict_of(&*log, at(9)).await.expect("reads"), Lookup::Missing);
}
