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
}

impl SecretKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "a token in a published format",
            Self::PrivateKey => "a private key",
            Self::Connection => "the password of a connection string",
            Self::Labelled => "a value under a telling name",
        }
    }
}

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
/// Secrets told of one text; later ones are left out.
const FOUND_MAX: usize = 32;
/// Most quotes and spaces between a name, its separator and the value: columns are lined up.
const GAP_MAX: usize = 32;
/// Shortest opaque token that begins as JSON in base64 does.
const OPAQUE_MIN: usize = 63;

/// Whether a text holds a secret. More than [`find`] finds: a private key of which little is here, and an opaque token in
/// base64, which is as often the next page of a list and so is labelled but not followed.
pub(crate) fn holds(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_key = || text.match_indices("-----BEGIN ").any(|(at, _)| key_header(&bytes[at..]).is_some());
    let is_opaque =
        |it: &[u8]| it.starts_with(b"eyJ") && it.len() >= OPAQUE_MIN && it[3..].iter().any(u8::is_ascii_digit);
    !find("", bytes).is_empty() || has_key() || bytes.split(|it| !in_word(*it)).any(is_opaque)
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
    let mut found = Vec::new();
    // What is read again of a text, in bytes: more of it is made to be slow.
    let mut left = 1024 + 4 * text.len();
    if !name.is_empty()
        && let Some(at) = under(name.as_bytes(), text, 0)
    {
        found.push(Found { kind: SecretKind::Labelled, at });
    }
    let mut at = 0;
    while at < text.len() && found.len() < FOUND_MAX {
        match text[at] {
            b':' | b'=' => {
                let next = if text[at..].starts_with(b"://") {
                    connection(text, at + 3, &mut left)
                } else {
                    labelled(text, at, &mut left)
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
                at += length;
                // "the password is …"
                if text[at..].starts_with(b" is ")
                    && let Some(it) = labelled(text, at + 3, &mut left)
                {
                    push(&mut found, it);
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
    if new.kind == SecretKind::Token
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

/// `name: value`, `"name": "value"`, `NAME=value`; `at` is the separator.
fn labelled(text: &[u8], at: usize, left: &mut usize) -> Option<Found> {
    let skipped = |it: &u8| matches!(it, b'"' | b'\'' | b' ' | b'\\');
    let is = if text[..at].ends_with(b" is") { 3 } else { 0 };
    let end = at - is - text[..at - is].iter().rev().take(GAP_MAX).take_while(|it| skipped(it)).count();
    let length = text[..end].iter().rev().take(40).take_while(|it| in_word(**it)).count();
    let name = &text[end - length..end];
    if !ends_with(name, NAMES) && !ends_with(name, HINTS) || *left == 0 {
        return None;
    }
    let value = at + 1 + text[at + 1..].iter().take(GAP_MAX).take_while(|it| skipped(it)).count();
    let value = value + bearer(&text[value..]);
    let rest = &text[value..text.len().min(value + VALUE_MAX)];
    // After `=` it may be one field of a form.
    let is_form = text[at] == b'=';
    let ends =
        |it: &u8| !it.is_ascii_graphic() || matches!(it, b'"' | b'\'' | b',' | b'}' | b'\\') || is_form && *it == b'&';
    let rest = &rest[..rest.iter().position(ends).unwrap_or(rest.len())];
    *left = left.saturating_sub(rest.len());
    let at = under(name, rest, value)?;
    Some(Found { kind: SecretKind::Labelled, at })
}

fn bearer(value: &[u8]) -> usize {
    [b"Bearer ".as_slice(), b"bearer ", b"Basic ", b"token "]
        .iter()
        .find(|it| value.starts_with(it))
        .map_or(0, |it| it.len())
}

/// The value, if its name makes it secret.
fn under(name: &[u8], value: &[u8], at: usize) -> Option<Range<usize>> {
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
    let (strong, hint) = (ends_with(name, NAMES), ends_with(name, HINTS));
    let counts = is_one && (strong && looks_chosen(value) || hint && looks_random(value));
    let from = at + lead + skip;
    counts.then_some(from..from + value.len())
}

/// Whether the last name of a path says that what stands there is a credential.
#[must_use]
pub fn is_credential(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path).as_bytes();
    ends_with(name, NAMES) || ends_with(name, HINTS)
}

fn ends_with(name: &[u8], known: &[&str]) -> bool {
    let letters = name.iter().rev().filter(|it| it.is_ascii_alphanumeric());
    known.iter().any(|it| {
        let mut letters = letters.clone();
        it.bytes().rev().all(|byte| letters.next().is_some_and(|other| other.eq_ignore_ascii_case(&byte)))
    })
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
fn log2_1024ths(n: u32) -> u32 {
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
fn connection(text: &[u8], from: usize, left: &mut usize) -> Option<Found> {
    if *left == 0 {
        return None;
    }
    let rest = &text[from..text.len().min(from + VALUE_MAX)];
    let end =
        rest.iter().position(|it| !it.is_ascii_graphic() || matches!(it, b'"' | b'\'' | b'/' | b'<' | b'{' | b'$'))?;
    let rest = &rest[..end];
    *left = left.saturating_sub(end);
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
mod tests {
    use super::{entropy_is_high, find, holds, log2_1024ths};

    /// Texts, and what of them is followed.
    const SECRETS: &[(&str, &str)] = &[
        ("token ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2 end", "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
        ("https://ci.example/ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2/x", "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
        (r#"{"log":"one\nghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"}"#, "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
        (
            "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0zdWIiOiIxMjM0.c2lnbmF0dXJlMQc2lnbmF0dXJl1",
            "eyJzdWIiOiIxMjM0zdWIiOiIxMjM0.c2lnbmF0dXJlMQc2lnbmF0dXJl1",
        ),
        ("key AKIAIOSFODNN7EXAMPLE here", "IOSFODNN7EXAMPLE"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1Bx\n-----END RSA PRIVATE KEY-----",
            "\nMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1Bx\n",
        ),
        (r#"{"password": "hunter22x"}"#, "hunter22x"),
        (r#"{"db_password":"hunter22x"}"#, "hunter22x"),
        (r#"{"password": "a&b12345x"}"#, "a&b12345x"),
        (r#"{"body":"{\"password\": \"hunter22x\"}"}"#, "hunter22x"),
        ("DB_PASSWORD=hunter22x\nX=1", "hunter22x"),
        ("user=ada&password=hunter22x&go=1", "hunter22x"),
        ("password             = hunter22x", "hunter22x"),
        ("password=self.password1", "self.password1"),
        ("the password is hunter22x, log in", "hunter22x"),
        ("API_KEY: abcdef123456.", "abcdef123456"),
        ("API_KEY=abcdef123456", "abcdef123456"),
        ("api.key=abcdef123456", "abcdef123456"),
        ("postgres://app:s3cr3t-Pw@db.internal:5432/x", "s3cr3t-Pw"),
        ("Authorization: Bearer q8Zt3LmN0pXr7VwYb2Kd5H", "q8Zt3LmN0pXr7VwYb2Kd5H"),
        ("session token=q8Zt3LmN0pXr7VwYb2Kd5H", "q8Zt3LmN0pXr7VwYb2Kd5H"),
    ];

    /// Texts that are labelled, and nothing of them is followed.
    const LABELLED_ALONE: &[&str] = &[
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQHY",
        "session eyJpdiI6Ik5JQnB0M1ZyZlE5SmRkaUJ3PT0iLCJ2YWx1ZSI6ImRlZmdoaWprbG1ub3AifQ",
        "Bearer eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0..AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHX",
    ];

    const LOOK_ALIKES: &[&str] = &[
        "",
        "ä:ö=ü",
        "client secret: no",
        r#"{"password": null}"#,
        r#"{"password": "***"}"#,
        "ghp_short",
        "password = forms.CharField(max_length=128)",
        "secret=os.environ['X1']",
        "SECRET_KEY: ${KEY_2_VALUE}",
        "the word password: is here",
        "the password is required, see page 22",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKC",
        "-----BEGIN CERTIFICATE----- of it, and no PRIVATE KEY----- beside it in these lines, which are many",
        "sk-learn is a library for machine learning",
        "sk-this-is-a-very-long-kebab-case-name",
        "sk-this-is-a-very-long-kebab-case-name-2",
        "token: 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "key=da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "order_id: A1B2C3D4E5F6G7H8J9K0L1M2",
        "cache key: user/42/profile/settings",
        "https://example.com:8080/a@b",
        "https://example.com/sk-learn/hf_space/AKIA",
        "password=no&next=page22",
        "eyJhbGciOiJIUzI1NiJ9",
        "max_tokens=4096",
        "primary_key=True",
    ];

    #[test]
    fn secrets_and_what_looks_alike() {
        let shown = |text: &str| -> Vec<String> {
            find("", text.as_bytes()).into_iter().map(|it| text[it.at].to_owned()).collect()
        };
        for (text, expected) in SECRETS {
            assert_eq!(shown(text), [*expected], "{text}");
            assert!(holds(text), "{text}");
        }
        for text in LABELLED_ALONE {
            assert_eq!((shown(text).as_slice(), holds(text)), (&[][..], true), "{text}");
        }
        for text in LOOK_ALIKES {
            assert_eq!((shown(text).as_slice(), holds(text)), (&[][..], false), "{text}");
        }
        assert_eq!(find("api_key", b"abcdef123456").len(), 1);
        assert_eq!(find("db.password", b"correct horse battery").len(), 0);
        assert_eq!(find("name", b"abcdef123456").len(), 0);
    }

    #[test]
    fn entropy_in_whole_numbers() {
        assert_eq!([1, 2, 3, 8, 1000].map(log2_1024ths), [0, 1024, 1623, 3072, 10204]);
        assert!(entropy_is_high(b"q8Zt3LmN0pXr7VwYb2Kd5H"));
        assert!(!entropy_is_high(b"aaaaaaaaaaaaaaaaaaaa"));
        assert!(!entropy_is_high(b"Aa1Aa1Aa1Aa1Aa1Aa1Aa1"));
    }
}
