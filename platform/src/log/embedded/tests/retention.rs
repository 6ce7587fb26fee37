//! Retention against a log on disk.

use std::time::Duration;

use super::*;
use crate::config::Span;

const HOUR: i64 = 3_600_000_000;

fn hourly(dir: &Path) -> (Arc<EmbeddedLog>, Clock) {
    let clock = Clock::manual(0);
    let config =
        EmbeddedConfig { segment_bytes: 1, retention_age: Span(Duration::from_secs(10 * 3_600)), ..config(dir) };
    (open(config, clock.clone()).expect("open"), clock)
}

/// One record an hour, at the hours 1 to n.
async fn run(log: &EmbeddedLog, clock: &Clock, topic: Topic, key: &str, n: u8) {
    for hour in 1..=n {
        clock.advance(HOUR);
        log.append(vec![at(topic, P0, key, &hour.to_string()).with_id([hour; 16])]).await.expect("append");
    }
}

async fn start(log: &EmbeddedLog, topic: Topic) -> u64 {
    log.bounds(topic, P0).await.expect("bounds").start.0
}

async fn commit(log: &EmbeddedLog, consumer: Consumer, partition: Partition, next: u64) {
    let progress = vec![Progress { topic: A, partition, next: Offset(next) }];
    log.commit(Commit { consumer, progress, ..Commit::default() }).await.expect("commit");
}

#[tokio::test]
async fn by_age_and_never_before_a_consumer() {
    let dir = folder();
    let (log, clock) = hourly(dir.path());
    run(&log, &clock, A, "k", 20).await;
    let retain = || async { log.enforce_retention(clock.now_micros()).await.expect("retention") };
    commit(&log, "slow", P0, 3).await;
    commit(&log, "fast", P0, 20).await;
    let removed = retain().await;
    assert_eq!((start(&log, A).await, removed.bytes), (3, 3 * 23), "the slow one holds the rest");
    assert_eq!(retain().await, Removed::default(), "nothing more");
    commit(&log, "slow", P0, 15).await;
    commit(&log, "elsewhere", Partition(1), 1).await;
    assert_eq!(retain().await, Removed::default(), "one that has only been on another partition");
    commit(&log, "elsewhere", P0, 15).await;
    retain().await;
    assert_eq!(start(&log, A).await, 8, "a segment is known to be old when the next one began before hour 10");
    clock.advance(1_000 * HOUR);
    commit(&log, "slow", P0, 20).await;
    commit(&log, "elsewhere", P0, 20).await;
    retain().await;
    assert_eq!(
        (start(&log, A).await, values(&*log, A, P0).await),
        (19, vec!["20".to_owned()]),
        "the last segment stays"
    );
}

#[tokio::test]
async fn by_bytes_over_all_topics_the_oldest_first() {
    let dir = folder();
    let clock = Clock::manual(0);
    let config = EmbeddedConfig { segment_bytes: 1, retention_bytes: 10 * 23, ..config(dir.path()) };
    let log = open(config, clock.clone()).expect("open");
    run(&log, &clock, A, "k", 9).await;
    run(&log, &clock, B, "k", 9).await;
    log.enforce_retention(clock.now_micros()).await.expect("retention");
    assert_eq!((start(&log, A).await, start(&log, B).await), (8, 0));
}

/// The files of removed records leave the disk, and the index forgets them when it is compacted.
#[tokio::test]
async fn removed_records_give_their_disk_space_back() {
    let dir = folder();
    let clock = Clock::manual(0);
    let retention_age = Span(Duration::from_secs(10 * 3_600));
    let log = open(EmbeddedConfig { retention_age, ..config(dir.path()) }, clock.clone()).expect("open");
    let slot = log.shared.topics.slot(A, P0).expect("slot");
    let flush = || {
        log.shared.settle().expect("settled");
        log.shared
            .with_store(|store| {
                store.records(slot)?.rotate_memtable_and_wait()?;
                store.ids(0)?.rotate_memtable_and_wait()?;
                Ok((store.records(slot)?.disk_space(), store.ids(0)?.len()?))
            })
            .expect("flush")
    };
    let noise =
        |n: u32| (0..4_000_u32).map(|i| format!("{:x}", (i ^ n).wrapping_mul(2_654_435_761))).collect::<String>();
    for n in 0..20_u32 {
        clock.advance(HOUR);
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        log.append(vec![at(A, P0, "k", &noise(n)).with_id(id)]).await.expect("append");
        flush();
    }
    let (before, ids) = flush();
    assert_eq!(ids, 20);
    let removed = log.enforce_retention(clock.now_micros()).await.expect("retention");
    assert!(removed.bytes > 200_000, "{removed:?}");
    let (after, _) = flush();
    assert!(after < before * 2 / 3, "{before} bytes before, {after} after");
    log.shared.with_store(|store| Ok(store.ids(0)?.major_compact()?)).expect("compaction");
    let (_, ids) = flush();
    let kept = 20 - start(&log, A).await;
    assert_eq!(ids as u64, kept);
}

#[tokio::test]
async fn compacted_topics_keep_the_newest_of_each_key() {
    let dir = folder();
    let (log, clock) = hourly(dir.path());
    // Three records of one key, one of another, and one that removes its key.
    run(&log, &clock, COMPACTED, "a", 3).await;
    log.append(vec![at(COMPACTED, P0, "b", "only").with_id([9; 16]), at(COMPACTED, P0, "c", "")])
        .await
        .expect("append");
    let retain = || async {
        // On disk: what is in memory yet may still be read.
        log.shared.tail.clear();
        log.enforce_retention(clock.now_micros()).await.expect("retention").superseded
    };
    assert_eq!(retain().await, 0, "too young");
    clock.advance(100 * HOUR);
    let progress = vec![Progress { topic: COMPACTED, partition: P0, next: Offset(1) }];
    log.commit(Commit { consumer: "slow", progress, ..Commit::default() }).await.expect("commit");
    assert_eq!(
        (retain().await, values(&*log, COMPACTED, P0).await),
        (1, ["2", "3", "only", ""].map(str::to_owned).to_vec())
    );
    let progress = vec![Progress { topic: COMPACTED, partition: P0, next: Offset(5) }];
    log.commit(Commit { consumer: "slow", progress, ..Commit::default() }).await.expect("commit");
    assert_eq!((retain().await, values(&*log, COMPACTED, P0).await), (2, ["3", "only"].map(str::to_owned).to_vec()));
    assert_eq!((retain().await, start(&log, COMPACTED).await), (0, 0));
    // The ids of the removed are free, the offset of the removed last one is not.
    log.close().expect("close");
    let (log, _) = hourly(dir.path());
    let again = vec![at(COMPACTED, P0, "a", "4").with_id([1; 16]), at(COMPACTED, P0, "b", "again").with_id([9; 16])];
    let position = |offset| Position { partition: P0, offset: Offset(offset) };
    let expected = [Appended::At(position(5)), Appended::Duplicate(position(3))];
    assert_eq!(log.append(again).await.expect("append"), expected);
    let latest = log.latest(COMPACTED, None, 9).await.expect("latest");
    assert_eq!(latest, [("a", "4"), ("b", "only")].map(|(key, value)| (key.into(), value.into())));
}
