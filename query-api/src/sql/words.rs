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
/// Stages that noticed.
const SHELLS: [&str; 3] = ["Error during planning: ", "Execution error: ", "Internal error: "];
/// A call whose arguments do not fit: in front of it, and of the calls that do.
const CALL: &str = "No function matches the given name and argument types '";
const CALLS: &str = "Candidate functions:";
/// The same where the calls are not told: in front of the name, of the types, and of what they cannot be made.
const COERCED: [&str; 3] =
    ["Failed to coerce arguments to satisfy a call to '", "' function: coercion from ", " to the signature "];
/// The same where each call that there is tells by itself why it is not meant: between the name and those, and in each of
/// them in front of the type that it takes, of that it was given, and of the name of that in an answer.
const UNMATCHED: [&str; 4] =
    ["' failed to match any signature, errors: ", " requires ", ", but received ", "(DataType: "];
/// Where the text ends too early. The parser tells no place for it.
const END: &str = "found: the end of the query";

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
    let text = text.strip_suffix("found: EOF").map_or_else(|| text.to_owned(), |it| format!("{it}{END}"));
    plain(&text.replace(" at Line: ", ", at line ").replace(", Column: ", ", column "))
}

/// The sentence with the place where the text ends, if that is where it cannot be read.
pub(super) fn at_end(mut message: String, sql: &str) -> String {
    if message.ends_with(END) {
        let text = sql.trim_end();
        let last = text.rsplit('\n').next().unwrap_or_default();
        let (line, column) = (text.matches('\n').count() + 1, last.chars().count() + 1);
        message += &format!(", at line {line}, column {column}");
    }
    message
}

/// A call whose arguments do not fit, and the calls that do.
fn call(text: &str) -> Option<String> {
    if let Some((call, rest)) = text.split_once(CALL).and_then(|(_, it)| it.split_once("'.")) {
        let offered = rest.split_once(CALLS).map_or("", |(_, it)| it);
        // Some functions judge of their arguments by themselves.
        let offered = offered.lines().map(str::trim).filter(|it| !it.is_empty() && !it.contains("UserDefined"));
        let offered: Vec<String> = offered.map(|it| format!("`{it}`")).collect();
        let offered = if offered.is_empty() { String::new() } else { format!(": there is {}", offered.join(", ")) };
        return Some(format!("`{call}` cannot be called with arguments of these types{offered}"));
    }
    let [behind, requires, received, given] = UNMATCHED;
    if let Some((function, errors)) = text.split_once(behind) {
        let (_, name) = function.rsplit_once('\'')?;
        let mut types: Vec<&str> =
            errors.split(requires).skip(1).filter_map(|it| Some(it.split_once(received)?.0)).collect();
        types.dedup();
        let Some((_, rest)) = errors.split_once(given) else {
            // All say the same, such as how many arguments there have to be.
            return errors.split(&[",", SHELLS[0]].concat()).next().map(plain);
        };
        let (given, _) = rest.split_once(')')?;
        return Some(format!("`{name}` takes {} and no {given}", types.join(", ")));
    }
    let [before, between, after] = COERCED;
    let (name, rest) = text.split_once(before)?.1.split_once(between)?;
    let (types, _) = rest.split_once(after)?;
    Some(format!("`{name}({types})` cannot be called with arguments of these types"))
}

fn plain(text: &str) -> String {
    let end = NOTES.iter().filter_map(|it| text.find(it)).min().unwrap_or(text.len());
    let text = &text[..end];
    if let Some(sentence) = call(text) {
        return cut(sentence);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut text = words.join(" ");
    for shell in SHELLS {
        text = text.replace(shell, "");
    }
    cut(lower(without_tree(&literals(&text))))
}

/// A sentence without the piece of the syntax tree that it shows behind itself, `… is not valid Substring { expr: … }`.
fn without_tree(text: &str) -> &str {
    if !text.contains("span: Span(") {
        return text;
    }
    let begin = text.match_indices(" { ").find_map(|(brace, _)| {
        let begin = text[..brace].rfind(' ')?;
        text[begin + 1..].starts_with(|it: char| it.is_ascii_uppercase()).then_some(begin)
    });
    begin.map_or(text, |it| text[..it].trim_end_matches(':'))
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
    use super::{DataFusionError, at_end, cut, of};

    #[test]
    fn only_the_sentence_inside_is_told() {
        let plan = |it: &str| DataFusionError::Plan(it.to_owned());
        for (error, told) in [
            (plan("Table x"), "table x"),
            (plan("NTILE requires 1"), "NTILE requires 1"),
            (plan("Literal(UInt64(5), None) is no Literal(x"), "5 is no Literal(x"),
            (plan("a\n\tb  c"), "a b c"),
            (plan("This is not valid: Node { span: Span(Location(1,2)..Location(1,3)) }"), "this is not valid"),
            (plan("a B { c } is a text"), "a B { c } is a text"),
            (
                plan(
                    "Function 'f' failed to match any signature, errors: Error during planning: Function 'f' requires Int64, but \
                     received String (DataType: Utf8).,Error during planning: Function 'f' requires Float64, but received \
                     String (DataType: Utf8).",
                ),
                "`f` takes Int64, Float64 and no Utf8",
            ),
            (
                plan(
                    "Internal error: Function 'f' failed, errors: Error during planning: too few.\nThis issue was likely caused by a bug in X",
                ),
                "function 'f' failed, errors: too few.",
            ),
            (
                plan(
                    "Failed to coerce: OneOf(Exact(..)) failed. No function matches the given name and argument types 'f(Utf8)'. \
                     You might need to add explicit type casts.\n\tCandidate functions:\n\tf(n: Int64)\n\tf(UserDefined)\n\tf()",
                ),
                "`f(Utf8)` cannot be called with arguments of these types: there is `f(n: Int64)`, `f()`",
            ),
            (
                plan(
                    "Failed to coerce arguments to satisfy a call to 'f' function: coercion from Utf8, Int64 to the signature OneOf([Exact(..)]) failed",
                ),
                "`f(Utf8, Int64)` cannot be called with arguments of these types",
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

    #[test]
    fn where_a_text_ends_too_early_is_told() {
        let found = "expected: an expression, found: the end of the query";
        for (message, sql, told) in [
            (found, "SELECT", ", at line 1, column 7"),
            (found, "SELECT 'é',\n  1 +  \n", ", at line 2, column 6"),
            ("expected: an expression, found: ), at line 2, column 3", "SELECT\n  )", ""),
        ] {
            assert_eq!(at_end(message.to_owned(), sql), format!("{message}{told}"));
        }
    }
}
