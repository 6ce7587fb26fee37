//! Values and where they were found: a table of small buckets, so that a look-up reads eight hashes whatever was put in.
//!
//! A full bucket doubles the table until it is as large as it may be. Then of the bucket's values and the new one the one
//! with the fewest bits goes, and of equals the oldest. What goes depends on the contents of the bucket alone and on
//! nothing else, so a table that was stored and read again behaves as if it had never left memory.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::atom::{Atom, Coding, Flag};
use super::packed;

const WAYS: usize = 8;
/// Places of one value: where it was first met, and where last.
const SAME_MAX: usize = 2;

/// Where a value stood, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
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

impl Place {
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

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// 0 is a free place.
    hashes: Vec<u64>,
    places: Vec<Place>,
}

/// What became of a value that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Kept,
    /// It or another one had to go.
    Lost,
}

impl Table {
    fn bucket(&self, hash: u64) -> std::ops::Range<usize> {
        let buckets = self.hashes.len() / WAYS;
        let at = ((u128::from(hash) * buckets as u128) >> 64) as usize * WAYS;
        at..at + WAYS
    }

    /// Remembers a value. `age` tells how long ago a source was, `None` when it is forgotten, and with it its values.
    pub(super) fn put(&mut self, hash: u64, new: Place, max: usize, age: impl Fn(u16) -> Option<u16> + Copy) -> Put {
        if self.hashes.is_empty() {
            self.resize(WAYS);
        }
        loop {
            if self.known(hash, new, age) {
                return Put::Kept;
            }
            let range = self.bucket(hash);
            let free = range.clone().find(|at| self.hashes[*at] == 0 || age(self.places[*at].source).is_none());
            if let Some(at) = free {
                (self.hashes[at], self.places[at]) = (hash, new);
                return Put::Kept;
            }
            if self.hashes.len() < max {
                self.resize(self.hashes.len() * 2);
                continue;
            }
            let rank = |at: &usize| {
                let it = &self.places[*at];
                (it.bits, std::cmp::Reverse(age(it.source)), self.hashes[*at])
            };
            if let Some(at) = range.min_by_key(rank).filter(|at| self.places[*at].bits <= new.bits) {
                (self.hashes[at], self.places[at]) = (hash, new);
            }
            return Put::Lost;
        }
    }

    /// Whether a place of this value makes a new one needless; of several, the latest is brought up to date.
    fn known(&mut self, hash: u64, new: Place, age: impl Fn(u16) -> Option<u16>) -> bool {
        let mut same = [usize::MAX; SAME_MAX];
        let mut count = 0;
        for at in self.bucket(hash) {
            if self.hashes[at] == hash && count < SAME_MAX && age(self.places[at].source).is_some() {
                same[count] = at;
                count += 1;
            }
        }
        for at in &same[..count] {
            let it = &mut self.places[*at];
            if it.source == new.source {
                // The same result again: what is known of the value adds up; it stays where it was first.
                it.flags = it.flags | new.flags;
                return true;
            }
        }
        if count < SAME_MAX {
            return false;
        }
        // The first place stays; the other follows the latest.
        let wraps = |at: usize| new.source.wrapping_sub(self.places[at].source);
        let latest = if wraps(same[0]) < wraps(same[1]) { same[0] } else { same[1] };
        self.places[latest] = new;
        true
    }

    fn resize(&mut self, slots: usize) {
        let hashes = std::mem::replace(&mut self.hashes, vec![0; slots]);
        let places = std::mem::replace(&mut self.places, vec![Place::default(); slots]);
        for (hash, place) in hashes.into_iter().zip(places).filter(|it| it.0 != 0) {
            self.insert(hash, place);
        }
    }

    /// Into a free place of its bucket; there is one when the bucket was split, or as it was stored.
    fn insert(&mut self, hash: u64, place: Place) {
        if let Some(at) = self.bucket(hash).find(|at| self.hashes[*at] == 0) {
            (self.hashes[at], self.places[at]) = (hash, place);
        }
    }

    /// Places of a value.
    pub(super) fn find(&self, hash: u64) -> impl Iterator<Item = &Place> {
        let range = if self.hashes.is_empty() { 0..0 } else { self.bucket(hash) };
        range.filter(move |at| self.hashes[*at] == hash).map(|at| &self.places[at])
    }

    /// Forgets the values of sources that are forgotten: before a source's number comes round again.
    pub(super) fn sweep(&mut self, is_alive: impl Fn(u16) -> bool) {
        let kept: Vec<(u64, Place)> = self
            .hashes
            .iter()
            .copied()
            .zip(self.places.iter().copied())
            .filter(|(_, it)| is_alive(it.source))
            .collect();
        self.hashes.fill(0);
        self.places.fill(Place::default());
        for (hash, place) in kept.into_iter().filter(|it| it.0 != 0) {
            self.insert(hash, place);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.hashes.capacity() * (size_of::<u64>() + size_of::<Place>())
    }
}

/// Bytes of one value in the stored form.
const STORED: usize = 24;

/// The number of places, then the values in them.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let used = self.hashes.iter().zip(&self.places).filter(|(hash, _)| **hash != 0);
        let mut out = Vec::with_capacity(4 + used.clone().count() * STORED);
        out.extend_from_slice(&u32::try_from(self.hashes.len()).unwrap_or(0).to_le_bytes());
        for (hash, it) in used {
            out.extend_from_slice(&hash.to_le_bytes());
            for word in [it.source, it.sentence, it.path, it.item, it.raw, it.lower, it.flags.0] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&[it.coding.0, it.bits]);
        }
        serializer.serialize_bytes(&out)
    }
}

/// More places than any limit asks for are not believed.
const SLOTS_MAX: usize = 1 << 16;

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = packed::bytes(deserializer)?;
        let wrong =
            || serde::de::Error::custom("a table of values is its number of places and 24 bytes for each value");
        let (slots, values) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
        let slots = u32::from_le_bytes(*slots) as usize;
        let (values, rest) = values.as_chunks::<STORED>();
        if !rest.is_empty() || slots > SLOTS_MAX || !slots.is_multiple_of(WAYS) || values.len() > slots {
            return Err(wrong());
        }
        let mut table = Self { hashes: vec![0; slots], places: vec![Place::default(); slots] };
        for it in values {
            let word = |at: usize| u16::from_le_bytes([it[at], it[at + 1]]);
            let mut hash = [0; 8];
            hash.copy_from_slice(&it[..8]);
            table.insert(
                u64::from_le_bytes(hash),
                Place {
                    source: word(8),
                    sentence: word(10),
                    path: word(12),
                    item: word(14),
                    raw: word(16),
                    lower: word(18),
                    flags: Flag(word(20)),
                    coding: Coding(it[22]),
                    bits: it[23],
                },
            );
        }
        Ok(table)
    }
}
