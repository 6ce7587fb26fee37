//! What is wrong with a query, in sentences for whoever wrote it.
//!
//! The libraries below tell it with the names of their types around it, of the stage that noticed, and with notes to their
//! own developers. The sentence inside is kept as it is: it names what it is about, and for text that cannot be read the line
//! and the column.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

/// Longest message of an answer.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// What follows is for developers of the library.
const NOTES: [&str; 3] =
    [DataFusionError::BACK_TRACE_SEP, "\nThis issue was likely caused by a bug", "\nThis was likely caused by a bug"];
/// A better sentence begins with this one, where there is one.
const BETTER: &str = "No function matches the given name and argument types";

pub(super) fn of(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of(inner),
        DataFusionError::Shared(inner) => of(inner),
        DataFusionError::Collection(all) => all.first().map_or_else(|| "the query cannot be planned".to_owned(), of),
        DataFusionError::SQL(error, _) => match &**error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => placed(text),
            ParserError::RecursionLimitExceeded => "it nests too deep: write it flatter".to_owned(),
        },
        DataFusionError::Plan(text) | DataFusionError::Execution(text) | DataFusionError::Configuration(text) => {
            plain(text)
        }
        DataFusionError::NotImplemented(text) => format!("this is not offered: {}", plain(text)),
        DataFusionError::SchemaError(error, _) => plain(&error.to_string()),
        DataFusionError::ArrowError(error, _) => of_value(error),
        other => plain(&other.strip_backtrace()),
    }
}

fn of_value(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "a number is divided by zero".to_owned(),
        ArrowError::NotYetImplemented(text) => format!("this is not offered: {}", plain(text)),
        ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::ArithmeticOverflow(text)
        | ArrowError::SchemaError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::JsonError(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

/// Text that cannot be read: `… at Line: 2, Column: 7`.
fn placed(text: &str) -> String {
    plain(&text.replace(" at Line: ", ", at line ").replace(", Column: ", ", column "))
}

fn plain(text: &str) -> String {
    let end = NOTES.iter().filter_map(|it| text.find(it)).min().unwrap_or(text.len());
    let text = &text[..end];
    let text = text.find(BETTER).map_or(text, |from| &text[from..]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut text = words.join(" ");
    for shell in ["Error during planning: ", "Execution error: ", "Internal error: "] {
        text = text.replace(shell, "");
    }
    cut(lower(&literals(&text)))
}

/// A value that is shown with its type around it, `Literal(UInt64(5), None)`, as the value.
fn literals(text: &str) -> String {
    const BEGIN: &str = "Literal(";
    const END: &str = "), None)";
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        out.push_str(before);
        rest = match after.split_once(END).and_then(|(value, rest)| Some((value.split_once('(')?.1, rest))) {
            Some((value, after)) => {
                out.push_str(value);
                after
            }
            None => {
                out.push_str(BEGIN);
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// The first letter small, unless what it begins is a name.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && (second.is_ascii_lowercase() || second == ' ') => {
            format!("{}{}", first.to_ascii_lowercase(), &text[1..])
        }
        _ => text.to_owned(),
    }
}

/// An error may show an expression, and an expression is as long as whoever wrote it likes.
pub(super) fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::{DataFusionError, cut, of};

    #[test]
    fn only_the_sentence_inside_is_told() {
        let plan = |it: &str| DataFusionError::Plan(it.to_owned());
        for (error, told) in [
            (plan("Table x"), "table x"),
            (plan("NTILE requires 1"), "NTILE requires 1"),
            (plan("Literal(UInt64(5), None) is no Literal(x"), "5 is no Literal(x"),
            (plan("a\n\tb  c"), "a b c"),
            (
                plan(
                    "Internal error: Function 'f' failed, errors: Error during planning: too few.\nThis issue was likely caused by a bug in X",
                ),
                "function 'f' failed, errors: too few.",
            ),
            (
                plan(
                    "Failed to coerce: OneOf(Exact(..)) failed. No function matches the given name and argument types 'f(Utf8)'.",
                ),
                "no function matches the given name and argument types 'f(Utf8)'.",
            ),
            (plan("bad").context("Optimizer rule 'x' failed").context("type_coercion"), "bad"),
            (DataFusionError::NotImplemented("Y".to_owned()), "this is not offered: Y"),
            (DataFusionError::from(arrow::error::ArrowError::DivideByZero), "a number is divided by zero"),
            (DataFusionError::Collection(vec![plan("first"), plan("second")]), "first"),
            (DataFusionError::Collection(Vec::new()), "the query cannot be planned"),
        ] {
            assert_eq!(of(&error), told, "{error:?}");
        }
        assert!(cut("é".repeat(5_000)).len() < 2_010);
    }
}
