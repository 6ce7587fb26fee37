//! Meaning of short texts as integer vectors: a static table, one row a word piece, no model at run time.
//!
//! A sentence is the weighted sum of its pieces, scaled to a fixed length. Everything is integer arithmetic, so that a
//! similarity is the same number on every machine. Where the table is from: `detector/core/embedding/README.md`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;

use super::words;
use crate::hash::hash;

/// Numbers of a vector.
pub(crate) const DIMENSIONS: usize = 128;
/// Length of every vector that is not zero, about.
const LENGTH: i64 = 127;
/// Longest word that is looked up, in bytes: longer ones are no words.
const WORD_BYTES_MAX: usize = 64;
/// Most pieces of one text.
const PIECES_MAX: usize = 64;

static TABLE_BYTES: &[u8] = include_bytes!("../../embedding/table.bin");

/// A direction in the table's space; zero where nothing is known of the text.
pub(crate) type Vector = [i8; DIMENSIONS];
/// Sum of vectors that is not scaled yet.
pub(crate) type Sum = [i32; DIMENSIONS];

pub(crate) const NOWHERE: Vector = [0; DIMENSIONS];

struct Table {
    /// By the hash of a piece: of what is no piece, one in 10¹⁴ passes for one.
    pieces: HashMap<u64, u16, BuildHasherDefault<Hashed>>,
    /// Bytes of the longest piece.
    longest: usize,
    weights: &'static [u8],
    rows: &'static [u8],
}

/// Keys that are hashes.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
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
        let is_used = |(word, id): &(&[u8], u16)| !word.is_empty() && weights.get(usize::from(*id)) != Some(&0);
        let used: Vec<(&[u8], u16)> = ids.filter(is_used).collect();
        let longest = used.iter().map(|it| it.0.len()).max().unwrap_or(0);
        Table { pieces: used.into_iter().map(|(word, id)| (hash(word), id)).collect(), longest, weights, rows }
    })
}

/// Appends the word pieces of a lower-case word, as numbers of the table, to at most `max`.
pub(crate) fn pieces(word: &str, max: usize, out: &mut Vec<u16>) {
    let bytes = word.as_bytes();
    if bytes.len() > WORD_BYTES_MAX || out.len() >= max {
        return;
    }
    let table = table();
    let mut inner = [0; WORD_BYTES_MAX + 2];
    inner[..2].copy_from_slice(b"##");
    let (mut from, begun) = (0, out.len());
    while from < bytes.len() {
        let end = bytes.len().min(from + table.longest);
        let longest = (from + 1..=end).rev().find_map(|to| {
            let piece: &[u8] = if from == 0 {
                &bytes[..to]
            } else {
                inner[2..2 + to - from].copy_from_slice(&bytes[from..to]);
                &inner[..2 + to - from]
            };
            table.pieces.get(&hash(piece)).map(|id| (*id, to))
        });
        // A word that cannot be put together says nothing.
        let Some((id, to)) = longest else {
            out.truncate(begun);
            return;
        };
        out.push(id);
        from = to;
    }
    out.truncate(max);
}

/// Vector of the words of a text.
pub(crate) fn of(text: &str) -> Vector {
    let mut out = Vec::new();
    words::words(text, |it| pieces(it, PIECES_MAX, &mut out));
    vector(&out)
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
    use super::{PIECES_MAX, likeness, of, pieces};

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
        let mut found = Vec::new();
        for word in ["x".repeat(65).as_str(), "\u{4e00}\u{1f600}", ""] {
            pieces(word, PIECES_MAX, &mut found);
        }
        assert!(found.is_empty());
        (0..1_000).for_each(|_| pieces("bookkeepers", PIECES_MAX, &mut found));
        assert_eq!(found.len(), PIECES_MAX);
    }

    /// No piece takes the place of another.
    #[test]
    fn pieces_keep_apart() {
        let table = super::table();
        let used = table.weights.iter().filter(|it| **it != 0).count();
        assert!(table.pieces.len() == used || table.pieces.len() + 1 == used, "{} {used}", table.pieces.len());
    }

    const VECTOR_HASH: u64 = 7_100_142_093_174_669_465;
}
