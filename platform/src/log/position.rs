//! Partitions, offsets and the arithmetic of progress, as values.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of a partition, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

/// Place of a record in its partition. Grows; need not be consecutive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    pub const START: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Place of a record in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub partition: Partition,
    pub offset: Offset,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// A record at or below what was handled before: it was delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} was handled before, the next is {next}")]
pub struct Replay {
    pub offset: Offset,
    pub next: Offset,
}

impl Offset {
    /// Moves progress past a record at `offset`.
    ///
    /// | next | offset | outcome |
    /// |------|--------|---------|
    /// | 5    | 5      | next = 6 |
    /// | 5    | 9      | next = 10: gaps are allowed |
    /// | 5    | 4      | [`Replay`], next stays 5 |
    ///
    /// # Errors
    /// [`Replay`] when the record was handled before.
    pub fn advance(&mut self, offset: Self) -> Result<(), Replay> {
        if offset < *self {
            return Err(Replay { offset, next: *self });
        }
        *self = offset.next();
        Ok(())
    }
}

/// FNV-1a with a final mix: stable for ever, because it decides where the records on disk are.
pub(super) fn partition_of(key: &[u8], partitions: u32) -> Partition {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u32")]
    Partition((hash % u64::from(partitions.max(1))) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_moves_past_a_record_or_reports_a_replay() {
        let cases = [
            (5, 5, Ok(()), 6),
            (5, 9, Ok(()), 10),
            (0, 0, Ok(()), 1),
            (5, 4, Err(Replay { offset: Offset(4), next: Offset(5) }), 5),
            (5, 0, Err(Replay { offset: Offset(0), next: Offset(5) }), 5),
        ];
        for (next, offset, outcome, after) in cases {
            let mut progress = Offset(next);
            assert_eq!((progress.advance(Offset(offset)), progress), (outcome, Offset(after)), "{next} past {offset}");
        }
    }

    /// Where a key's records are, for ever: a change here makes the sessions of every folder in use change partition.
    #[test]
    fn keys_keep_their_partition() {
        let cases = [
            ("", 4, 1),
            ("a", 4, 0),
            ("b", 4, 1),
            ("session-1", 4, 0),
            ("session-1", 1, 0),
            ("session-1", 7, 1),
            ("x", 0, 0),
        ];
        let placed: Vec<_> = cases.iter().map(|(key, n, _)| partition_of(key.as_bytes(), *n).0).collect();
        let expected: Vec<u32> = cases.iter().map(|(_, _, partition)| *partition).collect();
        assert_eq!(placed, expected);
    }

    #[test]
    fn keys_spread_over_partitions() {
        let mut counts = [0_u32; 4];
        for n in 0..4_000 {
            counts[partition_of(format!("session-{n}").as_bytes(), 4).0 as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn positions_read_as_people_write_them() {
        let position = Position { partition: Partition(3), offset: Offset(42) };
        assert_eq!(position.to_string(), "3:42");
    }
}
