//! Telling the steps of a body apart without reading them.
//!
//! A scan for strings and brackets and not a JSON parser, because a parser stops at the first fault: here an element
//! that is no JSON costs only itself, as long as its brackets and quotes are balanced.

use martingale_schemas::{Reason, Rejection};

/// One envelope of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Step(&'a [u8]),
    Broken { rejection: Rejection, payload: &'a [u8] },
}

/// Why the body as a whole cannot be told apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Empty,
    NotJson(String),
    TooMany { max: usize },
}

/// Splits an object, an array of objects, or lines of objects. Lines are what `ndjson` says, and what a body is that
/// goes on after its first object.
pub(super) fn split(body: &[u8], ndjson: bool, max: usize) -> Result<Vec<Piece<'_>>, Whole> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    match body.first() {
        None if ndjson => Ok(Vec::new()),
        None => Err(Whole::Empty),
        Some(_) if ndjson => lines(body, max),
        Some(b'[') => array(body, max),
        Some(b'{') if object_end(body) == body.len() => Ok(vec![Piece::Step(body)]),
        Some(b'{') => lines(body, max),
        // A number or a string is JSON, and no step.
        Some(_) if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => Ok(vec![Piece::Step(body)]),
        Some(byte) => Err(Whole::NotJson(format!(
            "the body begins with {}: send a step as a JSON object, several as an array or as one object a line",
            match byte {
                0x20..=0x7e => format!("`{}`", char::from(*byte)),
                _ => format!("the byte 0x{byte:02x}"),
            }
        ))),
    }
}

fn lines(body: &[u8], max: usize) -> Result<Vec<Piece<'_>>, Whole> {
    let mut pieces = Vec::new();
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        push(&mut pieces, Piece::Step(line), max)?;
    }
    Ok(pieces)
}

fn array(body: &[u8], max: usize) -> Result<Vec<Piece<'_>>, Whole> {
    let mut pieces = Vec::new();
    let mut rest = &body[1..];
    loop {
        let end = element_end(rest);
        let (element, after) = (rest[..end].trim_ascii(), &rest[end..]);
        match after.first() {
            Some(b',') => push(&mut pieces, Piece::Step(element), max)?,
            Some(_) => {
                if !(element.is_empty() && pieces.is_empty()) {
                    push(&mut pieces, Piece::Step(element), max)?;
                }
                let text = after[1..].trim_ascii();
                if !text.is_empty() {
                    push(&mut pieces, broken("text after the end of the array: send one array", text), max)?;
                }
                return Ok(pieces);
            }
            None => {
                push(&mut pieces, broken("the array is not closed: the body was cut, send it again", element), max)?;
                return Ok(pieces);
            }
        }
        rest = &after[1..];
    }
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, piece: Piece<'a>, max: usize) -> Result<(), Whole> {
    if pieces.len() == max {
        return Err(Whole::TooMany { max });
    }
    pieces.push(piece);
    Ok(())
}

fn broken<'a>(message: &str, payload: &'a [u8]) -> Piece<'a> {
    Piece::Broken { rejection: Rejection::new(Reason::InvalidJson, message), payload }
}

/// Where an element of an array ends: before the `,` or `]` that follows it, or at the end.
fn element_end(json: &[u8]) -> usize {
    let mut scan = Scan::default();
    let ends = json.iter().position(|byte| {
        let ends = scan.depth == 0 && !scan.in_string && matches!(byte, b',' | b']');
        scan.pass(*byte);
        ends
    });
    ends.unwrap_or(json.len())
}

/// Where an object ends: after the bracket that closes it, or at the end.
fn object_end(json: &[u8]) -> usize {
    let mut scan = Scan::default();
    let closes = json.iter().position(|byte| {
        scan.pass(*byte);
        scan.depth == 0
    });
    closes.map_or(json.len(), |at| at + 1)
}

#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn pass(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
