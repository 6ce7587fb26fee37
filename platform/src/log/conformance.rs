//! What every log does: one list of behaviours, run against each implementation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;
use tempfile::TempDir;

use super::blob::tests::a_value_larger_than_a_record_is_put_whole_or_not_at_all;
use super::*;
use crate::clock::Clock;
use crate::config::Span;

pub(crate) const A: Topic = "a";
pub(crate) const B: Topic = "b";
pub(crate) const COMPACTED: Topic = "compacted";
pub(crate) const TOPICS: [TopicSpec; 3] = [
    TopicSpec { topic: A, cleanup: Cleanup::Retain },
    TopicSpec { topic: B, cleanup: Cleanup::Retain },
    TopicSpec { topic: COMPACTED, cleanup: Cleanup::Compact },
];
const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };
const P: [Partition; 4] = [Partition(0), Partition(1), Partition(2), Partition(3)];
/// After which key, how many, and what is on the page.
type Page = (Option<&'static str>, usize, &'static [(&'static str, &'static str)]);
const DAY: Duration = Duration::from_secs(86_400);

/// A folder for a test, in memory where there is such a file system: creating a log syncs some hundred files.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("folder")
}

/// A log under test, with what only its own kind can do.
pub(crate) enum Subject {
    Memory(Arc<MemoryLog>),
    Embedded {
        log: Arc<EmbeddedLog>,
        config: EmbeddedConfig,
        clock: Clock,
        dir: TempDir,
    },
    #[cfg(feature = "kafka")]
    Kafka {
        log: Arc<KafkaLog>,
        config: KafkaConfig,
    },
}

impl Subject {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryLog::new(4, &TOPICS, Clock::manual(1_000)))
    }

    pub(crate) fn embedded() -> Self {
        let dir = folder();
        // A segment for every record, so that retention can be told exactly where to stop.
        let config = EmbeddedConfig {
            dir: dir.path().to_owned(),
            segment_bytes: 1,
            retention_age: Span(DAY),
            ..EmbeddedConfig::default()
        };
        let clock = Clock::manual(1_000);
        let log = EmbeddedLog::open(config.clone(), &TOPICS, clock.clone(), &Registry::new()).expect("open");
        Self::Embedded { log, config, clock, dir }
    }

    pub(crate) fn log(&self) -> &dyn Log {
        match self {
            Self::Memory(log) => &**log,
            Self::Embedded { log, .. } => &**log,
            #[cfg(feature = "kafka")]
            Self::Kafka { log, .. } => &**log,
        }
    }

    /// Whether it can tell that it holds a record.
    const fn knows_ids(&self) -> bool {
        match self {
            Self::Memory(_) | Self::Embedded { .. } => true,
            #[cfg(feature = "kafka")]
            Self::Kafka { .. } => false,
        }
    }

    /// When a record was appended that was appended just now.
    fn is_now(&self, micros: i64) -> bool {
        match self {
            Self::Memory(_) | Self::Embedded { .. } => micros == 1_000,
            #[cfg(feature = "kafka")]
            Self::Kafka { .. } => (micros - Clock::System.now_micros()).abs() < 60_000_000,
        }
    }

    /// The same log in a new process, and the closed one of the old process.
    pub(crate) async fn reopen(self) -> (Self, Arc<dyn Log>) {
        match self {
            Self::Memory(old) => (Self::Memory(old.reopen()), old),
            Self::Embedded { log: old, config, clock, dir } => {
                old.close().expect("close");
                let log = EmbeddedLog::open(config.clone(), &TOPICS, clock.clone(), &Registry::new()).expect("open");
                (Self::Embedded { log, config, clock, dir }, old)
            }
            #[cfg(feature = "kafka")]
            Self::Kafka { log: old, config } => {
                old.close().await;
                let log = crate::log::kafka::tests::open(&config).await.expect("open");
                (Self::Kafka { log, config }, old)
            }
        }
    }

    async fn expire(&self, topic: Topic, partition: Partition, start: Offset) {
        match self {
            Self::Memory(log) => log.expire(topic, partition, start).expect("expire"),
            Self::Embedded { log, clock, .. } => {
                let progress = vec![Progress { topic, partition, next: start }];
                log.commit(Commit { consumer: "keeper", progress, ..Commit::default() }).await.expect("keeper");
                clock.advance(2 * i64::try_from(DAY.as_micros()).expect("two days"));
                log.enforce_retention(clock.now_micros()).await.expect("retention");
            }
            #[cfg(feature = "kafka")]
            Self::Kafka { config, .. } => crate::log::kafka::tests::expire(config, topic, partition, start).await,
        }
    }
}

macro_rules! behaviours {
    ($($behaviour:ident)*) => {
        mod memory { $(#[tokio::test] async fn $behaviour() { super::$behaviour(super::Subject::memory()).await; })* }
        mod embedded { $(#[tokio::test] async fn $behaviour() { super::$behaviour(super::Subject::embedded()).await; })* }

        #[cfg(feature = "kafka")]
        mod kafka {
            $(#[tokio::test] async fn $behaviour() {
                if let Some((log, config)) = crate::log::kafka::tests::subject().await {
                    super::$behaviour(super::Subject::Kafka { log, config }).await;
                }
            })*
        }
    };
}

behaviours! {
    records_of_a_key_are_in_order
    a_record_known_by_its_id_is_not_appended_again
    duplicates_within_one_batch_are_found
    a_record_can_be_sent_to_a_partition
    what_does_not_exist_is_refused_whole
    reads_stay_within_their_limit
    a_commit_is_seen_whole
    positions_belong_to_consumer_topic_and_partition
    state_is_kept_by_store_and_partition
    the_newest_record_of_each_key
    a_value_larger_than_a_record_is_put_whole_or_not_at_all
    readers_at_the_end_are_woken
    everything_survives_a_restart
    expired_records_are_gone_with_their_ids
    a_process_owns_every_partition
    nothing_to_do_is_done
    many_writers_at_once
}

fn record(topic: Topic, key: &str, value: &str) -> Append {
    Append::new(topic, Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
}

fn at(topic: Topic, partition: Partition, value: &str) -> Append {
    record(topic, "k", value).to_partition(partition)
}

fn change(store: Store, partition: Partition, key: &str, value: Option<&str>) -> StateChange {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    StateChange { store, partition, key: bytes(key), value: value.map(bytes) }
}

fn position(partition: Partition, offset: u64) -> Position {
    Position { partition, offset: Offset(offset) }
}

pub(crate) async fn append(log: &dyn Log, records: Vec<Append>) -> Vec<Appended> {
    log.append(records).await.expect("append")
}

async fn values(log: &dyn Log, topic: Topic, partition: Partition) -> Vec<String> {
    let start = log.bounds(topic, partition).await.expect("bounds").start;
    let records = log.read(topic, partition, start, ALL).await.expect("read");
    records.iter().map(|record| String::from_utf8(record.value.to_vec()).expect("text")).collect()
}

async fn records_of_a_key_are_in_order(subject: Subject) {
    let log = subject.log();
    let keys = ["red", "green", "blue", "white", "black"];
    for round in 0..10 {
        let batch = keys.map(|key| record(A, key, &format!("{key} {round}"))).to_vec();
        let appended = append(log, batch).await;
        for (appended, key) in appended.iter().zip(keys) {
            let Appended::At(position) = appended else { panic!("{appended:?}") };
            assert_eq!(position.partition, log.partition_of(key.as_bytes()));
        }
    }
    let mut seen = BTreeMap::<Bytes, Vec<String>>::new();
    for partition in P {
        let records = log.read(A, partition, Offset::START, ALL).await.expect("read");
        assert!(records.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets grow");
        let bounds = log.bounds(A, partition).await.expect("bounds");
        assert_eq!(bounds.end, records.last().map_or(Offset::START, |last| last.offset.next()));
        for record in records {
            assert!(subject.is_now(record.appended_at), "{record:?}");
            assert_eq!(log.partition_of(&record.key), partition);
            seen.entry(record.key).or_default().push(String::from_utf8(record.value.to_vec()).expect("text"));
        }
    }
    for key in keys {
        let expected: Vec<_> = (0..10).map(|round| format!("{key} {round}")).collect();
        assert_eq!(seen[key.as_bytes()], expected);
    }
}

async fn a_record_known_by_its_id_is_not_appended_again(subject: Subject) {
    let log = subject.log();
    if !subject.knows_ids() {
        let twice = vec![at(A, P[1], "1").with_id([1; 16]), at(A, P[1], "1").with_id([1; 16])];
        assert_eq!(append(log, twice).await, [0, 1].map(|it| Appended::At(position(P[1], it))));
        return;
    }
    let first = append(log, vec![at(A, P[1], "1").with_id([1; 16]), at(A, P[1], "2").with_id([2; 16])]).await;
    assert_eq!(first, [Appended::At(position(P[1], 0)), Appended::At(position(P[1], 1))]);
    let again = vec![
        at(A, P[1], "2 again").with_id([2; 16]),
        at(A, P[2], "1 elsewhere").with_id([1; 16]),
        at(A, P[1], "3").with_id([3; 16]),
        at(A, P[1], "no id"),
        at(B, P[1], "another topic").with_id([1; 16]),
    ];
    let expected = [
        Appended::Duplicate(position(P[1], 1)),
        Appended::Duplicate(position(P[1], 0)),
        Appended::At(position(P[1], 2)),
        Appended::At(position(P[1], 3)),
        Appended::At(position(P[1], 0)),
    ];
    assert_eq!(append(log, again).await, expected);
    assert_eq!(values(log, A, P[1]).await, ["1", "2", "3", "no id"]);
    assert_eq!(values(log, A, P[2]).await, Vec::<String>::new());
    assert_eq!(values(log, B, P[1]).await, ["another topic"]);
}

async fn duplicates_within_one_batch_are_found(subject: Subject) {
    let log = subject.log();
    if !subject.knows_ids() {
        return;
    }
    let twice = vec![at(A, P[0], "1").with_id([1; 16]), at(A, P[3], "1 again").with_id([1; 16])];
    let expected = [Appended::At(position(P[0], 0)), Appended::Duplicate(position(P[0], 0))];
    assert_eq!(append(log, twice).await, expected);
    assert_eq!(values(log, A, P[3]).await, Vec::<String>::new());
}

async fn a_record_can_be_sent_to_a_partition(subject: Subject) {
    let log = subject.log();
    let home = log.partition_of(b"k");
    for partition in P {
        append(log, vec![at(A, partition, "sent")]).await;
    }
    append(log, vec![record(A, "k", "by key")]).await;
    for partition in P {
        let expected: &[&str] = if partition == home { &["sent", "by key"] } else { &["sent"] };
        assert_eq!(values(log, A, partition).await, expected);
    }
}

async fn what_does_not_exist_is_refused_whole(subject: Subject) {
    let log = subject.log();
    let unknown = |error: Option<Error>| assert!(matches!(error, Some(Error::UnknownTopic(_))), "{error:?}");
    let nine = Partition(9);
    unknown(log.append(vec![at(A, P[0], "good"), record("x", "k", "bad")]).await.err());
    unknown(log.append(vec![at(A, P[0], "good"), at(A, nine, "bad")]).await.err());
    unknown(log.read("x", P[0], Offset::START, ALL).await.err());
    unknown(log.read(A, nine, Offset::START, ALL).await.err());
    unknown(log.bounds("x", P[0]).await.err());
    unknown(log.bounds(A, nine).await.err());
    unknown(log.committed("c", "x", P[0]).await.err());
    unknown(log.latest("x", None, 1).await.err());
    unknown(log.latest(A, None, 1).await.err());
    let good = Commit {
        consumer: "c",
        publish: vec![at(A, P[0], "good")],
        state: vec![change("s", P[0], "k", Some("good"))],
        progress: vec![Progress { topic: A, partition: P[0], next: Offset(1) }],
    };
    let with = |f: &dyn Fn(&mut Commit)| {
        let mut commit = good.clone();
        f(&mut commit);
        commit
    };
    unknown(log.commit(with(&|commit| commit.publish.push(at(A, nine, "bad")))).await.err());
    unknown(log.commit(with(&|commit| commit.state.push(change("s", nine, "k", None)))).await.err());
    unknown(log.commit(with(&|commit| commit.progress[0].partition = nine)).await.err());
    unknown(log.commit(with(&|commit| commit.progress[0].topic = "x")).await.err());
    assert_eq!(values(log, A, P[0]).await, Vec::<String>::new());
    assert_eq!(log.state("s", P[0], b"k").await.expect("state"), None);
    assert_eq!(log.committed("c", A, P[0]).await.expect("committed"), None);
    assert!(log.grown("x", P[0]).changed().await.is_err(), "nothing will come");
}

async fn reads_stay_within_their_limit(subject: Subject) {
    let log = subject.log();
    append(log, (0..5).map(|n| at(A, P[0], &format!("{n}{}", "x".repeat(98)))).collect()).await;
    // Key and value of a record are 100 bytes.
    let cases: [(u64, usize, usize, &[u64]); 10] = [
        (0, 99, 9_999, &[0, 1, 2, 3, 4]),
        (0, 2, 9_999, &[0, 1]),
        (3, 2, 9_999, &[3, 4]),
        (4, 2, 9_999, &[4]),
        (5, 2, 9_999, &[]),
        (99, 2, 9_999, &[]),
        (0, 99, 200, &[0, 1]),
        (0, 99, 299, &[0, 1]),
        (1, 99, 0, &[1]),
        (1, 0, 0, &[1]),
    ];
    for (from, records_max, bytes_max, expected) in cases {
        let limit = ReadLimit { records_max, bytes_max };
        let records = log.read(A, P[0], Offset(from), limit).await.expect("read");
        let offsets: Vec<_> = records.iter().map(|record| record.offset.0).collect();
        assert_eq!(offsets, expected, "from {from}, {limit:?}");
    }
}

async fn a_commit_is_seen_whole(subject: Subject) {
    let log = subject.log();
    append(log, vec![at(B, P[2], "known").with_id([1; 16])]).await;
    let commit = Commit {
        consumer: "c",
        publish: vec![at(B, P[2], "known again").with_id([1; 16]), at(B, P[2], "new").with_id([2; 16])],
        state: vec![change("s", P[2], "k", Some("first")), change("s", P[2], "k", Some("last"))],
        progress: vec![Progress { topic: A, partition: P[2], next: Offset(7) }],
    };
    log.commit(commit).await.expect("commit");
    let expected: &[&str] = if subject.knows_ids() { &["known", "new"] } else { &["known", "known again", "new"] };
    assert_eq!(values(log, B, P[2]).await, expected);
    assert_eq!(log.state("s", P[2], b"k").await.expect("state").as_deref(), Some(&b"last"[..]));
    assert_eq!(log.committed("c", A, P[2]).await.expect("committed"), Some(Offset(7)));
}

async fn positions_belong_to_consumer_topic_and_partition(subject: Subject) {
    let log = subject.log();
    let commit = |consumer, topic, partition, next| Commit {
        consumer,
        progress: vec![Progress { topic, partition, next: Offset(next) }],
        ..Commit::default()
    };
    for commit in [commit("c", A, P[0], 5), commit("d", A, P[0], 6), commit("c", B, P[0], 7), commit("c", A, P[1], 8)] {
        log.commit(commit).await.expect("commit");
    }
    // A consumer may go back.
    log.commit(commit("c", A, P[0], 4)).await.expect("commit");
    let expected = [
        ("c", A, P[0], Some(4)),
        ("d", A, P[0], Some(6)),
        ("c", B, P[0], Some(7)),
        ("c", A, P[1], Some(8)),
        ("e", A, P[0], None),
    ];
    for (consumer, topic, partition, next) in expected {
        let committed = log.committed(consumer, topic, partition).await.expect("committed");
        assert_eq!(committed, next.map(Offset), "{consumer} {topic} {partition}");
    }
}

async fn state_is_kept_by_store_and_partition(subject: Subject) {
    let log = subject.log();
    let set = |store, partition, key, value| change(store, partition, key, value);
    let commit = |state| log.commit(Commit { consumer: "c", state, ..Commit::default() });
    let first = vec![
        set("s", P[0], "b", Some("2")),
        set("s", P[0], "a", Some("1")),
        set("s", P[0], "c", Some("")),
        set("s", P[1], "a", Some("other partition")),
        set("st", P[0], "a", Some("other store")),
    ];
    commit(first).await.expect("commit");
    commit(vec![set("s", P[0], "b", None), set("s", P[0], "d", Some("4")), set("s", P[0], "none", None)])
        .await
        .expect("commit");
    commit(vec![set("s", P[0], "d", None), set("s", P[0], "d", Some("5"))]).await.expect("commit");
    let cases = [
        ("s", P[0], "a", Some("1")),
        ("s", P[0], "b", None),
        ("s", P[0], "c", Some("")),
        ("s", P[1], "a", Some("other partition")),
        ("x", P[0], "a", None),
    ];
    for (store, partition, key, expected) in cases {
        let value = log.state(store, partition, key.as_bytes()).await.expect("state");
        assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{store} {partition} {key}");
    }
    let pages: [Page; 5] = [
        (None, 99, &[("a", "1"), ("c", ""), ("d", "5")]),
        (None, 2, &[("a", "1"), ("c", "")]),
        (Some("a"), 99, &[("c", ""), ("d", "5")]),
        (Some("b"), 1, &[("c", "")]),
        (Some("d"), 99, &[]),
    ];
    for (after, limit, expected) in pages {
        let after_bytes = after.map(|after| Bytes::copy_from_slice(after.as_bytes()));
        let page = log.scan("s", P[0], after_bytes, limit).await.expect("scan");
        let page: Vec<_> = page.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        let expected: Vec<_> = expected.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        assert_eq!(page, expected, "after {after:?}, {limit}");
    }
    assert_eq!(log.scan("x", P[0], None, 9).await.expect("scan"), []);
}

async fn the_newest_record_of_each_key(subject: Subject) {
    let log = subject.log();
    let rounds: [&[(&str, &str)]; 3] = [
        &[("b", "1"), ("a", "1"), ("b", "2")],
        &[("c", "1"), ("a", "")],
        &[("d", "1"), ("d", ""), ("d", "2"), ("e", "")],
    ];
    for round in rounds {
        append(log, round.iter().map(|(key, value)| record(COMPACTED, key, value)).collect()).await;
    }
    let pages: [Page; 4] = [
        (None, 99, &[("b", "2"), ("c", "1"), ("d", "2")]),
        (None, 1, &[("b", "2")]),
        (Some("b"), 99, &[("c", "1"), ("d", "2")]),
        (Some("d"), 99, &[]),
    ];
    for (after, limit, expected) in pages {
        let after = after.map(|after| Bytes::copy_from_slice(after.as_bytes()));
        let page = log.latest(COMPACTED, after, limit).await.expect("latest");
        let page: Vec<_> = page.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        let expected: Vec<_> = expected.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        assert_eq!(page, expected);
    }
    for (key, expected) in [("a", None), ("b", Some("2")), ("c", Some("1")), ("d", Some("2")), ("e", None), ("f", None)]
    {
        let newest = log.newest(COMPACTED, key.as_bytes()).await.expect("newest");
        assert_eq!(newest.as_deref(), expected.map(str::as_bytes), "{key}");
    }
    let home = log.partition_of(b"b");
    assert!(values(log, COMPACTED, home).await.contains(&"2".to_owned()), "still a topic like any other");
}

async fn readers_at_the_end_are_woken(subject: Subject) {
    let log = subject.log();
    append(log, vec![at(A, P[0], "before")]).await;
    let (mut grown, mut other) = (log.grown(A, P[0]), log.grown(A, P[1]));
    assert_eq!((*grown.borrow_and_update(), *other.borrow_and_update()), (Offset(1), Offset(0)));
    append(log, vec![at(A, P[0], "1"), at(A, P[0], "2")]).await;
    grown.changed().await.expect("grown");
    assert_eq!(*grown.borrow_and_update(), Offset(3));
    log.commit(Commit { publish: vec![at(A, P[0], "3")], ..Commit::default() }).await.expect("commit");
    grown.changed().await.expect("grown");
    assert_eq!(*grown.borrow_and_update(), Offset(4));
    assert!(!other.has_changed().expect("open"), "another partition");
}

async fn everything_survives_a_restart(subject: Subject) {
    append(subject.log(), vec![at(A, P[0], "1").with_id([1; 16]), at(A, P[0], "2"), record(COMPACTED, "k", "new")])
        .await;
    let commit = Commit {
        consumer: "c",
        publish: vec![at(B, P[3], "published")],
        state: vec![change("s", P[3], "k", Some("v"))],
        progress: vec![Progress { topic: A, partition: P[3], next: Offset(2) }],
    };
    subject.log().commit(commit).await.expect("commit");
    let (subject, old) = subject.reopen().await;
    let log = subject.log();
    assert_eq!(*log.grown(A, P[0]).borrow(), Offset(2));
    let more = append(log, vec![at(A, P[0], "1 again").with_id([1; 16]), at(A, P[0], "3")]).await;
    if subject.knows_ids() {
        assert_eq!(more, [Appended::Duplicate(position(P[0], 0)), Appended::At(position(P[0], 2))]);
        assert_eq!(values(log, A, P[0]).await, ["1", "2", "3"]);
    } else {
        assert_eq!(more, [2, 3].map(|it| Appended::At(position(P[0], it))));
        assert_eq!(values(log, A, P[0]).await, ["1", "2", "1 again", "3"]);
    }
    assert_eq!(values(log, B, P[3]).await, ["published"]);
    assert_eq!(log.state("s", P[3], b"k").await.expect("state").as_deref(), Some(&b"v"[..]));
    assert_eq!(log.committed("c", A, P[3]).await.expect("committed"), Some(Offset(2)));
    assert_eq!(log.latest(COMPACTED, None, 9).await.expect("latest").len(), 1);
    assert_eq!(log.newest(COMPACTED, b"k").await.expect("newest").as_deref(), Some(&b"new"[..]));
    let closed = |error: Option<Error>| assert!(matches!(error, Some(Error::Closed)), "{error:?}");
    closed(old.append(vec![at(A, P[0], "from the dead")]).await.err());
    closed(old.commit(Commit { publish: vec![at(A, P[0], "from the dead")], ..Commit::default() }).await.err());
    closed(old.state("s", P[3], b"k").await.err());
}

async fn expired_records_are_gone_with_their_ids(subject: Subject) {
    let numbered = |n: u8| at(A, P[0], &n.to_string()).with_id([n; 16]);
    append(subject.log(), (0..6).map(numbered).collect()).await;
    subject.expire(A, P[0], Offset(3)).await;
    let subject = {
        let log = subject.log();
        assert_eq!(log.bounds(A, P[0]).await.expect("bounds"), Bounds { start: Offset(3), end: Offset(6) });
        subject.reopen().await.0
    };
    let log = subject.log();
    assert_eq!(log.bounds(A, P[0]).await.expect("bounds"), Bounds { start: Offset(3), end: Offset(6) });
    for from in [0, 2] {
        let error = log.read(A, P[0], Offset(from), ALL).await.expect_err("expired");
        assert!(matches!(error, Error::Expired { asked, start: Offset(3) } if asked.0 == from), "{error:?}");
    }
    assert_eq!(values(log, A, P[0]).await, ["3", "4", "5"]);
    if !subject.knows_ids() {
        return;
    }
    let again = append(log, vec![numbered(2), numbered(3)]).await;
    assert_eq!(again, [Appended::At(position(P[0], 6)), Appended::Duplicate(position(P[0], 3))]);
}

async fn a_process_owns_every_partition(subject: Subject) {
    let log = subject.log();
    assert_eq!(log.partitions(), 4);
    assert_eq!(&**log.assigned("c").borrow(), P);
}

async fn nothing_to_do_is_done(subject: Subject) {
    let log = subject.log();
    assert_eq!(append(log, Vec::new()).await, []);
    log.commit(Commit::default()).await.expect("commit");
    assert_eq!(log.read(A, P[0], Offset::START, ALL).await.expect("read"), []);
}

async fn many_writers_at_once(subject: Subject) {
    let log = subject.log();
    let writer = |writer: u64| async move {
        let mut offsets = Vec::new();
        for n in 0..25 {
            let appended = append(log, vec![at(A, P[0], &format!("{writer} {n}"))]).await;
            let [Appended::At(position)] = appended[..] else { panic!("{appended:?}") };
            offsets.push(position.offset.0);
        }
        offsets
    };
    let all = tokio::join!(writer(0), writer(1), writer(2), writer(3));
    let all = [all.0, all.1, all.2, all.3];
    assert!(all.iter().all(|offsets| offsets.is_sorted()), "a writer's records are in its order");
    let distinct: BTreeSet<u64> = all.into_iter().flatten().collect();
    assert_eq!(distinct, (0..100).collect());
}
