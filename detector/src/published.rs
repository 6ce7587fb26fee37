//! What a partition published before its last commit was lost.
//!
//! A log that is not atomic (Kafka without transactions) may hold verdicts and answers to orders whose positions and
//! state were never recorded. Those are facts: somebody may have acted on them. They come out the same when their steps
//! are judged again, provided no order takes force earlier than it did. So before the first step is judged, the loop
//! reads how far verdicts reach and which position each answered order was given. On an atomic log there is nothing
//! beyond the commit, and this reads at most the verdicts of the last one.

use std::collections::HashMap;

use martingale_platform::log::{Error, Log, Offset, Partition, ReadLimit, Record, Topic};
use martingale_schemas::{Control, ControlId, ControlState, Position, topics};
use serde::Deserialize;

use crate::CONSUMER;
use crate::metrics::Metrics;

/// Where the detector left off in a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    pub(crate) steps: Offset,
    pub(crate) controls: Offset,
    /// All verdicts below were published before the commit was made.
    pub(crate) verdicts: Offset,
}

impl Committed {
    /// A topic that was never committed on is read from its beginning. What the log has removed before it was read is counted
    /// and said: those steps have no verdict, those orders are not in force.
    pub(crate) async fn read(log: &dyn Log, partition: Partition, metrics: &Metrics) -> Result<Self, Error> {
        let from = async |topic| {
            let start = log.bounds(topic, partition).await?.start;
            let Some(next) = log.committed(CONSUMER, topic, partition).await? else { return Ok(start) };
            // Its own verdicts are read for what was published and not committed, and that is never old.
            if next < start && topic != topics::VERDICTS {
                metrics.expired(topic, start.0 - next.0);
                tracing::error!(
                    topic, %partition, %next, %start,
                    "records were removed before they were read: they are passed over; keep them longer than a detector may be \
                     away"
                );
            }
            Ok::<_, Error>(next.max(start))
        };
        let steps = from(topics::STEPS).await?;
        let is_new = log.committed(CONSUMER, topics::STEPS, partition).await?.is_none();
        if is_new && log.bounds(topics::VERDICTS, partition).await?.end > Offset::START {
            tracing::error!(
                %partition, from = %steps,
                "verdicts were published and nothing is known of state and progress: the detector's store was emptied or deleted, \
                 unless the first detector of all ended within its first moments. What is left of the steps is judged again, \
                 sessions that began earlier without their beginnings"
            );
        }
        Ok(Self { steps, controls: from(topics::CONTROLS).await?, verdicts: from(topics::VERDICTS).await? })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Steps below have their verdict.
    pub(crate) judged_to: Offset,
    /// Orders whose answer is on the log, from the position of orders on. At most as many as one commit publishes.
    pub(crate) answered: HashMap<ControlId<'static>, Offset>,
}

const PAGE: ReadLimit = ReadLimit { records_max: 1_024, bytes_max: 4 << 20 };

impl Published {
    /// Reads to the ends of the topics, from what is committed.
    pub(crate) async fn read(log: &dyn Log, partition: Partition, committed: &Committed) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Verdict {
            position: Position,
        }
        let mut found = Self::default();
        each(log, topics::VERDICTS, partition, committed.verdicts, |record| {
            if let Ok(Verdict { position }) = serde_json::from_slice(&record.value) {
                found.judged_to = found.judged_to.max(Offset(position.offset).next());
            }
        })
        .await?;
        each(log, topics::CONTROLS, partition, committed.controls, |record| {
            let Ok(control) = serde_json::from_slice::<Control>(&record.value) else { return };
            // An answer that is older than the commit belongs to an order that is in it.
            if let ControlState::Applied { before, .. } = control.state
                && before.offset >= committed.steps.0
            {
                found.judged_to = found.judged_to.max(Offset(before.offset));
                found.answered.entry(control.control_id).or_insert(Offset(before.offset));
            }
        })
        .await?;
        Ok(found)
    }
}

async fn each(
    log: &dyn Log,
    topic: Topic,
    partition: Partition,
    from: Offset,
    mut f: impl FnMut(&Record),
) -> Result<(), Error> {
    let mut next = from;
    loop {
        let records = log.read(topic, partition, next, PAGE).await?;
        let Some(last) = records.last() else { return Ok(()) };
        next = last.offset.next();
        records.iter().for_each(&mut f);
    }
}
