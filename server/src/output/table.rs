//! Tables for people: colours only on a terminal, foreign text made harmless.

use std::fmt;

use comfy_table::{Attribute, Cell, Color, ContentArrangement};
use martingale_schemas::Decision;

use super::plain;

/// Most characters of one cell; what is longer is for `--json`.
const CELL_CHARS_MAX: usize = 400;

/// One line, under the header: the fifth to seventh character of a preset.
const UNDER_THE_HEADER: &str = "     ──            ";

/// How a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paint {
    #[default]
    Plain,
    Dim,
    Good,
    Notice,
    Bad,
}

/// The paint of a decision.
pub(crate) fn decision_paint(name: &str) -> Paint {
    match name.parse() {
        Ok(Decision::Allow) => Paint::Dim,
        Ok(Decision::Warn | Decision::Throttle | Decision::Modify) => Paint::Notice,
        Ok(Decision::StepUp | Decision::Deny | Decision::Halt) => Paint::Bad,
        Err(_) => Paint::Plain,
    }
}

/// What a finding decides: in another mode than `enforce` with the mode in front, since it decided nothing.
pub(crate) fn opinion(mode: &str, decision: &str) -> String {
    if matches!(mode, "enforce" | "") { decision.to_owned() } else { format!("{mode}: {decision}") }
}

/// Rows under a header, as wide as the terminal.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new<T: AsRef<str>>(header: impl IntoIterator<Item = T>) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(UNDER_THE_HEADER).set_content_arrangement(ContentArrangement::Dynamic);
        // Piped output has no width: one line a row, as tools for lines expect.
        if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        let header = header.into_iter().map(|name| Cell::new(plain(name.as_ref(), 80)).add_attribute(Attribute::Bold));
        table.set_header(header.collect::<Vec<_>>());
        Self(table)
    }

    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = (T, Paint)>) {
        self.0.add_row(cells.into_iter().map(|(text, paint)| cell(text.as_ref(), paint)).collect::<Vec<_>>());
    }

    /// Two columns: what, and how much.
    pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut table = Self::new(["what", "value"]);
        for (name, value) in facts {
            table.row([(name, Paint::Plain), (&value, Paint::Plain)]);
        }
        table
    }
}

fn cell(text: &str, paint: Paint) -> Cell {
    let cell = Cell::new(plain(text, CELL_CHARS_MAX));
    match paint {
        Paint::Plain => cell,
        Paint::Dim => cell.fg(Color::DarkGrey),
        Paint::Good => cell.fg(Color::Green),
        Paint::Notice => cell.fg(Color::Yellow),
        Paint::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Paint, Table, decision_paint};

    #[test]
    fn cells_are_harmless_and_uncoloured_off_a_terminal() {
        let mut table = Table::new(["tool\u{1b}[0m"]);
        table.row([("rm\u{1b}[31m\n-rf", Paint::Bad)]);
        let shown = table.to_string();
        assert!(shown.contains("rm␛[31m⏎-rf") && !shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn decisions_stand_out_by_severity() {
        for (name, paint) in
            [("allow", Paint::Dim), ("warn", Paint::Notice), ("halt", Paint::Bad), ("nonsense", Paint::Plain)]
        {
            assert_eq!(decision_paint(name), paint, "{name}");
        }
    }
}
