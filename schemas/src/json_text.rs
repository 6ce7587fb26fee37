//! JSON that is known to be valid, read as it stands: where a string ends, and what its escapes mean.

/// Where the string that begins at `from`, behind its opening quote, has its closing one; the end of the text if it has none.
#[must_use]
pub fn string_end(json: &str, from: usize) -> usize {
    let bytes = json.as_bytes();
    let mut at = from;
    loop {
        at = quote_or_backslash(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return at,
            Some(_) => at += 2,
            None => return bytes.len(),
        }
    }
}

/// The first of them at or behind `at`, or the end; eight bytes at a time: strings are most of what there is.
#[must_use]
pub fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH_BITS: u64 = ONES << 7;
    // Sets the high bit of the first zero byte, and none below it.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;

    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let quote = zeros(word ^ (ONES * u64::from(b'"')));
        let backslash = zeros(word ^ (ONES * u64::from(b'\\')));
        let found = (quote | backslash) & HIGH_BITS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|it| matches!(it, b'"' | b'\\')).unwrap_or(rest.len())
}

/// Appends `text` with its escapes decoded. An escape that stands for no character, as half of a surrogate pair, becomes
/// U+FFFD, and the answer is `false`.
pub fn unescape(text: &str, out: &mut String) -> bool {
    let mut faithful = true;
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (decoded, length) = escape(&rest.as_bytes()[at..]);
        faithful &= decoded.is_some();
        out.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    faithful
}

/// What the escape at the beginning of `text` stands for, and how many bytes it takes: all of them ASCII.
fn escape(text: &[u8]) -> (Option<char>, usize) {
    let decoded = match text.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(it @ (b'"' | b'\\' | b'/')) => char::from(*it),
        Some(b'u') => return unicode(text),
        // No JSON, or cut in the middle.
        _ => return (None, 1),
    };
    (Some(decoded), 2)
}

fn unicode(text: &[u8]) -> (Option<char>, usize) {
    const HIGH: std::ops::Range<u32> = 0xd800..0xdc00;
    const LOW: std::ops::Range<u32> = 0xdc00..0xe000;

    let Some(unit) = four_digits(text, 2) else { return (None, 1) };
    if HIGH.contains(&unit)
        && text.get(6..8) == Some(br"\u")
        && let Some(low) = four_digits(text, 8).filter(|it| LOW.contains(it))
    {
        return (char::from_u32(0x1_0000 + ((unit - HIGH.start) << 10) + (low - LOW.start)), 12);
    }
    (char::from_u32(unit), 6)
}

fn four_digits(text: &[u8], from: usize) -> Option<u32> {
    text.get(from..from + 4)?.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::{string_end, unescape};

    #[test]
    fn escapes_mean_what_they_mean() {
        for (escaped, expected, faithful) in [
            ("", "", true),
            ("größer", "größer", true),
            (r"rm \u002drf", "rm -rf", true),
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t", true),
            (r"\u00E9\u00e9", "éé", true),
            (r"\ud83d\ude00!", "😀!", true),
            (r"a\ud800b", "a\u{fffd}b", false),
            (r"\ud800\ud83d\ude00", "\u{fffd}😀", false),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}", false),
            (r"\ud83d\n", "\u{fffd}\n", false),
            // Cut in the middle, as a beginning of a longer text may be.
            (r"a\", "a\u{fffd}", false),
            (r"a\u00", "a\u{fffd}u00", false),
            (r"\u+123é", "\u{fffd}u+123é", false),
        ] {
            let mut decoded = String::new();
            assert_eq!((unescape(escaped, &mut decoded), decoded.as_str()), (faithful, expected), "{escaped}");
        }
    }

    #[test]
    fn a_string_ends_at_the_quote_that_is_not_escaped() {
        for n in 0..40 {
            for (middle, bytes) in [("", 0), (r#"\""#, 2), (r"\\", 2), (r#"\"x\\\""#, 7), (r#"xxxxxxxxxxxx\"yy\""#, 18)]
            {
                let json = format!("\"{}{middle}\" \"", "é".repeat(n));
                assert_eq!(string_end(&json, 1), 1 + 2 * n + bytes, "{json}");
            }
        }
        for (json, end) in
            [(r#""""#, 1), (r#""a"b"#, 2), (r#""\"""#, 3), (r#""\\""#, 3), (r#""\\\"" "#, 5), (r#""a\""#, 4)]
        {
            assert_eq!(string_end(json, 1), end, "{json}");
        }
    }

    proptest::proptest! {
        /// Any string: the end is found and it reads as the JSON reader reads it.
        #[test]
        fn agrees_with_the_json_reader(text in "(\\PC|[\"\\\\\\x00-\\x1f]){0,40}", more in "\\PC{0,8}") {
            let json = serde_json::to_string(&text).expect("JSON");
            let mut decoded = String::new();
            let all = format!("{json}{more}");
            let end = string_end(&all, 1);
            proptest::prop_assert_eq!(end + 1, json.len());
            proptest::prop_assert!(unescape(&all[1..end], &mut decoded));
            proptest::prop_assert_eq!(decoded, text);
        }

        #[test]
        fn any_text_is_read(text in "(\\\\|u|d|8|0|\"|é|\\PC){0,40}") {
            let mut decoded = String::new();
            unescape(&text, &mut decoded);
            proptest::prop_assert!(string_end(&text, 0) <= text.len() && decoded.len() <= 3 * text.len());
        }
    }
}
