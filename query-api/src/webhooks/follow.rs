//! Finds halts on the log: verdicts with one task a partition, controls of all partitions with one.

use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use martingale_platform::log::{self, Offset, Partition, Progress, ReadLimit, Record, Topic};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Control, Decision, Timestamp, Verdict, topics};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::orders::Orders;
use super::{CONSUMER, FIRST, Message, Webhooks};
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
    for partition in (0..webhooks.log.partitions()).map(Partition) {
        if let Some(next) = begin(webhooks, topics::VERDICTS, partition, shutdown).await? {
            tasks.spawn(follow_verdicts(Arc::clone(webhooks), partition, next, shutdown.clone()));
        }
    }
    let mut controls = Vec::new();
    for partition in (0..webhooks.log.partitions()).map(Partition) {
        controls.extend(begin(webhooks, topics::CONTROLS, partition, shutdown).await?);
    }
    if !controls.is_empty() {
        tasks.spawn(follow_controls(Arc::clone(webhooks), shutdown.clone()));
    }
    Ok(())
}

/// Where to begin, written down: what is never told of is not read again.
async fn begin(
    webhooks: &Webhooks,
    topic: Topic,
    partition: Partition,
    shutdown: &Shutdown,
) -> Result<Option<Offset>, log::Error> {
    match webhooks.log.committed(CONSUMER, topic, partition).await? {
        Some(next) => Ok(Some(next)),
        None if webhooks.target.is_none() => Ok(None),
        None => {
            let next = webhooks.log.bounds(topic, partition).await?.end;
            let progress = vec![Progress { topic, partition, next }];
            webhooks.keep(partition, Vec::new(), progress, &mut shutdown.clone()).await?;
            Ok(Some(next))
        }
    }
}

async fn follow_verdicts(webhooks: Arc<Webhooks>, partition: Partition, mut next: Offset, mut shutdown: Shutdown) {
    let topic = topics::VERDICTS;
    let mut written = next;
    while !shutdown.is_stopping() {
        if let Err(error) = step(&webhooks, partition, &mut next, &mut written, &mut shutdown).await {
            let error = with_causes(&error);
            tracing::error!(topic, %partition, %error, "halts cannot be followed");
            tokio::select! {
                () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
                () = shutdown.stopping() => return,
            }
        }
    }
    let progress = vec![Progress { topic, partition, next }];
    if next > written
        && let Err(error) = webhooks.keep(partition, Vec::new(), progress, &mut shutdown).await
    {
        let error = with_causes(&error);
        tracing::warn!(topic, %partition, %error, "last position not written, some records are read again");
    }
}

/// One read of verdicts and what follows from it; waits for records, or the stop, when there are none.
async fn step(
    webhooks: &Webhooks,
    partition: Partition,
    next: &mut Offset,
    written: &mut Offset,
    shutdown: &mut Shutdown,
) -> Result<(), log::Error> {
    let topic = topics::VERDICTS;
    let mut grown = webhooks.log.grown(topic, partition);
    grown.mark_unchanged();
    let records = read(webhooks, topic, partition, next).await?;
    let Some(last) = records.last() else {
        return tokio::select! {
            grown = grown.changed() => grown.map_err(|_| log::Error::Closed),
            () = shutdown.stopping() => Ok(()),
        };
    };
    let after = last.offset.next();
    let messages: Vec<Message> = records.iter().filter_map(|it| of_verdict(partition, it)).collect();
    if !messages.is_empty() || after.0 - written.0 >= RECORDS_UNCOMMITTED_MAX {
        let progress = vec![Progress { topic, partition, next: after }];
        if !webhooks.keep(partition, messages, progress, shutdown).await? {
            return Ok(());
        }
        *written = after;
    }
    *next = after;
    Ok(())
}

async fn follow_controls(webhooks: Arc<Webhooks>, mut shutdown: Shutdown) {
    while let Err(error) = controls(&webhooks, &mut shutdown).await {
        let error = with_causes(&error);
        tracing::error!(topic = topics::CONTROLS, %error, "halts by hand cannot be followed");
        tokio::select! {
            () = tokio::time::sleep(PAUSE_AFTER_ERROR) => {}
            () = shutdown.stopping() => return,
        }
    }
}

/// Follows the controls of all partitions from the positions that were written. A position moves on only behind what is
/// told or will not be: halts that are under way are read again after a restart, so they need no state of their own.
async fn controls(webhooks: &Webhooks, shutdown: &mut Shutdown) -> Result<(), log::Error> {
    let topic = topics::CONTROLS;
    let mut orders = Orders::new(webhooks.log.partitions() as usize);
    let (mut lanes, mut grown) = (Vec::new(), Vec::new());
    for partition in (0..webhooks.log.partitions()).map(Partition) {
        let next = webhooks.log.committed(CONSUMER, topic, partition).await?.unwrap_or_default();
        lanes.push(Progress { topic, partition, next });
        grown.push(webhooks.log.grown(topic, partition));
    }
    let mut written = lanes.clone();
    while !shutdown.is_stopping() {
        grown.iter_mut().for_each(tokio::sync::watch::Receiver::mark_unchanged);
        let mut messages = Vec::new();
        let mut at_end = true;
        for lane in &mut lanes {
            for record in read(webhooks, topic, lane.partition, &mut lane.next).await? {
                at_end = false;
                lane.next = record.offset.next();
                messages.extend(of_control(&mut orders, lane.partition, &record));
            }
        }
        let done: Vec<Progress> =
            lanes.iter().map(|it| Progress { next: orders.done(it.partition, it.next), ..*it }).collect();
        if !messages.is_empty() || done != written {
            if !webhooks.keep(FIRST, messages, done.clone(), shutdown).await? {
                return Ok(());
            }
            written = done;
        }
        if at_end {
            tokio::select! {
                (grown, ..) = select_all(grown.iter_mut().map(|it| Box::pin(it.changed()))) => {
                    grown.map_err(|_| log::Error::Closed)?;
                }
                () = shutdown.stopping() => {}
            }
        }
    }
    Ok(())
}

/// Records from `next` on, which moves over what retention has removed.
async fn read(
    webhooks: &Webhooks,
    topic: Topic,
    partition: Partition,
    next: &mut Offset,
) -> Result<Vec<Record>, log::Error> {
    match webhooks.log.read(topic, partition, *next, READ).await {
        Err(log::Error::Expired { asked, start }) => {
            tracing::error!(topic, %partition, %asked, %start, "records were removed before their halts were told");
            *next = start;
            webhooks.log.read(topic, partition, start, READ).await
        }
        read => read,
    }
}

fn of_verdict(partition: Partition, record: &Record) -> Option<Message> {
    /// Read first: all but few verdicts are no halt.
    #[derive(Deserialize)]
    struct Head {
        decision: Decision,
    }
    let read = serde_json::from_slice::<Head>(&record.value).and_then(|head| {
        if head.decision < Decision::Halt {
            return Ok(None);
        }
        let verdict = serde_json::from_slice::<Verdict<'static>>(&record.value)?;
        Ok(Message::of_verdict(&verdict, Timestamp::from_micros(record.appended_at)))
    });
    read.unwrap_or_else(|error| {
        unreadable(topics::VERDICTS, partition, record, &error);
        None
    })
}

fn of_control(orders: &mut Orders, partition: Partition, record: &Record) -> Option<Message> {
    match serde_json::from_slice::<Control>(&record.value) {
        Ok(control) => orders.note((partition, record.offset), control, Timestamp::from_micros(record.appended_at)),
        Err(error) => {
            unreadable(topics::CONTROLS, partition, record, &error);
            None
        }
    }
}

fn unreadable(topic: Topic, partition: Partition, record: &Record, error: &serde_json::Error) {
    tracing::error!(topic, %partition, offset = %record.offset, %error, "record unreadable, passed over");
}
