//! The last few words of a text: triples that recognise copied prose, names of two words, numbers in groups.

use crate::hash::{last_word, mix};

use super::sip::Key;

/// One triple in so many is kept: enough to recognise a copied passage of some thirty words.
const SAMPLE: u64 = 8;
/// Longest name and longest number in groups.
pub(super) const JOINED_MAX: usize = 48;

/// Words that begin sentences, and so are capitalised without being names.
const COMMON: [&[u8]; 40] = [
    b"the", b"a", b"an", b"this", b"that", b"these", b"those", b"it", b"its", b"in", b"on", b"at", b"to", b"of",
    b"for", b"and", b"or", b"but", b"if", b"is", b"are", b"was", b"be", b"by", b"as", b"we", b"you", b"he", b"she",
    b"they", b"my", b"your", b"our", b"please", b"with", b"from", b"no", b"not", b"all", b"new",
];

#[derive(Clone, Copy)]
struct Word {
    text: [u8; JOINED_MAX / 2],
    length: u8,
    /// Begins with a capital, and is no common word.
    name: bool,
}

impl Word {
    const NONE: Self = Self { text: [0; JOINED_MAX / 2], length: 0, name: false };

    fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

pub(super) struct Words {
    seed: u64,
    last: [u64; 2],
    seen: u32,
    previous: Word,
    current: Word,
    /// Separators since the last token: how many, and whether all of them may stand inside a number or name.
    gap: u8,
    soft: bool,
    joined: Joined,
    pub(super) spelled: super::spelled::Spelled,
}

/// A number in groups, as far as it was read.
#[derive(Clone, Copy)]
pub(super) struct Joined {
    text: [u8; JOINED_MAX],
    length: usize,
    groups: u8,
}

impl Joined {
    const NONE: Self = Self { text: [0; JOINED_MAX], length: 0, groups: 0 };
}

impl Words {
    pub(super) fn new(key: &Key) -> Self {
        Self {
            seed: key.seed(),
            last: [0; 2],
            seen: 0,
            previous: Word::NONE,
            current: Word::NONE,
            gap: 0,
            soft: true,
            joined: Joined::NONE,
            spelled: super::spelled::Spelled::NONE,
        }
    }

    /// A sentence ended: nothing spans it.
    pub(super) fn pause(&mut self) {
        self.seen = 0;
        self.current.length = 0;
        self.previous.length = 0;
        self.spelled = super::spelled::Spelled::NONE;
    }

    pub(super) fn gap(&mut self, byte: u8) {
        self.gap = self.gap.saturating_add(1);
        self.soft &= matches!(byte, b' ' | b'(' | b')');
    }

    /// Whether the token that begins now may continue a number or a name.
    pub(super) fn joins(&self) -> bool {
        self.soft && self.gap <= 2
    }

    /// Takes a token in; the fingerprint of a triple that belongs to the sample.
    pub(super) fn word(&mut self, token: &[u8], is_word: bool) -> Option<u64> {
        let near = self.joins();
        self.previous = if near { self.current } else { Word::NONE };
        self.current.length = 0;
        if token.len() <= JOINED_MAX / 2 {
            self.current.text[..token.len()].copy_from_slice(token);
            self.current.length = u8::try_from(token.len()).unwrap_or(0);
            self.current.name = is_word && token.len() > 1 && token[0].is_ascii_uppercase() && !is_common(token);
        }
        (self.gap, self.soft) = (0, true);
        let hash = self.fingerprint(token);
        let triple = mix(self.last[0] ^ self.seed, self.last[1]) ^ hash.rotate_left(17);
        self.last = [self.last[1], hash];
        self.seen = self.seen.saturating_add(1);
        let triple = mix(triple, self.seed) | 1;
        (self.seen >= 3 && (triple >> 32).is_multiple_of(SAMPLE)).then_some(triple)
    }

    /// The last two words as one name, if they look like one.
    pub(super) fn name(&self) -> Option<([u8; JOINED_MAX + 1], usize)> {
        if self.previous.length == 0 || !self.previous.name || self.current.length == 0 || !self.current.name {
            return None;
        }
        let mut out = [b' '; JOINED_MAX + 1];
        let (first, second) = (self.previous.text(), self.current.text());
        out[..first.len()].copy_from_slice(first);
        let length = first.len() + 1 + second.len();
        out[first.len() + 1..length].copy_from_slice(second);
        Some((out, length))
    }

    /// The latest token; empty when it was a long one.
    pub(super) fn latest(&self) -> &[u8] {
        self.current.text()
    }

    /// The token before it, if they stand side by side.
    pub(super) fn before(&self) -> &[u8] {
        self.previous.text()
    }

    pub(super) fn group(&mut self, token: &[u8]) {
        let to = self.joined.length + token.len() + 1;
        if to <= JOINED_MAX {
            self.joined.text[self.joined.length..to - 1].copy_from_slice(token);
            self.joined.text[to - 1] = b' ';
            self.joined.length = to;
            self.joined.groups += 1;
        }
    }

    /// The number in groups that just ended, if it had at least three.
    pub(super) fn take_groups(&mut self) -> Option<([u8; JOINED_MAX], usize)> {
        let Joined { text, length, groups } = &mut self.joined;
        let (length, groups) = (std::mem::take(length), std::mem::take(groups));
        (groups >= 3).then(|| (*text, length - 1))
    }

    /// Sets aside what spans tokens, for a text inside the text.
    pub(super) fn suspend(&mut self) -> (Joined, u32) {
        let joined = std::mem::replace(&mut self.joined, Joined::NONE);
        let seen = std::mem::take(&mut self.seen);
        self.current.length = 0;
        (joined, seen)
    }

    pub(super) fn resume(&mut self, (joined, _): (Joined, u32)) {
        self.joined = joined;
        // Triples do not span what was inside.
        self.seen = 0;
        self.current.length = 0;
        (self.gap, self.soft) = (0, true);
    }

    /// Of the token in lower case. Fast and not strong: prose that collides gains nothing by it.
    fn fingerprint(&self, token: &[u8]) -> u64 {
        const CASE: u64 = 0x2020_2020_2020_2020;
        let (words, rest) = token[..token.len().min(64)].as_chunks::<8>();
        let mut state = self.seed ^ token.len() as u64;
        for word in words {
            state = mix(state, u64::from_le_bytes(*word) | CASE);
        }
        mix(state, last_word(rest) | CASE)
    }
}

fn is_common(word: &[u8]) -> bool {
    word.len() <= 6 && COMMON.iter().any(|it| it.eq_ignore_ascii_case(word))
}
