//! States in memory: found by id, with what changed since it was last handed out.

use std::collections::HashMap;

use martingale_schemas::SessionId;

/// Ids come from outside, so the map uses the standard library's keyed hash: crafted ids cannot make it slow. The key is
/// random and reaches nothing: the map is never walked in its own order.
#[derive(Debug)]
pub(crate) struct Store<T> {
    index: HashMap<Box<str>, usize>,
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
    changed: bool,
    used: u64,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        let (index, slots, free, changed) = Default::default();
        Self { index, slots, free, changed, clock: 0 }
    }
}

impl<T: Default> Store<T> {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn has(&self, id: &SessionId<'_>) -> bool {
        self.index.contains_key(id.as_str())
    }

    pub(crate) fn find(&self, id: &SessionId<'_>) -> Option<usize> {
        self.index.get(id.as_str()).copied()
    }

    pub(crate) fn get(&self, id: &SessionId<'_>) -> Option<&T> {
        self.slots.get(self.find(id)?)?.as_ref().map(|it| &it.state)
    }

    pub(crate) fn put(&mut self, id: &SessionId<'_>, state: T) -> usize {
        let slot = Slot { id: id.to_static(), state, hint: usize::MAX, changed: false, used: self.clock };
        if let Some(at) = self.index.get(id.as_str()) {
            // The stored state of something in memory is never newer.
            return *at;
        }
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
        self.index.insert(id.as_str().into(), at);
        at
    }

    /// The slot of `id`, blank if it is not in memory.
    pub(crate) fn touch(&mut self, id: &SessionId<'_>) -> usize {
        self.clock += 1;
        match self.index.get(id.as_str()) {
            Some(at) => *at,
            None => self.put(id, T::default()),
        }
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
                self.index.remove(slot.id.as_str());
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
