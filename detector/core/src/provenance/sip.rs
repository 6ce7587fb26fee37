//! SipHash-1-3 under a key of the run: what identifies a value in the index.
//!
//! Not [`crate::hash`]: that one can be inverted, so whoever writes what an agent reads could craft an address that passes
//! for the one the user named. Here a second value with a given hash is a search over 2⁶⁴, and the key keeps the places in
//! the table unknown to whoever does not know the id of the run. The key is derived, not secret: nothing needs storing
//! elsewhere, and every machine computes the same.

use martingale_schemas::{SessionId, ids};
use serde::{Deserialize, Serialize};

use crate::hash::last_word;

/// Key of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key(u64, u64);

impl Key {
    pub(super) fn of_run(root: &SessionId<'_>) -> Self {
        let digest = ids::digest(&[b"provenance", root.as_str().as_bytes()]);
        let (words, _) = digest.as_chunks::<8>();
        match words {
            [a, b] => Self(u64::from_le_bytes(*a), u64::from_le_bytes(*b)),
            _ => Self::default(),
        }
    }

    /// Never 0, which marks an empty place.
    pub(super) fn hash(self, bytes: &[u8]) -> u64 {
        sip::<1, 3>(self.0, self.1, bytes) | 1
    }

    /// A seed for fingerprints that need not withstand an attacker.
    pub(super) const fn seed(self) -> u64 {
        self.0
    }
}

fn sip<const C: usize, const D: usize>(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        absorb::<C>(&mut state, u64::from_le_bytes(*word));
    }
    absorb::<C>(&mut state, last_word(rest) | (bytes.len() as u64) << 56);
    state[2] ^= 0xff;
    for _ in 0..D {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn absorb<const C: usize>(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    for _ in 0..C {
        round(state);
    }
    state[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use martingale_schemas::SessionId;

    use super::{Key, sip};

    /// The published vectors of SipHash-2-4: key 00 01 … 0f, message 00 01 … of each length.
    #[test]
    fn agrees_with_the_published_vectors() {
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let message: Vec<u8> = (0..16).collect();
        for (length, expected) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(sip::<2, 4>(k0, k1, &message[..length]), expected, "{length}");
        }
    }

    /// Stored values: a change of any of them is a change of the state format.
    #[test]
    fn values_are_fixed_and_differ_between_runs() {
        let key = Key::of_run(&SessionId::from("s"));
        assert_eq!(key.hash(b"ada@example.com"), 8_344_999_719_963_010_791);
        assert_ne!(key.hash(b"ada@example.com"), Key::of_run(&SessionId::from("t")).hash(b"ada@example.com"));
    }
}
