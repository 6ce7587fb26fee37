//! What only the embedded log does: its folder, its disk, its memory.

mod crash;
mod disk_full;
mod model;
mod retention;

use std::path::Path;

use prometheus::Registry;

use super::*;
use crate::log::conformance::{A, B, COMPACTED, TOPICS, folder};
use crate::log::{Position, Progress, StateChange};

pub(super) const P0: Partition = Partition(0);
pub(super) const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

pub(super) fn config(dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig { dir: dir.to_owned(), ..EmbeddedConfig::default() }
}

pub(super) fn open(config: EmbeddedConfig, clock: Clock) -> Result<Arc<EmbeddedLog>, Error> {
    EmbeddedLog::open(config, &TOPICS, clock, &Registry::new())
}

pub(super) fn at(topic: Topic, partition: Partition, key: &str, value: &str) -> Append {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Append::new(topic, bytes(key), bytes(value)).to_partition(partition)
}

pub(super) async fn values(log: &dyn Log, topic: Topic, partition: Partition) -> Vec<String> {
    let start = log.bounds(topic, partition).await.expect("bounds").start;
    let records = log.read(topic, partition, start, ALL).await.expect("read");
    records.iter().map(|record| String::from_utf8(record.value.to_vec()).expect("text")).collect()
}

#[test]
fn configuration_is_checked() {
    let dir = folder();
    let base = || config(dir.path());
    let cases = [
        (EmbeddedConfig { partitions: 0, ..base() }, "partitions is 0, give 1 to 1024"),
        (EmbeddedConfig { partitions: 5_000, ..base() }, "partitions is 5000, give 1 to 1024"),
        (EmbeddedConfig { queue_bytes_max: 0, ..base() }, "queue_bytes_max is 0, give at least 1"),
        (EmbeddedConfig { retention_bytes: 0, ..base() }, "retention_bytes is 0"),
        (EmbeddedConfig { retention_age: crate::config::Span::default(), ..base() }, "retention_age is 0"),
    ];
    for (config, expected) in cases {
        let error = open(config, Clock::System).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn another_process_another_shape_and_a_damaged_store_are_told_apart() {
    let dir = folder();
    let held = open(config(dir.path()), Clock::System).expect("open");
    let sentence = |config| open(config, Clock::System).expect_err("refused").to_string();
    assert!(sentence(config(dir.path())).contains("in use by another process"));
    held.close().expect("close");
    let other = EmbeddedConfig { partitions: 8, ..config(dir.path()) };
    assert!(sentence(other).contains("has 4 partitions, but 8 are configured"));
    std::fs::write(dir.path().join("store/version"), "no store").expect("write");
    assert!(sentence(config(dir.path())).contains("cannot be opened"));
}

/// The same registry twice would count two logs as one.
#[test]
fn one_registry_per_log() {
    let (first, second) = (folder(), folder());
    let registry = Registry::new();
    let open = |dir: &Path| EmbeddedLog::open(config(dir), &TOPICS, Clock::System, &registry);
    let _first = open(first.path()).expect("open");
    assert!(open(second.path()).expect_err("registered").to_string().starts_with("metrics of the log"));
}

#[tokio::test]
async fn metrics_count_what_was_written() {
    let dir = folder();
    let registry = Registry::new();
    let log = EmbeddedLog::open(config(dir.path()), &TOPICS, Clock::System, &registry).expect("open");
    log.append(vec![at(A, P0, "key", "value").with_id([1; 16]), at(B, P0, "k", "v")]).await.expect("append");
    log.append(vec![at(A, P0, "key", "value").with_id([1; 16])]).await.expect("append");
    let families = registry.gather();
    let family = |name: &str| families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("{name}"));
    let of_a = |name: &str| {
        let metrics = family(name).get_metric();
        let metric = metrics.iter().find(|metric| metric.get_label()[0].value() == A);
        metric.map(|metric| metric.get_counter().get_value())
    };
    assert_eq!(of_a("martingale_log_appended_records_total"), Some(1.0));
    assert_eq!(of_a("martingale_log_appended_bytes_total"), Some(29.0), "8 offset, 13 header, 3 key, 5 value");
    assert_eq!(of_a("martingale_log_duplicates_total"), Some(1.0));
    assert_eq!(family("martingale_log_group_records").get_metric()[0].get_histogram().get_sample_count(), 2);
    assert!(family("martingale_log_commit_seconds").get_metric()[0].get_histogram().get_sample_sum() > 0.0);
    assert_eq!(family("martingale_log_healthy").get_metric()[0].get_gauge().get_value(), 1.0);
}

/// With a tail of a few records, reads cross from the disk into memory and miss nothing.
#[tokio::test]
async fn reads_from_disk_and_from_memory_join() {
    let dir = folder();
    let small = EmbeddedConfig { cache_bytes: 2_000, ..config(dir.path()) };
    let log = open(small, Clock::System).expect("open");
    for n in 0..100 {
        log.append(vec![at(A, P0, "k", &n.to_string())]).await.expect("append");
    }
    let slot = log.shared.topics.slot(A, P0).expect("slot");
    let first_in_memory = (0..100).find(|n| log.shared.tail.read(slot, Offset(*n), ALL).is_some());
    assert!(first_in_memory.is_some_and(|first| (80..100).contains(&first)), "{first_in_memory:?}");
    let limit = ReadLimit { records_max: 7, bytes_max: usize::MAX };
    let (mut next, mut read) = (Offset::START, Vec::new());
    loop {
        let records = log.read(A, P0, next, limit).await.expect("read");
        let Some(last) = records.last() else { break };
        next = last.offset.next();
        read.extend(records.iter().map(|record| record.offset.0));
    }
    assert_eq!(read, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_that_the_store_cannot_hold_are_refused() {
    let dir = folder();
    let log = open(config(dir.path()), Clock::System).expect("open");
    let long = "k".repeat(70_000);
    log.append(vec![at(A, P0, &long, "v")]).await.expect("a key that is only stored");
    let error = log.append(vec![at(COMPACTED, P0, &long, "v")]).await.expect_err("a key that is looked up");
    assert!(matches!(&error, Error::Storage(source) if source.to_string().contains("has 70000 bytes, at most 65000")));
    let state = vec![StateChange { store: "s", partition: P0, key: long.into(), value: None }];
    log.commit(Commit { state, ..Commit::default() }).await.expect_err("a key of a state store");
}

/// A folder of format 1 has a store and no journal.
#[tokio::test]
async fn a_folder_of_format_1_is_taken_over() {
    let dir = folder();
    let log = open(config(dir.path()), Clock::System).expect("open");
    log.append(vec![at(A, P0, "k", "1").with_id([1; 16]), at(COMPACTED, P0, "k", "2")]).await.expect("append");
    log.shared.settle().expect("settled");
    log.shared.with_store(|store| store.forget_applied()).expect("as format 1");
    log.close().expect("close");
    std::fs::remove_dir_all(dir.path().join("journal")).expect("no journal");
    std::fs::write(dir.path().join("FORMAT"), "martingale log\nversion = 1\npartitions = 4\n").expect("format");

    for n in [2, 3] {
        let log = open(config(dir.path()), Clock::System).expect("open");
        let again = log.append(vec![at(A, P0, "k", "1").with_id([1; 16])]).await.expect("append");
        assert!(matches!(again[0], Appended::Duplicate(_)), "{again:?}");
        log.append(vec![at(A, P0, "k", &n.to_string())]).await.expect("append");
        assert_eq!(values(&*log, A, P0).await.len(), n, "what was there and what came");
        assert_eq!(log.latest(COMPACTED, None, 9).await.expect("latest").len(), 1);
    }
}

/// What is newest may be in the journal alone: pages and reads show it over what the store has, and skip what is removed.
#[tokio::test]
async fn reads_join_the_store_and_what_it_has_not_got() {
    let dir = folder();
    let small = EmbeddedConfig { cache_bytes: 0, ..config(dir.path()) };
    let log = open(small, Clock::System).expect("open");
    let state = |key: u8, value: Option<&'static str>| StateChange {
        store: "s",
        partition: P0,
        key: vec![key].into(),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    let commit = |state: Vec<StateChange>| Commit { consumer: "c", state, ..Commit::default() };
    log.commit(commit((0..6).map(|key| state(key, Some("old"))).collect())).await.expect("commit");
    log.append((0..3).map(|_| at(A, P0, "k", "old")).collect()).await.expect("append");
    log.shared.settle().expect("settled");
    log.shared.pending.pause();
    let newer = vec![state(0, None), state(1, None), state(2, Some("new")), state(5, None), state(7, Some("new"))];
    log.commit(commit(newer)).await.expect("commit");
    log.append((0..2).map(|_| at(A, P0, "k", "new")).collect()).await.expect("append");

    let expected: Vec<(u8, &[u8])> = vec![(2, b"new"), (3, b"old"), (4, b"old"), (7, b"new")];
    for limit in 1..6 {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = log.scan("s", P0, after.clone(), limit).await.expect("scan");
            after = page.last().map(|(key, _)| key.clone()).or(after);
            let ends = page.len() < limit;
            found.extend(page);
            if ends {
                break;
            }
        }
        let found: Vec<(u8, &[u8])> = found.iter().map(|(key, value)| (key[0], &value[..])).collect();
        assert_eq!(found, expected, "pages of {limit}");
    }
    assert_eq!(log.state("s", P0, &[0]).await.expect("state"), None);
    for (n, records_max) in (0..5_u64).flat_map(|n| [(n, 0), (n, 2)]) {
        let read = log.read(A, P0, Offset(n), ReadLimit { records_max, bytes_max: usize::MAX }).await.expect("read");
        let offsets: Vec<_> = read.iter().map(|record| record.offset.0).collect();
        assert_eq!(offsets, (n..5).take(records_max.max(1)).collect::<Vec<_>>(), "from {n}, {records_max}");
    }
    log.close().expect("close");
    assert_eq!(std::fs::read_dir(dir.path().join("journal")).expect("folder").count(), 0, "all of it is in the store");
}
