//! Meaning of short texts as integer vectors: a static table, one row a word piece, no model at run time.
//!
//! A sentence is the weighted sum of its pieces, scaled to a fixed length. Everything is integer arithmetic, so that a
//! similarity is the same number on every machine. Where the table is from: `detector/core/embedding/README.md`.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Numbers of a vector.
pub(crate) const DIMENSIONS: usize = 128;
/// Length of every vector that is not zero, about.
const LENGTH: i64 = 127;
/// Longest word that is looked up, in bytes: longer ones are no words.
const WORD_BYTES_MAX: usize = 64;
/// Most pieces of one text.
pub(crate) const PIECES_MAX: usize = 64;

static TABLE_BYTES: &[u8] = include_bytes!("../../embedding/table.bin");

/// A direction in the table's space; zero where nothing is known of the text.
pub(crate) type Vector = [i8; DIMENSIONS];
/// Sum of vectors that is not scaled yet.
pub(crate) type Sum = [i32; DIMENSIONS];

pub(crate) const NOWHERE: Vector = [0; DIMENSIONS];

struct Table {
    pieces: HashMap<&'static [u8], u16>,
    weights: &'static [u8],
    rows: &'static [u8],
}

/// Layout: number of pieces (u32, little endian), a weight byte for each, a row of signed bytes for each, then the pieces,
/// each ended by a line feed. Pieces inside a word begin with `##`.
fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let (head, rest) = TABLE_BYTES.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let count = u32::from_le_bytes(*head) as usize;
        let (weights, rest) = rest.split_at_checked(count).unwrap_or_default();
        let (rows, words) = rest.split_at_checked(count * DIMENSIONS).unwrap_or_default();
        let ids = words.split(|it| *it == b'\n').zip(0_u16..).take(count);
        let pieces = ids.filter(|(word, id)| !word.is_empty() && weights.get(usize::from(*id)) != Some(&0)).collect();
        Table { pieces, weights, rows }
    })
}

/// Word pieces of lower-case words, as numbers of the table; at most [`PIECES_MAX`].
pub(crate) fn pieces<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u16> {
    let table = table();
    let mut out = Vec::new();
    let mut inner = [0; WORD_BYTES_MAX + 2];
    inner[..2].copy_from_slice(b"##");
    for word in words {
        let bytes = word.as_bytes();
        if bytes.len() > WORD_BYTES_MAX {
            continue;
        }
        let (mut from, begun) = (0, out.len());
        while from < bytes.len() {
            let longest = (from + 1..=bytes.len()).rev().find_map(|to| {
                let piece: &[u8] = if from == 0 {
                    &bytes[..to]
                } else {
                    inner[2..2 + to - from].copy_from_slice(&bytes[from..to]);
                    &inner[..2 + to - from]
                };
                table.pieces.get(piece).map(|id| (*id, to))
            });
            // A word that cannot be put together says nothing.
            let Some((id, to)) = longest else {
                out.truncate(begun);
                break;
            };
            out.push(id);
            from = to;
        }
        if out.len() >= PIECES_MAX {
            out.truncate(PIECES_MAX);
            break;
        }
    }
    out
}

/// The vector of these pieces.
pub(crate) fn vector(pieces: &[u16]) -> Vector {
    let table = table();
    let mut sum = [0; DIMENSIONS];
    for id in pieces.iter().map(|it| usize::from(*it)) {
        let row = table.rows.get(id * DIMENSIONS..(id + 1) * DIMENSIONS).unwrap_or(&[]);
        let weight = i32::from(table.weights.get(id).copied().unwrap_or(0));
        for (total, value) in sum.iter_mut().zip(row) {
            *total += weight * i32::from(value.cast_signed());
        }
    }
    scaled(&sum)
}

/// The direction of a sum.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a square is positive; no part exceeds 127"
)]
pub(crate) fn scaled(sum: &Sum) -> Vector {
    let square: i64 = sum.iter().map(|it| i64::from(*it).pow(2)).sum();
    let length = ((square as u64).isqrt() as i64).max(1);
    let half = length / 2;
    sum.map(|it| {
        let grown = i64::from(it) * LENGTH;
        ((grown + if grown < 0 { -half } else { half }) / length).clamp(-127, 127) as i8
    })
}

/// How alike two texts are, in thousandths: 1000 for the same direction, 0 for unrelated ones.
pub(crate) fn likeness(a: &Vector, b: &Vector) -> i32 {
    let dot: i32 = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    dot * 125 / 2016
}

#[cfg(test)]
mod tests {
    use super::{likeness, pieces, vector};

    fn of(text: &str) -> super::Vector {
        vector(&pieces(text.split_whitespace()))
    }

    #[test]
    fn alike_texts_are_near() {
        let request = of("please transfer some money to my landlord");
        let (near, far) = (of("send money recipient amount"), of("get webpage url"));
        assert!(likeness(&request, &near) > likeness(&request, &far));
        assert!((980..=1020).contains(&likeness(&request, &request)));
        assert_eq!(likeness(&request, &of("")), 0);
    }

    /// The same numbers on every machine.
    #[test]
    fn vectors_are_fixed() {
        let vector = of("send the file to the bookkeeper");
        assert_eq!(crate::hash::hash(&vector.map(i8::cast_unsigned)), VECTOR_HASH);
    }

    #[test]
    fn words_without_end_say_nothing() {
        assert!(pieces(["x".repeat(65).as_str(), "\u{4e00}\u{1f600}", ""].into_iter()).is_empty());
        assert_eq!(pieces(std::iter::repeat_n("bookkeepers", 1_000)).len(), super::PIECES_MAX);
    }

    const VECTOR_HASH: u64 = 7_100_142_093_174_669_465;
}
