//! Tokens in a format that their issuer published.

use super::value::is_masked;
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
    ("dapi", 32, Body::Hexadecimal),
    ("dckr_pat_", 20, Body::Dashed),
    ("doo_v1_", 60, Body::Hexadecimal),
    ("dor_v1_", 60, Body::Hexadecimal),
    ("figd_", 30, Body::Dashed),
    ("glptt-", 40, Body::Hexadecimal),
    ("GOCSPX-", 20, Body::Dashed),
    ("gsk_", 40, Body::Alphanumeric),
    ("hvs.", 24, Body::Dashed),
    ("lin_api_", 32, Body::Alphanumeric),
    ("PMAK-", 50, Body::Dashed),
    ("r8_", 30, Body::Alphanumeric),
    ("rubygems_", 40, Body::Hexadecimal),
    ("shpca_", 32, Body::Hexadecimal),
    ("shppa_", 32, Body::Hexadecimal),
    ("shpss_", 32, Body::Hexadecimal),
    ("rk_test_", 16, Body::Alphanumeric),
    ("sqp_", 40, Body::Hexadecimal),
    ("xkeysib-", 64, Body::Hexadecimal),
    ("xai-", 40, Body::Alphanumeric),
    ("xoxd-", 20, Body::Dashed),
    ("xoxe-", 20, Body::Dashed),
    (REDACTED, REDACTED_DIGITS, Body::Hexadecimal),
];

/// Shortest token.
const TOKEN_MIN: usize = 19;
/// Bytes of a body that are looked at to say what it is: of rows of prefixes, each stands at the beginning of all that follow.
const SHOWN: usize = 64;

/// The token in a word, which begins it or stands behind `-`, `_` or `.`; `at` is where the word stands.
pub(super) fn token(word: &[u8], at: usize) -> Option<Found> {
    let last = word.len().checked_sub(TOKEN_MIN)?;
    let begins = |from: &usize| *from == 0 || matches!(word[from - 1], b'-' | b'_' | b'.');
    // Where the next dot is, looked for once.
    let mut dot = 0;
    (0..=last).filter(begins).find_map(|from| {
        let rest = &word[from..];
        if dot <= from && rest.starts_with(WEB_TOKEN) {
            dot = from + rest.iter().position(|it| *it == b'.').unwrap_or(rest.len());
        }
        let web = dot.checked_sub(from).and_then(|dot| web_token(rest, dot));
        let (kind, own, end) = web.or_else(|| TOKENS.iter().find_map(|it| fits(rest, it)))?;
        Some(Found { kind, at: at + from + own..at + from + end, whole: at + from..at + from + end })
    })
}

/// Kind, where its own part begins, and where it ends.
fn fits(rest: &[u8], (prefix, more, body): &(&str, usize, Body)) -> Option<(SecretKind, usize, usize)> {
    let own = rest.strip_prefix(prefix.as_bytes())?;
    let shown = own[..own.len().min(SHOWN)].iter().take_while(|it| body.has(**it)).count();
    let shown = &own[..shown - own[..shown].iter().rev().take_while(|it| **it == b'.').count()];
    let is_own = shown.len() >= *more && !is_masked(shown) && !is_kebab(shown, *prefix == "sk-");
    if !is_own || !shown.iter().any(u8::is_ascii_digit) && !is_mixed(prefix, shown) {
        return None;
    }
    let end = own.iter().take_while(|it| body.has(**it)).count();
    let end = end - own[..end].iter().rev().take_while(|it| **it == b'.').count();
    // AWS gives no longer ones, and documents with these.
    if matches!(body, Body::Capitals) && *more == 16 && (end != 16 || own[..16].ends_with(b"EXAMPLE")) {
        return None;
    }
    let kind = if *prefix == REDACTED { SecretKind::Hidden } else { SecretKind::Token };
    Some((kind, prefix.len(), prefix.len() + end))
}

/// How a JSON web token begins.
const WEB_TOKEN: &[u8] = b"eyJ";

/// A JSON web token whose header ends at `dot`: what that says, others' headers say too.
fn web_token(rest: &[u8], dot: usize) -> Option<(SecretKind, usize, usize)> {
    let body = rest.get(dot + 1..)?;
    let is_token = rest.starts_with(WEB_TOKEN) && body.len() >= 40 && body.starts_with(WEB_TOKEN);
    is_token.then_some((SecretKind::Token, dot + 1, rest.len()))
}

/// Whether letters alone are a body: some issuers have one in thirty without a digit, Hugging Face nothing else. Names have few capitals.
fn is_mixed(prefix: &str, own: &[u8]) -> bool {
    let capitals = own.iter().filter(|it| it.is_ascii_uppercase()).count();
    match prefix {
        "AKIA" => true,
        "ASIA" | "sk-" => false,
        _ => 4 * capitals >= own.len() && capitals < own.len(),
    }
}

/// `this-is-a-name-2`: short words joined by dashes, in lower case, or in `any_case`.
fn is_kebab(text: &[u8], any_case: bool) -> bool {
    let words = text.split(|it| matches!(it, b'-' | b'_'));
    let (mut count, mut longest) = (0, 0);
    for word in words {
        count += 1;
        longest = longest.max(word.len());
    }
    count >= 3 && longest < 12 && (any_case || !text.iter().any(u8::is_ascii_uppercase))
}
