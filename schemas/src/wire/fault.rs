//! Which field a reader stumbled over, and over what; serde's errors carry text only.

use std::cell::{Cell, RefCell};

use serde_json::error::Category;

use crate::{Reason, Rejection};

/// What a reader knows of a failure and its error's text does not say to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A field that was there before.
    Twice,
    /// The right type, and a value that cannot be.
    Value,
}

#[derive(Default)]
pub(crate) struct Fault {
    /// Innermost first: each object adds its field's name while the error passes through it.
    path: RefCell<Vec<&'static str>>,
    problem: Cell<Option<Problem>>,
}

impl Fault {
    pub(crate) fn within(&self, field: &'static str) {
        self.path.borrow_mut().push(field);
    }

    pub(crate) fn set(&self, problem: Problem) {
        self.problem.set(Some(problem));
    }

    pub(super) fn rejection(&self, error: &serde_json::Error) -> Rejection {
        let mut path = self.path.borrow().clone();
        path.reverse();
        let field = (!path.is_empty()).then(|| path.join("."));
        let text = short(error.to_string());
        let reason = match (error.classify(), self.problem.get(), &field) {
            (_, Some(Problem::Twice), _) => Reason::DuplicateField,
            (_, Some(Problem::Value), _) => Reason::InvalidValue,
            // Valid JSON, though the parser calls it a matter of syntax.
            (Category::Syntax, ..) if text.starts_with("number out of range") => Reason::InvalidValue,
            (Category::Data, None, Some(_)) => Reason::WrongType,
            (Category::Data, None, None) => Reason::NotAnObject,
            _ => Reason::InvalidJson,
        };
        let text = match reason {
            Reason::InvalidJson => format!(
                "no valid JSON: {text}, counted from where the step begins: correct it there, or write steps with a JSON encoder"
            ),
            _ => text,
        };
        let message = match (&field, reason) {
            (Some(field), _) => format!("field `{field}`: {text}"),
            (None, Reason::NotAnObject) => format!("a step is a JSON object: {text}"),
            (None, _) => text,
        };
        Rejection { reason, field: field.map(Into::into), message }
    }
}

/// Serde quotes the sender's value in full, whatever its size; this keeps the beginning, and the end with line and column.
fn short(text: String) -> String {
    const HEAD_BYTES: usize = 120;
    const TAIL_BYTES: usize = 100;
    if text.len() <= HEAD_BYTES + TAIL_BYTES {
        return text;
    }
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    let tail = &text[text.ceil_char_boundary(text.len() - TAIL_BYTES)..];
    format!("{head} … {tail}")
}
