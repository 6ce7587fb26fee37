//! The latest step ids of a session, for the exact duplicate check.

use serde::{Deserialize, Serialize};

/// A ring of 64-bit fingerprints that grows to its limit and then forgets the oldest.
///
/// Kept in two halves: looking one up scans 32-bit words, which compilers turn into wide comparisons, and touches the
/// other half only on a hit. The fingerprints are cut from BLAKE3, so no step can be crafted to pass for another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recent {
    low: Vec<u32>,
    high: Vec<u32>,
    /// Where the next one goes once the ring is full.
    next: u32,
}

impl Recent {
    /// Remembers `key`; `false` when it is there already.
    pub(crate) fn insert(&mut self, key: [u8; 16], max: usize) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = key;
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if self.contains(low, high) {
            return false;
        }
        if self.low.len() < max {
            self.low.push(low);
            self.high.push(high);
        } else if let (Some(at), Some(at_high)) =
            (self.low.get_mut(self.next as usize), self.high.get_mut(self.next as usize))
        {
            *at = low;
            *at_high = high;
            self.next = (self.next + 1) % u32::try_from(max).unwrap_or(u32::MAX);
        }
        true
    }

    fn contains(&self, low: u32, high: u32) -> bool {
        const LANES: usize = 64;
        self.low.chunks(LANES).enumerate().any(|(chunk, lows)| {
            let hit = lows.iter().fold(false, |hit, it| hit | (*it == low));
            hit && lows.iter().zip(self.high.iter().skip(chunk * LANES)).any(|it| it == (&low, &high))
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.low.capacity() + self.high.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    fn key(n: u64) -> [u8; 16] {
        // Equal low halves in groups of four: only the high half tells them apart.
        let mut key = [0; 16];
        key[..4].copy_from_slice(&u32::try_from(n / 4).unwrap().to_le_bytes());
        key[4..8].copy_from_slice(&u32::try_from(n).unwrap().to_le_bytes());
        key
    }

    #[test]
    fn remembers_exactly_the_latest() {
        let mut recent = Recent::default();
        for n in 0..1000 {
            assert!(recent.insert(key(n), 100), "{n} is new");
            for old in n.saturating_sub(99)..=n {
                assert!(!recent.insert(key(old), 100), "{old} is remembered at {n}");
            }
        }
        assert!(recent.insert(key(0), 100), "forgotten by now");
        assert!(recent.bytes() <= 2 * 128 * 4);
    }
}
