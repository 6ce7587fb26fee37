//! The log of the process: in the data folder, or on Kafka.

use std::sync::Arc;

use anyhow::{Context, Result};
use martingale_platform::clock::Clock;
use martingale_platform::log::{Cleanup, EmbeddedLog, Log, TopicSpec};
#[cfg(feature = "kafka")]
use martingale_platform::log::{ConsumerSpec, KafkaConfig, KafkaLog, Settle, Share};
use martingale_schemas::topics;
use prometheus::Registry;

use crate::config::Config;

/// A log that is open.
#[derive(Clone)]
pub(crate) enum Opened {
    Embedded(Arc<EmbeddedLog>),
    #[cfg(feature = "kafka")]
    Kafka(Arc<KafkaLog>),
}

/// Every topic, and whether old records of it go or those that were superseded.
pub(crate) fn all_topics() -> [TopicSpec; topics::ALL.len()] {
    topics::ALL.map(|topic| TopicSpec { topic, cleanup: Cleanup::of(topics::is_compacted(topic)) })
}

/// Who keeps what, and how processes share it.
#[cfg(feature = "kafka")]
pub(crate) const CONSUMERS: [ConsumerSpec; 3] = [
    // Reads what it published, and publishes the same again.
    ConsumerSpec {
        consumer: martingale_detector::CONSUMER,
        stores: &[martingale_detector::STORE],
        share: Share::Group { by: topics::STEPS },
        settle: Settle::Behind,
    },
    ConsumerSpec {
        consumer: martingale_query_api::history::CONSUMER,
        stores: &[],
        share: Share::Group { by: topics::VERDICTS },
        settle: Settle::AtOnce,
    },
    // What it has committed, it acts on outside of the log.
    ConsumerSpec {
        consumer: martingale_query_api::webhooks::CONSUMER,
        stores: &[martingale_query_api::webhooks::STORE, martingale_query_api::alerts::STORE],
        share: Share::One { by: topics::ALERTS },
        settle: Settle::AtOnce,
    },
];

impl Opened {
    /// Opens the one that is configured.
    ///
    /// # Errors
    /// When it cannot be had, with what to change.
    pub(crate) async fn open(config: &Config, clock: Clock, registry: &Registry) -> Result<Self> {
        #[cfg(feature = "kafka")]
        if config.on_kafka() {
            return Self::on_kafka(config.kafka.clone(), registry).await;
        }
        let (embedded, registry) = (config.log.clone(), registry.clone());
        let open = move || EmbeddedLog::open(embedded, &all_topics(), clock, &registry);
        let opened = tokio::task::spawn_blocking(open).await.context("the log broke while it was opened")?;
        Ok(Self::Embedded(opened.context("the log cannot be opened")?))
    }

    #[cfg(feature = "kafka")]
    async fn on_kafka(config: KafkaConfig, registry: &Registry) -> Result<Self> {
        Ok(Self::Kafka(
            KafkaLog::open(config, &all_topics(), &CONSUMERS, registry).await.context("the log cannot be opened")?,
        ))
    }

    pub(crate) fn log(&self) -> Arc<dyn Log> {
        match self {
            Self::Embedded(log) => Arc::clone(log) as Arc<dyn Log>,
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => Arc::clone(log) as Arc<dyn Log>,
        }
    }

    /// Writes down what is left to be written and lets go.
    ///
    /// # Errors
    /// When the embedded log cannot be written.
    pub(crate) async fn close(self) -> Result<()> {
        match self {
            Self::Embedded(log) => {
                let closed = tokio::task::spawn_blocking(move || log.close()).await;
                closed.context("the log broke")?.context("the log did not close well")
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => {
                log.close().await;
                Ok(())
            }
        }
    }
}
