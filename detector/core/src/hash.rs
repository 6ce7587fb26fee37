//! A 64-bit hash whose values are stored, and so must never change with a dependency or a platform.
//!
//! Folded multiplication, as in wyhash. Not keyed and not cryptographic: whoever can choose two tool calls so that they
//! collide gains only that they are taken for a repetition. Identity of steps uses BLAKE3 instead
//! ([`martingale_schemas::ids::step_key`]).

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd1b5_4a32_d192_ed03;
const K2: u64 = 0x8cb9_2ba7_2f3d_8dd7;

/// Mixes two words; every bit of the result depends on every bit of both.
#[expect(clippy::cast_possible_truncation, reason = "both halves of the product are folded together")]
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ K0) as u128 * (b ^ K1) as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = mix(bytes.len() as u64, K2);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word)) ^ state.rotate_left(23);
    }
    mix(state, last_word(rest))
}

/// Fewer than eight bytes as a word, the first the least significant. Two loads that overlap instead of a copy: most of
/// what is hashed is a word of the language.
pub(crate) fn last_word(rest: &[u8]) -> u64 {
    let at = |place: usize| u64::from(rest[place]) << (8 * place);
    match (rest, rest.first_chunk(), rest.last_chunk()) {
        ([], ..) => 0,
        (_, Some(first), Some(last)) => {
            let shift = 8 * (rest.len() - 4);
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift
        }
        _ => at(0) | at(rest.len() / 2) | at(rest.len() - 1),
    }
}

/// [`hash`] of text, never 0: state uses 0 for "none".
pub(crate) fn hash_text(text: &str) -> u64 {
    hash(text.as_bytes()) | 1
}

#[cfg(test)]
mod tests {
    use super::{hash, last_word, mix};

    #[test]
    fn the_last_word_is_its_bytes() {
        for length in 0..8 {
            let bytes: Vec<u8> = (0..length).map(|it| 0x91 + it).collect();
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(&bytes);
            assert_eq!(last_word(&bytes), u64::from_le_bytes(word), "{length}");
        }
    }

    /// Stored values: a change of any of them is a change of the state format.
    #[test]
    fn values_are_fixed() {
        assert_eq!(hash(b""), 3_160_488_457_958_843_841);
        assert_eq!(hash(b"get_webpage"), 10_575_542_323_522_357_051);
        assert_eq!(mix(1, 2), 14_463_298_334_041_787_502);
    }

    #[test]
    fn padding_and_length_count() {
        let texts: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"aaaaaaaaa"];
        for (at, one) in texts.iter().enumerate() {
            for other in &texts[at + 1..] {
                assert_ne!(hash(one), hash(other), "{one:?} {other:?}");
            }
        }
    }
}
