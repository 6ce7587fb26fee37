//! States in memory: found by id, with what changed since it was last handed out.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hashbrown::HashTable;
use martingale_schemas::SessionId;

/// Ids come from outside, so they are found by the standard library's keyed hash: crafted ids cannot make it slow. The key
/// is random and reaches nothing: the index is never walked in its own order.
#[derive(Debug)]
pub(crate) struct Store<T> {
    hasher: RandomState,
    /// Hashes of ids and their slots, which have the ids: a second copy would be one more place in memory to visit.
    index: HashTable<(u64, usize)>,
    /// The slot that was found last: a step asks for the same id a few times in a row. A guess, whoever reads it; and no
    /// `Cell`, so that a detector can be asked from where only a reference to it is at hand.
    last: AtomicUsize,
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    /// Slots in the order of their first change.
    changed: Vec<usize>,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
pub(crate) struct Slot<T> {
    pub(crate) id: SessionId<'static>,
    pub(crate) state: T,
    /// Where the policy index of the last step was found. Derived, and so not part of the state.
    pub(crate) hint: usize,
    /// Whether no stored part of it is missing, as far as anybody told: derived too, so that asking takes no walk over it.
    pub(crate) whole: bool,
    changed: bool,
    used: u64,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        let (hasher, index, last, slots, free, changed) = Default::default();
        Self { hasher, index, last, slots, free, changed, clock: 0 }
    }
}

impl<T: Default> Store<T> {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn has(&self, id: &SessionId<'_>) -> bool {
        self.find(id).is_some()
    }

    pub(crate) fn find(&self, id: &SessionId<'_>) -> Option<usize> {
        let is_at = |at: usize| matches!(self.slots.get(at), Some(Some(slot)) if slot.id.as_str() == id.as_str());
        let last = self.last.load(Relaxed);
        if is_at(last) {
            return Some(last);
        }
        let hash = self.hasher.hash_one(id.as_str());
        let (_, at) = *self.index.find(hash, |it| it.0 == hash && is_at(it.1))?;
        self.last.store(at, Relaxed);
        Some(at)
    }

    pub(crate) fn get(&self, id: &SessionId<'_>) -> Option<&Slot<T>> {
        self.slots.get(self.find(id)?)?.as_ref()
    }

    /// Takes in a state that is in the store, or a blank one. `whole` when none of its parts is missing.
    pub(crate) fn put(&mut self, id: &SessionId<'_>, state: T, whole: bool) -> usize {
        // The stored state of something in memory is never newer.
        self.find(id).unwrap_or_else(|| self.insert(id, state, whole))
    }

    /// Of an id that is not in memory.
    fn insert(&mut self, id: &SessionId<'_>, state: T, whole: bool) -> usize {
        let slot = Slot { id: id.to_static(), state, hint: usize::MAX, whole, changed: false, used: self.clock };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = Some(slot);
                at
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() - 1
            }
        };
        let hash = self.hasher.hash_one(id.as_str());
        self.index.insert_unique(hash, (hash, at), |it| it.0);
        at
    }

    /// The slot of `id`, blank if it is not in memory.
    pub(crate) fn touch(&mut self, id: &SessionId<'_>) -> usize {
        self.clock += 1;
        self.find(id).unwrap_or_else(|| self.insert(id, T::default(), true))
    }

    /// A slot that [`Self::touch`] answered.
    pub(crate) fn slot(&mut self, at: usize) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(at)?.as_mut()?;
        slot.used = self.clock;
        Some(slot)
    }

    pub(crate) fn mark(&mut self, at: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(at)
            && !slot.changed
        {
            slot.changed = true;
            self.changed.push(at);
        }
    }

    pub(crate) fn drain_changed(&mut self, mut f: impl FnMut(&SessionId<'static>, &mut T)) {
        for at in self.changed.drain(..) {
            if let Some(Some(slot)) = self.slots.get_mut(at) {
                slot.changed = false;
                f(&slot.id, &mut slot.state);
            }
        }
    }

    /// Drops unchanged states, the least recently used first, until at most `max` are left; an eighth more than needed,
    /// so that the walk over all of them pays for many calls.
    pub(crate) fn evict(&mut self, max: usize) {
        if self.len() <= max {
            return;
        }
        let mut clean: Vec<(u64, usize)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| slot.as_ref().filter(|it| !it.changed).map(|it| (it.used, at)))
            .collect();
        let excess = (self.len() - max + max / 8).min(clean.len());
        if excess > 0 && excess < clean.len() {
            clean.select_nth_unstable(excess - 1);
        }
        for (_, at) in clean.into_iter().take(excess) {
            if let Some(slot) = self.slots[at].take() {
                let hash = self.hasher.hash_one(slot.id.as_str());
                if let Ok(entry) = self.index.find_entry(hash, |it| it.1 == at) {
                    entry.remove();
                }
                self.free.push(at);
            }
        }
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|it| &it.state)
    }
}

#[cfg(test)]
mod tests {
    use martingale_schemas::SessionId;

    use super::Store;

    #[test]
    fn the_least_recently_used_goes_and_the_changed_stays() {
        let mut store: Store<u32> = Store::default();
        let ids: Vec<SessionId<'_>> = (0..20).map(|it| SessionId::from(format!("s{it}"))).collect();
        for id in &ids {
            let at = store.touch(id);
            store.slot(at).unwrap().state = 7;
        }
        let at = store.touch(&ids[0]);
        store.slot(at);
        let changed = store.touch(&ids[1]);
        store.mark(changed);
        store.evict(8);
        assert_eq!(store.len(), 7);
        let left: Vec<usize> = (0..20).filter(|it| store.has(&ids[*it])).collect();
        assert_eq!(left, [0, 1, 15, 16, 17, 18, 19]);
        store.evict(0);
        assert_eq!(store.len(), 1);
        let mut drained = Vec::new();
        store.drain_changed(|id, state| drained.push((id.to_string(), *state)));
        assert_eq!(drained, [("s1".to_owned(), 7)]);
        store.evict(0);
        assert_eq!(store.len(), 0);
        let at = store.touch(&ids[3]);
        assert_eq!(store.slot(at).unwrap().state, 0, "a used slot is blank again");
    }
}
