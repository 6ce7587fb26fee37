//! One pass over content that is known to be JSON, for what its readers must not be left to meet: nesting that one of
//! them cannot follow, and a name that one object holds twice, of which one reader takes the first and another the last.

use std::borrow::Cow;

use super::check::Checked;
use crate::json_text::{string_end, unescape};
use crate::rejection::shown;
use crate::{Limits, Reason, Rejection};

/// Where a name stands in the text; [`OPENS`] for the beginning of an object or list.
type Span = (usize, usize);

const OPENS: Span = (usize::MAX, 0);

/// As many names as are compared each with each; more are sorted.
const PAIRS_MAX: usize = 8;

pub(super) fn scan(json: &str, field: &'static str, limits: &Limits) -> Checked<()> {
    if !json.trim_ascii_start().starts_with(['{', '[']) {
        return Ok(());
    }
    let bytes = json.as_bytes();
    let (mut depth, mut deepest, mut at) = (0_usize, 0_usize, 0_usize);
    // Names of the objects around, those of each behind an `OPENS` of its own; nothing of what is too deep.
    let mut names: Vec<Span> = Vec::new();
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let from = at;
                let to = string_end(json, from);
                at = to + 1;
                // In JSON a string before a colon is a name, and no other is.
                if depth <= limits.depth_max && is_before_colon(bytes, at) {
                    names.push((from, to));
                }
            }
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
                if depth <= limits.depth_max {
                    names.push(OPENS);
                }
            }
            b'}' | b']' => {
                if depth <= limits.depth_max {
                    let begin = names.iter().rposition(|it| *it == OPENS).unwrap_or(0);
                    if let Some(name) = names.get(begin + 1..).and_then(|it| twice(json, it)) {
                        let name = shown(&name);
                        let message = format!("`{field}` holds \"{name}\" twice in one object: send each name once");
                        return Err(Rejection::field(Reason::DuplicateField, field, message));
                    }
                    names.truncate(begin);
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    if deepest > limits.depth_max {
        let max = limits.depth_max;
        let message = format!("`{field}` is nested {deepest} deep: at most {max} levels are taken");
        return Err(Rejection::field(Reason::TooDeep, field, message));
    }
    Ok(())
}

fn is_before_colon(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).and_then(|rest| rest.iter().find(|it| !it.is_ascii_whitespace())) == Some(&b':')
}

/// The first name that comes twice, however it is escaped.
fn twice<'j>(json: &'j str, names: &[Span]) -> Option<Cow<'j, str>> {
    if names.len() < 2 {
        return None;
    }
    let raw = |(from, to): &Span| &json[*from..*to];
    if names.len() <= PAIRS_MAX && !names.iter().any(|it| raw(it).contains('\\')) {
        let again = |(at, name): &(usize, &Span)| names[..*at].iter().any(|it| raw(it) == raw(name));
        return names.iter().enumerate().find(again).map(|(_, name)| Cow::Borrowed(raw(name)));
    }
    let mut names: Vec<Cow<'j, str>> = names.iter().map(|it| decoded(raw(it))).collect();
    names.sort_unstable();
    names.windows(2).find(|it| it[0] == it[1]).map(|it| it[0].clone())
}

fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    unescape(name, &mut out);
    Cow::Owned(out)
}
