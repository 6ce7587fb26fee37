//! The faults. What it does without them is in the conformance suite.

use super::*;
use crate::log::{Progress, StateChange};

const T: Topic = "t";
const P0: Partition = Partition(0);
const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

fn log() -> Arc<MemoryLog> {
    MemoryLog::new(2, &[TopicSpec { topic: T, cleanup: Cleanup::Retain }], Clock::manual(0))
}

fn record() -> Vec<Append> {
    vec![Append::new(T, "k".into(), "v".into()).to_partition(P0).with_id([1; 16])]
}

fn commit() -> Commit {
    Commit {
        consumer: "c",
        publish: record(),
        state: vec![StateChange { store: "s", partition: P0, key: "k".into(), value: Some("v".into()) }],
        progress: vec![Progress { topic: T, partition: P0, next: Offset(1) }],
    }
}

/// Records, state and progress that are there.
async fn held(log: &MemoryLog) -> (usize, bool, bool) {
    let records = log.read(T, P0, Offset::START, ALL).await.expect("read").len();
    let state = log.state("s", P0, b"k").await.expect("state").is_some();
    (records, state, log.committed("c", T, P0).await.expect("committed").is_some())
}

#[tokio::test]
async fn each_fault_fails_as_it_says() {
    type Case = (&'static str, fn(&mut Faults), (usize, bool, bool), bool);
    let cases: [Case; 3] = [
        ("commit", |faults| faults.fail_commit_after = Some(0), (0, false, false), true),
        ("in between", |faults| faults.crash_between_publish_and_commit = true, (1, false, false), true),
        ("full", |faults| faults.full = true, (0, false, false), false),
    ];
    for (case, change, left, once) in cases {
        let log = log();
        log.faults(change);
        let error = log.commit(commit()).await.expect_err(case);
        assert!(error.is_transient(), "{case}: {error:?}");
        assert_eq!(held(&log).await, left, "{case}");
        let again = log.commit(commit()).await;
        assert_eq!(again.is_ok(), once, "{case}, a second time");
        log.faults(|faults| *faults = Faults::default());
        log.commit(commit()).await.expect(case);
        assert_eq!(held(&log).await, (1, true, true), "{case}: the record is known by its id");
    }
}

#[tokio::test]
async fn an_append_fails_once_and_duplicates_are_there_on_request() {
    let log = log();
    log.faults(|faults| faults.fail_next_append = true);
    assert!(matches!(log.append(record()).await, Err(Error::Storage(_))));
    log.append(record()).await.expect("append");
    assert!(matches!(log.append(record()).await.expect("append")[..], [Appended::Duplicate(_)]));
    log.faults(|faults| faults.duplicate_appends = true);
    assert!(matches!(log.append(record()).await.expect("append")[..], [Appended::At(_)]));
    assert_eq!(held(&log).await.0, 2);
}

#[tokio::test]
async fn a_crash_takes_the_handle_and_a_fork_leaves_it() {
    let log = log();
    log.append(record()).await.expect("append");
    let fork = log.fork();
    fork.append(vec![Append::new(T, "k".into(), "v".into()).to_partition(P0)]).await.expect("append");
    assert_eq!((held(&log).await.0, held(&fork).await.0), (1, 2));
    let mut grown = log.grown(T, P0);
    let next = log.reopen();
    assert!(grown.changed().await.is_err(), "who waited on the old one learns that it is gone");
    assert!(matches!(log.append(record()).await, Err(Error::Closed)));
    assert_eq!(held(&next).await.0, 1);
}

#[tokio::test]
async fn a_rebalance_is_seen_by_its_consumer() {
    let log = log();
    let (mut mine, other) = (log.assigned("c"), log.assigned("d"));
    log.set_assigned("c", &[Partition(1)]);
    mine.changed().await.expect("rebalance");
    assert_eq!((&**mine.borrow(), &**other.borrow()), (&[Partition(1)][..], &[P0, Partition(1)][..]));
}
