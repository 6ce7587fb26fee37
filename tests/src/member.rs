//! A process of the detector's group, as the log sees it.
//!
//! [`Group`] says who owns which partition; a [`Member`] is one process's handle on the log. A member learns of its
//! partitions late, its commits of others' are refused, its calls take their time and fail, and when it is killed it does
//! nothing any more, in the middle of whatever it was doing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use martingale_platform::log::{
    Append, Appended, Bounds, Commit, Consumer, Error, Log, MemoryLog, Offset, Partition, ReadLimit, Record, Store,
    Topic,
};
use tokio::sync::watch;

use crate::random::Random;

/// Who owns which partition.
#[derive(Debug, Default)]
pub struct Group(Mutex<BTreeMap<Partition, usize>>);

/// A detector made wrong on purpose, to see that the invariants notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// Stored state is not found now and then.
    SkipsLoad,
    /// A process that lost a partition may still commit.
    NotFenced,
    /// A commit's records are lost now and then.
    LosesVerdicts,
    /// What is published is published twice, and the second time it says something else.
    ChangesItsMind,
}

/// Which calls fail, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub commits: u64,
    pub reads: u64,
}

#[derive(Debug)]
pub struct Member {
    log: Arc<MemoryLog>,
    group: Arc<Group>,
    number: usize,
    assigned: watch::Sender<Arc<[Partition]>>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    random: Random,
    trouble: Trouble,
    killed: bool,
    breakage: Option<Breakage>,
    /// Verdicts that were published before their step was on the log, as seen at the time.
    premature: Vec<String>,
}

impl Group {
    pub fn give(&self, partition: Partition, to: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, to);
    }

    #[must_use]
    pub fn of(&self, member: usize) -> Arc<[Partition]> {
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.iter().filter(|(_, owner)| **owner == member).map(|(partition, _)| *partition).collect()
    }
}

impl Member {
    #[must_use]
    pub fn new(
        log: &Arc<MemoryLog>,
        group: &Arc<Group>,
        number: usize,
        random: Random,
        breakage: Option<Breakage>,
    ) -> Arc<Self> {
        let inner = Inner { random, trouble: Trouble::default(), killed: false, breakage, premature: Vec::new() };
        Arc::new(Self {
            log: Arc::clone(log),
            group: Arc::clone(group),
            number,
            assigned: watch::Sender::new(group.of(number)),
            inner: Mutex::new(inner),
        })
    }

    /// The news of its partitions reaches the member.
    pub fn tell(&self) {
        let owned = self.group.of(self.number);
        self.assigned.send_if_modified(|known| {
            *known != owned && {
                *known = owned;
                true
            }
        });
    }

    pub fn trouble(&self, trouble: Trouble) {
        self.inner().trouble = trouble;
    }

    pub fn kill(&self) {
        self.inner().killed = true;
    }

    #[must_use]
    pub fn premature(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().premature)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others run for a while, then says whether the call is to fail.
    async fn arrive(&self) -> Result<(), Error> {
        let turns = self.inner().random.below(3);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if self.inner().killed { Err(Error::Closed) } else { Ok(()) }
    }

    async fn arrive_to_read(&self) -> Result<(), Error> {
        self.arrive().await?;
        let mut inner = self.inner();
        let chance = inner.trouble.reads;
        if inner.random.per_mille(chance) { Err(failed("read")) } else { Ok(()) }
    }

    fn breaks(&self, how: Breakage, per_mille: u64) -> bool {
        let mut inner = self.inner();
        inner.breakage == Some(how) && inner.random.per_mille(per_mille)
    }

    fn check_owned(&self, commit: &Commit) -> Result<(), Error> {
        let owned = self.group.of(self.number);
        let touched = commit.progress.iter().map(|it| it.partition).chain(commit.state.iter().map(|it| it.partition));
        match touched.into_iter().find(|it| !owned.contains(it)) {
            Some(_) if self.inner().breakage == Some(Breakage::NotFenced) => Ok(()),
            Some(partition) => Err(Error::Fenced(partition)),
            None => Ok(()),
        }
    }

    async fn check_order(&self, commit: &Commit) -> Result<(), Error> {
        use martingale_schemas::{Verdict, topics};
        for record in commit.publish.iter().filter(|it| it.topic == topics::VERDICTS) {
            let verdict: Verdict<'_> = serde_json::from_slice(&record.value).map_err(|it| Error::Storage(it.into()))?;
            let end = self.log.bounds(topics::STEPS, Partition(verdict.position.partition)).await?.end;
            if verdict.position.offset >= end.0 {
                self.inner().premature.push(verdict.step_id.to_string());
            }
        }
        Ok(())
    }
}

enum Fate {
    Done,
    Busy,
    Refused,
    /// The records are there, the rest is lost.
    OnlyPublished,
    /// All is there, the answer is lost.
    Unanswered,
}

#[async_trait]
impl Log for Member {
    fn identity(&self) -> Option<&str> {
        self.log.identity()
    }

    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        self.arrive().await?;
        self.log.append(records).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        self.arrive_to_read().await?;
        let records = self.log.read(topic, partition, from, limit).await;
        // The answer may be old when it arrives.
        self.arrive().await?;
        records
    }

    fn grown(&self, topic: Topic, partition: Partition) -> watch::Receiver<Offset> {
        self.log.grown(topic, partition)
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, Error> {
        self.arrive_to_read().await?;
        self.log.bounds(topic, partition).await
    }

    async fn latest(&self, topic: Topic, after: Option<Bytes>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.arrive_to_read().await?;
        self.log.latest(topic, after, limit).await
    }

    async fn newest(&self, topic: Topic, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.arrive_to_read().await?;
        self.log.newest(topic, key).await
    }

    async fn commit(&self, mut commit: Commit) -> Result<(), Error> {
        self.arrive().await?;
        self.check_owned(&commit)?;
        self.check_order(&commit).await?;
        if self.breaks(Breakage::LosesVerdicts, 100) {
            commit.publish.clear();
        }
        if self.breaks(Breakage::ChangesItsMind, 100) {
            let changed = commit.publish.iter().map(|it| {
                let text = String::from_utf8_lossy(&it.value).replace("\"allow\"", "\"warn\"");
                Append { value: text.into_bytes().into(), ..it.clone() }
            });
            self.log.append(changed.collect()).await?;
        }
        let fate = {
            let mut inner = self.inner();
            let chance = inner.trouble.commits;
            match inner.random.per_mille(chance).then(|| inner.random.below(4)) {
                None => Fate::Done,
                Some(0) => Fate::Busy,
                Some(1) => Fate::Refused,
                Some(2) => Fate::OnlyPublished,
                Some(_) => Fate::Unanswered,
            }
        };
        match fate {
            Fate::Done => self.log.commit(commit).await?,
            Fate::Busy => return Err(Error::Full { queued_bytes: 1, queued_bytes_max: 1 }),
            Fate::Refused => return Err(failed("commit")),
            Fate::OnlyPublished => {
                self.log.append(commit.publish).await?;
                return Err(failed("commit after publishing"));
            }
            Fate::Unanswered => {
                self.log.commit(commit).await?;
                return Err(failed("answer to a commit"));
            }
        }
        self.arrive().await
    }

    async fn committed(&self, consumer: Consumer, topic: Topic, partition: Partition) -> Result<Option<Offset>, Error> {
        self.arrive_to_read().await?;
        self.log.committed(consumer, topic, partition).await
    }

    async fn state(&self, store: Store, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.arrive_to_read().await?;
        if self.breaks(Breakage::SkipsLoad, 100) {
            return Ok(None);
        }
        self.log.state(store, partition, key).await
    }

    async fn scan(
        &self,
        store: Store,
        partition: Partition,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.arrive_to_read().await?;
        self.log.scan(store, partition, after, limit).await
    }

    fn assigned(&self, _: Consumer) -> watch::Receiver<Arc<[Partition]>> {
        self.assigned.subscribe()
    }
}

fn failed(what: &str) -> Error {
    Error::Storage(format!("fault on request: {what}").into())
}
