//! Finds halts on the log, one task a topic and partition.

use std::sync::Arc;
use std::time::Duration;

use martingale_platform::log::{self, Offset, Partition, Progress, ReadLimit, Record, Topic};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Control, Decision, Timestamp, Verdict, topics};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::{CONSUMER, Message, Webhooks};
use crate::http::with_causes;

const READ: ReadLimit = ReadLimit { records_max: 1_024, bytes_max: 1 << 20 };

/// Records without a halt after which the position is written all the same. Reading some again after a restart costs
/// little; a commit for every verdict would cost the log a write each.
const RECORDS_UNCOMMITTED_MAX: u64 = 10_000;

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// Begins where the last process stopped; the first time, with what comes from now on. Without an endpoint nothing is
/// followed, unless a position was committed once: it would hold up retention if it stood still.
pub(super) async fn start(
    webhooks: &Arc<Webhooks>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Result<(), log::Error> {
    for topic in [topics::VERDICTS, topics::CONTROLS] {
        for partition in (0..webhooks.log.partitions()).map(Partition) {
            let next = match webhooks.log.committed(CONSUMER, topic, partition).await? {
                Some(next) => next,
                None if webhooks.target.is_none() => continue,
                None => {
                    let end = webhooks.log.bounds(topic, partition).await?.end;
                    webhooks.keep(partition, Vec::new(), vec![Progress { topic, partition, next: end }]).await?;
                    end
                }
            };
            tasks.spawn(follow(Arc::clone(webhooks), topic, partition, next, shutdown.clone()));
        }
    }
    Ok(())
}

async fn follow(webhooks: Arc<Webhooks>, topic: Topic, partition: Partition, mut next: Offset, mut shutdown: Shutdown) {
    let mut written = next;
    loop {
        tokio::select! {
            stepped = step(&webhooks, topic, partition, &mut next, &mut written) => if let Err(error) = stepped {
                let error = with_causes(&error);
                tracing::error!(topic, %partition, %error, "halts cannot be followed");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                    () = shutdown.stopping() => return,
                }
            },
            () = shutdown.stopping() => break,
        }
    }
    if next > written
        && let Err(error) = webhooks.keep(partition, Vec::new(), vec![Progress { topic, partition, next }]).await
    {
        let error = with_causes(&error);
        tracing::warn!(topic, %partition, %error, "last position not written, some records are read again");
    }
}

/// One read and what follows from it. Waits for room among the pending deliveries, then for records.
async fn step(
    webhooks: &Webhooks,
    topic: Topic,
    partition: Partition,
    next: &mut Offset,
    written: &mut Offset,
) -> Result<(), log::Error> {
    let mut settled = webhooks.book.changes();
    while webhooks.book.pending() >= webhooks.config.pending_max {
        if settled.changed().await.is_err() {
            return Err(log::Error::Closed);
        }
    }
    let mut grown = webhooks.log.grown(topic, partition);
    grown.mark_unchanged();
    let records = match webhooks.log.read(topic, partition, *next, READ).await {
        Ok(records) => records,
        Err(log::Error::Expired { asked, start }) => {
            tracing::error!(topic, %partition, %asked, %start, "records were removed before their halts were told");
            *next = start;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let Some(last) = records.last() else {
        return grown.changed().await.map_err(|_| log::Error::Closed);
    };
    let after = last.offset.next();
    let home = |key: &[u8]| webhooks.log.partition_of(key);
    let messages: Vec<Message> = records.iter().filter_map(|it| message(topic, partition, it, home)).collect();
    if !messages.is_empty() || after.0 - written.0 >= RECORDS_UNCOMMITTED_MAX {
        webhooks.keep(partition, messages, vec![Progress { topic, partition, next: after }]).await?;
        *written = after;
    }
    *next = after;
    Ok(())
}

fn message(topic: Topic, partition: Partition, record: &Record, home: impl Fn(&[u8]) -> Partition) -> Option<Message> {
    /// Read first: all but few verdicts are no halt.
    #[derive(Deserialize)]
    struct Head {
        decision: Decision,
    }
    let published = Timestamp::from_micros(record.appended_at);
    let read = match topic {
        topics::VERDICTS => serde_json::from_slice::<Head>(&record.value).and_then(|head| {
            if head.decision < Decision::Halt {
                return Ok(None);
            }
            let verdict = serde_json::from_slice::<Verdict<'static>>(&record.value)?;
            Ok(Message::of_verdict(&verdict, published))
        }),
        _ => serde_json::from_slice::<Control>(&record.value).map(|control| {
            let home = home(control.scope.id().as_str().as_bytes());
            Message::of_control(&control, partition, home, published)
        }),
    };
    read.unwrap_or_else(|error| {
        tracing::error!(topic, %partition, offset = %record.offset, %error, "record unreadable, passed over");
        None
    })
}
