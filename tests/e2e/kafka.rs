//! The same over Apache Kafka: real brokers, a process for each role, any of which may be killed.
//!
//! Brokers are those of the log's own tests; where they cannot be run, these tests say so, and pass but in CI. There is one
//! cluster of three for all of them. Those that kill brokers have it alone.

mod any_client;
mod bench;
mod brokers_away;
mod fleet;
mod input;
mod kills;
mod replay;
mod roles;

use std::ops::Deref;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::harness::{BINARY, PATIENCE};
use crate::services::KafkaCluster;

/// The cluster, for as long as a test has it.
struct Turn {
    cluster: Arc<KafkaCluster>,
    _turn: Guard,
}

#[expect(dead_code, reason = "held")]
enum Guard {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

static TURN: RwLock<()> = RwLock::const_new(());

impl Deref for Turn {
    type Target = Arc<KafkaCluster>;

    fn deref(&self) -> &Arc<KafkaCluster> {
        &self.cluster
    }
}

/// Three brokers that all run, or none where there are none to be had. Tests keep apart by the prefix of their topics.
async fn brokers() -> Option<Turn> {
    turn(Guard::Shared(TURN.read().await)).await
}

/// The same for a test that kills brokers.
async fn brokers_alone() -> Option<Turn> {
    turn(Guard::Alone(TURN.write().await)).await
}

async fn turn(turn: Guard) -> Option<Turn> {
    static CLUSTER: Mutex<Option<Option<Arc<KafkaCluster>>>> = Mutex::new(None);
    let cluster = tokio::task::spawn_blocking(|| {
        let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = cluster.get_or_insert_with(|| KafkaCluster::start(3).map(Arc::new)).clone()?;
        // A test that failed may have left some killed.
        cluster.start_all();
        Some(cluster)
    });
    Some(Turn { cluster: cluster.await.expect("a cluster")?, _turn: turn })
}

/// The binary with what tests want: that a process which is gone is missed soon, and that a verdict is waited for on a
/// machine that has brokers and other tests to carry. Who tests the wait sets another.
fn binary() -> Command {
    let mut command = Command::new(BINARY);
    command.env("MARTINGALE__KAFKA__SESSION_TIMEOUT", "3s");
    command.env("MARTINGALE__GATE__TIMEOUT", "30s");
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
