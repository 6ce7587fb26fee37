//! Values behind a name, in the forms that prose, files, forms, tags, options and programs have.

use std::ops::Range;

use super::name::{Telling, counts_in_links, is_given_back, is_key, is_name, is_value};
use super::value::{self, VALUE_MAX, VALUE_MIN, Written};
use super::{Found, SecretKind, in_word};
use crate::tools::words;

/// Most quotes and spaces between a name, its separator and the value: columns are lined up.
const GAP_MAX: usize = 32;
/// Bytes of a value that are looked at to say whether it is a secret.
const SHOWN: usize = 256;
/// Longest name, and longest note in brackets behind it.
const WORD_MAX: usize = 40;
const NOTE_MAX: usize = 24;

/// How a value follows its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `name: value`, and on the next line.
    Colon,
    /// `name = value`, `name := value`, also as one field of a form or of a connection string.
    Equals,
    /// `name => value`.
    Arrow,
    /// `<name>value</name>`.
    Tag,
    /// `the name is value`.
    Is,
    /// `--name value`, `-name value`.
    Option,
    /// `name "value"`, `("name", "value")`.
    Quoted,
    /// `name value`, alone on a line, or `set name value` at its end. Columns stand further apart.
    Line,
    /// `| name | value |`, the same in a table.
    Cell,
}

/// Words between a name and a value in a sentence.
const COPULAS: [&[u8]; 4] = [b" is ", b" es ", b" est ", b" lautet "];

/// The value whose separator stands at `at`: a `:`, a `=`, a `>`, a `,` or a `|`.
pub(super) fn behind(text: &[u8], at: usize) -> Option<Found> {
    let before = &text[..at];
    let (form, name_end) = match text[at] {
        b':' if text[at + 1..].starts_with(b"=") => return None,
        b':' => (Form::Colon, before.strip_suffix(b" is").unwrap_or(before).len()),
        b'=' => (Form::Equals, before.strip_suffix(b":").map_or_else(|| untyped(before), <[u8]>::len)),
        b'>' if before.ends_with(b"=") => (Form::Arrow, at - 1),
        b'>' => (Form::Tag, named_by_tag(before)?),
        b',' if is_first_of_call(before) && gap(text, at + 1) > at + 1 => (Form::Quoted, at),
        b'|' if is_first_of_row(before) => (Form::Cell, at),
        _ => return None,
    };
    labelled(text, form, name_end, at + 1)
}

/// Whether the name before a separator in the query of a link says that its value is secret.
pub(super) fn is_secret_in_link(text: &[u8], at: usize) -> bool {
    counts_in_links(last_word(&text[..at]))
}

/// The value that the word from `from` to `to` is the name of, if what stands between them says so.
pub(super) fn behind_word(text: &[u8], from: usize, to: usize) -> Option<Found> {
    let behind = &text[to..];
    if !matches!(behind.first(), Some(b' ' | b'\t')) {
        return None;
    }
    if let Some(copula) = COPULAS.iter().find(|it| behind.starts_with(it)) {
        return labelled(text, Form::Is, to, to + copula.len());
    }
    let value = gap(text, to);
    let form = if text[..from].ends_with(b"-") {
        Form::Option
    } else if ends_quoted(&text[..value]) {
        Form::Quoted
    } else if value == to + 1 && (is_blank(line_of(&text[..from])) || text[..from].ends_with(b" set ")) {
        Form::Line
    } else {
        return None;
    };
    labelled(text, form, to, to + 1)
}

fn line_of(before: &[u8]) -> &[u8] {
    &before[before.len() - before.iter().rev().take(WORD_MAX).take_while(|it| **it != b'\n').count()..]
}

fn is_blank(line: &[u8]) -> bool {
    line.len() < WORD_MAX && line.iter().all(u8::is_ascii_whitespace)
}

/// Where the name ends in `apiKey: String = …`.
fn untyped(before: &[u8]) -> usize {
    let name = without_gap(before);
    let word = last_word(name);
    let typed = &name[..name.len() - word.len()];
    if Telling::of(word) > Telling::Nothing {
        return before.len();
    }
    let name = typed.strip_suffix(b"&").unwrap_or(typed);
    without_gap(name).strip_suffix(b":").filter(|it| it.len() < name.len()).map_or(before.len(), <[u8]>::len)
}

/// Of an opening tag that ends there, the end of what names its text: `<password`, `<string name="password"`,
/// `<key>password</key><string`.
fn named_by_tag(before: &[u8]) -> Option<usize> {
    if let Some(inside) = before.strip_suffix(b"\"") {
        let said = last_word(inside);
        let before = inside[..inside.len() - said.len()].strip_suffix(b"=\"")?;
        return is_name(last_word(before)).then_some(inside.len());
    }
    let tag = last_word(before);
    let outside = before[..before.len() - tag.len()].strip_suffix(b"<")?;
    if matches!(tag, b"string" | b"value") {
        let outside = without(outside, |it| it.is_ascii_whitespace());
        let said = outside.strip_suffix(b"</key>").or_else(|| outside.strip_suffix(b"</name>"));
        return said.map(<[u8]>::len);
    }
    Some(before.len())
}

/// Calls that give something a value, by their last word.
const CALLS: [&str; 9] = ["config", "define", "env", "fill", "property", "put", "putenv", "set", "setenv"];

/// Whether the first argument of a call that gives a value ends there, a text: `define("name"`.
fn is_first_of_call(before: &[u8]) -> bool {
    let Some((quote, inside)) = before.split_last().filter(|it| matches!(it.0, b'"' | b'\'')) else { return false };
    let before = &inside[..inside.len() - last_word(inside).len()];
    let before = before.strip_suffix(b"#").unwrap_or(before);
    let before = before.strip_suffix(&[*quote]).and_then(|it| it.trim_ascii_end().strip_suffix(b"("));
    let call = std::str::from_utf8(before.map_or(b"", last_word)).unwrap_or_default();
    words(call).last().is_some_and(|last| CALLS.iter().any(|it| it.eq_ignore_ascii_case(last)))
}

/// Whether the first cell of a row ends there.
fn is_first_of_row(before: &[u8]) -> bool {
    let cell = without_gap(before);
    let cell = without_gap(&cell[..cell.len() - last_word(cell).len()]);
    cell.strip_suffix(b"|").is_some_and(|it| is_blank(line_of(it)))
}

fn labelled(text: &[u8], form: Form, name_end: usize, from: usize) -> Option<Found> {
    let (telling, name_at) = name_before(&text[..name_end], form);
    if telling == Telling::Nothing {
        return None;
    }
    let mut at = gap(text, from);
    let line = at + usize::from(text[at..].starts_with(b"\r"));
    let is_next_line = form == Form::Colon && text[line..].starts_with(b"\n");
    if is_next_line {
        at = gap(text, line + 1);
    }
    if !ends_quoted(&text[..at]) {
        at += bearer(&text[at..]);
    }
    // `b'…'`
    if matches!(text[at..], [b'b' | b'r' | b'u', b'"' | b'\'', ..]) {
        at += 2;
    }
    let (before, rest) = (&text[..at], &text[at..text.len().min(at + SHOWN)]);
    let own = match quoted(before, rest) {
        Some(own) => under(telling, own, at, Written::Apart)?,
        // Of YAML: an alias.
        None if before.ends_with(b" *") && !rest.contains(&b'*') => return None,
        None => {
            let own = bare(form, telling, rest)?;
            let behind = rest.get(own.len()..).unwrap_or_default();
            // Alone, and not the beginning of a sentence.
            let is_alone = match form {
                Form::Quoted => false,
                Form::Line if telling == Telling::Hint => false,
                Form::Line => behind.trim_ascii_start().is_empty() || line_ends(behind),
                Form::Cell => {
                    behind.trim_ascii_start().strip_prefix(b"|").is_some_and(|it| it.is_empty() || line_ends(it))
                }
                _ => {
                    !is_next_line || behind.first().is_none_or(|it| matches!(it, b'\r' | b'\n' | b'"' | b'\'' | b'\\'))
                }
            };
            if !is_alone {
                return None;
            }
            let close = bracket(&text[..name_at]).map(|open| if open == b'(' { (open, b")") } else { (open, b"]") });
            let own =
                close.and_then(|(open, close)| own.strip_suffix(close).filter(|it| !it.contains(&open))).unwrap_or(own);
            let is_apart = matches!(form, Form::Is | Form::Tag);
            under(telling, own, at, if is_apart { Written::Apart } else { Written::Bare })?
        }
    };
    // What goes on longer than is looked at goes as a whole.
    let more = if own.end == at + SHOWN { &text[own.end..text.len().min(at + VALUE_MAX)] } else { &[] };
    let whole =
        own.start..own.end + more.iter().take_while(|it| in_word(**it) || matches!(it, b'+' | b'/' | b'=')).count();
    Some(Found { kind: SecretKind::Labelled, at: own, whole })
}

/// Whether what follows is in quotes.
fn ends_quoted(before: &[u8]) -> bool {
    matches!(before.last(), Some(b'"' | b'\''))
}

/// Whether only blanks come before the end of the line.
fn line_ends(text: &[u8]) -> bool {
    text.iter().find(|it| !matches!(it, b' ' | b'\t' | b'\r')).is_none_or(|it| *it == b'\n')
}

/// What stands between quotes of which the first is the last of `before`: all of it, whatever signs it holds.
fn quoted<'t>(before: &[u8], rest: &'t [u8]) -> Option<&'t [u8]> {
    let (quote, before) = before.split_last().filter(|it| matches!(it.0, b'"' | b'\'' | b'`'))?;
    let end = rest.iter().position(|it| it == quote || matches!(it, b'\r' | b'\n'))?;
    let own = &rest[..end];
    // As it stands in a text of JSON.
    let own = if before.ends_with(b"\\") { own.strip_suffix(b"\\").unwrap_or(own) } else { own };
    (rest[end] == *quote).then_some(own)
}

/// What stands without quotes, to the first sign that ends it.
fn bare(form: Form, telling: Telling, rest: &[u8]) -> Option<&[u8]> {
    let is_hint = telling == Telling::Hint;
    let ends = |it: &u8| {
        !it.is_ascii_graphic()
            || matches!(it, b'"' | b'\'' | b'`' | b',' | b';' | b'}' | b'\\')
            || form == Form::Equals && *it == b'&'
            || form == Form::Tag && *it == b'<'
            // What looks random has no colon: seen here, a row of names costs no more than its length.
            || is_hint && *it == b':'
    };
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    (!is_hint || rest.get(end) != Some(&b':')).then(|| &rest[..end])
}

/// What the name says that a text ends with, and where it begins.
fn name_before(text: &[u8], form: Form) -> (Telling, usize) {
    let name = without_gap(text);
    let is_quoted = matches!(text.get(name.len()), Some(b'"' | b'\''));
    let text = without_note(name).map_or(name, without_gap);
    let word = last_word(text);
    let at = text.len() - word.len();
    let telling = match Telling::of(word) {
        // The last part of the name of an annotation or a resource.
        Telling::Hint | Telling::Resource if matches!(text[..at].last(), Some(b'/' | b':')) => Telling::Nothing,
        // As the name of a member, and not of what a test did.
        Telling::Hint if word == b"pass" && (is_quoted || is_member(&text[..at], form)) => Telling::Name,
        // Of a connection string, and not of a shell.
        Telling::Nothing if word == b"PWD" && text[..at].ends_with(b";") => Telling::Name,
        Telling::Nothing if is_value(word) => named_before(&text[..at]),
        // What every link to a meeting has.
        Telling::Name
            if word.eq_ignore_ascii_case(b"pwd") && text[..at].ends_with(b"?") | text[..at].ends_with(b"&") =>
        {
            Telling::Nothing
        }
        // Two words: `API key`, `access token`, `booking token`.
        it if it == Telling::Hint || is_key(word) => text[..at].strip_suffix(b" ").map_or(it, |before| {
            let both = &text[before.len() - last_word(before).len()..];
            if is_given_back(both) { Telling::Nothing } else { Telling::of(both).max(it) }
        }),
        it => it,
    };
    (telling, at)
}

/// Whether a member of an object begins there, or of a file.
fn is_member(before: &[u8], form: Form) -> bool {
    match without_gap(before).last() {
        None | Some(b'\n') => form == Form::Equals,
        Some(last) => matches!(last, b'{' | b','),
    }
}

/// Of a `value`: what the `name` or `key` right before it says, as in `name: DB_PASSWORD, value: …`.
fn named_before(text: &[u8]) -> Telling {
    let text = without(text, |it| is_gap(it) || it.is_ascii_whitespace() || it == b',');
    let said = last_word(text);
    let text = without_gap(&text[..text.len() - said.len()]);
    let text = text.strip_suffix(b":").or_else(|| text.strip_suffix(b"=")).map(without_gap);
    if text.is_some_and(|it| is_name(last_word(it))) { Telling::of(said) } else { Telling::Nothing }
}

/// A text that stands under a name as a whole: where its value is, if the name makes it secret.
pub(super) fn whole(name: &[u8], text: &[u8]) -> Option<Found> {
    let own = under(Telling::of(name), text, 0, Written::Apart)?;
    Some(Found { kind: SecretKind::Labelled, whole: own.clone(), at: own })
}

fn under(telling: Telling, value: &[u8], at: usize, written: Written) -> Option<Range<usize>> {
    let is_mark = |it: &u8| it.is_ascii_whitespace() || matches!(it, b'"' | b'\'' | b'`' | b'*');
    let lead = value.iter().take_while(|it| is_mark(it)).count();
    let skip = bearer(&value[lead..]);
    let value = &value[lead + skip..];
    let trail = value.iter().rev().take_while(|it| is_mark(it) || matches!(it, b'.' | b';')).count();
    let value = &value[..value.len() - trail];
    let is_one = value.len() >= VALUE_MIN && value.len() <= VALUE_MAX && !value.iter().any(u8::is_ascii_whitespace);
    let from = at + lead + skip;
    (is_one && value::is_secret(telling, value, written)).then(|| from..from + value.len())
}

/// Length of what says how the rest is meant.
fn bearer(value: &[u8]) -> usize {
    [b"Bearer ".as_slice(), b"bearer ", b"Basic ", b"token ", b"base64:"]
        .iter()
        .find(|it| value.starts_with(it))
        .map_or(0, |it| it.len())
}

/// The word that a text ends with, or its last characters.
fn last_word(text: &[u8]) -> &[u8] {
    &text[text.len() - text.iter().rev().take(WORD_MAX).take_while(|it| in_word(**it)).count()..]
}

/// Quotes, marks of Markdown and spaces.
const fn is_gap(it: u8) -> bool {
    matches!(it, b'"' | b'\'' | b'`' | b'*' | b' ' | b'\t' | b'\\')
}

fn gap(text: &[u8], from: usize) -> usize {
    from + text[from..].iter().take(GAP_MAX).take_while(|it| is_gap(**it)).count()
}

fn without(text: &[u8], is_gap: impl Fn(u8) -> bool) -> &[u8] {
    &text[..text.len() - text.iter().rev().take(GAP_MAX).take_while(|it| is_gap(**it)).count()]
}

fn without_gap(text: &[u8]) -> &[u8] {
    without(text, is_gap)
}

/// A name without a note behind it: `Password (prod)`.
fn without_note(text: &[u8]) -> Option<&[u8]> {
    let inside = text.strip_suffix(b")")?;
    let length = inside.iter().rev().take(NOTE_MAX).position(|it| *it == b'(')?;
    inside[..inside.len() - length - 1].strip_suffix(b" ")
}

/// The bracket that is opened right before a name, but for one of a call.
fn bracket(before: &[u8]) -> Option<u8> {
    let (open, before) = without_gap(before).split_last()?;
    let is_called = before.last().is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_');
    matches!(open, b'(' | b'[').then_some(*open).filter(|_| !is_called)
}
