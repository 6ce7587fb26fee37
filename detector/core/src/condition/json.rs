//! JSON of an agent as a value of the language, built only when a condition names it.
//!
//! Read by hand, since what an agent controls must not decide whether a condition sees the rest: half of a surrogate
//! pair or a number beyond all doubles is valid JSON, and a reader that gives up at it would show an empty object.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use martingale_schemas::json_text::{string_end, unescape};

/// Deeper than any step that ingest lets through; reading recurses.
const DEPTH_MAX: u32 = 128;

type Value = Box<dyn Val>;

/// What conditions see of a JSON.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) value: Value,
    /// Whether that is all of it, as it was sent: nothing left out, and nothing put in the place of what no value stands for.
    pub(super) whole: bool,
}

/// The value; an empty object for nothing, and for what is too long.
pub(super) fn value(json: Option<&str>, bytes_max: usize) -> Seen {
    match json {
        None => Seen { value: Box::new(CelMap::default()), whole: true },
        Some(json) if json.len() > bytes_max => Seen { value: Box::new(CelMap::default()), whole: false },
        Some(json) => {
            let mut reader = Reader { json, at: 0, whole: true };
            let value = reader.value(0);
            Seen { value, whole: reader.whole }
        }
    }
}

/// An object out of named values.
pub(super) fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>, bytes_max: usize) -> Seen {
    let mut left = bytes_max;
    let mut whole = true;
    let mut out: HashMap<CelMapKey<'static>, Value> = HashMap::new();
    for (name, json) in members {
        let Some(rest) = left.checked_sub(name.len() + json.len()) else {
            whole = false;
            break;
        };
        left = rest;
        let member = value(Some(json), bytes_max);
        whole &= member.whole;
        out.insert(CelMapKey::from(name.to_owned()), member.value);
    }
    Seen { value: Box::new(CelMap::from(out)), whole }
}

/// JSON as text, with its escapes decoded: as much of it as `bytes_max` bytes hold.
pub(super) fn text(json: &str, bytes_max: usize) -> Cow<'_, str> {
    let json = &json[..json.floor_char_boundary(bytes_max)];
    if !json.contains('\\') {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    unescape(json, &mut out);
    Cow::Owned(out)
}

/// Reads valid JSON. Of other text it makes something, and says that it is not whole.
struct Reader<'j> {
    json: &'j str,
    at: usize,
    whole: bool,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        let rest = self.json.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|it| it.is_ascii_whitespace()).count();
        self.json.as_bytes().get(self.at).copied()
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.peek() {
            Some(b'{' | b'[') if depth >= DEPTH_MAX => self.skip(),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Box::new(CelString::from(self.string())),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, depth: u32) -> Value {
        let mut members: HashMap<CelMapKey<'static>, Value> = HashMap::new();
        self.at += 1;
        loop {
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'"') => {
                    let name = self.string();
                    match self.peek() {
                        Some(b':') => self.at += 1,
                        _ => self.whole = false,
                    }
                    let member = self.value(depth + 1);
                    // Refused by ingest, and on older logs: the last one counts, and that there was another is said.
                    self.whole &= members.insert(CelMapKey::from(name), member).is_none();
                }
                end => {
                    self.close(end, b'}');
                    return Box::new(CelMap::from(members));
                }
            }
        }
    }

    fn list(&mut self, depth: u32) -> Value {
        let mut items: Vec<Value> = Vec::new();
        self.at += 1;
        loop {
            match self.peek() {
                Some(b',') => self.at += 1,
                end @ (None | Some(b']' | b'}' | b':')) => {
                    self.close(end, b']');
                    return Box::new(CelList::from(items));
                }
                Some(_) => items.push(self.value(depth + 1)),
            }
        }
    }

    fn close(&mut self, found: Option<u8>, expected: u8) {
        if found == Some(expected) {
            self.at += 1;
        } else {
            // No JSON: nothing after it is read.
            self.whole = false;
            self.at = self.json.len();
        }
    }

    fn string(&mut self) -> String {
        let from = self.at + 1;
        let to = string_end(self.json, from);
        self.at = to + 1;
        let escaped = self.json.get(from..to).unwrap_or_default();
        let mut out = String::with_capacity(escaped.len());
        self.whole &= unescape(escaped, &mut out);
        out
    }

    fn scalar(&mut self) -> Value {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let ends = |it: char| it.is_ascii_whitespace() || matches!(it, ',' | ':' | ']' | '}' | '{' | '[' | '"');
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        match word {
            "null" => return Box::new(CelNull),
            "true" | "false" => return Box::new(CelBool::from(word == "true")),
            // A whole number has no negative zero.
            "-0" => return Box::new(CelDouble::from(-0.0)),
            _ => {}
        }
        if let Ok(it) = word.parse::<i64>() {
            return Box::new(CelInt::from(it));
        }
        if let Ok(it) = word.parse::<u64>() {
            return Box::new(CelUInt::from(it));
        }
        match word.parse::<f64>() {
            Ok(it) if it.is_finite() => Box::new(CelDouble::from(it)),
            Ok(it) if !it.is_nan() => {
                self.whole = false;
                Box::new(CelDouble::from(it.clamp(f64::MIN, f64::MAX)))
            }
            _ => {
                self.whole = false;
                Box::new(CelNull)
            }
        }
    }

    /// Passes over what is nested too deep, without recursion.
    fn skip(&mut self) -> Value {
        self.whole = false;
        let mut open = 0_usize;
        while let Some(byte) = self.json.as_bytes().get(self.at) {
            match byte {
                b'"' => self.at = string_end(self.json, self.at + 1),
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                break;
            }
        }
        Box::new(CelNull)
    }
}
