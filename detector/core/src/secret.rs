//! Secrets in a text: tokens in a published format, private keys, passwords in connection strings, values under a telling
//! name, and what looks random beside a name that hints at it. One table for both who ask: `labels.secret` of a condition
//! ([`holds`]), and the column `leakage`, which follows what was found ([`find`]).
//!
//! Formats, not guesses: a prefix is followed by enough characters of its alphabet. What looks random alone is no secret:
//! ids, hashes, UUIDs and pictures do as well. Wrong for documentation that shows example tokens; blind for a secret
//! without a format under no telling name. Cost: one pass; the longer looks begin at a prefix, a `:` or a `=`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How a secret was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SecretKind {
    /// A token whose format its issuer published.
    Token,
    PrivateKey,
    /// The password of a connection string.
    Connection,
    /// A value under a name such as `password`.
    Labelled,
    /// What stands for one that was hidden before it was put on the log.
    Hidden,
}

impl SecretKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "a token in a published format",
            Self::PrivateKey => "a private key",
            Self::Connection => "the password of a connection string",
            Self::Labelled => "a value under a telling name",
            Self::Hidden => "a secret that is hidden on the log",
        }
    }
}

/// What stands for a secret that was hidden before the step was put on the log, and the hexadecimal digits behind it: followed as the
/// secret would be.
pub(crate) const REDACTED: &str = "redacted_";
pub(crate) const REDACTED_DIGITS: usize = 32;

/// Prefix of a token, the characters that must follow, and how many of the token every token of the kind shares.
const TOKENS: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 35),
    ("ya29.", 30),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghu_", 36),
    ("ghs_", 36),
    ("ghr_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("npm_", 36),
    ("pypi-", 40),
    ("sk-", 20),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("whsec_", 24),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxa-", 20),
    ("xoxr-", 20),
    ("xapp-", 20),
    ("hf_", 30),
    ("SG.", 40),
    ("shpat_", 32),
    ("dop_v1_", 60),
    ("AGE-SECRET-KEY-", 50),
    (REDACTED, REDACTED_DIGITS),
];

/// Names under which a value is secret, in lower case without separators; matched at the end of the name.
const NAMES: &[&str] = &[
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
const HINTS: &[&str] = &["token", "key", "auth", "authorization", "bearer", "credential", "credentials", "pass"];

/// Shortest value under a telling name that counts, in characters, and longest.
const VALUE_MIN: usize = 6;
const VALUE_MAX: usize = 256;
/// Shortest value that can look random.
const RANDOM_MIN: usize = 20;
/// Longest private key that is followed.
const KEY_MAX: usize = 4096;
/// Secrets told of one text; later ones are left out. More than made-up ones in front of a real one are worth.
const FOUND_MAX: usize = 512;
/// Most quotes and spaces between a name, its separator and the value: columns are lined up.
const GAP_MAX: usize = 32;
/// Shortest opaque token that begins as JSON in base64 does.
const OPAQUE_MIN: usize = 63;

/// Whether a text holds a secret. More than [`find`] finds: a private key of which little is here, and an opaque token in
/// base64, which is as often the next page of a list and so is labelled but not followed.
pub(crate) fn holds(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Asked for one byte first: a searcher takes longer to make than most texts to read.
    let has_key =
        || bytes.contains(&b'-') && text.match_indices("-----BEGIN ").any(|(at, _)| key_header(&bytes[at..]).is_some());
    let is_opaque =
        |it: &[u8]| it.starts_with(b"eyJ") && it.len() >= OPAQUE_MIN && it[3..].iter().any(u8::is_ascii_digit);
    let has_opaque = || bytes.contains(&b'J') && bytes.split(|it| !in_word(*it)).any(is_opaque);
    !find("", bytes).is_empty() || has_key() || has_opaque()
}

/// A secret in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: SecretKind,
    /// Where the part stands that is its own: without the prefix that all of its kind share.
    pub(crate) at: Range<usize>,
}

/// Secrets of a text that stands under a name, which may be empty.
pub(crate) fn find(name: &str, text: &[u8]) -> Vec<Found> {
    find_up_to(FOUND_MAX, name, text)
}

/// The same with another number of secrets that are told.
pub(crate) fn find_up_to(found_max: usize, name: &str, text: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    if !name.is_empty()
        && let Some(at) = under(Telling::of(name.as_bytes()), text, 0)
    {
        found.push(Found { kind: SecretKind::Labelled, at });
    }
    let mut at = 0;
    while at < text.len() && found.len() < found_max {
        match text[at] {
            b':' | b'=' | b'>' => {
                let next = match text[at] {
                    b':' if text[at..].starts_with(b"://") => connection(text, at + 3),
                    b'>' if text[..at].ends_with(b"=") => labelled(text, at - 1, at),
                    b'>' if !is_tag(&text[..at]) => None,
                    _ => labelled(text, at, at),
                };
                // What stands under a name may be a token, so the value is read as well.
                next.into_iter().for_each(|it| push(&mut found, it));
                at += 1;
            }
            b'-' if text[at..].starts_with(b"-----BEGIN ") => {
                let (it, end) = private_key(text, at);
                it.into_iter().for_each(|it| push(&mut found, it));
                at = end;
            }
            // An escape of JSON, and not the beginning of a word.
            b'\\' if matches!(text.get(at + 1), Some(b'n' | b'r' | b't')) => at += 2,
            it if it.is_ascii_alphabetic() => {
                let length = text[at..].iter().take_while(|it| in_word(**it)).count();
                token(&text[at..at + length], at).into_iter().for_each(|it| push(&mut found, it));
                let is_option = text[..at].ends_with(b"--");
                at += length;
                // "the password is …", `--password …`
                let is_before = text[at..].starts_with(b" is ");
                if is_before || is_option && text.get(at) == Some(&b' ') {
                    let separator = if is_before { at + 3 } else { at };
                    labelled(text, at, separator).into_iter().for_each(|it| push(&mut found, it));
                }
            }
            _ => at += 1,
        }
    }
    found
}

/// One that stands inside another is the same; what is known by its format is known better than by its name.
fn push(found: &mut Vec<Found>, new: Found) {
    let inside = |it: &&mut Found| it.at.start <= new.at.start && new.at.end <= it.at.end;
    if matches!(new.kind, SecretKind::Token | SecretKind::Hidden)
        && let Some(it) = found.iter_mut().find(inside).filter(|it| it.kind == SecretKind::Labelled)
    {
        *it = new;
        return;
    }
    if !found.iter().any(|it| it.at.start <= new.at.start && new.at.end <= it.at.end) {
        found.push(new);
    }
}

/// Characters that a token is made of. What stands behind a slash or a plus is a word of its own: tokens are parts of
/// paths too.
const fn in_word(byte: u8) -> bool {
    IN_WORD[byte as usize]
}

const IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let it = at as u8;
        table[at] = it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
        at += 1;
    }
    table
};

fn token(word: &[u8], at: usize) -> Option<Found> {
    if word.len() < 19 {
        return None;
    }
    let has_digit = |it: &[u8]| it.iter().any(u8::is_ascii_digit);
    let kind = SecretKind::Token;
    if word.starts_with(b"eyJ") {
        // A JSON web token: what its header says, others' headers say too.
        let body = word.iter().position(|it| *it == b'.')? + 1;
        let length = word.len() - body;
        return (length >= 40 && word[body..].starts_with(b"eyJ"))
            .then_some(Found { kind, at: at + body..at + body + length });
    }
    let (prefix, more) = TOKENS.iter().find(|(prefix, _)| word.starts_with(prefix.as_bytes()))?;
    let rest = &word[prefix.len()..];
    let length = rest.len() - rest.iter().rev().take_while(|it| **it == b'.').count();
    let rest = &rest[..length];
    let fits = length >= *more && has_digit(rest) && !is_kebab(rest);
    let kind = if *prefix == REDACTED { SecretKind::Hidden } else { kind };
    fits.then_some(Found { kind, at: at + prefix.len()..at + prefix.len() + length })
}

/// `this-is-a-name-2`: words in lower case joined by dashes.
fn is_kebab(text: &[u8]) -> bool {
    let words = text.split(|it| matches!(it, b'-' | b'_'));
    let (mut count, mut longest) = (0, 0);
    for word in words {
        count += 1;
        longest = longest.max(word.len());
    }
    count >= 3 && longest < 12 && !text.iter().any(u8::is_ascii_uppercase)
}

/// Whether an opening tag ends here.
fn is_tag(before: &[u8]) -> bool {
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
fn labelled(text: &[u8], end: usize, at: usize) -> Option<Found> {
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
    let value = at + 1 + text[at + 1..].iter().take(GAP_MAX).take_while(|it| is_gap(**it)).count();
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
    let rest = &rest[..end];
    let at = under(telling, rest, value)?;
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
fn under(telling: Telling, value: &[u8], at: usize) -> Option<Range<usize>> {
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
enum Telling {
    Nothing,
    /// It may be secret, if it looks so: [`HINTS`].
    Hint,
    /// It is, if it looks chosen: [`NAMES`]. Whatever looks random does.
    Name,
}

/// Longest of [`NAMES`] and [`HINTS`].
const NAME_MAX: usize = 13;
/// Bytes of the end of a name that are looked at: all that stands in a list is under the same name, which may be as long as that.
const NAME_END: usize = 256;

impl Telling {
    fn of(name: &[u8]) -> Self {
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
fn entropy_is_high(value: &[u8]) -> bool {
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

/// `user:password@host` behind `://`.
fn connection(text: &[u8], from: usize) -> Option<Found> {
    let rest = &text[from..text.len().min(from + VALUE_MAX)];
    let ends = |it: &u8| !it.is_ascii_graphic() || matches!(it, b'"' | b'\'' | b'/' | b'<' | b'{' | b'$');
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let rest = &rest[..end];
    let host = rest.iter().rposition(|it| *it == b'@')?;
    let user = rest[..host].iter().position(|it| *it == b':')?;
    let password = &rest[user + 1..host];
    let counts = password.len() >= VALUE_MIN && password.iter().any(|it| !it.is_ascii_lowercase());
    counts.then_some(Found { kind: SecretKind::Connection, at: from + user + 1..from + host })
}

/// From `-----BEGIN` on, and where to go on.
fn private_key(text: &[u8], at: usize) -> (Option<Found>, usize) {
    let Some(header) = key_header(&text[at..]) else { return (None, at + 11) };
    let from = at + header;
    let body = &text[from..text.len().min(from + KEY_MAX)];
    let length = body.windows(5).position(|it| it == b"-----").unwrap_or(body.len());
    let found = (length >= 40).then_some(Found { kind: SecretKind::PrivateKey, at: from..from + length });
    (found, from + length)
}

/// Length of the line that begins a private key; `text` begins with `-----BEGIN `.
fn key_header(text: &[u8]) -> Option<usize> {
    let label = &text[text.len().min(11)..text.len().min(64)];
    let label = &label[..label.iter().take_while(|it| it.is_ascii_uppercase() || **it == b' ').count()];
    let is_private = label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK");
    let length = 11 + label.len();
    (is_private && text[length..].starts_with(b"-----")).then_some(length + 5)
}

#[cfg(test)]
mod tests;
