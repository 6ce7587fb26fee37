//! Values under a name that says what they are: `password: …`, in the forms that files, forms, tags, options and programs have.

use std::ops::Range;

use super::{Found, SecretKind, in_word};

/// Names under which a value is secret, in lower case without separators; matched at the end of the name.
pub(super) const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "secretkey",
    "secret",
    "privatekey",
    "accesstoken",
    "authtoken",
    "clientsecret",
    "securitycode",
    "pincode",
    "bearertoken",
    "refreshtoken",
    "signingkey",
    "encryptionkey",
    "accesskey",
    "pwd",
];

/// Names that hint at one: the value must look random as well.
pub(super) const HINTS: &[&str] =
    &["token", "key", "auth", "authorization", "bearer", "credential", "credentials", "pass"];

/// Shortest value under a telling name that counts, in characters, and longest.
pub(super) const VALUE_MIN: usize = 6;
pub(super) const VALUE_MAX: usize = 256;
/// Shortest value that can look random.
const RANDOM_MIN: usize = 20;
/// Most quotes and spaces between a name, its separator and the value: columns are lined up.
const GAP_MAX: usize = 32;

/// Whether an opening tag ends here.
pub(super) fn is_tag(before: &[u8]) -> bool {
    before[..before.len() - last_word(before).len()].ends_with(b"<")
}

/// The word that a text ends with, or its last characters.
fn last_word(text: &[u8]) -> &[u8] {
    &text[text.len() - text.iter().rev().take(40).take_while(|it| in_word(**it)).count()..]
}

/// A text without what stands between a name and its separator, or a separator and its value: columns are lined up.
fn without_gap(text: &[u8], is_gap: impl Fn(&u8) -> bool) -> &[u8] {
    &text[..text.len() - text.iter().rev().take(GAP_MAX).take_while(|it| is_gap(it)).count()]
}

const fn is_gap(it: u8) -> bool {
    matches!(it, b'"' | b'\'' | b' ' | b'\\')
}

/// `name: value`, `"name": "value"`, `NAME=value`, `name => value`, `<name>value</name>`: the name ends at `end`, and the separator
/// at `at`.
pub(super) fn labelled(text: &[u8], end: usize, at: usize) -> Option<Found> {
    let before = &text[..end];
    let before = without_gap(before.strip_suffix(b" is").unwrap_or(before), |it| is_gap(*it));
    let name = last_word(before);
    let telling = match Telling::of(name) {
        Telling::Nothing if is_value(name) => named_before(&before[..before.len() - name.len()]),
        it => it,
    };
    if telling == Telling::Nothing {
        return None;
    }
    let gap = |from: usize| from + text[from..].iter().take(GAP_MAX).take_while(|it| is_gap(**it)).count();
    let value = gap(at + 1);
    let line = value + usize::from(text[value..].starts_with(b"\r"));
    let is_next_line = text[at] == b':' && text[line..].starts_with(b"\n");
    let value = if is_next_line { gap(line + 1) } else { value };
    let value = value + bearer(&text[value..]);
    let rest = &text[value..text.len().min(value + VALUE_MAX)];
    // After `=` it may be one field of a form, or of a connection string; after `>` a closing tag follows.
    let separator = text[at];
    let ends = |it: &u8| {
        !it.is_ascii_graphic()
            || matches!(it, b'"' | b'\'' | b',' | b'}' | b'\\')
            || separator == b'=' && matches!(it, b'&' | b';')
            || separator == b'>' && *it == b'<'
    };
    // What looks random has no colon: seen here, a row of names costs no more than its length.
    let is_hint = telling == Telling::Hint;
    let end = rest.iter().position(|it| ends(it) || is_hint && *it == b':').unwrap_or(rest.len());
    if is_hint && rest.get(end) == Some(&b':') {
        return None;
    }
    // On a line of its own, and not the beginning of the next sentence.
    if is_next_line && rest.get(end).is_some_and(|it| !matches!(it, b'\r' | b'\n' | b'"' | b'\'' | b'\\')) {
        return None;
    }
    let at = under(telling, &rest[..end], value)?;
    Some(Found { kind: SecretKind::Labelled, at })
}

fn is_value(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"value")
}

fn is_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"name") || name.eq_ignore_ascii_case(b"key")
}

/// Of a `value`: what the `name` or `key` right before it says, as in `name: DB_PASSWORD, value: …`.
fn named_before(text: &[u8]) -> Telling {
    let text = without_gap(text, |it| is_gap(*it) || it.is_ascii_whitespace() || *it == b',');
    let said = last_word(text);
    let text = without_gap(&text[..text.len() - said.len()], |it| is_gap(*it));
    let text = text.strip_suffix(b":").or_else(|| text.strip_suffix(b"=")).map(|it| without_gap(it, |it| is_gap(*it)));
    if text.is_some_and(|it| is_name(last_word(it))) { Telling::of(said) } else { Telling::Nothing }
}

/// The same of leaves, told one after the other.
#[derive(Debug, Default)]
pub(crate) struct Named(Option<Box<str>>);

impl Named {
    /// The name that a text under `name` stands under.
    pub(crate) fn of<'n>(&'n mut self, name: &'n str, text: &str) -> &'n str {
        let before = self.0.take();
        if is_name(name.as_bytes()) && Telling::of(text.as_bytes()) != Telling::Nothing {
            self.0 = Some(text[text.floor_char_boundary(text.len().saturating_sub(NAME_END))..].into());
        } else if is_value(name.as_bytes()) {
            self.0 = before;
            return self.0.as_deref().unwrap_or(name);
        }
        name
    }
}

fn bearer(value: &[u8]) -> usize {
    [b"Bearer ".as_slice(), b"bearer ", b"Basic ", b"token "]
        .iter()
        .find(|it| value.starts_with(it))
        .map_or(0, |it| it.len())
}

/// The value, if its name makes it secret.
pub(super) fn under(telling: Telling, value: &[u8], at: usize) -> Option<Range<usize>> {
    let lead = value.iter().take_while(|it| it.is_ascii_whitespace() || matches!(it, b'"' | b'\'')).count();
    let value = &value[lead..];
    let skip = bearer(value);
    let value = &value[skip..];
    let trail = value
        .iter()
        .rev()
        .take_while(|it| it.is_ascii_whitespace() || matches!(it, b'"' | b'\'' | b'.' | b';'))
        .count();
    let value = &value[..value.len() - trail];
    // Of a bracket that was opened before the name.
    let closes = |open: u8, close: u8| value.ends_with(&[close]) && !value.contains(&open);
    let is_inside = closes(b'(', b')') || closes(b'[', b']');
    let value = &value[..value.len() - usize::from(is_inside)];
    let is_one = value.len() >= VALUE_MIN && value.len() <= VALUE_MAX && !value.iter().any(u8::is_ascii_whitespace);
    let looks_secret = |it: &[u8]| match telling {
        Telling::Nothing => false,
        Telling::Hint => looks_random(it),
        Telling::Name => looks_chosen(it),
    };
    let counts = is_one && looks_secret(value);
    let from = at + lead + skip;
    counts.then_some(from..from + value.len())
}

/// Whether the last name of a path says that what stands there is a credential.
#[must_use]
pub fn is_credential(path: &str) -> bool {
    Telling::of(path.rsplit('.').next().unwrap_or(path).as_bytes()) > Telling::Nothing
}

/// What a name says of the value under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Telling {
    Nothing,
    /// It may be secret, if it looks so: [`HINTS`].
    Hint,
    /// It is, if it looks chosen: [`NAMES`]. Whatever looks random does.
    Name,
}

/// Longest of [`NAMES`] and [`HINTS`].
pub(super) const NAME_MAX: usize = 13;
/// Bytes of the end of a name that are looked at: all that stands in a list is under the same name, which may be as long as that.
const NAME_END: usize = 256;

impl Telling {
    pub(super) fn of(name: &[u8]) -> Self {
        // Its last letters, backwards: read once, and compared with each that is known.
        let (mut letters, mut length) = ([0; NAME_MAX], 0);
        for (to, it) in letters.iter_mut().zip(name.iter().rev().take(NAME_END).filter(|it| it.is_ascii_alphanumeric()))
        {
            *to = it.to_ascii_lowercase();
            length += 1;
        }
        let letters = &letters[..length];
        let ends_with = |known: &[&str]| {
            known.iter().any(|it| it.len() <= length && it.bytes().rev().zip(letters).all(|(a, b)| a == *b))
        };
        match (ends_with(NAMES), ends_with(HINTS)) {
            (true, _) => Self::Name,
            (false, true) => Self::Hint,
            (false, false) => Self::Nothing,
        }
    }
}

/// A value and not code that computes one: letters and digits mixed, and no brackets.
fn looks_chosen(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && !value.iter().any(|it| matches!(it, b'(' | b')' | b'[' | b']' | b'{' | b'<' | b'>' | b';' | b'$'))
}

/// Both cases and digits, no UUID and no hash, and 3.5 bits or more in each character.
fn looks_random(value: &[u8]) -> bool {
    let all_hex = value.iter().all(|it| it.is_ascii_hexdigit() || *it == b'-');
    let mixed = value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_lowercase)
        && value.iter().any(u8::is_ascii_uppercase);
    value.len() >= RANDOM_MIN
        && mixed
        && !all_hex
        && value.iter().all(|it| in_word(*it) || matches!(it, b'+' | b'/' | b'='))
        && entropy_is_high(value)
}

/// Whether the characters of a value carry 3.5 bits each, by their frequencies. In whole numbers, so that every machine
/// says the same: Σ n·log₂(n) ≤ N·(log₂ N − 3.5), in 1024ths.
pub(super) fn entropy_is_high(value: &[u8]) -> bool {
    let mut counts = [0_u32; 128];
    for it in value {
        counts[usize::from(*it & 127)] += 1;
    }
    let total = u32::try_from(value.len()).unwrap_or(u32::MAX);
    let spent: u64 = counts.iter().filter(|it| **it > 0).map(|it| u64::from(*it) * u64::from(log2_1024ths(*it))).sum();
    spent + u64::from(total) * 3584 <= u64::from(total) * u64::from(log2_1024ths(total))
}

/// 1024·log₂(n), by repeated squaring.
pub(crate) fn log2_1024ths(n: u32) -> u32 {
    let whole = n.max(1).ilog2();
    let mut mantissa = (u64::from(n.max(1)) << 31) >> whole;
    let mut result = whole << 10;
    for bit in (0..10).rev() {
        mantissa = (mantissa * mantissa) >> 31;
        if mantissa >= 1 << 32 {
            mantissa >>= 1;
            result |= 1 << bit;
        }
    }
    result
}
