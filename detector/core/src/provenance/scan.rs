//! Values in a text, found in one pass: the same for what is remembered and for what is looked up.
//!
//! A value is an address, a number, an id, a path, a name of two words, a quoted phrase, the value of a `key: value` line.
//! Beside them, a sample of word triples recognises copied prose. Cost: linear in the bytes, whatever they are; what is
//! decoded is bounded per text.

use std::ops::Range;

use super::atom::{Atom, Coding, Flag};
use super::canonical::Canonical;
use super::decode::{self, DECODED_MAX, RUN_MIN};
use super::rarity::{self, GATE_BITS};
use super::role::Role;
use super::sip::Key;
use super::words::Words;
use super::{fold, spelled};

/// Bytes decoded of one text, at all depths together.
const DECODE_BYTES_MAX: usize = 8 * 1024;
/// How many codings may lie in each other.
const DEPTH_MAX: u8 = 2;
/// Longest quoted phrase and longest value of a line.
const PHRASE_MAX: usize = 120;

/// Longest group of a number in groups.
const GROUP_MAX: usize = 8;
/// Longest value that is kept under its name.
const NAMED_MAX: usize = 64;

pub(super) const LETTER: u8 = 1;
pub(super) const DIGIT: u8 = 2;
const SYMBOL: u8 = 4;
pub(super) const HIGH: u8 = 8;
const TOKEN: u8 = LETTER | DIGIT | SYMBOL | HIGH;

pub(super) const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = match at as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b'@' | b'.' | b'_' | b'%' | b'+' | b'/' | b'-' => SYMBOL,
            0x80.. => HIGH,
            _ => 0,
        };
        at += 1;
    }
    table
};

/// What to look for in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// What is rare enough to link: for tool results.
    Rare,
    /// Every word: for what a person wrote, and for what is looked up.
    All,
}

/// Takes what is found.
pub(super) trait Sink {
    fn atom(&mut self, atom: Atom);

    /// A sentence ended; `text` is in its plain form, and `number` is what its values carry.
    fn sentence(&mut self, number: u16, text: &[u8]) {
        let _ = (number, text);
    }
}

pub(super) struct Scanner<'k, S> {
    key: &'k Key,
    depth: Depth,
    words: Words,
    sentence: u16,
    /// Set for every atom of this text.
    flags: Flag,
    coding: Coding,
    decode_left: usize,
    sink: S,
}

impl<'k, S: Sink> Scanner<'k, S> {
    pub(super) fn new(key: &'k Key, depth: Depth, sink: S) -> Self {
        Self {
            key,
            depth,
            words: Words::new(key),
            sentence: 0,
            flags: Flag::NONE,
            coding: Coding::NONE,
            decode_left: DECODE_BYTES_MAX,
            sink,
        }
    }

    pub(super) fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    pub(super) fn into_sink(self) -> S {
        self.sink
    }

    /// Values of one text; `flags` say what is known of all of it. A text ends a sentence.
    pub(super) fn text(&mut self, text: &str, flags: Flag) {
        let plain = fold::plain(text);
        self.flags = flags;
        self.whole(&plain);
        self.run(&plain);
    }

    /// The text as one value, if it is a short phrase.
    fn whole(&mut self, plain: &[u8]) {
        let value = trimmed(plain);
        let token = value.iter().position(|it| *it == b':').filter(|at| value[*at..].starts_with(b"://"));
        let token = &value[token.map_or(0, |at| at + 3)..];
        if !self.flags.has(Flag::FIELD) || token.iter().all(|it| CLASS[*it as usize] & TOKEN != 0) {
            return;
        }
        if value.len() <= PHRASE_MAX {
            self.value(value, Flag::WHOLE);
        }
        // Its words are not alone under the name.
        self.flags = self.flags.without(Flag::FIELD);
    }

    fn end_sentence(&mut self, text: &[u8]) {
        self.flush_groups();
        if self.coding == Coding::NONE {
            self.sink.sentence(self.sentence, text);
            self.sentence = self.sentence.saturating_add(1);
        }
        self.words.pause();
    }

    fn run(&mut self, text: &[u8]) {
        let mut at = 0;
        let mut line = true;
        let (mut phrase_from, mut begin) = (0, 0);
        while at < text.len() {
            if line {
                line = false;
                if self.coding == Coding::NONE
                    && let Some((key, value)) = record(text, at)
                {
                    self.end_sentence(&text[begin..at]);
                    begin = at;
                    self.record(&text[key], &text[value]);
                }
            }
            let byte = text[at];
            let mut mask = CLASS[byte as usize];
            if mask & TOKEN == 0 {
                match byte {
                    b'\n' => {
                        line = true;
                        let next = text.get(at + 1).copied().unwrap_or(b'\n');
                        if matches!(next, b'\n' | b'-' | b'*' | b'#' | b'|' | b'<') {
                            self.end_sentence(&text[begin..at]);
                            begin = at;
                        }
                    }
                    b'!' | b'?' => {
                        self.end_sentence(&text[begin..at]);
                        begin = at;
                    }
                    // An escape inside text that was escaped twice.
                    b'\\' => at += usize::from(matches!(text.get(at + 1), Some(b'n' | b'r' | b't' | b'"' | b'/'))),
                    b'"' | b'\'' | b'`' if at >= phrase_from => phrase_from = self.phrase(text, at),
                    _ => {}
                }
                self.words.gap(byte);
                at += 1;
                continue;
            }
            let from = at;
            at += 1;
            while at < text.len() {
                let class = CLASS[text[at] as usize];
                if class & TOKEN == 0 {
                    break;
                }
                mask |= class;
                at += 1;
            }
            // A scheme says nothing of where it leads.
            if mask == LETTER && text[at..].starts_with(b"://") {
                at += 3;
                continue;
            }
            if self.token(&text[from..at], mask) {
                self.end_sentence(&text[begin..at]);
                begin = at;
            }
        }
        self.end_sentence(&text[begin..]);
    }

    /// A quoted phrase that begins at `at`; answers where the next one may be looked for.
    fn phrase(&mut self, text: &[u8], at: usize) -> usize {
        let rest = &text[at + 1..text.len().min(at + 1 + PHRASE_MAX)];
        let end = rest.iter().position(|it| *it == text[at] || *it == b'\n');
        match end {
            Some(length) if rest[length] == text[at] => {
                let value = trimmed(&rest[..length]);
                if value.contains(&b' ') {
                    self.value(value, Flag::WHOLE);
                }
                at + length + 2
            }
            Some(length) => at + 1 + length,
            None => at + 1 + rest.len(),
        }
    }

    /// The value of a `key: value` line.
    fn record(&mut self, key: &[u8], value: &[u8]) {
        if value.len() <= PHRASE_MAX && !value.is_empty() {
            let bits = rarity::bits(value);
            self.rated(value, Flag::WHOLE | Flag::RECORD, bits);
            if bits < GATE_BITS {
                self.named(key, value, Flag::RECORD);
            }
        }
    }

    /// A value too short to mean anything but under the name of an id or the like.
    pub(super) fn named(&mut self, key: &[u8], value: &[u8], flags: Flag) {
        if value.len() > NAMED_MAX || key.is_empty() {
            return;
        }
        let value = trimmed(value);
        if rarity::bits(value) < GATE_BITS
            && let Some(role) = std::str::from_utf8(key).ok().and_then(Role::of_name)
        {
            self.sink.atom(named(self.key, role, value, self.sentence, self.flags | flags));
        }
    }

    /// One run of token characters; whether it ends a sentence.
    fn token(&mut self, run: &[u8], mask: u8) -> bool {
        let start = run.iter().take_while(|it| matches!(it, b'.' | b'_' | b'+' | b'/' | b'-' | b'@')).count();
        let end = run.iter().rev().take_while(|it| matches!(it, b'.' | b'_' | b'+' | b'/' | b'-' | b'@')).count();
        if start == run.len() {
            return false;
        }
        let stops = run[run.len() - 1] == b'.';
        let token = &run[start..run.len() - end];
        let inner =
            start + end < run.len() && mask & SYMBOL != 0 && token.iter().any(|it| CLASS[*it as usize] == SYMBOL);
        let is_word = mask & DIGIT == 0 && !inner;
        let digits = mask & DIGIT != 0
            && token.len() <= GROUP_MAX
            && token.iter().all(|it| CLASS[*it as usize] & (DIGIT | LETTER) != 0 || *it == b'-');
        self.groups(token, digits);
        if let Some(triple) = self.words.word(token, is_word) {
            self.sink.atom(Atom::sampled(triple, self.sentence, self.flags, self.coding));
        }
        if let Some((address, length)) = spelled::address(&mut self.words) {
            let address = &address[..length];
            self.loose(Canonical::of(address), self.flags, rarity::bits(address).max(GATE_BITS));
        }
        if is_word {
            if self.depth == Depth::All {
                self.rated(token, Flag::NONE, rarity::bits_of_word(token));
            } else if let Some(name) = self.words.name() {
                let (name, length) = name;
                self.value(&name[..length], Flag::WHOLE);
            }
            if token.len() >= RUN_MIN {
                self.decoded(token, mask);
            }
            return stops;
        }
        self.value(token, Flag::NONE);
        if inner {
            self.parts(token);
        }
        if token.len() >= RUN_MIN || token.contains(&b'%') {
            self.decoded(token, mask);
        }
        stops
    }

    /// Emits a value if it is rare enough, and what is left of it without any separator.
    fn value(&mut self, value: &[u8], flags: Flag) {
        self.rated(value, flags, rarity::bits(value));
    }

    fn rated(&mut self, value: &[u8], flags: Flag, bits: u8) {
        if bits < GATE_BITS && self.depth == Depth::Rare {
            return;
        }
        let flags = self.flags.and(flags);
        let canonical = Canonical::of(value);
        if canonical.strict().is_empty() {
            return;
        }
        self.sink.atom(canonical.atom(self.key, bits, self.sentence, flags, self.coding));
        if canonical.is_address() && bits >= GATE_BITS {
            self.loose(canonical, flags, bits);
        }
    }

    /// Emits a value without its separators: a trace, never an authority.
    fn loose(&mut self, mut canonical: Canonical<'_>, flags: Flag, bits: u8) {
        canonical.loosen();
        let flags = flags | Flag::LOOSE;
        self.sink.atom(canonical.atom(self.key, bits, self.sentence, flags, self.coding));
    }

    /// Host and last part of a path or address on the web.
    fn parts(&mut self, token: &[u8]) {
        let Some(first) = token.iter().position(|it| *it == b'/') else { return };
        let last = token.iter().rposition(|it| *it == b'/').unwrap_or(first);
        self.value(&token[..first], Flag::PART);
        self.value(&token[last + 1..], Flag::PART);
    }

    /// Numbers written in groups: "CH93 0076 2011 6238 5295 7", "555-123 4567".
    fn groups(&mut self, token: &[u8], is_group: bool) {
        if !is_group || !self.words.joins() {
            self.flush_groups();
        }
        if is_group {
            self.words.group(token);
        }
    }

    fn flush_groups(&mut self) {
        if let Some((number, length)) = self.words.take_groups() {
            self.value(&number[..length], Flag::WHOLE);
        }
    }

    /// Looks for text inside a run that may be an encoding of it.
    fn decoded(&mut self, token: &[u8], mask: u8) {
        if self.coding.depth() >= DEPTH_MAX || self.decode_left == 0 {
            return;
        }
        let is_percent = mask & SYMBOL != 0 && token.contains(&b'%');
        if !is_percent && token.len() < RUN_MIN {
            return;
        }
        let mut out = Vec::with_capacity(RUN_MIN);
        if is_percent && decode::percent(token, DECODED_MAX, &mut out) {
            self.nested(&out, self.coding.with(Coding::URL));
            return;
        }
        if token.len() < RUN_MIN {
            return;
        }
        if mask & (DIGIT | SYMBOL) != 0 && decode::hex(token, &mut out) {
            self.nested(&out, self.coding.with(Coding::HEX));
            return;
        }
        for part in token.split(|it| *it == b'.').filter(|it| it.len() >= RUN_MIN) {
            // What is probed may stand behind other characters of the alphabet.
            let phases = if self.depth == Depth::All { 4 } else { 1 };
            if (0..phases).any(|phase| decode::base64(part, phase, &mut out)) {
                self.nested(&out, self.coding.with(Coding::BASE64));
            }
        }
    }

    fn nested(&mut self, decoded: &[u8], coding: Coding) {
        let length = decoded.len().min(self.decode_left);
        self.decode_left -= length;
        let (outer, groups) = (std::mem::replace(&mut self.coding, coding), self.words.suspend());
        let text = String::from_utf8_lossy(&decoded[..length]);
        let plain = fold::plain(&text);
        self.whole(&plain);
        self.run(&plain);
        self.coding = outer;
        self.words.resume(groups);
    }
}

/// `value` under a name of that role.
pub(super) fn named(key: &Key, role: Role, value: &[u8], sentence: u16, flags: Flag) -> Atom {
    let canonical = Canonical::of(value);
    let mut form = [0; NAMED_MAX + 1];
    form[0] = if role == Role::Handle { 1 } else { 2 };
    let length = canonical.strict().len().min(NAMED_MAX);
    form[1..=length].copy_from_slice(&canonical.strict()[..length]);
    let (raw, lower) = canonical.tags();
    let (hash, flags) = (key.hash(&form[..=length]), flags | Flag::NAMED);
    Atom { hash, raw, lower, bits: GATE_BITS, sentence, flags, coding: Coding::NONE }
}

/// Bounds of the key and the value when a line has the form `key: value`, as lists of records are printed.
fn record(text: &[u8], at: usize) -> Option<(Range<usize>, Range<usize>)> {
    const KEY_MAX: usize = 40;
    let lead = text[at..].iter().take(16).take_while(|it| matches!(it, b' ' | b'-' | b'*' | b'"' | b'\'')).count();
    let from = at + lead;
    let key = text[from..]
        .iter()
        .take(KEY_MAX)
        .take_while(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || **it == b'_');
    let end = from + key.count();
    if end == from {
        return None;
    }
    let to = end + usize::from(matches!(text.get(end), Some(b'"' | b'\'')));
    if text.get(to) != Some(&b':') || text.get(to + 1) != Some(&b' ') {
        return None;
    }
    let rest = &text[to + 2..text.len().min(to + 3 + PHRASE_MAX)];
    let length =
        rest.iter().position(|it| *it == b'\n').or_else(|| (rest.len() <= PHRASE_MAX).then_some(rest.len()))?;
    let value = trimmed(&rest[..length]);
    let start = to + 2 + rest[..length].iter().take_while(|it| is_frame(**it)).count();
    Some((from..end, start..start + value.len()))
}

/// Without what stands around a value.
fn trimmed(text: &[u8]) -> &[u8] {
    let from = text.iter().take_while(|it| is_frame(**it)).count();
    let to = text.iter().rev().take_while(|it| is_frame(**it)).count();
    if from == text.len() { &[] } else { &text[from..text.len() - to] }
}

const fn is_frame(it: u8) -> bool {
    matches!(it, b' ' | b'\n' | b'\r' | b'\t' | b'"' | b'\'' | b'`' | b',' | b'.' | b';' | b'!' | b'?')
}
