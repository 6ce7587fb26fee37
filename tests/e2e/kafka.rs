//! The same over Apache Kafka: real brokers, a process for each role, any of which may be killed.
//!
//! Brokers are those of the log's own tests; where they cannot be run, these tests say so and pass.

mod any_client;
mod brokers_away;
/// Taken in as a file: as a feature of the platform crate it would have everything above that compiled twice.
#[allow(dead_code, unreachable_pub)]
#[path = "../../platform/src/testing.rs"]
mod cluster;
mod fleet;
mod kills;
mod roles;

use std::process::Command;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use self::cluster::KafkaCluster;
use crate::harness::{BINARY, PATIENCE};

/// Brokers of a test, or none where there are none to be had.
async fn brokers(count: usize) -> Option<Arc<KafkaCluster>> {
    tokio::task::spawn_blocking(move || KafkaCluster::start(count)).await.expect("a cluster").map(Arc::new)
}

/// The binary with what tests want of the log: that a process which is gone is missed soon.
fn binary() -> Command {
    let mut command = Command::new(BINARY);
    command.env("MARTINGALE__KAFKA__SESSION_TIMEOUT", "3s");
    command
}

/// Produces as any other client does, and waits until the brokers have it.
fn produce(brokers: &str, records: &[(&str, Option<String>, Vec<u8>)]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("partitioner", "murmur2_random").set("acks", "all");
    config.set("message.max.bytes", "900000");
    let producer: BaseProducer = config.create().expect("a producer");
    for (topic, key, value) in records {
        let record = BaseRecord::<str, [u8]>::to(topic).payload(value);
        let record = match key {
            Some(key) => record.key(key),
            None => record,
        };
        producer.send(record).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(PATIENCE).expect("written");
}
