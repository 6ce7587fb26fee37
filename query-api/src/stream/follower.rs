//! One stream: from the log while it is behind, from the feed while it keeps up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use martingale_platform::log::{self, Log, Partition, ReadLimit, Topic};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::topics;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::cursor::After;
use super::filter::Filter;
use super::told::{Place, Told, block};
use crate::feed::{Batch, Feed};
use crate::http::{Failure, with_causes};
use crate::metrics::Metrics;

const TOPICS: [Topic; 2] = [topics::VERDICTS, topics::CONTROLS];

/// What one read of the log may bring: all that a stream ever holds, besides what it shares with the feed.
const READ: ReadLimit = ReadLimit { records_max: 256, bytes_max: 256 * 1024 };

/// A read that brought so much is followed by whoever else wants to go on: agents wait on the same threads.
const GIVES_WAY_BYTES: usize = 16 * 1024;

/// What a client waits before it comes back.
const RECONNECT: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    log: Arc<dyn Log>,
    live: broadcast::Receiver<Arc<Batch>>,
    filter: Filter,
    heartbeat: Duration,
    shutdown: Shutdown,
    metrics: Metrics,
    place: Place,
    /// Parts of the cursor that may lie behind the end of the log.
    behind: VecDeque<usize>,
    /// Whole blocks. What they hold of the feed is shared with the other streams.
    ready: VecDeque<Bytes>,
    /// When something was last sent. What the filter holds back is silence, however busy the log is.
    sent: Instant,
    ended: bool,
}

impl Follower {
    pub(super) async fn open(
        log: Arc<dyn Log>,
        feed: &Feed,
        after: After,
        filter: Filter,
        heartbeat: Duration,
        shutdown: Shutdown,
        metrics: Metrics,
    ) -> Result<Self, Failure> {
        // Subscribed before the log is read: what is published in between is in both and told once.
        let live = feed.subscribe();
        let (cursor, bounds) = after.on(&*log, &TOPICS).await?;
        if cursor.0.iter().zip(&bounds).any(|(next, bounds)| *next > bounds.end) {
            let message = "the cursor lies behind the end of the log: it comes from another log";
            return Err(Failure::field("last-event-id", "invalid_value", message));
        }
        let hello = format!(": martingale\nretry: {}\nid: {cursor}\n\n", RECONNECT.as_millis());
        metrics.streams.inc();
        Ok(Self {
            behind: (0..cursor.0.len()).collect(),
            place: Place { judged: vec![None; cursor.0.len()], cursor },
            ready: VecDeque::from([hello.into()]),
            sent: Instant::now(),
            ended: false,
            log,
            live,
            filter,
            heartbeat,
            shutdown,
            metrics,
        })
    }

    /// The next events; `None` when the server stops or the log fails.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(blocks) = self.ready.pop_front() {
                self.sent = Instant::now();
                return Some(blocks);
            }
            if self.ended || self.shutdown.is_stopping() {
                return None;
            }
            if self.sent.elapsed() >= self.heartbeat {
                self.ready.push_back(format!(": alive\nid: {}\n\n", self.place.cursor).into());
                continue;
            }
            match self.behind.front().copied() {
                Some(part) => {
                    // One that is answered from memory never waits by itself.
                    if self.read(part).await >= GIVES_WAY_BYTES {
                        tokio::task::yield_now().await;
                    }
                }
                None => self.listen().await,
            }
        }
    }

    /// One read of the log for one part of the cursor, and how many bytes it brought.
    async fn read(&mut self, part: usize) -> usize {
        let (topic, partition) = self.place(part);
        match self.log.read(topic, partition, self.place.cursor.0[part], READ).await {
            Ok(records) => {
                let Some(last) = records.last() else {
                    self.behind.pop_front();
                    return 0;
                };
                let bytes = records.iter().map(|it| it.value.len()).sum();
                let next = last.offset.next();
                let batch = Batch::decode(topic, partition, next, records);
                self.take(part, &batch);
                // In turn with the other parts, so that a long one does not hold up the rest.
                self.behind.rotate_left(1);
                return bytes;
            }
            Err(log::Error::Expired { asked, start }) => {
                self.place.cursor.0[part] = start;
                self.tell_lost(&format!(
                    "`{topic}` of partition {partition} from offset {asked} up to {start} has been removed by retention"
                ));
            }
            Err(error) => {
                self.ended = true;
                self.tell_lost(&format!("the log cannot be read, come back later: {}", with_causes(&error)));
            }
        }
        0
    }

    async fn listen(&mut self) {
        let heard = tokio::select! {
            // In this order: what has happened is heard before its silence ends.
            biased;
            () = self.shutdown.stopping() => return,
            heard = self.live.recv() => heard,
            () = tokio::time::sleep_until(self.sent + self.heartbeat) => return,
        };
        match heard {
            Ok(batch) => {
                let part = self.part(batch.topic, batch.partition);
                self.take(part, &batch);
            }
            Err(RecvError::Lagged(_)) => {
                self.metrics.stream_lagged.inc();
                self.behind = (0..self.place.cursor.0.len()).collect();
            }
            Err(RecvError::Closed) => self.ended = true,
        }
    }

    fn take(&mut self, part: usize, batch: &Batch) {
        let text = Told::tell(batch, part, &self.filter, &mut self.place, |key| self.log.partition_of(key));
        if !text.is_empty() {
            self.ready.push_back(text);
        }
    }

    fn tell_lost(&mut self, why: &str) {
        let data = serde_json::json!({ "message": why }).to_string();
        let mut text = String::new();
        block(&mut text, "lost", &self.place.cursor, data.as_bytes());
        self.ready.push_back(text.into());
    }

    fn place(&self, part: usize) -> (Topic, Partition) {
        let partitions = self.log.partitions() as usize;
        (TOPICS[part / partitions], Partition(u32::try_from(part % partitions).unwrap_or(u32::MAX)))
    }

    fn part(&self, topic: Topic, partition: Partition) -> usize {
        let of_topic = TOPICS.iter().position(|it| *it == topic).unwrap_or_default();
        of_topic * self.log.partitions() as usize + partition.0 as usize
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.metrics.streams.dec();
    }
}
