//! Secrets in a text: tokens in a published format, private keys, passwords in connection strings, values under a telling
//! name, and what looks random beside a name that hints at it. One table for both who ask: `labels.secret` of a condition
//! ([`holds`]), and the column `leakage`, which follows what was found ([`find`]).
//!
//! Formats, not guesses: a prefix is followed by enough characters of its alphabet. What looks random alone is no secret:
//! ids, hashes, UUIDs and pictures do as well. Wrong for documentation that shows example tokens; blind for a secret
//! without a format under no telling name. Cost: one pass; the longer looks begin at a prefix, a `:` or a `=`.

mod labelled;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use labelled::is_credential;
pub(crate) use labelled::{Named, log2_1024ths};
use labelled::{Telling, VALUE_MAX, VALUE_MIN, is_tag, labelled, under};

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

/// Longest private key that is followed.
const KEY_MAX: usize = 4096;
/// Secrets told of one text; later ones are left out. More than made-up ones in front of a real one are worth.
const FOUND_MAX: usize = 512;
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
                    b'=' if text[..at].ends_with(b":") => labelled(text, at - 1, at),
                    b':' if text[at + 1..].starts_with(b"=") => None,
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
    let begins = |from: &usize| *from == 0 || matches!(word[from - 1], b'-' | b'_' | b'.');
    let (from, (prefix, more)) = (0..word.len() - 19 + 1).filter(begins).find_map(|from| {
        let known = TOKENS.iter().find(|(prefix, _)| word[from..].starts_with(prefix.as_bytes()))?;
        Some((from, known))
    })?;
    let (word, at) = (&word[from..], at + from);
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
