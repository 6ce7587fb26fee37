//! The claims of this process, by consumer and partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::changelog::{Own, Restoring};
use super::claim::{Broken, Claim};
use super::client::Clients;
use super::metrics::Metrics;
use super::tail::{Tail, blocking};
use super::topics::Topics;
use super::{Consumer, ConsumerSpec, Error, Partition, Settle};

/// A process that was fenced while its group still counts it as the owner takes the partition back after this. Longer
/// than it takes to hear from the group that it is not: else two would take it from each other.
const RECLAIM_AFTER: Duration = Duration::from_secs(3);

/// How long a partition that is given away may take to end what is under way. Then the next owner fences it.
const RETIRE_MAX: Duration = Duration::from_secs(5);
/// A claim is looked up in far less than this, and made in more.
const LOOKED_UP_WITHIN: Duration = Duration::from_millis(100);

/// Why a claim is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// To begin: where a consumer that failed starts again. Only this makes a broken claim of a pipelined consumer anew,
    /// so that nobody goes on from a state that was undone under them.
    Start,
    GoOn,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Claim>>>>;

/// See the module.
pub(super) struct Owners {
    pub(super) clients: Clients,
    pub(super) topics: Arc<Topics>,
    pub(super) tail: Arc<Tail>,
    pub(super) metrics: Metrics,
    specs: BTreeMap<Consumer, ConsumerSpec>,
    slots: Mutex<BTreeMap<(Consumer, Partition), Slot>>,
    /// What the groups have given to this process.
    assigned: Mutex<BTreeSet<(Consumer, Partition)>>,
    /// How far restores are that are under way.
    restoring: Mutex<BTreeMap<(Consumer, Partition), Arc<Restoring>>>,
    /// Why the last claim of a partition was not made.
    failed: Mutex<BTreeMap<(Consumer, Partition), String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Owners {
    pub(super) fn new(
        clients: Clients,
        topics: Arc<Topics>,
        tail: Arc<Tail>,
        metrics: Metrics,
        specs: &[ConsumerSpec],
    ) -> Self {
        let specs = specs.iter().map(|it| (it.consumer, *it)).collect();
        Self {
            clients,
            topics,
            tail,
            metrics,
            specs,
            slots: Mutex::default(),
            assigned: Mutex::default(),
            restoring: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    pub(super) fn spec(&self, consumer: Consumer) -> Result<ConsumerSpec, Error> {
        self.specs.get(consumer).copied().ok_or_else(|| Error::UnknownTopic(format!("state.{consumer}")))
    }

    /// The consumer that keeps a store.
    pub(super) fn keeper(&self, store: &str) -> Result<ConsumerSpec, Error> {
        let keeper = self.specs.values().find(|it| it.stores.contains(&store)).copied();
        keeper.ok_or_else(|| Error::UnknownTopic(format!("no consumer keeps the store `{store}`")))
    }

    fn slot(&self, consumer: Consumer, partition: Partition) -> Slot {
        Arc::clone(lock(&self.slots).entry((consumer, partition)).or_default())
    }

    pub(super) fn assign(&self, consumer: Consumer, partition: Partition) {
        lock(&self.assigned).insert((consumer, partition));
    }

    /// From now on no claim is made for it, and [`Self::release`] is due.
    pub(super) fn unassign(&self, consumer: Consumer, partition: Partition) {
        lock(&self.assigned).remove(&(consumer, partition));
    }

    pub(super) fn is_assigned(&self, consumer: Consumer, partition: Partition) -> bool {
        lock(&self.assigned).contains(&(consumer, partition))
    }

    /// What the group of a consumer has given to this process.
    pub(super) fn assigned(&self, consumer: Consumer) -> Vec<Partition> {
        lock(&self.assigned).iter().filter(|it| it.0 == consumer).map(|it| it.1).collect()
    }

    /// Why a partition cannot be claimed, or else how far its restore is, while there is one.
    pub(super) fn restoring(&self, consumer: Consumer, partition: Partition) -> Option<String> {
        let failed = lock(&self.failed).get(&(consumer, partition)).cloned();
        failed.or_else(|| lock(&self.restoring).get(&(consumer, partition)).map(ToString::to_string))
    }

    /// The claim, made when there is none and it may be.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the partition belongs to another process; why the claim broke, until the consumer starts
    /// again.
    pub(super) async fn claim(
        &self,
        consumer: Consumer,
        partition: Partition,
        intent: Intent,
    ) -> Result<Arc<Claim>, Error> {
        let spec = self.spec(consumer)?;
        let slot = self.slot(consumer, partition);
        let mut slot = slot.lock().await;
        let is_grouped = spec.share.by().is_some();
        if is_grouped && !self.is_assigned(consumer, partition) {
            return Err(Error::Fenced(partition));
        }
        if let Some(claim) = &*slot {
            match claim.broken() {
                None => return Ok(Arc::clone(claim)),
                Some(broken) if may_start(&broken, spec, intent) => {}
                Some(_) => claim.check()?,
            }
        }
        // The old producers are closed beside this: they may have to give up on what is under way.
        if let Some(old) = slot.take() {
            tokio::task::spawn_blocking(move || drop(old));
        }
        let claim = self.establish(spec, partition).await?;
        if is_grouped && !self.is_assigned(consumer, partition) {
            // Taken away meanwhile, by somebody who did not wait for this.
            drop(slot);
            retire(claim, consumer, partition).await;
            return Err(Error::Fenced(partition));
        }
        *slot = Some(Arc::clone(&claim));
        Ok(claim)
    }

    async fn establish(&self, spec: ConsumerSpec, partition: Partition) -> Result<Arc<Claim>, Error> {
        let (clients, tail) = (self.clients.clone(), Arc::clone(&self.tail));
        let changelog = Arc::clone(self.topics.changelog(spec.consumer)?);
        let timer = self.metrics.restore_seconds.start_timer();
        let progress = Arc::new(Restoring::default());
        lock(&self.restoring).insert((spec.consumer, partition), Arc::clone(&progress));
        let own = Own { stores: spec.stores, topics: self.topics.names().map(|it| it.0).collect() };
        let make = move || Claim::establish(&clients, &tail, (&changelog, &own), spec, partition, &progress);
        let claim = blocking(make).await;
        lock(&self.restoring).remove(&(spec.consumer, partition));
        match &claim {
            Ok(_) => lock(&self.failed).remove(&(spec.consumer, partition)),
            Err(error) => lock(&self.failed).insert((spec.consumer, partition), error.to_string()),
        };
        timer.observe_duration();
        claim
    }

    /// Gives a partition up: ends what is under way, in time.
    pub(super) async fn release(&self, consumer: Consumer, partition: Partition) {
        self.unassign(consumer, partition);
        lock(&self.failed).remove(&(consumer, partition));
        let slot = self.slot(consumer, partition);
        // Who looks a claim up has it for a moment. Who has it longer is making it, and will look whether it is still wanted.
        let Ok(mut slot) = tokio::time::timeout(LOOKED_UP_WITHIN, slot.lock()).await else { return };
        let Some(claim) = slot.take() else { return };
        retire(claim, consumer, partition).await;
    }

    pub(super) async fn close(&self) {
        let slots = std::mem::take(&mut *lock(&self.slots));
        for ((consumer, partition), slot) in slots {
            if let Some(claim) = slot.lock().await.take() {
                retire(claim, consumer, partition).await;
            }
        }
    }
}

fn may_start(broken: &Broken, spec: ConsumerSpec, intent: Intent) -> bool {
    let is_reported = intent == Intent::Start || spec.settle == Settle::AtOnce;
    let is_grouped = spec.share.by().is_some();
    is_reported && (!is_grouped || !broken.is_fenced || broken.at.elapsed() >= RECLAIM_AFTER)
}

async fn retire(claim: Arc<Claim>, consumer: Consumer, partition: Partition) {
    match tokio::time::timeout(RETIRE_MAX, claim.retire()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(consumer, %partition, %error, "the last commits will be judged again"),
        Err(_) => tracing::info!(consumer, %partition, "the last commits took too long and will be judged again"),
    }
    tokio::task::spawn_blocking(move || drop(claim));
}
