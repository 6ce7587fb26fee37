//! From topics of others into ingest: read, take, done.
//!
//! A record is done when ingest has given each of its spans an outcome; what it cannot take now is offered again, and
//! nothing is read meanwhile.

use std::time::Duration;

use anyhow::{Context, Result};
use martingale_ingest::Ingest;
use martingale_platform::log::{Inlet, InletRecord, KafkaConfig};
use martingale_platform::shutdown::Shutdown;

/// The consumer group, behind the prefix of the topics.
const GROUP: &str = "otlp";
/// Waits before a record is offered again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Joins the group. None where no topics are configured.
///
/// # Errors
/// When the client cannot be made.
pub(crate) fn open(config: &KafkaConfig, ingest: &Ingest) -> Result<Option<Inlet>> {
    let topics = ingest.otlp_topics();
    if topics.is_empty() {
        return Ok(None);
    }
    Inlet::open(config, GROUP, &topics).map(Some).context("topics of `ingest.kafka`")
}

/// Takes records until shutdown.
pub(crate) async fn run(inlet: Inlet, ingest: Ingest, mut shutdown: Shutdown) {
    loop {
        let record = tokio::select! {
            () = shutdown.stopping() => break,
            record = inlet.next() => record,
        };
        let Some(record) = record else { break };
        if !take(&ingest, &record, &mut shutdown).await {
            break;
        }
        inlet.done(&record);
    }
    inlet.close().await;
}

/// False when it was not taken, because it is time to stop.
async fn take(ingest: &Ingest, record: &InletRecord, shutdown: &mut Shutdown) -> bool {
    let (mut wait, longest) = AGAIN;
    while let Err(later) = ingest.take_record(&record.topic, &record.value).await {
        tracing::warn!(topic = record.topic, partition = record.partition, %later, "record cannot be taken now");
        tokio::select! {
            () = shutdown.stopping() => return false,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(longest),
        }
    }
    true
}
