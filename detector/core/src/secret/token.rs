//! Tokens in a format that their issuer published.

use super::{Found, REDACTED, REDACTED_DIGITS, SecretKind};

/// Characters that the body of a token is made of.
#[derive(Clone, Copy)]
enum Body {
    Alphanumeric,
    Capitals,
    Hexadecimal,
    /// Letters, digits, dashes and underscores.
    Dashed,
    /// Dots too.
    Dotted,
}

impl Body {
    const fn has(self, it: u8) -> bool {
        match self {
            Self::Alphanumeric => it.is_ascii_alphanumeric(),
            Self::Capitals => it.is_ascii_uppercase() || it.is_ascii_digit(),
            Self::Hexadecimal => it.is_ascii_hexdigit(),
            Self::Dashed => it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'),
            Self::Dotted => true,
        }
    }
}

/// Prefix of a token, how many characters must follow, and which.
const TOKENS: &[(&str, usize, Body)] = &[
    ("AKIA", 16, Body::Capitals),
    ("ASIA", 16, Body::Capitals),
    ("AIza", 35, Body::Dashed),
    ("ya29.", 30, Body::Dotted),
    ("ghp_", 36, Body::Alphanumeric),
    ("gho_", 36, Body::Alphanumeric),
    ("ghu_", 36, Body::Alphanumeric),
    ("ghs_", 36, Body::Alphanumeric),
    ("ghr_", 36, Body::Alphanumeric),
    ("github_pat_", 40, Body::Dashed),
    ("glpat-", 20, Body::Dashed),
    ("npm_", 36, Body::Alphanumeric),
    ("pypi-", 40, Body::Dashed),
    ("sk-", 20, Body::Dashed),
    ("sk_live_", 16, Body::Alphanumeric),
    ("sk_test_", 16, Body::Alphanumeric),
    ("rk_live_", 16, Body::Alphanumeric),
    ("whsec_", 24, Body::Dashed),
    ("xoxb-", 20, Body::Dashed),
    ("xoxp-", 20, Body::Dashed),
    ("xoxa-", 20, Body::Dashed),
    ("xoxr-", 20, Body::Dashed),
    ("xapp-", 20, Body::Dashed),
    ("hf_", 30, Body::Alphanumeric),
    ("SG.", 40, Body::Dotted),
    ("shpat_", 32, Body::Hexadecimal),
    ("dop_v1_", 60, Body::Hexadecimal),
    ("AGE-SECRET-KEY-", 50, Body::Capitals),
    (REDACTED, REDACTED_DIGITS, Body::Hexadecimal),
];

/// Shortest token.
const TOKEN_MIN: usize = 19;

/// The token in a word, which begins it or stands behind `-`, `_` or `.`; `at` is where the word stands.
pub(super) fn token(word: &[u8], at: usize) -> Option<Found> {
    let begins = |from: &usize| *from == 0 || matches!(word[from - 1], b'-' | b'_' | b'.');
    let found = |from: usize| {
        let rest = &word[from..];
        web_token(rest).or_else(|| TOKENS.iter().find_map(|it| fits(rest, it))).map(|(kind, own, end)| Found {
            kind,
            at: at + from + own..at + from + end,
            whole: at + from..at + from + end,
        })
    };
    (0..(word.len() + 1).saturating_sub(TOKEN_MIN)).filter(begins).find_map(found)
}

/// Kind, where its own part begins, and where it ends.
fn fits(rest: &[u8], (prefix, more, body): &(&str, usize, Body)) -> Option<(SecretKind, usize, usize)> {
    let own = rest.strip_prefix(prefix.as_bytes())?;
    let own = &own[..own.iter().take_while(|it| body.has(**it)).count()];
    let own = &own[..own.len() - own.iter().rev().take_while(|it| **it == b'.').count()];
    let is_body = own.len() >= *more && own.iter().any(u8::is_ascii_digit) && !is_kebab(own);
    let kind = if *prefix == REDACTED { SecretKind::Hidden } else { SecretKind::Token };
    is_body.then_some((kind, prefix.len(), prefix.len() + own.len()))
}

/// A JSON web token: what its header says, others' headers say too.
fn web_token(rest: &[u8]) -> Option<(SecretKind, usize, usize)> {
    let header = rest.strip_prefix(b"eyJ")?;
    let body = 3 + header.iter().position(|it| *it == b'.')? + 1;
    (rest.len() - body >= 40 && rest[body..].starts_with(b"eyJ")).then_some((SecretKind::Token, body, rest.len()))
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
