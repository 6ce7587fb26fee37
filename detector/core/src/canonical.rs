//! Fingerprints of JSON as it stands, without building a tree.
//!
//! Insignificant white space and the order of an object's members do not count; everything else does. Strings are
//! compared as they are escaped: one producer escapes one way.

use martingale_schemas::json_text::quote_or_backslash;

use crate::hash::{hash, mix};

/// Deeper than any step that ingest lets through.
const DEPTH_MAX: u32 = 130;

/// What identifies a value, and what places it near others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    pub(crate) hash: u64,
    /// 64-bit simhash of the value's words: values that share most words differ in few bits.
    pub(crate) simhash: u64,
}

/// Fingerprint of valid JSON. Other text gets some value and does no harm.
pub(crate) fn print(json: &str) -> Print {
    let mut scanner = Scanner { json: json.as_bytes(), at: 0, words: Some(Words::default()) };
    let hash = scanner.value(0);
    Print { hash, simhash: scanner.words.map_or(0, Words::simhash) }
}

/// The hash alone.
pub(crate) fn hash_of(json: &str) -> u64 {
    Scanner { json: json.as_bytes(), at: 0, words: None }.value(0)
}

/// Of an object, its members' names and the types of their values; of anything else its type. What the values are does not
/// count.
pub(crate) fn form_of(json: &str) -> u64 {
    let mut scanner = Scanner { json: json.as_bytes(), at: 0, words: None };
    let kind = scanner.kind();
    if scanner.peek() != Some(b'{') {
        return kind;
    }
    scanner.at += 1;
    let mut members = kind;
    loop {
        match scanner.peek() {
            Some(b'"') => {
                let (from, to) = scanner.string();
                let name = hash(&scanner.json[from..to]);
                if scanner.peek() == Some(b':') {
                    scanner.at += 1;
                }
                members = members.wrapping_add(mix(name, scanner.kind()));
                scanner.value(1);
            }
            Some(b',') => scanner.at += 1,
            _ => return mix(members, kind),
        }
    }
}

struct Scanner<'j> {
    json: &'j [u8],
    at: usize,
    words: Option<Words>,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.json.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Type of the value that comes: all numbers are one, and so are the two truths.
    fn kind(&mut self) -> u64 {
        match self.peek() {
            None => 0,
            Some(b'{') => 1,
            Some(b'[') => 2,
            Some(b'"') => 3,
            Some(b't' | b'f') => 4,
            Some(b'n') => 5,
            Some(_) => 6,
        }
    }

    fn value(&mut self, depth: u32) -> u64 {
        match self.peek() {
            None => 0,
            Some(b'{') if depth < DEPTH_MAX => self.object(depth),
            Some(b'[') if depth < DEPTH_MAX => self.array(depth),
            Some(b'"') => {
                let text = self.string();
                self.leaf(text);
                mix(hash(&self.json[text.0..text.1]), 1)
            }
            Some(_) => {
                let text = self.scalar();
                self.leaf(text);
                mix(hash(&self.json[text.0..text.1]), 2)
            }
        }
    }

    fn object(&mut self, depth: u32) -> u64 {
        self.at += 1;
        let mut members = 3_u64;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let (from, to) = self.string();
                    let name = hash(&self.json[from..to]);
                    if self.peek() == Some(b':') {
                        self.at += 1;
                    }
                    let value = self.value(depth + 1);
                    // A sum, so that the order of members does not count.
                    members = members.wrapping_add(mix(name, value));
                }
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return mix(members, 3);
                }
                _ => return mix(members, 4),
            }
        }
    }

    fn array(&mut self, depth: u32) -> u64 {
        self.at += 1;
        let mut items = 5_u64;
        loop {
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return mix(items, 5);
                }
                None | Some(b'}' | b':') => return mix(items, 6),
                Some(_) => {
                    let value = self.value(depth + 1);
                    items = mix(items, value);
                }
            }
        }
    }

    /// Bounds of the text between the quotes.
    fn string(&mut self) -> (usize, usize) {
        let from = self.at + 1;
        let mut to = from;
        loop {
            to = quote_or_backslash(self.json, to);
            match self.json.get(to) {
                Some(b'"') => {
                    self.at = to + 1;
                    return (from, to);
                }
                Some(_) => to += 2,
                None => break,
            }
        }
        self.at = self.json.len();
        (from.min(self.at), self.at)
    }

    /// Bounds of a number or word. Always at least one byte, so that scanning ends.
    fn scalar(&mut self) -> (usize, usize) {
        let from = self.at;
        let rest = &self.json[from + 1..];
        let length = rest.iter().position(|it| it.is_ascii_whitespace() || matches!(it, b',' | b']' | b'}'));
        self.at = from + 1 + length.unwrap_or(rest.len());
        (from, self.at)
    }

    fn leaf(&mut self, (from, to): (usize, usize)) {
        if let Some(words) = &mut self.words {
            words.add(&self.json[from..to]);
        }
    }
}

/// Votes of words for each bit, counted in bit planes: adding a word costs a few operations on whole words instead of 64
/// counters.
#[derive(Clone, Copy, Debug, Default)]
struct Words {
    planes: [u64; PLANES],
    count: u32,
}

const PLANES: usize = 8;
/// As many as the planes can count; later words of very long arguments are left out.
const WORDS_MAX: u32 = (1 << PLANES) - 1;

impl Words {
    fn add(&mut self, text: &[u8]) {
        for word in text.split(|it| !(it.is_ascii_alphanumeric() || *it >= 0x80)).filter(|it| !it.is_empty()) {
            if self.count == WORDS_MAX {
                return;
            }
            self.count += 1;
            let mut carry = hash(word);
            for plane in &mut self.planes {
                let next = *plane & carry;
                *plane ^= carry;
                carry = next;
            }
        }
    }

    /// Bits that more than half of the words voted for.
    fn simhash(self) -> u64 {
        let half = self.count / 2;
        let (mut greater, mut equal) = (0_u64, u64::MAX);
        for (bit, plane) in self.planes.iter().enumerate().rev() {
            if half >> bit & 1 == 0 {
                greater |= equal & plane;
                equal &= !plane;
            } else {
                equal &= plane;
            }
        }
        greater
    }
}

#[cfg(test)]
mod tests {
    use super::{form_of, hash_of, print};

    #[test]
    fn a_form_is_names_and_types() {
        let same = [r#"{"a":1,"b":"x","c":true}"#, r#"{ "c":false, "b":"longer, \"}\"", "a":-2.5e3 }"#];
        assert_eq!(form_of(same[0]), form_of(same[1]));
        let different = [
            same[0],
            r#"{"a":1,"b":"x"}"#,
            r#"{"a":"1","b":"x","c":true}"#,
            "[1]",
            "1",
            "\"1\"",
            "null",
            "true",
            "{}",
            "",
        ];
        for (at, one) in different.iter().enumerate() {
            for other in &different[at + 1..] {
                assert_ne!(form_of(one), form_of(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn layout_does_not_count_and_content_does() {
        let same = [r#"{"a":1,"b":[true,null,"x y"]}"#, "{ \"b\" : [ true , null, \"x y\" ],\n \"a\":1 }"];
        assert_eq!(hash_of(same[0]), hash_of(same[1]));
        let different = [
            r#"{"a":1,"b":[true,null,"x y"]}"#,
            r#"{"a":1,"b":[true,null,"x  y"]}"#,
            r#"{"a":1,"b":[null,true,"x y"]}"#,
            r#"{"a":"1","b":[true,null,"x y"]}"#,
            r#"{"b":1,"a":[true,null,"x y"]}"#,
            r#"{"a":1}"#,
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
            r#"[{"a":1}]"#,
            "{}",
            "[]",
            r#""""#,
            "0",
            "",
        ];
        for (at, one) in different.iter().enumerate() {
            for other in &different[at + 1..] {
                assert_ne!(hash_of(one), hash_of(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn escapes_do_not_end_a_string() {
        assert_ne!(hash_of(r#"{"a":"\"","b":1}"#), hash_of(r#"{"a":"\"","b":2}"#));
        assert_ne!(hash_of(r#""\\""#), hash_of(r#""\"""#));
    }

    #[test]
    fn near_texts_have_near_simhashes() {
        let near = |a: &str, b: &str| (print(a).simhash ^ print(b).simhash).count_ones();
        let words: Vec<String> = (0..240).map(|it| format!("word{it}")).collect();
        let one = format!(r#"{{"q":"{}"}}"#, words.join(" "));
        let other = format!(r#"{{"q":"{} again"}}"#, words.join(" "));
        assert!(near(&one, &other) <= 3, "{}", near(&one, &other));
        assert!(near(r#"{"q":"lisbon"}"#, r#"{"q":"prague"}"#) > 15);
        assert_eq!(print("{}").simhash, 0);
    }

    proptest::proptest! {
        /// Any text at all: an answer, and no endless loop.
        #[test]
        fn never_panics(text in "[\\[\\]{}:,\" \\\\a1\u{e9}]{0,60}") {
            proptest::prop_assert_eq!(print(&text).hash, hash_of(&text));
            form_of(&text);
        }
    }
}
