//! How the log on Apache Kafka is configured. Compiled without the feature as well: what is configured and cannot be had
//! is said, and not taken for a key that does not exist.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Span;
use crate::log::Error;

/// Configuration of the log on Apache Kafka. Every field has a default but none is optional: `Default` is the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to begin with, as `host:port`, separated by commas. The others are learned from them. There is no log on
    /// Kafka without one.
    pub brokers: String,
    /// In front of the name of every topic, consumer group and transactional id.
    pub topic_prefix: String,
    /// Partitions of every topic. It decides where the records of a key are, so it cannot change later.
    pub partitions: u32,
    /// Whether topics that are missing are created when the log is opened; else they are an error.
    pub create_topics: bool,
    /// Replicas of the topics that are created; -1 leaves it to the brokers (`default.replication.factor`).
    pub replication_factor: i32,
    /// `retention.ms` of the topics that are created and not compacted. Kafka removes records by age whether they were
    /// read or not.
    pub retention_age: Span,
    /// How long a removed key of a compacted topic is told to readers (`delete.retention.ms` of topics that are created).
    /// A restore that takes longer may keep an entry that was removed meanwhile.
    pub tombstone_age: Span,
    /// Bytes of appends that may wait for the brokers; beyond it they are refused. One alone is always taken.
    pub queue_bytes_max: usize,
    /// Memory for the newest records, shared by all readers at the end of their partition.
    pub cache_bytes: usize,
    /// Memory for the index of compacted topics by key; what it does not hold is looked for on the log.
    pub newest_bytes_max: usize,
    /// Readers that catch up at the same time; others wait for their turn. Each has its own connections and threads.
    pub readers_max: usize,
    /// What one of them fetches ahead.
    pub reader_bytes: usize,
    /// How long an append or a commit may take, with the retries in it. Afterwards its outcome is unknown.
    pub write_timeout: Span,
    /// How long a question to the brokers may take.
    pub request_timeout: Span,
    /// At most this much of state and progress is lost, and judged again, when a process dies: how often the transaction
    /// of a pipelined consumer ends.
    pub settle_every: Span,
    /// Silence after which a process has lost its partitions to others.
    pub session_timeout: Span,
    pub compression: Compression,
    /// File with the token for SASL OAUTHBEARER, read again whenever a token is due. Empty: no token is offered.
    pub oauth_token_file: PathBuf,
    /// Properties of librdkafka as they are, for every client: security, sockets, sizes. Those on which the promises of
    /// the log rest are refused.
    pub properties: Properties,
}

/// How records are compressed on their way and on the brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    #[default]
    Lz4,
    Zstd,
}

impl Compression {
    #[cfg(feature = "kafka")]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Properties of librdkafka. `Debug` shows the values of none that may hold a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

impl Properties {
    /// Whether the value of a property is a secret, judged by its name.
    #[must_use]
    pub fn is_secret(name: &str) -> bool {
        ["password", "secret", "pem", "token", "jaas", "oauthbearer.config"].iter().any(|it| name.contains(it))
    }

    /// The same properties with the secrets masked, for printing.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mask = |(name, value): (&String, &String)| {
            (name.clone(), if Self::is_secret(name) { "***".to_owned() } else { value.clone() })
        };
        Self(self.0.iter().map(mask).collect())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.masked().0).finish()
    }
}

/// What the promises of the log rest on, and is therefore not for the operator to set.
const OWN: &[&str] = &[
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

const MIB: usize = 1 << 20;

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topic_prefix: "martingale.".to_owned(),
            partitions: 4,
            create_topics: true,
            replication_factor: -1,
            retention_age: Span::from_millis(30 * 86_400_000),
            tombstone_age: Span::from_millis(86_400_000),
            queue_bytes_max: 64 * MIB,
            cache_bytes: 64 * MIB,
            newest_bytes_max: 128 * MIB,
            readers_max: 16,
            reader_bytes: 4 * MIB,
            write_timeout: Span::from_millis(10_000),
            request_timeout: Span::from_millis(5_000),
            settle_every: Span::from_millis(100),
            session_timeout: Span::from_millis(10_000),
            compression: Compression::default(),
            oauth_token_file: PathBuf::new(),
            properties: Properties::default(),
        }
    }
}

/// `message.max.bytes` of librdkafka when nobody sets it.
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// What a client writes around a record and the batch that holds it alone, at most: some 130 bytes.
const FRAME_BYTES: usize = 512;
/// What may be written as one record, whatever others send: the largest is a dead letter, with 256 KiB of a payload.
const RECORD_BYTES_MIN: usize = 512 << 10;

impl KafkaConfig {
    /// Most bytes of a record, key and value together: beyond it the client refuses to send.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        let set = self.properties.0.get("message.max.bytes").and_then(|it| it.parse().ok());
        set.unwrap_or(MESSAGE_BYTES_MAX).saturating_sub(FRAME_BYTES)
    }

    /// # Errors
    /// A sentence that names the field, its value and what it may be.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least_one = [
            ("queue_bytes_max", self.queue_bytes_max),
            ("cache_bytes", self.cache_bytes),
            ("newest_bytes_max", self.newest_bytes_max),
            ("readers_max", self.readers_max),
            ("reader_bytes", self.reader_bytes),
        ];
        if let Some((field, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(Error::Open(format!("kafka: {field} is 0, give at least 1")));
        }
        let spans = [
            ("retention_age", self.retention_age, "30d"),
            ("tombstone_age", self.tombstone_age, "1d"),
            ("write_timeout", self.write_timeout, "10s"),
            ("request_timeout", self.request_timeout, "5s"),
            ("settle_every", self.settle_every, "100ms"),
            ("session_timeout", self.session_timeout, "10s"),
        ];
        if let Some((field, _, example)) = spans.iter().find(|(_, span, _)| span.0.is_zero()) {
            return Err(Error::Open(format!("kafka: {field} is 0, give for example {example}")));
        }
        if !(1..=1_024).contains(&self.partitions) {
            return Err(Error::Open(format!("kafka: partitions is {}, give 1 to 1024", self.partitions)));
        }
        if self.brokers.trim().is_empty() {
            return Err(Error::Open("kafka: brokers is empty, give for example 127.0.0.1:9092".to_owned()));
        }
        let bytes_max = self.record_bytes_max();
        if bytes_max < RECORD_BYTES_MIN {
            return Err(Error::Open(format!(
                "kafka: properties has message.max.bytes={}, give at least {}: dead letters and state need as much",
                bytes_max + FRAME_BYTES,
                RECORD_BYTES_MIN + FRAME_BYTES
            )));
        }
        let is_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
        if self.topic_prefix.len() > 100 || !self.topic_prefix.chars().all(is_name) {
            let given = &self.topic_prefix;
            return Err(Error::Open(format!(
                "kafka: topic_prefix is `{given}`, give up to 100 letters, digits, dots, dashes and underscores"
            )));
        }
        if let Some(own) = self.properties.0.keys().find(|name| OWN.contains(&name.as_str())) {
            return Err(Error::Open(format!(
                "kafka: properties has `{own}`, which the log sets itself: remove it (see the other fields)"
            )));
        }
        Ok(())
    }
}
