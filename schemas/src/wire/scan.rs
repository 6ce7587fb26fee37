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
    let mut names = Names { json, spans: Vec::with_capacity(16), escaped: false };
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let from = at;
                let to = string_end(json, from);
                at = to + 1;
                // In JSON a string before a colon is a name, and no other is.
                if is_before_colon(bytes, at) && depth <= limits.depth_max {
                    names.push(from, to);
                }
            }
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
                if depth <= limits.depth_max {
                    names.spans.push(OPENS);
                }
            }
            b'}' | b']' => {
                if depth <= limits.depth_max
                    && let Some(name) = names.close()
                {
                    let name = shown(&name);
                    let message = format!("`{field}` holds \"{name}\" twice in one object: send each name once");
                    return Err(Rejection::field(Reason::DuplicateField, field, message));
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

fn is_before_colon(bytes: &[u8], mut at: usize) -> bool {
    loop {
        match bytes.get(at) {
            Some(b':') => return true,
            Some(b' ' | b'\n' | b'\t' | b'\r') => at += 1,
            _ => return false,
        }
    }
}

/// Names of the objects around, those of each behind an [`OPENS`] of its own; nothing of what is too deep.
struct Names<'j> {
    json: &'j str,
    spans: Vec<Span>,
    /// Whether any name had escapes so far: they are decoded before they are compared.
    escaped: bool,
}

impl<'j> Names<'j> {
    fn push(&mut self, from: usize, to: usize) {
        self.escaped = self.escaped || self.json.as_bytes()[from..to].contains(&b'\\');
        self.spans.push((from, to));
    }

    /// The innermost object or list ends: a name that it holds twice, if there is one.
    fn close(&mut self) -> Option<Cow<'j, str>> {
        let begin = self.spans.iter().rposition(|it| *it == OPENS)?;
        let found = self.twice(&self.spans[begin + 1..]);
        self.spans.truncate(begin);
        found
    }

    fn twice(&self, spans: &[Span]) -> Option<Cow<'j, str>> {
        let raw = |(from, to): &Span| &self.json[*from..*to];
        if spans.len() > PAIRS_MAX || self.escaped {
            let mut names: Vec<Cow<'j, str>> = spans.iter().map(|it| decoded(raw(it))).collect();
            names.sort_unstable();
            return names.windows(2).find(|it| it[0] == it[1]).map(|it| it[0].clone());
        }
        for (at, span) in spans.iter().enumerate() {
            let is_same = |it: &Span| it.1 - it.0 == span.1 - span.0 && raw(it) == raw(span);
            if spans[..at].iter().any(is_same) {
                return Some(Cow::Borrowed(raw(span)));
            }
        }
        None
    }
}

fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    unescape(name, &mut out);
    Cow::Owned(out)
}
