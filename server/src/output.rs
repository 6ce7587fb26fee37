//! What people and programs see on standard output.
//!
//! **Invariant:** text that came from an agent or a server passes [`plain`] before it reaches a terminal: an escape
//! sequence in a tool result must not be able to hide a line, rewrite one or change what the terminal does.

mod invocation;
mod plain;
mod table;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

pub(crate) use invocation::myself;
pub(crate) use plain::{plain, plain_lines};
pub(crate) use table::{Paint, Table, decision_paint, opinion};

/// Writes one line to standard output at once.
///
/// # Errors
/// When it cannot be written; a closed pipe is one of the ways, and `main` ends quietly on it.
pub(crate) fn say(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// As [`say`].
pub(crate) fn say_json(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    say(text)
}

/// Writes the text of a file as it stands, so that it can go into another; on a terminal made harmless line by line.
///
/// # Errors
/// As [`say`].
pub(crate) fn say_text(text: &str) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return say(text);
    }
    text.lines().try_for_each(|line| say(plain(line, usize::MAX)))
}

/// Writes one line to standard error; there is nobody to tell when that fails.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Text in a colour, on a terminal that takes colours. The text must be harmless already.
pub(crate) fn painted(text: &str, paint: Paint) -> String {
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let code = match paint {
        _ if !coloured => return text.to_owned(),
        Paint::Plain => return text.to_owned(),
        Paint::Dim => "2",
        Paint::Good => "32",
        Paint::Notice => "33",
        Paint::Bad => "1;31",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Whether an error is a reader that went away (`martingale tail | head`).
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{grouped, is_closed_pipe};

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), shown);
        }
    }

    #[test]
    fn a_closed_pipe_is_recognised_through_context() {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&anyhow::Error::new(broken()).context("while printing")));
        assert!(!is_closed_pipe(&anyhow::Error::new(std::io::Error::other("disk"))));
        assert!(!is_closed_pipe(&anyhow::anyhow!("no")));
    }
}
