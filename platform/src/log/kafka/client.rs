//! Clients of librdkafka: how they are configured, what they say, what they know about the brokers' health.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{ProducerContext, ThreadedProducer};

use super::delivery::Delivery;
use super::{Error, KafkaConfig};
use crate::clock::Clock;

pub(super) type Producer = ThreadedProducer<Context>;
pub(super) type Reader = BaseConsumer<Context>;

/// Every client is asked for from here.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub(super) config: Arc<KafkaConfig>,
    pub(super) health: Arc<Health>,
}

/// What the clients last said about the brokers.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Why nothing can be written now; set and cleared by looking.
    down: Mutex<Option<String>>,
    /// The newest complaint of a client, to explain a failure with.
    last: Mutex<Option<String>>,
    /// When an append failed after the last one that did not, and why.
    failed: Mutex<Option<(Instant, String)>>,
}

/// How long a failed append counts when no other follows: afterwards the next one tries.
const FAILED_FOR: Duration = Duration::from_secs(10);

impl Health {
    pub(super) fn get(&self) -> Result<(), String> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    pub(super) fn set(&self, outcome: Result<(), String>) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*down, &outcome) {
            (None, Err(why)) => tracing::warn!(why, "kafka takes no writes"),
            (Some(_), Ok(())) => tracing::info!("kafka takes writes again"),
            _ => {}
        }
        *down = outcome.err();
    }

    /// What became of an append. That a topic takes no record so large says nothing of the brokers.
    pub(super) fn wrote(&self, outcome: Result<(), &KafkaError>) {
        let of_brokers = |it: &&KafkaError| it.rdkafka_error_code() != Some(RDKafkaErrorCode::MessageSizeTooLarge);
        let failed = outcome.err().filter(of_brokers).map(|error| (Instant::now(), error.to_string()));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Why appends fail just now.
    pub(super) fn failing(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed
            .as_ref()
            .filter(|(at, _)| at.elapsed() < FAILED_FOR)
            .map(|(_, why)| format!("the last append failed: {why}"))
    }

    fn complain(&self, error: &KafkaError, reason: &str) {
        // That all are down says less than what was said of one of them before.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.set(Err(format!("{reason}{}", self.last())));
        } else {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }

    pub(super) fn last(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map(|it| format!(": {it}")).unwrap_or_default()
    }
}

/// Why an operation on Kafka failed, with what was being done.
#[derive(Debug, thiserror::Error)]
#[error("{doing}{last}")]
pub(super) struct Failed {
    pub(super) doing: String,
    /// What a client said lately, when the error itself only says that time ran out.
    pub(super) last: String,
    #[source]
    pub(super) source: KafkaError,
}

pub(super) fn millis(span: crate::config::Span) -> String {
    span.0.as_millis().to_string()
}

impl Clients {
    pub(super) fn new(config: Arc<KafkaConfig>) -> Self {
        Self { config, health: Arc::default() }
    }

    pub(super) fn failed(&self, doing: impl fmt::Display, source: KafkaError) -> Error {
        let is_time_out = matches!(
            source.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::MessageTimedOut
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
            )
        );
        let last = if is_time_out { self.health.last() } else { String::new() };
        Error::Storage(Box::new(Failed { doing: doing.to_string(), last, source }))
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.config.request_timeout.0
    }

    /// What all clients have in common. Fields of the configuration are set after the operator's properties: they win.
    pub(super) fn base(&self) -> ClientConfig {
        let mut it = ClientConfig::new();
        it.set("client.id", "martingale");
        // Down to milliseconds: a broker that is back is found at once, and there are few clients.
        it.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        it.set("log.connection.close", "false").set("socket.nagle.disable", "true");
        for (name, value) in &self.config.properties.0 {
            it.set(name, value);
        }
        it.set("bootstrap.servers", &self.config.brokers);
        it.set_log_level(RDKafkaLogLevel::Info);
        it
    }

    fn producer(&self) -> ClientConfig {
        let mut it = self.base();
        // A group is what queued while the one before it was under way; nothing lingers.
        it.set("linger.ms", "0").set("compression.codec", self.config.compression.name());
        it.set("batch.num.messages", "10000");
        // The queue is bounded by bytes before librdkafka is asked.
        it.set("queue.buffering.max.messages", "10000000").set("queue.buffering.max.kbytes", "2097151");
        for (name, value) in &self.config.properties.0 {
            it.set(name, value);
        }
        it.set("enable.idempotence", "true").set("acks", "all");
        it.set("message.timeout.ms", millis(self.config.write_timeout));
        it
    }

    pub(super) fn appender(&self) -> Result<Producer, Error> {
        self.producer().create_with_context(self.context()).map_err(unusable)
    }

    pub(super) fn transactional(&self, id: &str) -> Result<Producer, Error> {
        let mut it = self.producer();
        it.set("transactional.id", id);
        // Longer than any message may take: a message that is given up ends the transaction before the broker does.
        let timeout = (self.config.write_timeout.0 * 3).max(Duration::from_secs(10));
        it.set("transaction.timeout.ms", timeout.as_millis().to_string());
        it.create_with_context(self.context()).map_err(unusable)
    }

    /// A reader of partitions that it is told, without a group. `wait`: how long a broker that has nothing waits before it says
    /// so. Who reads to an end and stops there wants to hear that soon: the last of a partition may be the mark of a
    /// transaction, and then an end is told by an empty answer only.
    pub(super) fn reader(&self, isolation: Isolation, ahead_bytes: usize, wait: Duration) -> Result<Reader, Error> {
        let mut it = self.base();
        let ahead = ahead_bytes.clamp(64 << 10, 1 << 30);
        it.set("queued.max.messages.kbytes", (ahead >> 10).to_string()).set("queued.min.messages", "100000");
        it.set("fetch.message.max.bytes", (ahead / 4).max(64 << 10).to_string());
        it.set("fetch.wait.max.ms", wait.as_millis().to_string());
        it.set("fetch.queue.backoff.ms", "2").set("fetch.error.backoff.ms", "50");
        for (name, value) in &self.config.properties.0 {
            it.set(name, value);
        }
        // Never joined: the client asks for one.
        it.set("group.id", format!("{}readers", self.config.topic_prefix));
        it.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        it.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        it.set("isolation.level", isolation.name());
        let reader: Reader = it.create_with_context(self.context()).map_err(unusable)?;
        // A token (OAUTHBEARER) is fetched when somebody polls, and the first question to a broker needs it.
        drop(reader.poll(Duration::ZERO));
        Ok(reader)
    }

    pub(super) fn context(&self) -> Context {
        Context { health: Arc::clone(&self.health), token: self.config.oauth_token_file.clone() }
    }
}

/// A property that librdkafka does not know or does not take.
pub(super) fn unusable(error: KafkaError) -> Error {
    let why = match error {
        KafkaError::ClientConfig(_, description, name, _) => format!("property `{name}`: {description}"),
        other => other.to_string(),
    };
    Error::Open(format!("kafka: the client cannot be made, {why}"))
}

/// What a reader sees of transactions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Isolation {
    /// All that is on the log. Verdicts are read so: they are facts as soon as they are there.
    Uncommitted,
    /// What belongs to a transaction that ended well. State is read so.
    Committed,
}

impl Isolation {
    const fn name(self) -> &'static str {
        match self {
            Self::Uncommitted => "read_uncommitted",
            Self::Committed => "read_committed",
        }
    }
}

/// What librdkafka calls back.
#[derive(Clone, Debug)]
pub(super) struct Context {
    health: Arc<Health>,
    token: PathBuf,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::debug!(facility, message, "librdkafka complains"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(facility, message, "librdkafka says");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Ordinary answers to a reader.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset) => {}
            _ => {
                tracing::debug!(%error, reason, "kafka client");
                self.health.complain(&error, reason);
            }
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        if self.token.as_os_str().is_empty() {
            return Err("kafka: oauth_token_file is not set".into());
        }
        let token = std::fs::read_to_string(&self.token)
            .map_err(|error| format!("kafka: oauth_token_file {}: {error}", self.token.display()))?;
        // The token says itself until when it holds; whoever writes the file renews it in time.
        let lifetime_ms = Clock::System.now_micros() / 1_000 + 300_000;
        Ok(OAuthToken { token: token.trim().to_owned(), principal_name: "martingale".to_owned(), lifetime_ms })
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        delivery.done(result);
    }
}
