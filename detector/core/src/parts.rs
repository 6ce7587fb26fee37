//! How a bounded history is laid out in the store, so that what a step writes does not grow with its session.
//!
//! A history keeps the latest `SIZE` items. The latest of them, fewer than `PART`, are written with the head of the
//! session's state; whenever there are `PART`, they become a part: an entry of its own, which is written then and again
//! only when an item in it changes. Parts take turns in `SIZE / PART` places. While a place is taken over its entry still
//! holds the items of the turn before, and those that the head does not replace are still remembered: so memory holds the
//! same items however often it was emptied.

use std::ops::Range;

/// Which parts of one history are to be read or written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Parts<const SIZE: usize, const PART: usize> {
    /// Items ever taken in.
    total: u64,
    /// Places, as bits: stored and not in memory yet.
    missing: u32,
    /// Places, as bits: to be written, or removed where there is none any more.
    changed: u32,
}

impl<const SIZE: usize, const PART: usize> Parts<SIZE, PART> {
    /// After `total` items, of which the parts are in the store.
    pub(crate) fn stored(total: u64) -> Self {
        let mut parts = Self { total, missing: 0, changed: 0 };
        parts.missing = parts.bits();
        parts
    }

    /// After `total` items, of which all are in memory and no part is in the store.
    pub(crate) fn unstored(total: u64) -> Self {
        let mut parts = Self { total, missing: 0, changed: 0 };
        parts.changed = parts.bits();
        parts
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Items remembered.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.total).unwrap_or(SIZE).min(SIZE)
    }

    /// Items in the head.
    pub(crate) fn open(&self) -> usize {
        Self::position(self.total) % PART
    }

    /// Where an item is in a ring of `SIZE`.
    #[expect(clippy::cast_possible_truncation, reason = "less than SIZE")]
    pub(crate) const fn position(number: u64) -> usize {
        (number % SIZE as u64) as usize
    }

    /// Places that hold a part.
    pub(crate) fn places(&self) -> Range<usize> {
        0..self.len() / PART
    }

    fn bits(&self) -> u32 {
        self.places().fold(0, |bits, place| bits | 1 << place)
    }

    /// One more item.
    pub(crate) fn push(&mut self) {
        self.total = self.total.saturating_add(1);
        if self.open() == 0 {
            self.touch(self.total - 1);
        }
    }

    /// An item changed. In the head it will be written anyway.
    pub(crate) fn touch(&mut self, number: u64) {
        if number < self.total - self.open() as u64 {
            self.changed |= 1 << (Self::position(number) / PART);
        }
    }

    /// Forgets all items.
    pub(crate) fn clear(&mut self) {
        *self = Self { total: 0, missing: 0, changed: self.changed | self.bits() };
    }

    /// Places whose part is stored and not in memory.
    pub(crate) fn missing(&self) -> impl Iterator<Item = usize> + use<SIZE, PART> {
        let missing = self.missing;
        (0..SIZE / PART).filter(move |place| missing >> place & 1 == 1)
    }

    pub(crate) const fn is_missing(&self) -> bool {
        self.missing != 0
    }

    /// Takes a part in: positions in the ring that are still its own, each with its number in the part. None of a part
    /// that was not missing.
    pub(crate) fn attach(&mut self, place: usize) -> Range<usize> {
        let was_missing = place < SIZE / PART && self.missing >> place & 1 == 1;
        if !was_missing {
            return 0..0;
        }
        self.missing &= !(1 << place);
        let taken_over = if Self::position(self.total) / PART == place { self.open() } else { 0 };
        taken_over..PART
    }

    /// Places whose entry changed since the last call; `true` where it holds a part.
    pub(crate) fn drain_changed(&mut self) -> impl Iterator<Item = (usize, bool)> + use<SIZE, PART> {
        let (changed, held) = (std::mem::take(&mut self.changed), self.places());
        (0..SIZE / PART).filter(move |place| changed >> place & 1 == 1).map(move |place| (place, held.contains(&place)))
    }
}
