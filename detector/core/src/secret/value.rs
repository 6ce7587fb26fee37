//! Whether a value under a telling name is a secret, and not the name, the kind or the place of one.

use super::in_word;
use super::name::Telling;

/// Shortest value under a telling name that counts, in bytes, and longest.
pub(super) const VALUE_MIN: usize = 6;
pub(super) const VALUE_MAX: usize = 4_096;
/// Shortest value that can look random.
const RANDOM_MIN: usize = 20;
/// Shorter values that begin with a slash are paths, whatever they look like.
const ROOTED_RANDOM_MIN: usize = 32;
/// Shortest value of small letters and digits that is no name of a resource.
const SMALL_MIN: usize = 16;
/// Shortest part that is a digest: of 128 bits.
const DIGEST_MIN: usize = 32;
/// Longest end of the name of a file.
const EXTENSION_MAX: usize = 5;
/// Longest description of an algorithm or a measure.
const TERM_MAX: usize = 40;

/// Beginnings of what says where a secret is kept.
const REFERENCES: &[&[u8]] =
    &[b"arn:", b"env:", b"file:", b"op:", b"projects/", b"ref+", b"secret:", b"ssm:", b"vault:"];

/// Names with a number: algorithms, encodings, curves, protocols and standards, types, machines. `#` stands for any number.
const TERMS: &[&str] = &[
    "1password",
    "2fa",
    "3des",
    "amd64",
    "argon2",
    "argon2d",
    "argon2i",
    "argon2id",
    "arm64",
    "ascii85",
    "base16",
    "base32",
    "base58",
    "base64",
    "base64url",
    "blake2",
    "blake2b",
    "blake2s",
    "blake3",
    "chacha20",
    "char#",
    "crc32",
    "curve25519",
    "ec2",
    "ed25519",
    "ed448",
    "es256",
    "es384",
    "es512",
    "fido2",
    "float#",
    "hs256",
    "hs384",
    "hs512",
    "http2",
    "http3",
    "int#",
    "ipv4",
    "ipv6",
    "k8s",
    "md4",
    "md5",
    "nvarchar#",
    "oauth1",
    "oauth2",
    "p256",
    "p384",
    "p521",
    "pbkdf2",
    "pkcs#",
    "poly1305",
    "prime256v1",
    "ps256",
    "ps384",
    "ps512",
    "rc4",
    "rfc#",
    "rs256",
    "rs384",
    "rs512",
    "rsa#",
    "s3",
    "saml2",
    "secp256k1",
    "secp256r1",
    "secp384r1",
    "secp521r1",
    "sha1",
    "sha2",
    "sha3",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "ssl3",
    "tls1",
    "u2f",
    "uint#",
    "utf8",
    "utf16",
    "utf32",
    "varchar#",
    "x25519",
    "x509",
    // Measures.
    "#bit",
    "#bits",
    "#byte",
    "#bytes",
    "#chars",
    "#characters",
    "#d",
    "#days",
    "#digit",
    "#digits",
    "#h",
    "#hours",
    "#min",
    "#minutes",
    "max#chars",
    "min#chars",
];

/// Words beside such a name, or beside a number that is with another of them.
const TERM_WORDS: &[&str] = &[
    "aes",
    "and",
    "auth",
    "based",
    "bit",
    "bits",
    "byte",
    "bytes",
    "cbc",
    "characters",
    "chars",
    "compatible",
    "ctr",
    "day",
    "days",
    "digit",
    "digits",
    "ecdsa",
    "encoded",
    "encrypted",
    "gcm",
    "hash",
    "hashed",
    "hmac",
    "hour",
    "hours",
    "key",
    "minutes",
    "only",
    "or",
    "pem",
    "protected",
    "rsa",
    "salted",
    "sha",
    "signed",
    "specific",
    "string",
    "token",
    "with",
];

/// How a value stands there.
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
        Telling::Hint => looks_random(value) && !is_listed(value) && !is_of_words(value),
        Telling::Resource => looks_chosen(value, written) && !is_resource(value),
        Telling::Name => looks_chosen(value, written),
    }
}

/// Letters and digits mixed, and none of what code computes, names and points to values with.
fn looks_chosen(value: &[u8], written: Written) -> bool {
    value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && !(if written == Written::Apart { is_filled_in(value) } else { has_signs_of_code(value) })
        && !is_path(value)
        && !is_reference(value)
        && !is_term(value)
        && !is_numbered(value)
        && !is_placeholder(value)
        && !(written == Written::Bare && is_code(value))
}

fn has_signs_of_code(value: &[u8]) -> bool {
    value.iter().any(|it| matches!(it, b'(' | b')' | b'[' | b']' | b'{' | b'<' | b'>' | b';' | b'$'))
}

/// Whether brackets or a variable within quotes are for something to be put in: `${X}`, `$X`, `f(x)`, `<name>`.
fn is_filled_in(value: &[u8]) -> bool {
    let stands = |it: u8| value.iter().position(|at| *at == it);
    let is_pair = |open, close| stands(open).zip(stands(close)).is_some_and(|(open, close)| open < close);
    let is_pair = is_pair(b'(', b')') || is_pair(b'[', b']') || is_pair(b'{', b'}') || is_pair(b'<', b'>');
    let is_variable = value.starts_with(b"$") || value.windows(2).any(|it| matches!(it, b"${" | b"$("));
    // Keys of frameworks have all signs.
    is_variable || is_pair && !is_generated(value)
}

/// Long, with letters of both cases, digits and signs.
fn is_generated(value: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| value.iter().any(is);
    let signs = value.iter().filter(|it| it.is_ascii_punctuation()).count();
    value.len() >= RANDOM_MIN
        && signs >= 4
        && has(u8::is_ascii_digit)
        && !has(|it| *it == b'=')
        && entropy_is_high(value)
}

/// Whether something stands for a secret: `PASSWORD`, `your-password`, `changeme`, `%PASSWORD1%`, `xxxxxx1`.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    let begins = |known: &[u8]| value.get(..known.len()).is_some_and(|it| it.eq_ignore_ascii_case(known));
    let is_named = Telling::of(value) >= Telling::Resource && !value.iter().any(u8::is_ascii_digit);
    let is_variable = value.len() > 2 && value.starts_with(b"%") && value.ends_with(b"%");
    is_named || is_variable || begins(b"your") || begins(b"changeme") || is_masked(value)
}

/// Whether one character is more than half of it.
pub(super) fn is_masked(value: &[u8]) -> bool {
    let mut counts = [0_usize; 256];
    value.iter().for_each(|it| counts[usize::from(*it)] += 1);
    counts.iter().any(|it| 2 * it > value.len())
}

fn is_path(value: &[u8]) -> bool {
    let is_drive = matches!(value, [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic());
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

/// `sha256`, `base64-encoded`, `aes-256-gcm`, `12-characters`.
fn is_term(value: &[u8]) -> bool {
    let is_number = |it: &[u8]| (1..=5).contains(&it.len()) && it.iter().all(u8::is_ascii_digit);
    let is_word = |it: &[u8]| TERM_WORDS.iter().any(|known| it.eq_ignore_ascii_case(known.as_bytes()));
    let (mut terms, mut words) = (0, 0);
    value.len() <= TERM_MAX
        && value.split(|it| !it.is_ascii_alphanumeric()).all(|part| {
            let (is_word, is_known) = (is_word(part), TERMS.iter().any(|it| is_of_pattern(part, it.as_bytes())));
            (terms, words) = (terms + usize::from(is_known), words + usize::from(is_word));
            is_word || is_known || is_number(part) || part.is_empty()
        })
        && terms + words > 0
}

/// `#` in a pattern is a number of one to five digits.
fn is_of_pattern(text: &[u8], pattern: &[u8]) -> bool {
    let Some(at) = pattern.iter().position(|it| *it == b'#') else { return text.eq_ignore_ascii_case(pattern) };
    let (before, behind) = (&pattern[..at], &pattern[at + 1..]);
    let digits = text.len().saturating_sub(before.len() + behind.len());
    (1..=5).contains(&digits)
        && text[..at].eq_ignore_ascii_case(before)
        && text[at..at + digits].iter().all(u8::is_ascii_digit)
        && text[at + digits..].eq_ignore_ascii_case(behind)
}

/// `PROJ-1234`, `2024-01-01T10:11:12Z`, `v1.2.3`, `0x008A`: a number of a list, a time, a release, a code.
fn is_numbered(value: &[u8]) -> bool {
    let capitals = value.iter().take_while(|it| it.is_ascii_uppercase()).count();
    let is_ticket = (2..=10).contains(&capitals)
        && value[capitals..].strip_prefix(b"-").is_some_and(|it| it.len() <= 6 && it.iter().all(u8::is_ascii_digit));
    let is_digits = |at: std::ops::Range<usize>| value.get(at).is_some_and(|it| it.iter().all(u8::is_ascii_digit));
    let is_time = is_digits(0..4) && is_digits(5..7) && is_digits(8..10) && value[4] == b'-' && value[7] == b'-';
    let is_time = is_time && value[10..].iter().all(|it| it.is_ascii_digit() || b"TZ:.+-".contains(it));
    let release = value.strip_prefix(b"v").unwrap_or(value);
    let is_release = release.iter().all(|it| it.is_ascii_digit() || *it == b'.');
    let is_code = value.len() <= 10 && value.strip_prefix(b"0x").is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit));
    is_ticket || is_time || is_release || is_code
}

/// `settings.S3_SECRET_KEY`, `Ed25519PrivateKey`, `db1_password`, `id=npmrc1`, `:pw1`, `&anchor1`: what gives or holds a secret, by name.
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
    let is_bound = matches!(value, [b':' | b'&' | b'@', name @ ..] if is_identifier(name));
    let is_of_crate = value.windows(2).any(|it| it == b"::");
    is_member || is_named || is_assigned || is_bound || is_of_crate
}

/// What Kubernetes calls a resource: words and numbers in lower case, joined by dashes, dots or slashes.
fn is_resource(value: &[u8]) -> bool {
    let joins = |it: &u8| matches!(it, b'-' | b'.' | b'/');
    (value.len() < SMALL_MIN || value.iter().any(joins))
        && value.iter().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || joins(it))
}

/// A key under which a store or a list has something: parts joined by slashes, the name of a file, something with a digest.
fn is_listed(value: &[u8]) -> bool {
    let slashes = value.iter().filter(|it| **it == b'/').count();
    let is_joined = slashes > 0 && value.iter().any(|it| matches!(it, b'-' | b'_' | b'.'));
    let is_digest = |it: &[u8]| it.len() >= DIGEST_MIN && it.iter().all(u8::is_ascii_hexdigit);
    let has_digest = value.split(|it| !it.is_ascii_alphanumeric()).any(is_digest);
    is_file(value) || is_joined || has_digest || slashes > 1 + value.len() / 24
}

/// `TestParseConfigV2WithDefaults`, `checkout.step2.confirmButton`: mostly small letters, and few digits.
fn is_of_words(value: &[u8]) -> bool {
    let small = value.iter().filter(|it| it.is_ascii_lowercase()).count();
    let digits = value.iter().filter(|it| it.is_ascii_digit()).count();
    digits <= 2 && small * 10 >= value.len() * 6 && value.iter().all(|it| in_word(*it))
}

/// Whether no part of it is a word: both cases and digits, 3.5 bits or more in each character, and not mostly small letters.
pub(crate) fn is_of_chance(value: &[u8]) -> bool {
    let count = |is: fn(&u8) -> bool| value.iter().filter(|it| is(it)).count();
    value.len() >= RANDOM_MIN
        && count(u8::is_ascii_digit) > 0
        && count(u8::is_ascii_uppercase) > 0
        && (1..value.len() * 6 / 10).contains(&count(u8::is_ascii_lowercase))
        && entropy_is_high(value)
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
