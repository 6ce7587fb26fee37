//! Text cut into sentences and words.
//!
//! Only what is needed to find a value again and to tell prose from records: a sentence is a line, or a part of one that
//! ends in a full stop. Long lines that were wrapped are put together again.

use serde_json::Value;

use crate::hash::hash;

/// Text of one result that is read; the rest is not, and the session says that its memory is incomplete.
pub(crate) const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Longest sentence, in bytes: a longer one is cut there.
const SENTENCE_BYTES_MAX: usize = 400;
/// Lines this long were probably wrapped, in bytes.
const WRAPPED_BYTES_MIN: usize = 60;
/// Longest name before a colon that makes a line a record's field.
const KEY_CHARS_MAX: usize = 32;

/// Runs of letters and digits, in lower case.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|it: char| !it.is_alphanumeric()).filter(|it| !it.is_empty()).map(str::to_lowercase)
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
pub(crate) fn value_words(value: &str) -> Vec<u32> {
    let mut rest = value;
    for prefix in ["https://", "http://", "www."] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    words(rest).map(|it| word_hash(&it)).collect()
}

/// A sentence, and whether it is a field of a record or an item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    pub(crate) text: String,
    pub(crate) is_record: bool,
}

/// Sentences of a JSON document: of its texts, each under the name of its field.
pub(crate) fn sentences_of_json(json: &str) -> (Vec<Sentence>, bool) {
    let mut out = Vec::new();
    let mut left = TEXT_BYTES_MAX;
    match serde_json::from_str::<Value>(json) {
        Ok(value) => leaves(&value, "", &mut |key, text| {
            let text = head(text, left);
            left -= text.len();
            if key.is_empty() { sentences(text, &mut out) } else { sentences(&format!("{key}: {text}"), &mut out) }
        }),
        Err(_) => sentences(head(json, left), &mut out),
    }
    (out, json.len() > TEXT_BYTES_MAX)
}

/// Every scalar of a document with the name of the innermost field it is in.
pub(crate) fn leaves(value: &Value, key: &str, f: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) => f(key, text),
        Value::Number(number) => f(key, &number.to_string()),
        Value::Array(items) => items.iter().for_each(|it| leaves(it, key, f)),
        Value::Object(fields) => fields.iter().for_each(|(name, it)| leaves(it, name, f)),
    }
}

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes.min(text.len()))]
}

/// Appends the sentences of plain text.
pub(crate) fn sentences(text: &str, out: &mut Vec<Sentence>) {
    // Texts inside texts: what a program printed of a string.
    let text = head(text, TEXT_BYTES_MAX).replace("\\\n", "").replace("\\n", "\n").replace("\\t", " ");
    let mut whole = String::new();
    let mut wrapped = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if wrapped && !trimmed.is_empty() && !trimmed.starts_with("- ") && !is_field(trimmed) {
            whole.push(' ');
        } else {
            split(&whole, out);
            whole.clear();
        }
        whole.push_str(trimmed);
        wrapped = line.len() >= WRAPPED_BYTES_MIN && !trimmed.is_empty();
    }
    split(&whole, out);
}

/// Cuts a line after full stops and between the parts of a printed list or object.
fn split(line: &str, out: &mut Vec<Sentence>) {
    let mut from = 0;
    let mut put = |part: &str| {
        let mut rest = part.trim();
        while !rest.is_empty() {
            let piece = head(rest, SENTENCE_BYTES_MAX);
            rest = &rest[piece.len()..];
            let is_record = is_field(piece) || piece.starts_with("- ");
            out.push(Sentence { text: piece.to_owned(), is_record });
        }
    };
    let bytes = line.as_bytes();
    for at in 0..bytes.len() {
        let next = bytes.get(at + 1).copied().unwrap_or(b' ');
        let after = bytes[at + 1..].iter().copied().find(|it| *it != b' ').unwrap_or(0);
        let ends = match bytes[at] {
            b'.' | b'!' | b'?' => next == b' ',
            b',' => matches!(after, b'"' | b'\'' | b'{' | b'['),
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
    let line = line.trim_start_matches(|it: char| it.is_whitespace() || "-'\"{[(".contains(it));
    let Some((name, rest)) = line.split_once(':') else { return false };
    let is_name = |it: char| it.is_alphanumeric() || " _.'\"/-".contains(it);
    name.starts_with(|it: char| it.is_alphanumeric() || it == '_')
        && name.chars().count() <= KEY_CHARS_MAX
        && name.chars().all(is_name)
        && (rest.is_empty() || rest.starts_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::{Sentence, name_words, sentences_of_json, value_words};

    #[test]
    fn records_and_prose_are_told_apart() {
        let text = "- body: Hello there, this is a long line that was wrapped by whoever printed it, so it\n    goes on. Bye!\n  sender: Bob\n\nDo it now. Then go!";
        let json = serde_json::to_string(text).unwrap();
        let found: Vec<(String, bool)> =
            sentences_of_json(&json).0.into_iter().map(|Sentence { text, is_record }| (text, is_record)).collect();
        let expected = [
            ("- body: Hello there, this is a long line that was wrapped by whoever printed it, so it goes on.", true),
            ("Bye!", false),
            ("sender: Bob", true),
            ("Do it now.", false),
            ("Then go!", false),
        ];
        assert_eq!(found, expected.map(|(text, record)| (text.to_owned(), record)));
        let (object, _) = sentences_of_json(r#"{"a":{"to":"x@y.z"},"n":[1,null,true]}"#);
        let texts: Vec<&str> = object.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["to: x@y.z", "n: 1"]);
    }

    #[test]
    fn anything_is_cut_somewhere() {
        for text in ["", "\n\n", "a.b.c", &"é".repeat(5_000), &"x. ".repeat(30_000), "{\"a\": 'b', 'c': [1, 2]}"] {
            let (found, _) = sentences_of_json(&serde_json::to_string(text).unwrap());
            assert!(found.iter().all(|it| !it.text.is_empty() && it.text.len() <= 400), "{text:.20}");
        }
    }

    #[test]
    fn an_address_is_the_same_with_and_without_its_scheme() {
        assert_eq!(value_words("https://www.a-b.com/c"), value_words("a-b.com/c"));
        assert_eq!(name_words("getWebPage_v2.url"), "get web page v2 url");
    }
}
