//! Whether a text holds a secret: a token in a published format, a private key, or a value under a telling name.
//!
//! Formats, not guesses: every prefix is followed by enough characters of its alphabet. Wrong for documentation that
//! shows example tokens; blind for secrets without a format that stand under no telling name. Cost: one pass that stops
//! at the first byte of any prefix, only when a condition asks.

/// Prefix of a token, and how many characters of `[A-Za-z0-9_-]` must follow.
const TOKENS: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 35),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghs_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("npm_", 36),
    ("pypi-", 40),
    ("sk-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("hf_", 30),
    ("eyJ", 60),
];

/// Names under which a value is secret, in lower case without separators.
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
];

/// Longest of them.
const NAME_MAX: usize = 12;

/// Shortest value under a telling name that counts, in characters.
const VALUE_MIN: usize = 6;

pub(super) fn holds_secret(text: &str) -> bool {
    text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") || holds_token(text) || holds_named(text)
}

/// Which bytes a token is made of.
const IN_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let it = byte as u8;
        table[byte] = it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
        byte += 1;
    }
    table
};

/// Shorter words are no token.
const TOKEN_MIN: usize = 19;

const fn in_token(byte: u8) -> bool {
    IN_TOKEN[byte as usize]
}

fn holds_token(text: &str) -> bool {
    let is_token = |word: &[u8]| {
        TOKENS.iter().any(|(prefix, more)| {
            word.strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| rest.len() >= *more && rest.iter().any(u8::is_ascii_digit))
        })
    };
    text.as_bytes().split(|it| !in_token(*it)).any(|word| word.len() >= TOKEN_MIN && is_token(word))
}

/// `password: hunter22`, `"api_key": "…"`, `secret=…`.
fn holds_named(text: &str) -> bool {
    let mut separators = text.bytes().enumerate().filter(|(_, it)| matches!(it, b':' | b'='));
    separators.any(|(at, _)| {
        if !is_telling(&text.as_bytes()[..at]) {
            return false;
        }
        let value = text.as_bytes()[at + 1..].iter().skip_while(|it| matches!(it, b'"' | b'\'' | b' ' | b'\\'));
        let ends = |it: &u8| !it.is_ascii_graphic() || matches!(it, b'"' | b'\'' | b',' | b'}' | b'\\');
        let value: Vec<u8> = value.take_while(|it| !ends(it)).take(64).copied().collect();
        looks_chosen(&value)
    })
}

/// Whether the text ends with one of [`NAMES`], whatever its case and separators.
fn is_telling(before: &[u8]) -> bool {
    let before = before.iter().rev().skip_while(|it| matches!(it, b'"' | b'\'' | b' ' | b'\\'));
    let word = before.take_while(|it| in_token(**it)).filter(|it| it.is_ascii_alphanumeric());
    let (mut backwards, mut length) = ([0; NAME_MAX], 0);
    for (to, byte) in backwards.iter_mut().zip(word) {
        *to = byte.to_ascii_lowercase();
        length += 1;
    }
    let word = &backwards[..length];
    NAMES.iter().any(|name| word.len() >= name.len() && name.bytes().rev().zip(word).all(|(a, b)| a == *b))
}

/// A value and not code that computes one: letters and digits mixed, and no brackets.
fn looks_chosen(value: &[u8]) -> bool {
    value.len() >= VALUE_MIN
        && value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && !value.iter().any(|it| matches!(it, b'(' | b')' | b'[' | b']' | b'{' | b'<' | b'>' | b';' | b'$'))
}

#[cfg(test)]
mod tests {
    use super::holds_secret;

    #[test]
    fn no_name_is_too_long() {
        assert_eq!(super::NAMES.iter().map(|it| it.len()).max(), Some(super::NAME_MAX));
    }

    #[test]
    fn secrets_and_what_looks_alike() {
        let github = format!("token ghp_{} end", "a1B2".repeat(9));
        let jwt = format!("Bearer eyJ{}.{}", "hbGciOiJIUzI1NiJ9".repeat(3), "c2lnbmF0dXJl1".repeat(4));
        for (text, expected) in [
            (github.as_str(), true),
            (jwt.as_str(), true),
            ("key AKIAIOSFODNN7EXAMPLE here", true),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", true),
            (r#"{"password": "hunter22x"}"#, true),
            (r#"{"db_password":"hunter22x"}"#, true),
            ("API_KEY=abcdef123456", true),
            ("client secret: no", false),
            (r#"{"password": null}"#, false),
            (r#"{"password": "***"}"#, false),
            ("password = forms.CharField(max_length=128)", false),
            ("password=self.password1", true),
            ("secret=os.environ['X1']", false),
            ("SECRET_KEY: ${KEY_2_VALUE}", false),
            ("the word password: is here", false),
            ("-----BEGIN PUBLIC KEY-----", false),
            ("ghp_short", false),
            ("sk-learn is a library for machine learning", false),
            ("sk-this-is-a-very-long-kebab-case-name", false),
            ("", false),
            ("ä:ö=ü", false),
        ] {
            assert_eq!(holds_secret(text), expected, "{text}");
        }
    }
}
