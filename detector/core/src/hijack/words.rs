//! Text cut into sentences and words.
//!
//! Only what is needed to find a value again and to tell prose from records: a sentence is a line, or a part of one that
//! ends in a full stop. Long lines that were wrapped are put together again.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::hash::hash;

/// Text of one result that is read; the rest is not, and the session says that its memory is incomplete.
pub(crate) const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Longest sentence, in bytes: a longer one is cut there.
const SENTENCE_BYTES_MAX: usize = 400;
/// Lines this long were probably wrapped, in bytes.
const WRAPPED_BYTES_MIN: usize = 60;
/// Room for a text under its name: most fit.
const NAMED_BYTES: usize = 128;
/// Longest name before a colon that makes a line a record's field.
const KEY_CHARS_MAX: usize = 32;

/// Tells each run of letters and digits, in lower case.
pub(crate) fn words(text: &str, mut f: impl FnMut(&str)) {
    let mut small = [0; 64];
    let mut tell = |word: &str| {
        let bytes = word.as_bytes();
        match small.get_mut(..bytes.len()) {
            _ if bytes.is_empty() => {}
            // Most words by far: as they stand.
            Some(_) if bytes.iter().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit()) => f(word),
            Some(small) if word.is_ascii() => {
                small.copy_from_slice(bytes);
                small.make_ascii_lowercase();
                f(std::str::from_utf8(small).unwrap_or(word));
            }
            _ => f(&word.to_lowercase()),
        }
    };
    if text.is_ascii() {
        let mut from = 0;
        for (at, byte) in text.bytes().enumerate() {
            if !byte.is_ascii_alphanumeric() {
                tell(&text[from..at]);
                from = at + 1;
            }
        }
        tell(&text[from..]);
    } else {
        text.split(|it: char| !it.is_alphanumeric()).for_each(tell);
    }
}

/// Words of a name: `snake_case`, `kebab-case`, `dotted.names` and `camelCase`.
pub(crate) fn name_words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut lower = false;
    for it in name.chars() {
        if it.is_uppercase() && lower {
            out.push(' ');
        }
        lower = it.is_lowercase() || it.is_ascii_digit();
        if it.is_alphanumeric() { out.extend(it.to_lowercase()) } else { out.push(' ') }
    }
    out
}

/// A word as it is remembered.
#[expect(clippy::cast_possible_truncation, reason = "half of a good hash is a good hash")]
pub(crate) fn word_hash(word: &str) -> u32 {
    hash(word.as_bytes()) as u32
}

/// Words of a value as they are remembered, without the `https://www.` that addresses come with and without.
pub(crate) fn value_words(value: &str, out: &mut Vec<u32>) {
    let mut rest = value;
    for prefix in ["https://", "http://", "www."] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    words(rest, |it| out.push(word_hash(it)));
}

/// Groups of a code at least, and characters of it at most and at least: dates are shorter.
const GROUPS_MIN: usize = 3;
const GROUP_CHARS_MAX: usize = 5;
const CODE_CHARS: std::ops::RangeInclusive<usize> = 9..=34;

/// Tells each code that is written in groups, such as an account or a phone number, in one word and lower case.
pub(crate) fn codes(text: &str, mut f: impl FnMut(&str)) {
    if !may_hold_code(text) {
        return;
    }
    let bytes = text.as_bytes();
    let (mut code, mut groups, mut digits, mut between, mut end) = (String::new(), 0, 0, None, 0);
    let mut at = 0;
    while at <= bytes.len() {
        let begin = at + bytes[at..].iter().take_while(|it| !it.is_ascii_alphanumeric()).count();
        let length = bytes[begin..].iter().take_while(|it| it.is_ascii_alphanumeric()).count();
        let group = &bytes[begin..begin + length];
        let numbers = group.iter().filter(|it| it.is_ascii_digit()).count();
        // A word among numbers is one of the sentence.
        let is_group =
            (1..=GROUP_CHARS_MAX).contains(&length) && (numbers > 0 || group.iter().all(u8::is_ascii_uppercase));
        let gap = &bytes[end.min(begin)..begin];
        let goes_on = groups > 0 && is_group && matches!(gap, [b' ' | b'-']) && between.is_none_or(|it| it == gap[0]);
        // Part of an id that has other parts too.
        let is_joined = gap == b"-" && end > 0;
        if !goes_on {
            if groups >= GROUPS_MIN && !is_joined && CODE_CHARS.contains(&code.len()) && 2 * digits >= code.len() {
                f(&code);
            }
            code.clear();
            (groups, digits, between) = (0, 0, None);
        } else {
            between = Some(gap[0]);
        }
        if is_group && (goes_on || !is_joined) && code.len() <= *CODE_CHARS.end() {
            code.extend(group.iter().map(|it| char::from(it.to_ascii_lowercase())));
            (groups, digits) = (groups + 1, digits + numbers);
        }
        end = begin + length;
        at = end.max(at + 1);
    }
}

/// Whether two digits stand before a gap and a further group: in few texts, and told without a branch.
fn may_hold_code(text: &str) -> bool {
    let joins = |it: &[u8; 3]| {
        let gap = it[1] == b' ' || it[1] == b'-';
        u32::from(it[0].is_ascii_digit() & gap & it[2].is_ascii_alphanumeric())
    };
    text.as_bytes().array_windows().map(joins).sum::<u32>() >= 2
}

/// The word that a value is as a whole, where it is a code in groups.
pub(crate) fn code_of(value: &str) -> Option<u32> {
    if !may_hold_code(value) {
        return None;
    }
    let mut found = None;
    let value = value.to_ascii_uppercase();
    codes(&value, |it| found = Some((it.len(), word_hash(it))));
    let all = value.bytes().filter(u8::is_ascii_alphanumeric).count();
    found.filter(|it| it.0 == all).map(|it| it.1)
}

/// Told each sentence, and whether it is a field of a record or an item of a list.
pub(crate) type Hear<'f> = dyn FnMut(&str, bool) + 'f;

/// Sentences of a JSON document: of its texts, each under the name of its field. Whether some of it was not read.
pub(crate) fn sentences_of_json(json: &str, f: &mut Hear<'_>) -> bool {
    let mut left = TEXT_BYTES_MAX;
    let mut named = String::with_capacity(NAMED_BYTES);
    let read = leaves(json, &mut |key, text| {
        if left == 0 {
            return;
        }
        let text = head(text, left);
        left -= text.len();
        if key.is_empty() {
            sentences(text, f);
        } else {
            named.clear();
            named.push_str(key);
            named.push_str(": ");
            named.push_str(text);
            sentences(&named, f);
        }
    });
    if !read {
        sentences(head(json, left), f);
    }
    json.len() > TEXT_BYTES_MAX
}

/// Tells every scalar of a document with the name of the innermost field it is in; `false` when it is no document.
pub(crate) fn leaves(json: &str, f: &mut dyn FnMut(&str, &str)) -> bool {
    let mut reader = serde_json::Deserializer::from_str(json);
    Leaves { key: "", f }.deserialize(&mut reader).is_ok() && reader.end().is_ok()
}

#[derive(Deserialize)]
struct Key<'k>(#[serde(borrow)] Cow<'k, str>);

/// Reads one value under a name, and keeps nothing of it.
struct Leaves<'k, 'f> {
    key: &'k str,
    f: &'f mut dyn FnMut(&str, &str),
}

impl<'de> DeserializeSeed<'de> for Leaves<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Leaves<'_, '_> {
    fn number(self, number: impl fmt::Display) {
        (self.f)(self.key, &number.to_string());
    }
}

impl<'de> Visitor<'de> for Leaves<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, mut number: u64) -> Result<(), E> {
        // Most numbers by far: without what formatting of anything costs.
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while at == digits.len() || number > 0 {
            at -= 1;
            digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
        (self.f)(self.key, std::str::from_utf8(&digits[at..]).unwrap_or_default());
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        if let Some(number) = serde_json::Number::from_f64(number) {
            self.number(number);
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.f)(self.key, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Leaves { key: self.key, f: &mut *self.f })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(Key(name)) = fields.next_key()? {
            fields.next_value_seed(Leaves { key: &name, f: &mut *self.f })?;
        }
        Ok(())
    }
}

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes.min(text.len()))]
}

/// Tells the sentences of plain text.
pub(crate) fn sentences(text: &str, f: &mut Hear<'_>) {
    let text = head(text, TEXT_BYTES_MAX);
    if text.as_bytes().contains(&b'\\') {
        // Texts inside texts: what a program printed of a string.
        lines(&text.replace("\\\n", "").replace("\\n", "\n").replace("\\t", " "), f);
    } else {
        lines(text, f);
    }
}

fn lines(text: &str, f: &mut Hear<'_>) {
    if !text.as_bytes().contains(&b'\n') {
        // Nearly all that records hold.
        return split(text.trim(), f);
    }
    // What is read last, and what it was put together from when it was wrapped.
    let (mut last, mut whole) = ("", String::new());
    let mut wrapped = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if wrapped && !trimmed.is_empty() && !trimmed.starts_with("- ") && !is_field(trimmed) {
            if whole.is_empty() {
                whole.push_str(last);
            }
            whole.push(' ');
            whole.push_str(trimmed);
        } else {
            split(if whole.is_empty() { last } else { &whole }, f);
            whole.clear();
            last = trimmed;
        }
        wrapped = line.len() >= WRAPPED_BYTES_MIN && !trimmed.is_empty();
    }
    split(if whole.is_empty() { last } else { &whole }, f);
}

/// Cuts a line after full stops and between the parts of a printed list or object.
fn split(line: &str, f: &mut Hear<'_>) {
    let mut from = 0;
    let mut put = |part: &str| {
        let mut rest = part.trim();
        while !rest.is_empty() {
            let piece = head(rest, SENTENCE_BYTES_MAX);
            rest = &rest[piece.len()..];
            f(piece, is_field(piece) || piece.starts_with("- "));
        }
    };
    let bytes = line.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let mut after = bytes[at + 1..].iter().copied();
        let ends = match byte {
            b'.' | b'!' | b'?' => after.next().is_none_or(|it| it == b' '),
            b',' => matches!(after.find(|it| *it != b' '), Some(b'"' | b'\'' | b'{' | b'[')),
            _ => false,
        };
        if ends {
            put(&line[from..=at]);
            from = at + 1;
        }
    }
    put(&line[from..]);
}

/// Whether a line begins with a short name and a colon.
fn is_field(line: &str) -> bool {
    let is_before = |it: char| it.is_whitespace() || matches!(it, '-' | '\'' | '"' | '{' | '[' | '(');
    let line = line.trim_start_matches(is_before);
    // No further than a name may reach: a searcher would take longer to make than to use.
    let colon = line.bytes().take(char::MAX_LEN_UTF8 * KEY_CHARS_MAX + 1).position(|it| it == b':');
    let Some((name, rest)) = colon.map(|at| (&line[..at], &line[at + 1..])) else { return false };
    let is_name = |it: char| it.is_alphanumeric() || matches!(it, ' ' | '_' | '.' | '\'' | '"' | '/' | '-');
    name.starts_with(|it: char| it.is_alphanumeric() || it == '_')
        && name.chars().count() <= KEY_CHARS_MAX
        && name.chars().all(is_name)
        && (rest.is_empty() || rest.starts_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::{code_of, codes, name_words, sentences_of_json, value_words};

    fn sentences(json: &str) -> Vec<(String, bool)> {
        let mut out = Vec::new();
        sentences_of_json(json, &mut |text, is_record| out.push((text.to_owned(), is_record)));
        out
    }

    #[test]
    fn records_and_prose_are_told_apart() {
        let text = "- body: Hello there, this is a long line that was wrapped by whoever printed it, so it\n    goes on. Bye!\n  sender: Bob\n\nDo it now. Then go!";
        let json = serde_json::to_string(text).unwrap();
        let found = sentences(&json);
        let expected = [
            ("- body: Hello there, this is a long line that was wrapped by whoever printed it, so it goes on.", true),
            ("Bye!", false),
            ("sender: Bob", true),
            ("Do it now.", false),
            ("Then go!", false),
        ];
        assert_eq!(found, expected.map(|(text, record)| (text.to_owned(), record)));
        let object = sentences(r#"{"a":{"to":"x@y.z"},"n":[1,null,true]}"#);
        let texts: Vec<&str> = object.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(texts, ["to: x@y.z", "n: 1"]);
    }

    #[test]
    fn anything_is_cut_somewhere() {
        for text in ["", "\n\n", "a.b.c", &"é".repeat(5_000), &"x. ".repeat(30_000), "{\"a\": 'b', 'c': [1, 2]}"] {
            let found = sentences(&serde_json::to_string(text).unwrap());
            assert!(found.iter().all(|it| !it.0.is_empty() && it.0.len() <= 400), "{text:.20}");
        }
    }

    /// Nested deeper than a reader goes, it is read as plain text.
    #[test]
    fn depth_hides_nothing() {
        let deep = format!("{}\"send it to x@y.z\"{}", "[".repeat(500), "]".repeat(500));
        assert!(sentences(&deep).iter().any(|it| it.0.contains("x@y.z")));
    }

    #[test]
    fn an_address_is_the_same_with_and_without_its_scheme() {
        let words = |value: &str| {
            let mut out = Vec::new();
            value_words(value, &mut out);
            out
        };
        assert_eq!(words("https://www.a-b.com/c"), words("a-b.com/c"));
        assert_eq!(name_words("getWebPage_v2.url"), "get web page v2 url");
    }

    #[test]
    fn codes_in_groups_are_one_word() {
        for (text, expected) in [
            ("pay to LT38 3250 0451 9920 7713 today", "lt383250045199207713"),
            ("GB29 NWBK 6016 1331 9268 19.", "gb29nwbk60161331926819"),
            ("call +49 157 355 50918 or +49 157 355 50919", "4915735550918 4915735550919"),
            ("card 4111-1111-1111-1111, today", "4111111111111111"),
            ("on 2026-09-14 at 10 sharp", ""),
            ("3 of 300 400 apples", ""),
            ("a1-b2 c3", ""),
            ("4a1f66d2-7b1c-4e7e-9d0a-2f6f0c1b3a55", ""),
            ("é 123 456 789 é", "123456789"),
            (&"12 ".repeat(40), ""),
            ("", ""),
        ] {
            let mut found = Vec::new();
            codes(text, |it| found.push(it.to_owned()));
            assert_eq!(found.join(" "), expected, "{text}");
        }
        assert!(code_of("gb29 nwbk 6016 1331 9268 19").is_some());
        assert_eq!(code_of("please 123 456 789"), None);
    }
}
