//! All deliveries that are kept, in memory: at most the pending ones and `kept_max` others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use martingale_platform::log::Partition;
use martingale_schemas::Timestamp;
use tokio::sync::watch;

use super::delivery::{Delivery, Endpoint};

#[derive(Debug)]
pub(super) struct Book {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    kept_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    deliveries: HashMap<String, (Partition, Delivery)>,
    pending: HashSet<String>,
    /// Why, by id. They stay in the store as they are.
    unreadable: BTreeMap<String, String>,
    endpoint: Endpoint,
}

impl Book {
    pub(super) fn new(kept_max: usize) -> Self {
        Self { inner: Mutex::default(), changed: watch::channel(0).0, kept_max }
    }

    /// Changes with every delivery.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        let inner = self.lock();
        inner.deliveries.contains_key(id) || inner.unreadable.contains_key(id)
    }

    pub(super) fn put_unreadable(&self, id: String, why: String) {
        self.lock().unreadable.insert(id, why);
    }

    pub(super) fn unreadable(&self) -> BTreeMap<String, String> {
        self.lock().unreadable.clone()
    }

    pub(super) fn get(&self, id: &str) -> Option<(Partition, Delivery)> {
        self.lock().deliveries.get(id).cloned()
    }

    pub(super) fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    pub(super) fn put(&self, partition: Partition, delivery: Delivery) {
        let mut inner = self.lock();
        if delivery.next_at().is_some() {
            inner.pending.insert(delivery.id.clone());
        } else {
            inner.pending.remove(&delivery.id);
        }
        inner.deliveries.insert(delivery.id.clone(), (partition, delivery));
        drop(inner);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The pending delivery that is due first and that `busy` does not hold.
    pub(super) fn first_due(&self, busy: &HashSet<String>) -> Option<(Timestamp, Delivery)> {
        let inner = self.lock();
        let of = |id: &String| {
            let (_, delivery) = inner.deliveries.get(id)?;
            Some((delivery.next_at()?, delivery))
        };
        let (at, delivery) = inner
            .pending
            .iter()
            .filter(|id| !busy.contains(*id))
            .filter_map(of)
            .min_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)))?;
        Some((at, delivery.clone()))
    }

    /// Settled deliveries to forget so that there is room for `more`, oldest first.
    pub(super) fn to_prune(&self, more: usize) -> Vec<(Partition, String)> {
        let inner = self.lock();
        let settled = inner.deliveries.len() - inner.pending.len();
        let surplus = (settled + more).saturating_sub(self.kept_max).min(settled);
        if surplus == 0 {
            return Vec::new();
        }
        let mut oldest: Vec<(Timestamp, Partition, &String)> = inner
            .deliveries
            .iter()
            .filter(|(id, _)| !inner.pending.contains(*id))
            .map(|(id, (partition, delivery))| (delivery.created_at, *partition, id))
            .collect();
        oldest.sort_unstable();
        oldest.into_iter().take(surplus).map(|(_, partition, id)| (partition, id.clone())).collect()
    }

    pub(super) fn forget(&self, pruned: &[(Partition, String)]) {
        let mut inner = self.lock();
        for (_, id) in pruned {
            inner.deliveries.remove(id);
            inner.pending.remove(id);
        }
    }

    /// Newest first.
    pub(super) fn newest(&self, limit: usize, mut passes: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let inner = self.lock();
        let mut found: Vec<Delivery> =
            inner.deliveries.values().map(|(_, it)| it).filter(|it| passes(it)).cloned().collect();
        drop(inner);
        found.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        found.truncate(limit);
        found
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.lock().endpoint.clone()
    }

    pub(super) fn set_endpoint(&self, endpoint: Endpoint) {
        self.lock().endpoint = endpoint;
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
