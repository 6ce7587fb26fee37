//! One value as it is remembered: a fingerprint, and how it was found.

use std::ops::BitOr;

use crate::hash::hash;

/// What is known of a value, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flag(pub(super) u16);

impl Flag {
    pub(super) const NONE: Self = Self(0);
    /// Alone under a name in JSON.
    pub(super) const FIELD: Self = Self(1);
    /// Alone on a `key: value` line of a text.
    pub(super) const RECORD: Self = Self(2);
    /// Without its separators: two addresses may share it, so it is a trace and no authority.
    pub(super) const LOOSE: Self = Self(4);
    /// Several words taken as one value.
    pub(super) const WHOLE: Self = Self(8);
    /// Host or last part of a longer value.
    pub(super) const PART: Self = Self(16);
    /// Three words in a row, one in eight kept: shows that prose was copied.
    pub(super) const SAMPLED: Self = Self(32);
    /// Short, so that it means something only under the name of an id, a recipient or the like.
    pub(super) const NAMED: Self = Self(64);

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Flag {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

/// How a value was encoded where it stood: the innermost coding, and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Coding(pub(super) u8);

impl Coding {
    pub(super) const NONE: Self = Self(0);
    pub(super) const URL: Self = Self(1);
    pub(super) const HEX: Self = Self(2);
    pub(super) const BASE64: Self = Self(3);

    pub(super) const fn with(self, inner: Self) -> Self {
        Self((self.depth() + 1) << 2 | inner.0)
    }

    pub(super) const fn depth(self) -> u8 {
        self.0 >> 2
    }

    /// The innermost one.
    pub(super) const fn innermost(self) -> Self {
        Self(self.0 & 3)
    }
}

/// A value found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    /// Of the canonical form.
    pub(super) hash: u64,
    /// Of the value as it stood, and in lower case: they say what kind of match it is, and decide nothing.
    pub(super) raw: u16,
    pub(super) lower: u16,
    pub(super) bits: u8,
    pub(super) sentence: u16,
    pub(super) flags: Flag,
    pub(super) coding: Coding,
}

impl Atom {
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits of a fingerprint")]
    pub(super) fn tag(value: &[u8]) -> u16 {
        (hash(value) >> 40) as u16
    }

    pub(super) fn sampled(hash: u64, sentence: u16, flags: Flag, coding: Coding) -> Self {
        let bits = super::rarity::GATE_BITS;
        Self { hash, raw: 0, lower: 0, bits, sentence, flags: flags | Flag::SAMPLED, coding }
    }
}
