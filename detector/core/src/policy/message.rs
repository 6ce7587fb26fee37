//! Messages with `{{…}}` placeholders, each an expression that was checked with the policy.

use cel::Context;

use crate::condition::{Condition, Names, Scope, Want};
use crate::yaml::{Faults, Node};

/// Longest rendered message, in characters.
const CHARS_MAX: usize = 600;

#[derive(Debug)]
pub(crate) struct Message(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Value(Condition),
}

impl Message {
    pub(super) fn compile(text: &str, node: &Node, path: &str, names: Names<'_>, faults: &mut Faults<'_>) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            pieces.push(Piece::Text(before.to_owned()));
            let Some((expression, after)) = after.split_once("}}") else {
                faults.error(path, (node.line, node.column), "`{{` without `}}`: close it, or write one brace", None);
                return Self(pieces);
            };
            if let Some(value) = Condition::compile(expression.trim(), node, path, (Want::Anything, names), faults) {
                pieces.push(Piece::Value(value));
            }
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Self(pieces)
    }

    /// Plain text; a value that cannot be had is `?`. Values come from the agent and stay untrusted: they are cut, on one
    /// line, and never read as anything but text.
    pub(super) fn render(&self, base: &Context<'_, '_>, scope: &Scope<'_>, value_chars_max: usize) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(value) => match value.words(base, scope, value_chars_max) {
                    Ok(words) => out.push_str(&words),
                    Err(_) => out.push('?'),
                },
            }
        }
        cut(out)
    }
}

/// What is longer than a message may be ends in `…`.
pub(super) fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}
