//! The latest step ids of a session, for the exact duplicate check.

use serde::{Deserialize, Serialize};

/// A ring of 64-bit fingerprints that grows to its limit and then forgets the oldest.
///
/// Kept in two halves: looking one up scans 32-bit words, which compilers turn into wide comparisons, and touches the
/// other half only on a hit. The fingerprints are cut from BLAKE3, so no step can be crafted to pass for another.
///
/// Stored as plain bytes: random words as numbers of varying length take a quarter more, and many times as long to write,
/// and they are written with every commit of the session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recent {
    #[serde(with = "words")]
    low: Vec<u32>,
    #[serde(with = "words")]
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

/// Words as bytes, the least significant first.
mod words {
    use std::fmt;

    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(words: &[u32], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|it| it.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("four bytes for each word")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u32>, E> {
            let (words, rest) = bytes.as_chunks::<4>();
            let whole = rest.is_empty().then(|| words.iter().map(|it| u32::from_le_bytes(*it)).collect());
            whole.ok_or_else(|| E::invalid_length(bytes.len(), &self))
        }

        /// Bytes in a format that has none, such as JSON.
        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Vec<u32>, S::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = seq.next_element::<u8>()? {
                bytes.push(byte);
            }
            self.visit_bytes(&bytes)
        }
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
        let stored = postcard::to_allocvec(&recent).unwrap();
        assert!(stored.len() <= 100 * 8 + 8, "{} bytes", stored.len());
        assert_eq!(postcard::from_bytes::<Recent>(&stored).unwrap(), recent);
        assert!(postcard::from_bytes::<Recent>(&[3, 1, 2, 3, 0, 0]).is_err(), "three bytes are no word");
    }
}
