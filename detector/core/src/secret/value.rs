//! Whether a value under a telling name is a secret, and not the name, the kind or the place of one.

use super::in_word;
use super::name::Telling;

/// Shortest value under a telling name that counts, in bytes, and longest.
pub(super) const VALUE_MIN: usize = 6;
pub(super) const VALUE_MAX: usize = 256;
/// Shortest value that can look random.
const RANDOM_MIN: usize = 20;
/// Shorter values that begin with a slash are paths, whatever they look like.
const ROOTED_RANDOM_MIN: usize = 32;
/// Longest end of the name of a file.
const EXTENSION_MAX: usize = 5;

/// Beginnings of what says where a secret is kept.
const REFERENCES: &[&[u8]] =
    &[b"arn:", b"env:", b"file:", b"op:", b"projects/", b"ref+", b"secret:", b"ssm:", b"vault:"];

/// Words that are followed by a number where an algorithm, a type, a protocol or a release is meant: `sha256`, `varchar255`, `OAuth2`.
const TERMS: &[&str] = &[
    "aes", "argon", "b", "base", "blake", "bytes", "char", "ec", "ecdsa", "ed", "es", "float", "hmac", "hs", "http",
    "int", "ipv", "java", "k", "log", "max", "md", "min", "node", "nvarchar", "oauth", "p", "pbkdf", "ps", "py",
    "python", "rs", "rsa", "s", "scrypt", "sha", "ssl", "str", "string", "text", "tls", "uint", "utf", "v", "varchar",
    "x",
];

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Between quotes, or as a whole text.
    Apart,
    /// As words of code are too.
    Bare,
}

pub(super) fn is_secret(telling: Telling, value: &[u8], written: Written) -> bool {
    match telling {
        Telling::Nothing => false,
        Telling::Hint => looks_random(value) && !is_listed(value),
        Telling::Resource => looks_chosen(value, written) && !is_resource(value),
        Telling::Name => looks_chosen(value, written),
    }
}

/// Letters and digits mixed, and none of what code computes, names and points to values with.
fn looks_chosen(value: &[u8], written: Written) -> bool {
    value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && !value.iter().any(|it| matches!(it, b'(' | b')' | b'[' | b']' | b'{' | b'<' | b'>' | b';' | b'$'))
        && !is_path(value)
        && !is_reference(value)
        && !is_term(value)
        && !(written == Written::Bare && is_code(value))
}

fn is_path(value: &[u8]) -> bool {
    let is_drive =
        value.len() > 2 && value[0].is_ascii_alphabetic() && value[1] == b':' && matches!(value[2], b'\\' | b'/');
    let is_rooted = is_drive || [b"/".as_slice(), b"~/", b"./", b"../"].iter().any(|it| value.starts_with(it));
    // Of base64, one in 64 begins with a slash.
    let is_random = value.len() >= ROOTED_RANDOM_MIN
        && !value.iter().any(|it| matches!(it, b'.' | b'-' | b'_'))
        && looks_random(value);
    let first = value.split(|it| *it == b'/').next().unwrap_or_default();
    is_rooted && !is_random || value.contains(&b'/') && (is_file(value) || first.contains(&b'.'))
}

/// Whether it ends as the name of a file does.
fn is_file(value: &[u8]) -> bool {
    let name = value.rsplit(|it| *it == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|it| *it == b'.') else { return false };
    let end = &name[dot + 1..];
    end.len() <= EXTENSION_MAX
        && end.first().is_some_and(u8::is_ascii_alphabetic)
        && end.iter().all(u8::is_ascii_alphanumeric)
}

fn is_reference(value: &[u8]) -> bool {
    value.windows(3).any(|it| it == b"://") || REFERENCES.iter().any(|it| value.starts_with(it))
}

/// `sha256`, `base64-encoded`, `aes-256-gcm`, `12-characters`, `1.2.3`.
fn is_term(value: &[u8]) -> bool {
    let mut has_term = false;
    for (at, part) in value.split(|it| !it.is_ascii_alphanumeric()).enumerate() {
        let letters = part.iter().take_while(|it| it.is_ascii_alphabetic()).count();
        let digits = part[letters..].iter().take_while(|it| it.is_ascii_digit()).count();
        let is_term = TERMS.iter().any(|it| part[..letters].eq_ignore_ascii_case(it.as_bytes()));
        // `k8s`, and not `p4ssword`.
        let is_known = is_term && (letters > 2 || digits > 0 && (letters > 1 || part.len() <= digits + 2));
        let is_of_words = digits <= 4 && part[letters + digits..].iter().all(u8::is_ascii_alphabetic);
        let is_plain = letters == part.len() || letters == 0 && digits == part.len();
        if !is_of_words || !is_plain && !is_known {
            return false;
        }
        has_term |= is_known || at == 0 && letters == 0 && digits > 0;
    }
    has_term
}

/// `settings.S3_SECRET_KEY`, `Ed25519PrivateKey`, `db1_password`, `id=npmrc1`: what gives or holds a secret has a name that says so.
fn is_code(value: &[u8]) -> bool {
    let is_start = |it: &u8| it.is_ascii_alphabetic() || *it == b'_';
    let is_identifier =
        |it: &[u8]| it.first().is_some_and(is_start) && it.iter().all(|it| it.is_ascii_alphanumeric() || *it == b'_');
    let is_member = value.contains(&b'.') && value.split(|it| *it == b'.').all(is_identifier);
    let has_humps = value.contains(&b'_') || value.iter().skip(1).any(u8::is_ascii_uppercase);
    let is_named = has_humps && is_identifier(value) && Telling::of(value) > Telling::Nothing;
    let assigned = value.iter().position(|it| *it == b'=').filter(|at| *at > 0);
    let is_assigned =
        assigned.is_some_and(|at| is_identifier(&value[..at]) && value[at..].iter().any(|it| *it != b'='));
    is_member || is_named || is_assigned
}

/// What Kubernetes calls a resource: words and numbers in lower case, joined by dashes or dots.
fn is_resource(value: &[u8]) -> bool {
    value.iter().any(|it| matches!(it, b'-' | b'.'))
        && value.iter().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'.'))
}

/// A key under which a store or a list has something: parts joined by slashes, or the name of a file.
fn is_listed(value: &[u8]) -> bool {
    let slashes = value.iter().filter(|it| **it == b'/').count();
    let is_joined = slashes > 0 && value.iter().any(|it| matches!(it, b'-' | b'_' | b'.'));
    is_file(value) || is_joined || slashes > 1 + value.len() / 24
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
