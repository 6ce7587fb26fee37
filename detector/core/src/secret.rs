//! Secrets in a text: tokens in a published format, private keys, passwords in connection strings, values under a telling
//! name, and what looks random beside a name that hints at it. One table for both who ask: `labels.secret` of a condition
//! ([`holds`]), and the column `leakage`, which follows what was found ([`find`]).
//!
//! Formats, not guesses: a prefix is followed by enough characters of its alphabet. What looks random alone is no secret:
//! ids, hashes, UUIDs and pictures do as well. Wrong for documentation that shows example tokens; blind for a secret
//! without a format under no telling name. Cost: one pass; the longer looks begin at a prefix, behind a word, and at `:`, `=`, `>`, `,` or
//! `|`, and none goes on for more than some hundred bytes.

mod labelled;
mod name;
#[cfg(test)]
mod tests;
mod token;
mod value;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub(crate) use name::Named;
pub use name::is_credential;
use token::token;
use value::VALUE_MIN;
pub(crate) use value::{is_of_chance, log2_1024ths};

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

/// Bytes of an address in which its password is looked for.
const ADDRESS_MAX: usize = 256;
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
    /// With that prefix: it says what was hidden, and nobody has to know.
    pub(crate) whole: Range<usize>,
}

/// Secrets of a text that stands under a name, which may be empty.
pub(crate) fn find(name: &str, text: &[u8]) -> Vec<Found> {
    find_up_to(FOUND_MAX, name, text)
}

/// The same with another number of secrets that are told.
pub(crate) fn find_up_to(found_max: usize, name: &str, text: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(labelled::whole(name.as_bytes(), text));
    // A value under a name is read as well, as it may be a token; what is under a name within it is a part of it.
    let (mut at, mut value_end) = (0, 0);
    // Behind its `?`, of the link that is being read.
    let mut query = 0..0;
    while at < text.len() && found.len() < found_max {
        match text[at] {
            b':' if text[at..].starts_with(b"://") => {
                connection(text, at + 3).into_iter().for_each(|it| push(&mut found, it));
                if at >= query.end && is_web(&text[..at]) {
                    query = query_of(text, at + 3);
                }
                at += 1;
            }
            b':' | b'=' | b'>' | b',' | b'|' => {
                let counts = !query.contains(&at) || labelled::is_secret_in_link(text, at);
                if at >= value_end
                    && counts
                    && let Some(it) = labelled::behind(text, at)
                {
                    value_end = it.whole.end;
                    push(&mut found, it);
                }
                at += 1;
            }
            b'-' if text[at..].starts_with(b"-----BEGIN ") => {
                let (it, end) = private_key(text, at);
                it.into_iter().for_each(|it| push(&mut found, it));
                at = end;
            }
            // JSON wrote a line's end: what follows is a word of its own.
            b'\\' if matches!(text.get(at + 1), Some(b'n' | b'r' | b't')) => at += 2,
            it if it.is_ascii_alphabetic() => {
                let end = at + text[at..].iter().take_while(|it| in_word(**it)).count();
                // The id of a key, which every signed address shows.
                let is_shown = text[..at].ends_with(b"Amz-Credential=")
                    || query.contains(&at) && text[..at].ends_with(b"AWSAccessKeyId=");
                let token = if is_shown { None } else { token(&text[at..end], at) };
                let value = if end >= value_end { labelled::behind_word(text, at, end) } else { None };
                value_end = value.as_ref().map_or(value_end, |it| it.whole.end);
                token.into_iter().chain(value).for_each(|it| push(&mut found, it));
                at = end;
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

/// Whether the scheme of a link ends there.
fn is_web(before: &[u8]) -> bool {
    let from = before.len() - before.iter().rev().take(6).take_while(|it| it.is_ascii_alphabetic()).count();
    before[from..].eq_ignore_ascii_case(b"https") || before[from..].eq_ignore_ascii_case(b"http")
}

/// Where the query and the fragment of a link stand whose host begins at `from`.
fn query_of(text: &[u8], from: usize) -> Range<usize> {
    let ends = |it: &u8| !it.is_ascii_graphic() || matches!(it, b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\');
    let link = &text[from..];
    let link = &link[..link.iter().position(ends).unwrap_or(link.len())];
    let query = link.iter().position(|it| matches!(it, b'?' | b'#')).unwrap_or(link.len());
    from + query..from + link.len()
}

/// `user:password@host` behind `://`.
fn connection(text: &[u8], from: usize) -> Option<Found> {
    let rest = &text[from..text.len().min(from + ADDRESS_MAX)];
    let user = rest.iter().position(|it| *it == b':')?;
    let (mut host, mut is_port) = (None, true);
    for (at, it) in rest.iter().enumerate() {
        let is_behind = host.is_some() || at > user + 1 && is_port;
        match it {
            b'@' => host = Some(at),
            b'"' | b'\'' | b'/' | b'<' | b'{' | b'$' => break,
            // Some passwords have them, and so has what stands behind an address or its port.
            b'?' | b'#' | b',' | b';' if is_behind => break,
            it if !it.is_ascii_graphic() => break,
            _ => {}
        }
        is_port &= at <= user || it.is_ascii_digit();
    }
    let (own, password) = (user + 1..host?, rest.get(user + 1..host?)?);
    let counts = password.len() >= VALUE_MIN
        && password.iter().any(|it| !it.is_ascii_lowercase())
        && password.iter().any(|it| !it.is_ascii_uppercase())
        && !value::is_placeholder(password);
    let at = from + own.start..from + own.end;
    counts.then(|| Found { kind: SecretKind::Connection, whole: at.clone(), at })
}

/// From `-----BEGIN` on, and where to go on.
fn private_key(text: &[u8], at: usize) -> (Option<Found>, usize) {
    let Some(header) = key_header(&text[at..]) else { return (None, at + 11) };
    let from = at + header;
    let body = &text[from..text.len().min(from + KEY_MAX)];
    let length = body.windows(5).position(|it| it == b"-----").unwrap_or(body.len());
    let own = from..from + length;
    let found = (length >= 40).then(|| Found { kind: SecretKind::PrivateKey, whole: own.clone(), at: own });
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
