//! Topics: their full names, and that they are as they must be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;

use super::client::{Clients, Context, Isolation, Reader, millis, unusable};
use super::cursor::END_WAIT;
use super::{Cleanup, Consumer, ConsumerSpec, Error, KafkaConfig, Partition, Topic, TopicSpec};

/// Before it is looked again whether new topics are there.
const CREATED_AGAIN: Duration = Duration::from_millis(20);

/// Which clock a record's time is by. The brokers': sessions are forgotten by it, and a producer whose clock is a year ahead
/// would make everybody's old.
const CLOCK: &str = "message.timestamp.type";
const CLOCK_OF_THE_BROKERS: &str = "LogAppendTime";

/// One topic.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// With the prefix.
    pub(super) name: Arc<str>,
    pub(super) cleanup: Cleanup,
}

/// What exists.
#[derive(Debug)]
pub(super) struct Topics {
    pub(super) partitions: u32,
    by_name: BTreeMap<Topic, Named>,
    changelogs: BTreeMap<Consumer, Arc<str>>,
    /// Replicas that a write to the first of them needs in sync (`min.insync.replicas`); 0 where nobody may know.
    in_sync_min: AtomicUsize,
}

impl Topics {
    pub(super) fn new(config: &KafkaConfig, topics: &[TopicSpec], consumers: &[ConsumerSpec]) -> Self {
        let full = |name: &str| Arc::from(format!("{}{name}", config.topic_prefix));
        let named = |spec: &TopicSpec| (spec.topic, Named { name: full(spec.topic), cleanup: spec.cleanup });
        let changelog = |spec: &ConsumerSpec| (spec.consumer, full(&format!("state.{}", spec.consumer)));
        Self {
            partitions: config.partitions,
            by_name: topics.iter().map(named).collect(),
            changelogs: consumers.iter().map(changelog).collect(),
            in_sync_min: AtomicUsize::new(0),
        }
    }

    pub(super) fn in_sync_min(&self) -> usize {
        self.in_sync_min.load(Ordering::Relaxed)
    }

    pub(super) fn topic(&self, topic: Topic) -> Result<&Named, Error> {
        self.by_name.get(topic).ok_or_else(|| Error::UnknownTopic(topic.to_owned()))
    }

    /// The topic, when it has this partition.
    pub(super) fn at(&self, topic: Topic, partition: Partition) -> Result<&Named, Error> {
        let named = self.topic(topic)?;
        self.partition(topic, partition)?;
        Ok(named)
    }

    pub(super) fn partition(&self, of: &str, partition: Partition) -> Result<(), Error> {
        if partition.0 < self.partitions {
            return Ok(());
        }
        Err(Error::UnknownTopic(format!("{of}, partition {partition}")))
    }

    /// Where the state and the progress of a consumer are kept.
    pub(super) fn changelog(&self, consumer: Consumer) -> Result<&Arc<str>, Error> {
        self.changelogs.get(consumer).ok_or_else(|| Error::UnknownTopic(format!("state.{consumer}")))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (Topic, &Named)> {
        self.by_name.iter().map(|(topic, named)| (*topic, named))
    }

    fn all(&self) -> impl Iterator<Item = (&Arc<str>, Cleanup)> {
        let own = self.by_name.values().map(|it| (&it.name, it.cleanup));
        own.chain(self.changelogs.values().map(|it| (it, Cleanup::Compact)))
    }

    /// Creates what is missing, where that is allowed, and checks what is there.
    pub(super) async fn ensure(&self, clients: &Clients) -> Result<(), Error> {
        // Existence is asked for through a reader, since a token (OAUTHBEARER) is fetched by a client that polls, and the client
        // that creates topics does not: with a token none is created, and no setting is looked at.
        let has_token = !clients.config.oauth_token_file.as_os_str().is_empty();
        let reader = Arc::new(clients.reader(Isolation::Uncommitted, 0, END_WAIT)?);
        let missing = self.check(clients, &reader).await?;
        if has_token && missing.is_empty() {
            tracing::warn!("with `oauth_token_file` the settings of topics are not looked at: see docs/kafka.md");
            return Ok(());
        }
        if let Some((name, cleanup)) = missing.first().filter(|_| has_token || !clients.config.create_topics) {
            let (partitions, policy) = (self.partitions, policy(*cleanup));
            let or =
                if has_token { "; with `oauth_token_file` topics are not created" } else { ", or set create_topics" };
            return Err(Error::Open(format!(
                "kafka: topic `{name}` does not exist: create it with {partitions} partitions, cleanup.policy={policy} and \
                 {CLOCK}={CLOCK_OF_THE_BROKERS}{or}"
            )));
        }
        let admin: AdminClient<Context> = clients.base().create_with_context(clients.context()).map_err(unusable)?;
        if missing.is_empty() {
            return self.check_settings(clients, &admin).await;
        }
        self.create(clients, &admin, &missing).await?;
        // A broker hears of a new topic some moments after the controller has made it.
        let deadline = Instant::now() + clients.request_timeout();
        while let Some((name, _)) = self.check(clients, &reader).await?.first() {
            if Instant::now() > deadline {
                return Err(Error::Open(format!(
                    "kafka: topic `{name}` was created and is not there: look at the brokers"
                )));
            }
            tokio::time::sleep(CREATED_AGAIN).await;
        }
        self.check_settings(clients, &admin).await
    }

    /// The topics that do not exist.
    async fn check(&self, clients: &Clients, reader: &Arc<Reader>) -> Result<Vec<(Arc<str>, Cleanup)>, Error> {
        let (asked, timeout) = (Arc::clone(reader), clients.request_timeout());
        let metadata = tokio::task::spawn_blocking(move || asked.fetch_metadata(None, timeout));
        let metadata = metadata.await.map_err(|_| Error::Closed)?.map_err(|error| {
            let brokers = &clients.config.brokers;
            Error::Open(format!(
                "kafka: no broker of `{brokers}` answers within {}: {error}{}. Check brokers and the security properties",
                clients.config.request_timeout,
                clients.health.last()
            ))
        })?;
        let found: BTreeMap<&str, usize> =
            metadata.topics().iter().map(|it| (it.name(), it.partitions().len())).collect();
        let mut missing = Vec::new();
        for (name, cleanup) in self.all() {
            match found.get(&**name) {
                None => missing.push((Arc::clone(name), cleanup)),
                Some(partitions) if *partitions == self.partitions as usize => {}
                Some(partitions) => {
                    return Err(Error::Open(format!(
                        "kafka: topic `{name}` has {partitions} partitions, but {} are configured: set partitions to \
                         {partitions}, or use another topic_prefix. Partitions decide where the records of a key are, so \
                         they cannot change",
                        self.partitions
                    )));
                }
            }
        }
        Ok(missing)
    }

    async fn create(
        &self,
        clients: &Clients,
        admin: &AdminClient<Context>,
        missing: &[(Arc<str>, Cleanup)],
    ) -> Result<(), Error> {
        let config = &clients.config;
        let (age, tombstones) = (millis(config.retention_age), millis(config.tombstone_age));
        let partitions = i32::try_from(self.partitions).unwrap_or(i32::MAX);
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            .map(|(name, cleanup)| {
                let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(config.replication_factor));
                let topic = topic.set(CLOCK, CLOCK_OF_THE_BROKERS);
                match cleanup {
                    Cleanup::Retain => topic.set("cleanup.policy", "delete").set("retention.ms", &age),
                    // Segments are closed hourly, and compacted when a third is old: a restore reads little that is gone.
                    Cleanup::Compact => topic
                        .set("cleanup.policy", "compact")
                        .set("delete.retention.ms", &tombstones)
                        .set("segment.ms", "3600000")
                        .set("segment.bytes", "67108864")
                        .set("min.cleanable.dirty.ratio", "0.3"),
                }
            })
            .collect();
        let options = AdminOptions::new()
            .request_timeout(Some(clients.request_timeout()))
            .operation_timeout(Some(clients.request_timeout()));
        let created = admin.create_topics(&topics, &options).await;
        let created = created.map_err(|error| Error::Open(format!("kafka: topics cannot be created: {error}")))?;
        for result in created {
            match result {
                Ok(name) => tracing::info!(topic = name, partitions, "topic created"),
                // Another process was faster; what it made is checked next.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(Error::Open(format!(
                        "kafka: topic `{name}` cannot be created with replication_factor {}: {code}",
                        config.replication_factor
                    )));
                }
            }
        }
        Ok(())
    }

    /// What else a topic has to be: cleaned up as it is used, with the brokers' clock.
    async fn check_settings(&self, clients: &Clients, admin: &AdminClient<Context>) -> Result<(), Error> {
        let wanted: BTreeMap<&str, Cleanup> = self.all().map(|(name, cleanup)| (&**name, cleanup)).collect();
        let specifiers: Vec<_> = wanted.keys().copied().map(ResourceSpecifier::Topic).collect();
        let options = AdminOptions::new().request_timeout(Some(clients.request_timeout()));
        let described = admin.describe_configs(&specifiers, &options).await;
        let described =
            described.map_err(|error| Error::Open(format!("kafka: topics cannot be described: {error}")))?;
        // Who may not describe a topic may still use it.
        for resource in described.iter().flatten() {
            let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
            let Some(cleanup) = wanted.get(&**name) else { continue };
            let in_sync = resource.get("min.insync.replicas").and_then(|it| it.value.as_deref()?.parse().ok());
            let is_first = self.names().next().is_some_and(|(_, first)| *first.name == **name);
            if let Some(count) = in_sync.filter(|_| is_first) {
                self.in_sync_min.store(count, Ordering::Relaxed);
            }
            for (setting, wanted) in [("cleanup.policy", policy(*cleanup)), (CLOCK, CLOCK_OF_THE_BROKERS)] {
                let found = resource.get(setting).and_then(|it| it.value.as_deref());
                if let Some(found) = found.filter(|it| *it != wanted) {
                    return Err(Error::Open(format!(
                        "kafka: topic `{name}` has {setting}={found}, but {wanted} is needed: alter the topic"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// `cleanup.policy` of a topic.
const fn policy(cleanup: Cleanup) -> &'static str {
    match cleanup {
        Cleanup::Retain => "delete",
        Cleanup::Compact => "compact",
    }
}
