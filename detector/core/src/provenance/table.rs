//! Values and where they were found: a table of small buckets, so that a look-up reads eight hashes whatever was put in.
//!
//! A full bucket doubles the table until it is as large as it may be. Then of the bucket's values and the new one the one
//! with the fewest bits goes, and of equals the oldest. What goes depends on the contents of the bucket alone and on
//! nothing else, so a table that was stored and read again behaves as if it had never left memory.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::atom::{Atom, Coding, Flag};
use super::pages::{Page, PageRef, Paged, Pages};

const WAYS: usize = 8;
/// Sightings of one value: where it was first met, and where last.
const SAME_MAX: usize = 2;

/// Where a value stood, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Number of its source, modulo 2¹⁶.
    pub(super) source: u16,
    pub(super) sentence: u16,
    /// Number of its path; [`super::paths::NONE`] when it is not known.
    pub(super) path: u16,
    /// Which item of the innermost list.
    pub(super) item: u16,
    pub(super) raw: u16,
    pub(super) lower: u16,
    pub(super) flags: Flag,
    pub(super) coding: Coding,
    pub(super) bits: u8,
}

impl Sighting {
    pub(super) fn of(atom: &Atom, source: u16, path: u16, item: u16) -> Self {
        Self {
            source,
            path,
            item,
            sentence: atom.sentence,
            raw: atom.raw,
            lower: atom.lower,
            flags: atom.flags,
            coding: atom.coding,
            bits: atom.bits,
        }
    }
}

/// Values of one page: 832 bytes. So many, and the places for pages, are part of the stored form.
const PAGE: usize = 32;
const NONE: u8 = u8::MAX;
/// Bytes of one value in the stored form: its slot, its hash, where it stood.
const STORED: usize = 26;

/// Serialised is its size, and which pages there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table<const PLACES: usize> {
    /// 0 is a free place.
    hashes: Vec<u64>,
    sightings: Vec<Sighting>,
    /// Place of the page that has the value of each slot; [`NONE`] of a free one.
    page_of: Vec<u8>,
    /// Place of the page that is being filled, places in use with it, and the slots whose values are in it.
    open: u8,
    used: u8,
    filled: Vec<u16>,
    pages: Pages,
}

/// What became of a value that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Kept,
    /// It or another one had to go.
    Lost,
}

impl<const PLACES: usize> Table<PLACES> {
    fn bucket(&self, hash: u64) -> std::ops::Range<usize> {
        let buckets = self.hashes.len() / WAYS;
        let at = ((u128::from(hash) * buckets as u128) >> 64) as usize * WAYS;
        at..at + WAYS
    }

    /// Remembers a value. `age` tells how long ago a source was, `None` when it is forgotten, and with it its values.
    pub(super) fn put(&mut self, hash: u64, new: Sighting, max: usize, age: impl Fn(u16) -> Option<u16> + Copy) -> Put {
        let max = max.min(Self::SLOTS_MAX);
        if self.hashes.is_empty() {
            self.resize(WAYS);
        }
        loop {
            if self.known(hash, new, age) {
                return Put::Kept;
            }
            let range = self.bucket(hash);
            let free = range.clone().find(|at| self.hashes[*at] == 0 || age(self.sightings[*at].source).is_none());
            if let Some(at) = free {
                self.set(at, hash, new);
                return Put::Kept;
            }
            if self.hashes.len() < max {
                self.resize(self.hashes.len() * 2);
                continue;
            }
            let rank = |at: &usize| {
                let it = &self.sightings[*at];
                (it.bits, std::cmp::Reverse(age(it.source)), self.hashes[*at])
            };
            if let Some(at) = range.min_by_key(rank).filter(|at| self.sightings[*at].bits <= new.bits) {
                self.set(at, hash, new);
            }
            return Put::Lost;
        }
    }

    /// Whether a sighting of this value makes a new one needless; of several, the latest is brought up to date.
    fn known(&mut self, hash: u64, new: Sighting, age: impl Fn(u16) -> Option<u16>) -> bool {
        let mut same = [usize::MAX; SAME_MAX];
        let mut count = 0;
        for at in self.bucket(hash) {
            if self.hashes[at] == hash && count < SAME_MAX && age(self.sightings[at].source).is_some() {
                same[count] = at;
                count += 1;
            }
        }
        for at in &same[..count] {
            let it = &mut self.sightings[*at];
            if it.source == new.source {
                // The same result again: what is known of the value adds up; it stays where it was first.
                let flags = it.flags | new.flags;
                if it.flags != flags {
                    it.flags = flags;
                    self.record(*at);
                }
                return true;
            }
        }
        if count < SAME_MAX {
            return false;
        }
        // The first sighting stays; the other follows the latest.
        let wraps = |at: usize| new.source.wrapping_sub(self.sightings[at].source);
        let latest = if wraps(same[0]) < wraps(same[1]) { same[0] } else { same[1] };
        self.set(latest, hash, new);
        true
    }

    fn resize(&mut self, slots: usize) {
        for (hash, sighting) in self.restart(slots) {
            self.insert(hash, sighting);
        }
    }

    /// Into a free place of its bucket; there is one when the bucket was split, or as it was stored.
    fn insert(&mut self, hash: u64, sighting: Sighting) {
        if let Some(at) = self.bucket(hash).find(|at| self.hashes[*at] == 0) {
            self.set(at, hash, sighting);
        }
    }

    /// Places of a value.
    pub(super) fn find(&self, hash: u64) -> impl Iterator<Item = &Sighting> {
        let range = if self.hashes.is_empty() { 0..0 } else { self.bucket(hash) };
        range.filter(move |at| self.hashes[*at] == hash).map(|at| &self.sightings[at])
    }

    /// Forgets the values of sources that are forgotten: before a source's number comes round again.
    pub(super) fn sweep(&mut self, is_alive: impl Fn(u16) -> bool) {
        for (hash, sighting) in self.restart(self.hashes.len()).filter(|(_, it)| is_alive(it.source)) {
            self.insert(hash, sighting);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.hashes.capacity() * (size_of::<u64>() + size_of::<Sighting>() + 1)
    }
}

/// Values are recorded in pages in the order in which they were put in: the open page is filled, and of a value that is
/// recorded again the earlier record is void. When the pages come round to a place, what still holds of the page there
/// stays in it, and is written once more; as at most half of all records hold, that is one for each that is new, at most.
impl<const PLACES: usize> Table<PLACES> {
    const SLOTS_MAX: usize = PLACES * PAGE / 2;

    /// A value that stands at `slot` now.
    fn set(&mut self, slot: usize, hash: u64, sighting: Sighting) {
        (self.hashes[slot], self.sightings[slot]) = (hash, sighting);
        self.record(slot);
    }

    fn record(&mut self, slot: usize) {
        while self.page_of[slot] != self.open && (self.used == 0 || self.filled.len() >= PAGE) {
            self.turn();
        }
        if self.page_of[slot] != self.open {
            self.page_of[slot] = self.open;
            self.filled.push(u16::try_from(slot).unwrap_or(u16::MAX));
        }
        self.pages.touch(self.open.into());
    }

    /// Opens the next page.
    fn turn(&mut self) {
        if self.used > 0 {
            self.open = ((usize::from(self.open) + 1) % PLACES) as u8;
        }
        self.used = (self.used + 1).min(PLACES as u8);
        self.filled = self.scan(self.open.into()).collect();
        self.pages.replace(self.open.into());
    }

    /// Slots whose values the page at `place` has.
    fn scan(&self, place: usize) -> impl Iterator<Item = u16> {
        (0_u16..).zip(&self.page_of).filter(move |(_, it)| usize::from(**it) == place).map(|(slot, _)| slot)
    }

    /// How many pages ago the page at a place was opened.
    fn age(&self, place: u8) -> usize {
        (usize::from(self.open) + PLACES - usize::from(place)) % PLACES
    }

    /// All slots are free, and no page holds any more; what they held.
    fn restart(&mut self, slots: usize) -> impl Iterator<Item = (u64, Sighting)> + use<PLACES> {
        self.pages.clear(self.held());
        (self.open, self.used) = (0, 0);
        self.filled.clear();
        self.page_of = vec![NONE; slots];
        let hashes = std::mem::replace(&mut self.hashes, vec![0; slots]);
        let sightings = std::mem::replace(&mut self.sightings, vec![Sighting::default(); slots]);
        hashes.into_iter().zip(sightings).filter(|it| it.0 != 0)
    }
}

impl<const PLACES: usize> Paged for Table<PLACES> {
    fn pages(&self) -> &Pages {
        &self.pages
    }

    fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    fn held(&self) -> u64 {
        // They are taken in order, and all are when the first is taken again.
        u64::MAX.checked_shr(u64::BITS - u32::from(self.used)).unwrap_or(0)
    }

    fn page(&self, place: usize) -> PageRef<'_> {
        let mut out = Vec::with_capacity(PAGE * STORED);
        // The open page is written again and again, and so not looked for.
        let scanned: Vec<u16>;
        let slots = if place == usize::from(self.open) {
            &self.filled
        } else {
            scanned = self.scan(place).collect();
            &scanned
        };
        for slot in slots {
            let at = usize::from(*slot);
            let it = &self.sightings[at];
            let mut record = [0; STORED];
            record[..2].copy_from_slice(&slot.to_le_bytes());
            record[2..10].copy_from_slice(&self.hashes[at].to_le_bytes());
            let words = [it.source, it.sentence, it.path, it.item, it.raw, it.lower, it.flags.0];
            for (out, word) in record[10..24].as_chunks_mut().0.iter_mut().zip(words) {
                *out = word.to_le_bytes();
            }
            record[24..].copy_from_slice(&[it.coding.0, it.bits]);
            out.extend_from_slice(&record);
        }
        PageRef::Values(out)
    }

    fn put_back(&mut self, place: usize, page: Page) {
        let (Page::Values(bytes), Ok(at)) = (page, u8::try_from(place)) else { return };
        for it in bytes.as_chunks::<STORED>().0.iter().take(PAGE) {
            let (slot, hash, sighting) = read(it);
            // Of two records of a slot the later one holds, whichever is read first.
            let holds = self.page_of.get(slot).is_some_and(|it| *it == NONE || self.age(at) < self.age(*it));
            if holds && hash != 0 {
                (self.hashes[slot], self.sightings[slot], self.page_of[slot]) = (hash, sighting, at);
                if at == self.open {
                    self.filled.push(u16::try_from(slot).unwrap_or(u16::MAX));
                }
            }
        }
    }
}

fn read(it: &[u8; STORED]) -> (usize, u64, Sighting) {
    let word = |at: usize| u16::from_le_bytes([it[at], it[at + 1]]);
    let mut hash = [0; 8];
    hash.copy_from_slice(&it[2..10]);
    let sighting = Sighting {
        source: word(10),
        sentence: word(12),
        path: word(14),
        item: word(16),
        raw: word(18),
        lower: word(20),
        flags: Flag(word(22)),
        coding: Coding(it[24]),
        bits: it[25],
    };
    (word(0).into(), u64::from_le_bytes(hash), sighting)
}

impl<const PLACES: usize> Serialize for Table<PLACES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.hashes.len(), self.open, self.used).serialize(serializer)
    }
}

impl<'de, const PLACES: usize> Deserialize<'de> for Table<PLACES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (slots, open, used): (usize, u8, u8) = Deserialize::deserialize(deserializer)?;
        let are_slots = slots.is_multiple_of(WAYS) && slots <= Self::SLOTS_MAX;
        if !are_slots || usize::from(open) >= PLACES || usize::from(used) > PLACES {
            return Err(serde::de::Error::custom("more values than a table holds, or more pages than it has"));
        }
        let mut table = Self { open, used, ..Self::default() };
        table.hashes = vec![0; slots];
        table.sightings = vec![Sighting::default(); slots];
        table.page_of = vec![NONE; slots];
        table.pages = Pages::stored(table.held());
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::{self, Paged, Shelf};
    use super::*;

    /// Values that come, come again and go, through many turns of the pages: stored after every few and read back from its
    /// head and its pages, in either order, the table is the same, and a value costs little more than itself.
    #[test]
    fn its_pages_are_the_whole() {
        let mut table: Table<4> = Table::default();
        let mut stored: [Option<Vec<u8>>; 4] = Default::default();
        let (mut random, mut records) = (1_u64, 0);
        for n in 0..3000_u16 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // One in three was there before; one in fifty is forgotten by its source.
            let hash = if n % 3 == 0 { u64::from(n / 7) << 52 | 1 } else { random | 1 };
            let new = Sighting { source: n, bits: (random >> 40) as u8 % 8, ..Sighting::default() };
            table.put(hash, new, 1024, |it| (it % 50 != 0).then(|| n.wrapping_sub(it)));
            if n == 2000 {
                table.sweep(|it| it % 2 == 0);
            }
            if n % 5 != 0 {
                continue;
            }
            pages::drain(Shelf::Read, &mut table, &mut |(_, place), page| {
                records += usize::from(page.is_some());
                stored[usize::from(place)] = page.map(|it| postcard::to_allocvec(&it).unwrap());
            });
            let held = (0..4).filter(|it| stored[*it].is_some()).fold(0, |bits, it| bits | 1 << it);
            assert_eq!(held, table.held(), "at {n}");
            for backwards in [false, true] {
                let mut read: Table<4> = postcard::from_bytes(&postcard::to_allocvec(&table).unwrap()).unwrap();
                for it in 0..4_u8 {
                    let place = if backwards { 3 - it } else { it };
                    let page = stored[usize::from(place)].as_ref().map(|it| postcard::from_bytes(it).unwrap());
                    pages::attach(&mut read, place, page);
                }
                assert_eq!(read, table, "at {n}");
            }
        }
        assert!(table.page_of.iter().filter(|it| **it != NONE).count() > 30);
        assert!(records < 3000 / 5 * 2, "{records} pages written");
    }

    #[test]
    fn bytes_of_anybody_do_not_panic() {
        for head in [(7_usize, 0_u8, 0_u8), (128, 0, 0), (8, 4, 0), (8, 0, 5)] {
            assert!(postcard::from_bytes::<Table<4>>(&postcard::to_allocvec(&head).unwrap()).is_err(), "{head:?}");
        }
        let head = postcard::to_allocvec(&(64_usize, 3_u8, 4_u8)).unwrap();
        let mut table: Table<4> = postcard::from_bytes(&head).unwrap();
        for place in [0, 1, 3, 200] {
            pages::attach(&mut table, place, Some(Page::Values(vec![1; 5000])));
            pages::attach(&mut table, place, Some(Page::Paths(Vec::new())));
        }
        for n in 0..2000 {
            table.put(u64::from(n) << 48 | 1, Sighting { source: n, ..Sighting::default() }, 64, |_| Some(0));
        }
    }
}
