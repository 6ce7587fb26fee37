//! What only the log on Kafka does, against a real broker. What every log does is in the conformance suite.

mod failures;
mod groups;
mod opening;
mod restores;

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use prometheus::Registry;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use super::*;
use crate::clock::Clock;
use crate::config::Span;
use crate::log::conformance::{A, B, TOPICS};
use crate::log::kafka_config::Properties;
use crate::testing::KafkaCluster;

pub(super) const P0: Partition = Partition(0);
pub(super) const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

const fn spec(consumer: Consumer, stores: &'static [Store], share: Share, settle: Settle) -> ConsumerSpec {
    ConsumerSpec { consumer, stores, share, settle }
}

pub(super) const CONSUMERS: [ConsumerSpec; 6] = [
    spec("c", &["s", "st", "x"], Share::All, Settle::Behind),
    spec("d", &[], Share::All, Settle::AtOnce),
    spec("e", &[], Share::All, Settle::AtOnce),
    spec("now", &["now"], Share::All, Settle::AtOnce),
    spec("shared", &["shared"], Share::Group { by: A }, Settle::Behind),
    spec("one", &["of one"], Share::One { by: A }, Settle::AtOnce),
];

/// Topics of its own on a broker.
pub(super) fn config(brokers: String) -> KafkaConfig {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    KafkaConfig {
        brokers,
        topic_prefix: format!("test-{}.", NUMBER.fetch_add(1, Ordering::Relaxed)),
        session_timeout: Span::from_millis(2_000),
        ..KafkaConfig::default()
    }
}

pub(crate) async fn open(config: &KafkaConfig) -> Result<Arc<KafkaLog>, Error> {
    KafkaLog::open(config.clone(), &TOPICS, &CONSUMERS, &Registry::new()).await
}

/// The cluster that all tests share; None when there is none to be had.
pub(super) async fn cluster() -> Option<&'static KafkaCluster> {
    tokio::task::spawn_blocking(KafkaCluster::shared).await.expect("a cluster")
}

/// A log on topics of its own.
pub(crate) async fn subject() -> Option<(Arc<KafkaLog>, KafkaConfig)> {
    let config = config(cluster().await?.brokers());
    Some((open(&config).await.expect("open"), config))
}

/// Removes the records before `start`, as retention does.
pub(crate) async fn expire(config: &KafkaConfig, topic: Topic, partition: Partition, start: Offset) {
    let mut client = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        client.set("bootstrap.servers", &config.brokers).create().expect("admin");
    let list = tail::list(&format!("{}{topic}", config.topic_prefix), partition, start).expect("list");
    let done = admin.delete_records(&list, &AdminOptions::new()).await.expect("delete records");
    assert!(done.elements().iter().all(|it| it.error().is_ok()), "{done:?}");
}

pub(super) fn at(topic: Topic, partition: Partition, value: &str) -> Append {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Append::new(topic, bytes("k"), bytes(value)).to_partition(partition)
}

pub(super) fn set(store: Store, partition: Partition, key: &'static str, value: Option<&str>) -> StateChange {
    let value = value.map(|it| Bytes::copy_from_slice(it.as_bytes()));
    StateChange { store, partition, key: Bytes::from_static(key.as_bytes()), value }
}

/// One step of a consumer: a record out, the number in its state, and progress.
pub(super) fn numbered(consumer: Consumer, store: Store, partition: Partition, number: u64) -> Commit {
    Commit {
        consumer,
        publish: vec![at(B, partition, &number.to_string())],
        state: vec![set(store, partition, "number", Some(&number.to_string()))],
        progress: vec![Progress { topic: A, partition, next: Offset(number) }],
    }
}

pub(super) async fn values(log: &dyn Log, topic: Topic, partition: Partition) -> Vec<String> {
    let mut next = log.bounds(topic, partition).await.expect("bounds").start;
    let mut values = Vec::new();
    loop {
        let records = log.read(topic, partition, next, ALL).await.expect("read");
        let Some(last) = records.last() else { return values };
        next = last.offset.next();
        values.extend(records.iter().map(|it| String::from_utf8(it.value.to_vec()).expect("text")));
    }
}
