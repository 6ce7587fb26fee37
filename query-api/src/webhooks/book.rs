//! All deliveries that are kept, in memory: at most the pending ones and `kept_max` others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
    /// Those that wait, by when they are due.
    pending: BTreeSet<(Timestamp, String)>,
    /// Why, by id. They stay in the store as they are.
    unreadable: BTreeMap<String, String>,
    endpoint: Endpoint,
}

impl Inner {
    fn remove(&mut self, id: &str) {
        if let Some((_, held)) = self.deliveries.remove(id)
            && let Some(at) = held.next_at()
        {
            self.pending.remove(&(at, held.id));
        }
    }
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
        inner.remove(&delivery.id);
        if let Some(at) = delivery.next_at() {
            inner.pending.insert((at, delivery.id.clone()));
        }
        inner.deliveries.insert(delivery.id.clone(), (partition, delivery));
        drop(inner);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The pending delivery that is due first and that `busy` does not hold.
    pub(super) fn first_due(&self, busy: &HashSet<String>) -> Option<(Timestamp, Delivery)> {
        let inner = self.lock();
        let (at, id) = inner.pending.iter().find(|(_, id)| !busy.contains(id))?;
        let (_, delivery) = inner.deliveries.get(id)?;
        Some((*at, delivery.clone()))
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
            .filter(|(_, (_, delivery))| delivery.next_at().is_none())
            .map(|(id, (partition, delivery))| (delivery.created_at, *partition, id))
            .collect();
        oldest.sort_unstable();
        oldest.into_iter().take(surplus).map(|(_, partition, id)| (partition, id.clone())).collect()
    }

    pub(super) fn forget(&self, pruned: &[(Partition, String)]) {
        let mut inner = self.lock();
        for (_, id) in pruned {
            inner.remove(id);
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use martingale_platform::log::Partition;
    use martingale_schemas::Timestamp;

    use super::super::{Message, MessageKind};
    use super::{Book, Delivery};

    fn due(id: &str, at: i64) -> Delivery {
        let message = Message { id: id.to_owned(), kind: MessageKind::SessionHalted, payload: String::new() };
        Delivery::new(message, Timestamp::from_micros(at))
    }

    #[test]
    fn the_first_that_is_due_is_found_whatever_was_put_again() {
        let book = Book::new(10);
        let put = |id: &str, at| book.put(Partition(0), due(id, at));
        let first = |busy: &[&str]| {
            let busy: HashSet<String> = busy.iter().map(|it| (*it).to_owned()).collect();
            book.first_due(&busy).map(|(at, it)| (at.as_micros(), it.id))
        };
        let is = |at, id: &str| Some((at, id.to_owned()));
        assert_eq!(first(&[]), None);
        for (id, at) in [("c", 3), ("b", 2), ("a", 2), ("d", 1)] {
            put(id, at);
        }
        assert_eq!((first(&[]), first(&["d"]), first(&["d", "a", "b"])), (is(1, "d"), is(2, "a"), is(3, "c")));
        // Tried, and due again later: it waits once.
        put("d", 9);
        assert_eq!((first(&[]), first(&["a", "b", "c"]), book.pending()), (is(2, "a"), is(9, "d"), 4));
        book.forget(&[(Partition(0), "a".to_owned()), (Partition(0), "none".to_owned())]);
        assert_eq!((first(&[]), book.pending()), (is(2, "b"), 3));
        assert_eq!(book.to_prune(100), [], "what waits is not forgotten");
    }
}
