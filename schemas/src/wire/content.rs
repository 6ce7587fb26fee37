//! Content of any size: cut at the limit, with a fingerprint of the whole.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::check::Checked;
use super::scan::scan;
use super::values::{Count, Text};
use crate::rejection::shown;
use crate::step::Cut;
use crate::{Limits, Reason, Rejection, ids};

/// What the record itself says of a cut: ingest's own words on the log, or a producer's that cut before it sent.
pub(super) fn declared(
    bytes: Option<Count>,
    fingerprint: Option<Text<'_>>,
    field: &'static str,
) -> Checked<Option<Cut>> {
    let fingerprint = fingerprint.map(|it| hexadecimal(&it.0, field)).transpose()?;
    match (bytes, fingerprint) {
        (Some(Count(bytes)), fingerprint) => Ok(Some(Cut { bytes, fingerprint })),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let message = format!("`{field}` without the size of the whole: send `…_truncated_from` beside it");
            Err(Rejection::field(Reason::InvalidValue, field, message))
        }
    }
}

fn hexadecimal(text: &str, field: &'static str) -> Checked<[u8; 16]> {
    if text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && let Ok(number) = u128::from_str_radix(text, 16)
    {
        return Ok(number.to_be_bytes());
    }
    let message = format!("`{field}` is \"{}\": expected 32 hexadecimal digits", shown(text));
    Err(Rejection::field(Reason::InvalidValue, field, message))
}

/// The cut to record: a declared one stands unless it claims less than what is here.
fn cut_of(whole: &str, declared: Option<Cut>) -> Cut {
    let bytes = whole.len() as u64;
    match declared {
        Some(cut) if cut.bytes > bytes => cut,
        _ => Cut { bytes, fingerprint: Some(ids::digest(&[whole.as_bytes()])) },
    }
}

pub(super) fn text<'a>(
    sent: Option<Text<'a>>,
    declared: Option<Cut>,
    limits: &Limits,
) -> (Option<Cow<'a, str>>, Option<Cut>) {
    let Some(Text(text)) = sent else { return (None, declared) };
    if text.len() <= limits.content_bytes_max {
        return (Some(text), declared);
    }
    let cut = cut_of(&text, declared);
    (Some(clipped(text, limits.content_bytes_max)), Some(cut))
}

/// JSON over the limit becomes a JSON string of its beginning, as it is written within the limit: half a document is no document, and
/// who reads it from a topic, and checks it again, must not cut it again. All of it is scanned before, if it is `fresh` from a producer: what is cut off
/// would have been refused as well.
pub(super) fn json<'a>(
    sent: Option<&'a RawValue>,
    field: &'static str,
    declared: Option<Cut>,
    fresh: bool,
    limits: &Limits,
) -> Checked<(Option<Cow<'a, RawValue>>, Option<Cut>)> {
    let Some(raw) = sent else { return Ok((None, declared)) };
    let json = raw.get();
    if fresh {
        scan(json, field, limits)?;
    }
    if json.len() <= limits.content_bytes_max {
        return Ok((Some(Cow::Borrowed(raw)), declared));
    }
    let head = serde_json::value::to_raw_value(quotable(json, limits.content_bytes_max))
        .map_err(|error| Rejection::field(Reason::InvalidValue, field, error.to_string()))?;
    Ok((Some(Cow::Owned(head)), Some(cut_of(json, declared))))
}

/// The longest beginning that takes at most `bytes_max` bytes as a JSON string, quotes and escapes counted.
fn quotable(text: &str, bytes_max: usize) -> &str {
    let mut bytes = 2;
    let end = text.char_indices().find(|(_, it)| {
        bytes += match it {
            '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        bytes > bytes_max
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// Text that has no field to say how it was cut (an error's message, an alternative): it says so at its own end.
pub(super) fn abridged<'a>(text: Cow<'a, str>, limits: &Limits) -> Cow<'a, str> {
    let bytes = text.len();
    if bytes <= limits.content_bytes_max {
        return text;
    }
    let mut head = clipped(text, limits.content_bytes_max).into_owned();
    head.push_str(&format!("… [cut from {bytes} bytes]"));
    Cow::Owned(head)
}

/// The longest beginning of at most `bytes_max` bytes that ends between two characters.
pub(super) fn clipped(text: Cow<'_, str>, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return text;
    }
    let end = text.floor_char_boundary(bytes_max);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quotable;

    #[test]
    fn a_beginning_is_as_long_as_it_may_be_when_it_is_quoted() {
        for text in ["", "plain", r#"{"a":"b\\c"}"#, "\n\t\u{8}\u{c}\r", "\0\u{1f}\u{7f}", "ü🦀\"ü"] {
            for max in 2..40 {
                let head = quotable(text, max);
                let written = |text: &str| serde_json::to_string(text).expect("a string").len();
                assert!(text.starts_with(head) && written(head) <= max, "{text:?} at {max}: {head:?}");
                let next = text[head.len()..].chars().next();
                let is_longest = next.is_none_or(|it| written(&format!("{head}{it}")) > max);
                assert!(is_longest, "{text:?} at {max}: {head:?}");
            }
        }
    }
}
