//! Keyed pseudonyms. A whole value becomes a tag that is as rare as a secret; a word or number becomes another one of the
//! same length, case and signs around it, so that what makes a value rare, an address an address and two calls equal is the
//! same as before.
//!
//! Equal words have equal pseudonyms: that is what values are followed by. So whoever reads many of them, and knows what people
//! write, can guess the most frequent; and lengths are kept. Without the key no word can be tried.

use super::known::CODINGS_MAX;
use crate::provenance::{decode, fold};
use crate::secret::{REDACTED, REDACTED_DIGITS};

/// Before the digits of a pseudonym of the value of a field.
pub(super) const MASKED: &str = "masked_";
/// Groups of digits that stand apart by one sign are one number from so many digits on, if no group has more.
const GROUPED_MIN: usize = 8;
const GROUP_MAX: usize = 8;
/// Longest name of a member that can be one of a field, and most digits in it.
const NAME_MAX: usize = 48;
const NAME_DIGITS_MAX: usize = 2;

#[derive(Clone)]
pub(super) struct Pseudonyms {
    key: [u8; 32],
}

impl Pseudonyms {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Of a whole value, however it is written: `redacted_…` or `masked_…`.
    pub(super) fn whole(&self, prefix: &str, value: &str) -> String {
        let plain = fold::plain(value).to_ascii_lowercase();
        let mut digits = blake3::Hasher::new_keyed(&self.key).update(b"value\0").update(&plain).finalize().to_hex();
        digits.truncate(REDACTED_DIGITS);
        format!("{prefix}{digits}")
    }

    /// Of a fingerprint that anybody can take.
    pub(super) fn digest(&self, digest: &[u8; 16]) -> [u8; 16] {
        let hash = blake3::Hasher::new_keyed(&self.key).update(b"digest\0").update(digest).finalize();
        std::array::from_fn(|at| hash.as_bytes()[at])
    }

    /// Of every word and number of a text. What stands for something hidden already stays.
    pub(super) fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        self.each(&fold::plain(text), 0, &mut out);
        out
    }

    /// Of the name of a member; `None` where it may be kept: it looks like the name of a field.
    pub(super) fn name(&self, name: &str) -> Option<String> {
        let is_sign = |it: u8| matches!(it, b'_' | b'-' | b'.' | b'$');
        let digits = name.bytes().filter(u8::is_ascii_digit).count();
        let is_field = name.len() <= NAME_MAX
            && digits <= NAME_DIGITS_MAX
            && !name.starts_with(|it: char| it.is_ascii_digit())
            && name.bytes().all(|it| it.is_ascii_alphanumeric() || is_sign(it));
        (!is_field).then(|| self.text(name))
    }

    fn each(&self, text: &[u8], codings: u8, out: &mut String) {
        let mut at = 0;
        while let Some(first) = text.get(at) {
            if let Some(length) = stands_here(&text[at..]) {
                out.push_str(&String::from_utf8_lossy(&text[at..at + length]));
                at += length;
            } else if let Some((length, decoded)) = encoded(text, at).filter(|_| codings < CODINGS_MAX) {
                self.each(&fold::plain(&String::from_utf8_lossy(&decoded)), codings + 1, out);
                at += length;
            } else if is_letter(*first) {
                let goes_on = |end: &usize| is_letter(text[*end]) && stands_here(&text[*end..]).is_none();
                let length = 1 + (at + 1..text.len()).take_while(goes_on).count();
                self.letters(&String::from_utf8_lossy(&text[at..at + length]), out);
                at += length;
            } else if first.is_ascii_digit() {
                let length = number(&text[at..]);
                self.digits(&text[at..at + length], out);
                at += length;
            } else {
                out.push(char::from(*first));
                at += 1;
            }
        }
    }

    fn letters(&self, word: &str, out: &mut String) {
        let mut stream = self.stream(b"word\0", word.to_lowercase().as_bytes());
        for it in word.chars() {
            let letter = char::from(b'a' + stream.next() % 26);
            out.push(if it.is_ascii_uppercase() { letter.to_ascii_uppercase() } else { letter });
        }
    }

    /// With the signs between its groups where they are. A zero in front stays, so that a number of JSON stays one.
    pub(super) fn digits(&self, number: &[u8], out: &mut String) {
        let digits: Vec<u8> = number.iter().copied().filter(u8::is_ascii_digit).collect();
        let mut stream = self.stream(b"number\0", &digits);
        let mut is_first = true;
        for it in number {
            if !it.is_ascii_digit() {
                out.push(char::from(*it));
                continue;
            }
            let digit = match (std::mem::take(&mut is_first), *it) {
                (true, b'0') => b'0',
                (true, _) => b'1' + stream.next() % 9,
                (false, _) => b'0' + stream.next() % 10,
            };
            out.push(char::from(digit));
        }
    }

    fn stream(&self, domain: &[u8], value: &[u8]) -> Stream {
        let hasher = blake3::Hasher::new_keyed(&self.key).update(domain).update(value).finalize_xof();
        Stream { hasher, block: [0; 64], at: 64 }
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms(***)")
    }
}

/// Bytes that only the key tells.
struct Stream {
    hasher: blake3::OutputReader,
    block: [u8; 64],
    at: usize,
}

impl Stream {
    fn next(&mut self) -> u8 {
        if self.at == self.block.len() {
            self.hasher.fill(&mut self.block);
            self.at = 0;
        }
        self.at += 1;
        self.block[self.at - 1]
    }
}

const fn is_letter(it: u8) -> bool {
    it.is_ascii_alphabetic() || it >= 0x80
}

/// Length of the pseudonym of a whole value that stands here.
pub(super) fn stands_here(text: &[u8]) -> Option<usize> {
    let prefix = [REDACTED, MASKED].into_iter().find(|it| text.starts_with(it.as_bytes()))?;
    let length = prefix.len() + REDACTED_DIGITS;
    let digits = text.get(prefix.len()..length)?;
    digits.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')).then_some(length)
}

/// The run that begins here, if it is text in another coding: its length, and the text.
fn encoded(text: &[u8], at: usize) -> Option<(usize, Vec<u8>)> {
    let begins = at == 0 || !decode::is_in_run(text[at - 1]);
    if !begins {
        return None;
    }
    let length = decode::run(&text[at..])?;
    let decoded = decode::any(&text[at..at + length])?;
    Some((length, decoded))
}

/// How far a number goes that begins here: its groups belong to it where they are the parts of one.
fn number(text: &[u8]) -> usize {
    let group = |from: usize| text[from..].iter().take_while(|it| it.is_ascii_digit()).count();
    let first = group(0);
    let (mut end, mut digits) = (first, first);
    while first <= GROUP_MAX && matches!(text.get(end), Some(b' ' | b'-')) {
        let more = group(end + 1);
        if more == 0 || more > GROUP_MAX {
            break;
        }
        (end, digits) = (end + 1 + more, digits + more);
    }
    if digits >= GROUPED_MIN { end } else { first }
}
