//! Whether the brokers take writes, looked at for as long as the log is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::producer::Producer as _;

use super::{Error, KafkaLog, lock};

impl KafkaLog {
    /// Looks every moment whether the brokers take writes, for as long as the log is there.
    pub(super) fn watch(self: &Arc<Self>) -> Result<(), Error> {
        const EVERY: Duration = Duration::from_secs(1);
        const SOON: Duration = Duration::from_millis(200);
        let log = Arc::downgrade(self);
        let run = move || {
            loop {
                let wait = match log.upgrade() {
                    Some(log) if !log.closed.load(Ordering::Relaxed) => {
                        log.look();
                        if log.clients.health.get().is_ok() { EVERY } else { SOON }
                    }
                    _ => return,
                };
                std::thread::park_timeout(wait);
            }
        };
        let keeper = std::thread::Builder::new().name("kafka-keeper".to_owned()).spawn(run);
        let keeper = keeper.map_err(|error| Error::Open(format!("threads of the log: {error}")))?;
        *lock(&self.keeper) = Some(keeper);
        Ok(())
    }

    fn look(&self) {
        let Some((topic, named)) = self.topics.names().next() else { return };
        let found = self.producer.client().fetch_metadata(Some(&named.name), Duration::from_secs(1));
        let outcome = match found {
            Err(error) => Err(format!("no broker answers: {error}{}", self.clients.health.last())),
            Ok(metadata) => {
                let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
                // Too few: the leader answers, and takes no writes.
                let in_sync_min = self.topics.in_sync_min();
                match partitions.into_iter().find(|it| it.leader() < 0 || it.isr().len() < in_sync_min) {
                    Some(it) if it.leader() < 0 => Err(format!("partition {} of `{topic}` has no leader", it.id())),
                    Some(it) => Err(format!(
                        "partition {} of `{topic}` has {} replicas in sync, a write needs {in_sync_min}",
                        it.id(),
                        it.isr().len()
                    )),
                    None => self.clients.health.failing().map_or(Ok(()), Err),
                }
            }
        };
        self.metrics.healthy.set(i64::from(outcome.is_ok()));
        self.clients.health.set(outcome);
    }
}
