//! The latest step ids of a session, for the exact duplicate check.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes;
use crate::limits::{RECENT_STEPS, RECENT_STEPS_PART as PART};
use crate::parts::Parts;

/// A ring of 64-bit fingerprints that grows to its limit and then forgets the oldest.
///
/// Kept in two halves: looking one up scans 32-bit words, which compilers turn into wide comparisons, and touches the
/// other half only on a hit. The fingerprints are cut from BLAKE3, so no step can be crafted to pass for another.
///
/// Serialised is what goes with the head of a state: how many there were, and the latest few.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    low: Vec<u32>,
    high: Vec<u32>,
    parts: Parts<RECENT_STEPS, PART>,
}

/// Fingerprints as plain bytes: random words as numbers of varying length take a quarter more, and many times as long to
/// write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprints(#[serde(with = "bytes")] Vec<u8>);

const BYTES: usize = 8;

impl Recent {
    /// Of the form of before there were parts: `next` is where the next one goes.
    pub(crate) fn of_ring(mut low: Vec<u32>, mut high: Vec<u32>, next: usize) -> Option<Self> {
        if low.len() != high.len() || low.len() > RECENT_STEPS || next > low.len() {
            return None;
        }
        low.rotate_left(next);
        high.rotate_left(next);
        let parts = Parts::unstored(low.len() as u64);
        Some(Self { low, high, parts })
    }

    /// Remembers `key`; `false` when it is there already.
    pub(crate) fn insert(&mut self, key: [u8; 16]) -> bool {
        let (low, high) = words(key.first_chunk().unwrap_or(&[0; BYTES]));
        if self.contains(low, high) {
            return false;
        }
        let at = Parts::<RECENT_STEPS, PART>::position(self.parts.total());
        if let (Some(at_low), Some(at_high)) = (self.low.get_mut(at), self.high.get_mut(at)) {
            (*at_low, *at_high) = (low, high);
        } else {
            self.low.push(low);
            self.high.push(high);
        }
        self.parts.push();
        true
    }

    fn contains(&self, low: u32, high: u32) -> bool {
        const LANES: usize = 64;
        self.low.chunks(LANES).enumerate().any(|(chunk, lows)| {
            let hit = lows.iter().fold(false, |hit, it| hit | (*it == low));
            hit && lows.iter().zip(self.high.iter().skip(chunk * LANES)).any(|it| it == (&low, &high))
        })
    }

    /// Fingerprints from a position on, as many as there is room for.
    fn write(&self, from: usize, out: &mut [u8]) {
        let words = self.low[from..].iter().zip(&self.high[from..]);
        for (out, (low, high)) in out.as_chunks_mut::<BYTES>().0.iter_mut().zip(words) {
            *out = (u64::from(*low) | u64::from(*high) << 32).to_le_bytes();
        }
    }

    pub(crate) fn parts(&self) -> &Parts<RECENT_STEPS, PART> {
        &self.parts
    }

    /// The part at `place`.
    pub(crate) fn part(&self, place: usize) -> Fingerprints {
        let mut bytes = vec![0; PART * BYTES];
        self.write(place * PART, &mut bytes);
        Fingerprints(bytes)
    }

    /// Takes a stored part in; without one, its steps are as if they had never been seen.
    pub(crate) fn attach(&mut self, place: usize, stored: &Fingerprints) {
        let (stored, _) = stored.0.as_chunks::<BYTES>();
        for n in self.parts.attach(place) {
            let at = place * PART + n;
            if let (Some(it), Some(low), Some(high)) = (stored.get(n), self.low.get_mut(at), self.high.get_mut(at)) {
                (*low, *high) = words(it);
            }
        }
    }

    /// Places of parts that changed since the last call; `true` where there is one.
    pub(crate) fn drain_changed(&mut self) -> impl Iterator<Item = (usize, bool)> + use<> {
        self.parts.drain_changed()
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.low.capacity() + self.high.capacity()) * size_of::<u32>()
    }
}

fn words(&[a, b, c, d, e, f, g, h]: &[u8; BYTES]) -> (u32, u32) {
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let open = self.parts.open();
        let mut bytes = [0; PART * BYTES];
        let bytes = &mut bytes[..open * BYTES];
        self.write(Parts::<RECENT_STEPS, PART>::position(self.parts.total()) - open, bytes);
        (self.parts.total(), Open(bytes)).serialize(serializer)
    }
}

/// [`Fingerprints`] that are borrowed.
#[derive(Serialize)]
struct Open<'b>(#[serde(with = "bytes")] &'b [u8]);

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (total, Fingerprints(open)) = Deserialize::deserialize(deserializer)?;
        let parts = Parts::stored(total);
        let (open, rest) = open.as_chunks::<BYTES>();
        if open.len() != parts.open() || !rest.is_empty() {
            return Err(D::Error::invalid_length(open.len(), &"as many fingerprints as are in no part"));
        }
        let mut recent = Self { low: vec![0; parts.len()], high: vec![0; parts.len()], parts };
        let from = Parts::<RECENT_STEPS, PART>::position(total) - open.len();
        for (n, it) in open.iter().enumerate() {
            (recent.low[from + n], recent.high[from + n]) = words(it);
        }
        Ok(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprints, Recent};
    use crate::limits::{RECENT_STEPS, RECENT_STEPS_PART};

    fn key(n: u64) -> [u8; 16] {
        // Equal low halves in groups of four: only the high half tells them apart. Never zero, which stands for nothing.
        let mut key = [1; 16];
        key[..4].copy_from_slice(&u32::try_from(n / 4).unwrap().to_le_bytes());
        key[4..8].copy_from_slice(&u32::try_from(n + 1).unwrap().to_le_bytes());
        key
    }

    #[test]
    fn remembers_exactly_the_latest() {
        let max = RECENT_STEPS as u64;
        let mut recent = Recent::default();
        for n in 0..3 * max {
            assert!(recent.insert(key(n)), "{n} is new");
            for old in n.saturating_sub(max - 1)..=n {
                assert!(!recent.insert(key(old)), "{old} is remembered at {n}");
            }
            if n >= max {
                assert!(recent.clone().insert(key(n - max)), "{} is forgotten at {n}", n - max);
            }
        }
        assert!(recent.bytes() <= RECENT_STEPS * 8);
    }

    /// Stored after every step and read back before the next one, it remembers the same; a step writes little, however
    /// many went before.
    #[test]
    fn its_parts_are_the_whole() {
        let mut kept = Recent::default();
        let mut stored: Vec<Option<Fingerprints>> = vec![None; RECENT_STEPS / RECENT_STEPS_PART];
        let mut head = postcard::to_allocvec(&kept).unwrap();
        let mut written = 0;
        for n in 0..1000 {
            let mut read: Recent = postcard::from_bytes(&head).unwrap();
            for place in read.parts().missing().collect::<Vec<_>>() {
                read.attach(place, stored[place].as_ref().unwrap());
            }
            assert_eq!(read, kept, "after {n}");
            kept.insert(key(n));
            read.insert(key(n));
            for (place, held) in read.drain_changed() {
                assert!(held);
                written += 1;
                stored[place] = Some(read.part(place));
            }
            assert!(kept.drain_changed().all(|(_, held)| held));
            head = postcard::to_allocvec(&read).unwrap();
            assert!(head.len() < RECENT_STEPS_PART * 8 + 8, "{} bytes at {n}", head.len());
        }
        assert_eq!(written, 1000 / RECENT_STEPS_PART);
    }

    #[test]
    fn the_first_form_is_taken_over() {
        let ring: Vec<u32> = (1..=256).collect();
        let mut recent = Recent::of_ring(ring.clone(), ring.clone(), 5).unwrap();
        assert_eq!((recent.low[0], recent.low[255]), (6, 5), "the oldest comes first");
        assert_eq!(recent.drain_changed().count(), 8);
        assert!(Recent::of_ring(ring.clone(), Vec::new(), 0).is_none());
        assert!(Recent::of_ring(ring.clone(), ring, 257).is_none());
    }

    #[test]
    fn bytes_of_anybody_do_not_panic() {
        for bytes in [&[3, 1, 2, 3, 0, 0][..], &[1, 0], &[0, 8, 1, 2, 3, 4, 5, 6, 7, 8], &[1, 7, 1, 2, 3, 4, 5, 6, 7]] {
            assert!(postcard::from_bytes::<Recent>(bytes).is_err(), "{bytes:?}");
        }
        let mut most: Recent =
            postcard::from_bytes(&postcard::to_allocvec(&(u64::MAX - 31, [0_u8; 0].as_slice())).unwrap()).unwrap();
        most.attach(99, &Fingerprints::default());
        most.attach(3, &Fingerprints(vec![1, 2, 3]));
        for n in 0..40 {
            most.insert(key(n));
        }
    }
}
