//! The leaves of a JSON value with their paths, off the text as it stands and in one pass.
//!
//! Text that is JSON itself is walked into: many tools answer with JSON in a string. A large value is read at its head and
//! its tail; between them only what is short and stands under a name, so that a record at the end of a long page is still
//! known.

use std::borrow::Cow;

use martingale_schemas::json_text::quote_or_backslash;

use super::paths::PATH_MAX;

/// What is read of one value, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    head: usize,
    tail: usize,
    /// Left for short fields between head and tail.
    fields: usize,
    /// Whether something was left out.
    pub(super) cut: bool,
}

/// Bytes that are read of a value at its head, at its tail, and of short fields in between: 32 KiB in all.
const HEAD: usize = 16 * 1024;
const TAIL: usize = 8 * 1024;
const FIELDS: usize = 8 * 1024;
/// Longest field that counts as short.
const FIELD_MAX: usize = 128;
/// Deeper values are passed over.
const DEPTH_MAX: u32 = 64;
/// How often text that is JSON may lie in text that is JSON.
const NESTED_MAX: u32 = 2;

impl Extent {
    const WHOLE: Self = Self { head: usize::MAX, tail: usize::MAX, fields: 0, cut: false };

    fn of(length: usize) -> Self {
        if length <= HEAD + TAIL + FIELDS {
            return Self { head: length, tail: length, fields: 0, cut: false };
        }
        Self { head: HEAD, tail: length - TAIL, fields: FIELDS, cut: false }
    }

    /// What is read of a text that stands at `from..to` of the whole.
    fn take<'t>(&mut self, text: &'t str, from: usize, to: usize) -> [&'t str; 2] {
        if to <= self.head || from >= self.tail {
            return [text, ""];
        }
        if text.len() <= FIELD_MAX && text.len() <= self.fields {
            self.fields -= text.len();
            return [text, ""];
        }
        self.cut = true;
        let head = text.floor_char_boundary(self.head.saturating_sub(from).min(text.len()));
        let tail = text.len().saturating_sub(to.saturating_sub(self.tail)).max(head);
        [&text[..head], &text[text.ceil_char_boundary(tail)..]]
    }
}

/// A text or number somewhere in the content of a step.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'l> {
    /// As `items[*].name`; empty for a value that is a leaf itself.
    pub path: &'l str,
    /// The last name of the path.
    pub key: &'l str,
    /// Which item of the innermost list.
    pub item: u16,
    pub text: &'l str,
    /// Whether the text is the name of a member, and not its value.
    pub is_name: bool,
}

/// Calls `visit` for each text and number of a JSON value; whether something was left out.
pub(super) fn leaves(json: &str, visit: &mut impl FnMut(Leaf<'_>)) -> bool {
    walk(json, usize::MAX, Extent::of(json.len()), visit)
}

/// The same, and for each name of so many bytes or more as well, under the path of its object: what is sent may be sent as a
/// name.
pub(super) fn leaves_and_names(json: &str, name_min: usize, visit: &mut impl FnMut(Leaf<'_>)) -> bool {
    walk(json, name_min, Extent::of(json.len()), visit)
}

/// Each text, number and name of all of a JSON value, however long: who sends a step has bounded it.
pub(super) fn all_leaves_and_names(json: &str, name_min: usize, visit: &mut impl FnMut(Leaf<'_>)) {
    walk(json, name_min, Extent::WHOLE, visit);
}

fn walk(json: &str, name_min: usize, mut extent: Extent, visit: &mut impl FnMut(Leaf<'_>)) -> bool {
    // Room for most paths at once.
    let mut path = Path { text: String::with_capacity(64), ..Path::default() };
    let mut walker =
        Walker { json, at: 0, path: &mut path, extent: &mut extent, nested: 0, name_min, is_broken: false };
    walker.value(0, visit);
    extent.cut
}

/// As [`leaves`], of text that may be JSON.
pub(super) fn text(text: &str, visit: &mut impl FnMut(Leaf<'_>)) -> bool {
    walk_text(text, usize::MAX, Extent::of(text.len()), visit)
}

/// As [`all_leaves_and_names`], of text that may be JSON.
pub(super) fn all_text_and_names(text: &str, name_min: usize, visit: &mut impl FnMut(Leaf<'_>)) {
    walk_text(text, name_min, Extent::WHOLE, visit);
}

fn walk_text(text: &str, name_min: usize, mut extent: Extent, visit: &mut impl FnMut(Leaf<'_>)) -> bool {
    let mut path = Path::default();
    let mut walker =
        Walker { json: "", at: 0, path: &mut path, extent: &mut extent, nested: 0, name_min, is_broken: false };
    walker.leaf(text, 0, text.len(), visit);
    extent.cut
}

#[derive(Debug, Default)]
struct Path {
    text: String,
    /// Where the last name begins and ends.
    key: (usize, usize),
    item: u16,
}

struct Walker<'j, 'p> {
    json: &'j str,
    at: usize,
    path: &'p mut Path,
    extent: &'p mut Extent,
    nested: u32,
    /// Shorter names are not visited.
    name_min: usize,
    /// It met something that is no JSON.
    is_broken: bool,
}

impl Walker<'_, '_> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.json.as_bytes().get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn value(&mut self, depth: u32, visit: &mut impl FnMut(Leaf<'_>)) {
        match self.peek() {
            Some(b'{') if depth < DEPTH_MAX => self.object(depth, visit),
            Some(b'[') if depth < DEPTH_MAX => self.array(depth, visit),
            Some(b'"') => {
                let (from, to, escaped) = self.string();
                let raw = &self.json[from..to];
                let text = if escaped { Cow::Owned(unescaped(raw)) } else { Cow::Borrowed(raw) };
                self.leaf(&text, from, to, visit);
            }
            Some(b't' | b'f' | b'n') | None => {
                let (from, to) = self.scalar();
                self.is_broken |= !matches!(&self.json[from..to], "true" | "false" | "null");
            }
            Some(_) => {
                let (from, to) = self.scalar();
                let text = &self.json[from..to];
                self.is_broken |= self.nested > 0 && text.parse::<f64>().is_err();
                self.visit(text, visit);
            }
        }
    }

    fn leaf(&mut self, text: &str, from: usize, to: usize, visit: &mut impl FnMut(Leaf<'_>)) {
        if self.nested < NESTED_MAX && is_json(text) {
            let (nested, name_min) = (self.nested + 1, self.name_min);
            let mut inner =
                Walker { json: text, at: 0, path: self.path, extent: self.extent, nested, name_min, is_broken: false };
            if self.nested == 0 && inner.extent.head < usize::MAX {
                // Positions are those of the inner text from here on.
                *inner.extent = Extent { cut: inner.extent.cut, ..Extent::of(text.len()) };
            }
            // Several values one after the other, as logs have them, are each walked into.
            while matches!(inner.peek(), Some(b'{' | b'[')) {
                inner.value(0, visit);
            }
            // What is no JSON, or not all of it, is text as well: a name and its value may have been taken apart.
            if inner.is_broken || inner.peek().is_some() {
                for part in inner.extent.take(text, 0, text.len()) {
                    if !part.is_empty() {
                        inner.visit(part, visit);
                    }
                }
            }
            return;
        }
        for part in self.extent.take(text, from, to) {
            if !part.is_empty() {
                self.visit(part, visit);
            }
        }
    }

    fn visit(&self, text: &str, visit: &mut impl FnMut(Leaf<'_>)) {
        visit(self.leaf_of(text, false));
    }

    fn leaf_of<'l>(&'l self, text: &'l str, is_name: bool) -> Leaf<'l> {
        let (from, to) = self.path.key;
        let key = self.path.text.get(from..to).unwrap_or("");
        Leaf { path: &self.path.text, key, item: self.path.item, text, is_name }
    }

    fn object(&mut self, depth: u32, visit: &mut impl FnMut(Leaf<'_>)) {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let (from, to, escaped) = self.string();
                    let name = &self.json[from..to];
                    if name.len() >= self.name_min {
                        let name = if escaped { Cow::Owned(unescaped(name)) } else { Cow::Borrowed(name) };
                        for part in self.extent.take(&name, from, to).into_iter().filter(|it| !it.is_empty()) {
                            visit(self.leaf_of(part, true));
                        }
                    }
                    if self.peek() == Some(b':') {
                        self.at += 1;
                    }
                    let (length, key) = (self.path.text.len(), self.path.key);
                    self.enter(name);
                    self.value(depth + 1, visit);
                    self.path.text.truncate(length);
                    self.path.key = key;
                }
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return;
                }
                _ => {
                    self.is_broken = true;
                    return;
                }
            }
        }
    }

    fn enter(&mut self, name: &str) {
        let path = &mut self.path.text;
        if path.len() + name.len() < PATH_MAX {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            self.path.key = (path.len() - name.len(), path.len());
        } else if !path.ends_with('…') && path.len() + 4 <= PATH_MAX {
            path.push('…');
            self.path.key = (0, 0);
        }
    }

    fn array(&mut self, depth: u32, visit: &mut impl FnMut(Leaf<'_>)) {
        self.at += 1;
        let (length, outer) = (self.path.text.len(), self.path.item);
        if length + 3 <= PATH_MAX {
            self.path.text.push_str("[*]");
        }
        let mut item = 0_u16;
        loop {
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    break;
                }
                None | Some(b'}' | b':') => {
                    self.is_broken = true;
                    break;
                }
                Some(_) => {
                    self.path.item = item;
                    self.value(depth + 1, visit);
                    item = item.saturating_add(1);
                }
            }
        }
        self.path.text.truncate(length);
        self.path.item = outer;
    }

    /// Bounds of the text between the quotes, and whether it holds escapes.
    fn string(&mut self) -> (usize, usize, bool) {
        let from = self.at + 1;
        let bytes = self.json.as_bytes();
        let (mut to, mut escaped) = (from, false);
        loop {
            to = quote_or_backslash(bytes, to);
            match bytes.get(to) {
                Some(b'"') => {
                    self.at = to + 1;
                    return (from, to, escaped);
                }
                Some(_) => escaped = true,
                None => break,
            }
            to += 2;
        }
        self.at = bytes.len();
        // No end: JSON that was cut, or no JSON.
        (from.min(self.at), self.at, escaped)
    }

    /// Bounds of a number or word. Always at least one byte, so that walking ends.
    fn scalar(&mut self) -> (usize, usize) {
        let from = self.at;
        let rest = self.json.as_bytes().get(from + 1..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|it| it.is_ascii_whitespace() || matches!(it, b',' | b']' | b'}' | b'{' | b'[' | b'"'));
        self.at = (from + 1 + length.unwrap_or(rest.len())).min(self.json.len());
        (from, self.json.ceil_char_boundary(self.at))
    }
}

/// Whether a text looks like a JSON object or list from both ends.
fn is_json(text: &str) -> bool {
    let text = text.trim();
    let next = || text.as_bytes()[1..].iter().find(|it| !it.is_ascii_whitespace()).copied().unwrap_or(0);
    match (text.as_bytes().first(), text.as_bytes().last()) {
        (Some(b'{'), Some(b'}')) => matches!(next(), b'"' | b'}'),
        (Some(b'['), Some(b']')) => matches!(next(), b'{' | b'[' | b'"' | b']' | b'-' | b'0'..=b'9'),
        _ => false,
    }
}

/// The text that JSON escapes stand for. What is no escape stays as it is.
fn unescaped(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        let mut used = 2;
        match escape {
            b'n' => out.push('\n'),
            b't' => out.push('\t'),
            b'r' => out.push('\r'),
            b'b' | b'f' => out.push(' '),
            b'u' => {
                let (it, length) = unicode(&rest[at..]);
                out.push(it);
                used = length;
            }
            it if it.is_ascii() => out.push(char::from(it)),
            _ => {
                out.push('\\');
                used = 1;
            }
        }
        rest = rest.get(at + used..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

/// `\u1234`, or a pair of them for one character.
fn unicode(rest: &str) -> (char, usize) {
    let unit = |at: usize| {
        let hex = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    let Some(first) = unit(0) else { return ('\u{fffd}', 2) };
    let pair = unit(6).filter(|_| (0xd800..0xdc00).contains(&first));
    let units = [first, pair.unwrap_or(0)];
    let it = char::decode_utf16(units[..if pair.is_some() { 2 } else { 1 }].iter().copied()).next();
    (it.and_then(Result::ok).unwrap_or('\u{fffd}'), if pair.is_some() { 12 } else { 6 })
}

#[cfg(test)]
mod tests {
    use super::{leaves, unescaped};

    fn shown(json: &str) -> String {
        let mut out = Vec::new();
        let cut = leaves(json, &mut |it| out.push(format!("{}[{}]{}={}", it.path, it.item, it.key, it.text)));
        if cut {
            out.push("cut".to_owned());
        }
        out.join(" ")
    }

    #[test]
    fn leaves_have_paths() {
        for (json, expected) in [
            (r#"{"a":1,"b":[true,"x",{"c":"y"}]}"#, "a[0]a=1 b[*][1]b=x b[*].c[2]c=y"),
            (r#""plain""#, "[0]=plain"),
            (r#""{\"a\": [1, {\"b\": \"x\"}]}""#, "a[*][0]a=1 a[*].b[1]b=x"),
            (r#""{'a': 1}""#, "[0]={'a': 1}"),
            ("12", "[0]=12"),
            ("null", ""),
            (r#"["a","#, "[*][0]=a"),
            (r#"{"a":"b"#, "a[0]a=b"),
        ] {
            assert_eq!(shown(json), expected, "{json}");
        }
    }

    #[test]
    fn a_long_value_is_read_at_both_ends_and_at_its_names() {
        let filler = "word ".repeat(8_000);
        let json = format!(r#"{{"first":"head1","long":"{filler}","id":"middle7","more":"{filler}","last":"tail9"}}"#);
        let shown = shown(&json);
        for value in ["head1", "middle7", "tail9", "cut"] {
            assert!(shown.contains(value), "{value}");
        }
        assert!(shown.len() < 33 * 1024, "{}", shown.len());
    }

    #[test]
    fn escapes() {
        for (raw, expected) in [
            (r"a\nb", "a\nb"),
            (r#"\"\\\/"#, "\"\\/"),
            (r"\u00e4\ud83d\ude00\ud83d", "ä😀\u{fffd}"),
            (r"a\", "a\\"),
            (r"\u12", "\u{fffd}12"),
            ("\\ä", "\\ä"),
        ] {
            assert_eq!(unescaped(raw), expected, "{raw}");
        }
    }

    #[test]
    fn names_are_visited_when_they_are_asked_for() {
        let json =
            r#"{"short":{"a long name \u00e4":1,"[\"in text\"]":"{\"another name\":2}"},"list":[{"of one item":3}]}"#;
        let mut names = Vec::new();
        super::leaves_and_names(json, 9, &mut |it| {
            if it.is_name {
                names.push(format!("{}[{}]={}", it.path, it.item, it.text));
            }
        });
        let inner = r#"short.[\"in text\"][0]=another name"#;
        let expected = ["short[0]=a long name ä", "short[0]=[\"in text\"]", inner, "list[*][0]=of one item"];
        assert_eq!(names, expected);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}:,\" \\\\u1d\u{e9}]{0,60}") {
            leaves(&text, &mut |_| {});
            super::leaves_and_names(&text, 0, &mut |_| {});
            super::all_text_and_names(&text, 0, &mut |_| {});
            super::text(&text, &mut |_| {});
        }
    }
}
