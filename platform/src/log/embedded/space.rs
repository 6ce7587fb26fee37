//! The keyspaces of the store by number, and one change to one of them: the words that stage, journal and store share.

use bytes::Bytes;

use super::topics::Slot;

/// A keyspace of the store. Numbers hold while the log is open; on disk stand names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Space(pub(super) u32);

/// How keyspaces are numbered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spaces {
    pub(super) slots: usize,
    pub(super) topics: usize,
}

/// One entry set or, without a value, removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) space: Space,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

impl Write {
    /// What it weighs in memory.
    pub(super) fn bytes(&self) -> usize {
        const OVERHEAD: usize = 96;
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + OVERHEAD
    }
}

impl Spaces {
    pub(super) const META: Space = Space(0);
    pub(super) const STATE: Space = Space(1);
    const FIXED: usize = 2;

    pub(super) const fn records(self, slot: Slot) -> Space {
        Self::numbered(Self::FIXED + slot.0)
    }

    /// The duplicate index of a topic.
    pub(super) const fn ids(self, topic: usize) -> Space {
        Self::numbered(Self::FIXED + self.slots + topic)
    }

    /// The newest records by key; it exists for topics that are compacted.
    pub(super) const fn latest(self, topic: usize) -> Space {
        Self::numbered(Self::FIXED + self.slots + self.topics + topic)
    }

    #[expect(clippy::cast_possible_truncation, reason = "topics are few and have at most 1,024 partitions")]
    const fn numbered(index: usize) -> Space {
        Space(index as u32)
    }
}
