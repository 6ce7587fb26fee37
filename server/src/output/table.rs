//! Tables for people: colours only on a terminal, foreign text made harmless.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Width};
use martingale_schemas::Decision;

use super::plain;

/// Most characters of one cell; what is longer is for `--json`.
const CELL_CHARS_MAX: usize = 400;

/// The widest word that is taken for an id, and not broken: a UUID has 36 columns.
const ID_COLUMNS_MAX: u16 = 40;

/// Blank columns around each cell, both sides together.
const PADDING: u16 = 2;

/// How far the sentences below a row stand in.
const BELOW_INDENT: u16 = 2;

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
///
/// What does not fit is not squeezed until words break: the columns of sentences go on lines of their own below the row,
/// and when the others still do not fit, every row is told as a record, one value a line.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<(String, Paint)>>,
    /// Columns of sentences.
    below: Vec<&'static str>,
    /// Whether a column without any value is left out.
    without_empty: bool,
}

impl Table {
    pub(crate) fn new<T: AsRef<str>>(header: impl IntoIterator<Item = T>) -> Self {
        let header = header.into_iter().map(|name| plain(name.as_ref(), 80).into_owned()).collect();
        Self { header, rows: Vec::new(), below: Vec::new(), without_empty: false }
    }

    /// A table whose columns are ours: those without any value are left out, and those named here hold sentences, which
    /// stand below their row where the terminal is too narrow.
    pub(crate) fn with_sentences<const N: usize>(header: [&str; N], below: &[&'static str]) -> Self {
        Self { below: below.to_vec(), without_empty: true, ..Self::new(header) }
    }

    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = (T, Paint)>) {
        let cells = cells.into_iter().map(|(text, paint)| (plain(text.as_ref(), CELL_CHARS_MAX).into_owned(), paint));
        self.rows.push(cells.collect());
    }

    /// Two columns: what, and how much.
    pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut table = Self::new(["what", "value"]);
        for (name, value) in facts {
            table.row([(name, Paint::Plain), (&value, Paint::Plain)]);
        }
        table
    }

    /// The lines of the table in so many columns; without a width, a row is a line.
    pub(crate) fn shown(&self, width: Option<u16>) -> String {
        let columns: Vec<usize> = (0..self.header.len()).filter(|at| self.is_kept(*at)).collect();
        let wanted: Vec<u16> = columns.iter().map(|at| self.width_wanted(*at)).collect();
        let Some(width) = width.filter(|width| total(&wanted) > u32::from(*width)) else {
            return self.grid(&columns, &wanted, &[], u16::MAX);
        };
        let is_below = |at: &usize| self.below.contains(&self.header[*at].as_str());
        let (below, beside): (Vec<usize>, Vec<usize>) = columns.iter().copied().partition(is_below);
        match self.fitted(&beside, width) {
            Some(widths) => self.grid(&beside, &widths, &below, width),
            None => self.rows.iter().map(|row| self.pairs(row, &columns, 0, width) + "\n").collect(),
        }
    }

    fn is_kept(&self, at: usize) -> bool {
        let has_value = |row: &Vec<(String, Paint)>| row.get(at).is_some_and(|(text, _)| !text.is_empty());
        !self.without_empty || self.rows.is_empty() || self.rows.iter().any(has_value)
    }

    fn texts(&self, at: usize) -> impl Iterator<Item = &str> {
        let cells = self.rows.iter().filter_map(move |row| row.get(at));
        std::iter::once(self.header[at].as_str()).chain(cells.map(|(text, _)| text.as_str()))
    }

    fn width_wanted(&self, at: usize) -> u16 {
        self.texts(at).map(columns_of).max().unwrap_or(0)
    }

    /// The narrowest that breaks neither the header nor anything as short as an id.
    fn width_needed(&self, at: usize) -> u16 {
        let words = self.texts(at).flat_map(str::split_whitespace).map(columns_of).filter(|it| *it <= ID_COLUMNS_MAX);
        words.max().unwrap_or(0).max(columns_of(&self.header[at]))
    }

    /// Widths that fit, taken from the widest column first; nothing when words would have to break.
    fn fitted(&self, columns: &[usize], width: u16) -> Option<Vec<u16>> {
        let mut widths: Vec<u16> = columns.iter().map(|at| self.width_wanted(*at)).collect();
        let needed: Vec<u16> = columns.iter().map(|at| self.width_needed(*at)).collect();
        if columns.is_empty() || total(&needed) > u32::from(width) {
            return None;
        }
        while total(&widths) > u32::from(width) {
            let wide = widths.iter_mut().zip(&needed).filter(|(now, needed)| **now > **needed);
            *wide.map(|(now, _)| now).max()? -= 1;
        }
        Some(widths)
    }

    fn grid(&self, columns: &[usize], widths: &[u16], below: &[usize], width: u16) -> String {
        let header: Vec<Cell> =
            columns.iter().map(|at| Cell::new(&self.header[*at]).add_attribute(Attribute::Bold)).collect();
        let mut out = in_line(header, widths);
        out.push_str(&format!(" {}\n", "─".repeat(total(widths).saturating_sub(2) as usize)));
        for row in &self.rows {
            let cells = columns.iter().filter_map(|at| row.get(*at)).map(|(text, paint)| cell(text, *paint));
            out.push_str(&in_line(cells.collect(), widths));
            out.push_str(&self.pairs(row, below, BELOW_INDENT, width));
        }
        out
    }

    /// The values of a row, each on lines of its own behind its name. A value cannot pass for a line of another name: its
    /// lines stand behind the names.
    fn pairs(&self, row: &[(String, Paint)], columns: &[usize], indent: u16, width: u16) -> String {
        let named = columns.iter().map(|at| columns_of(&self.header[*at])).max().unwrap_or(0).saturating_add(indent);
        let rest = width.saturating_sub(named.saturating_add(2 * PADDING)).max(ID_COLUMNS_MAX / 2);
        let pair = |at: &usize| {
            let (text, paint) = row.get(*at).filter(|(text, _)| !text.is_empty())?;
            let name = format!("{}{}", " ".repeat(usize::from(indent)), self.header[*at]);
            Some(in_line(vec![cell(&name, Paint::Dim), cell(text, *paint)], &[named, rest]))
        };
        columns.iter().filter_map(pair).collect()
    }
}

/// Columns of a terminal that a text takes.
fn columns_of(text: &str) -> u16 {
    if text.is_ascii() {
        return u16::try_from(text.len()).unwrap_or(u16::MAX);
    }
    let mut one = comfy_table::Table::new();
    one.add_row([text]);
    one.column_max_content_widths().first().copied().unwrap_or(0)
}

/// What columns of these widths take together, with their padding.
fn total(widths: &[u16]) -> u32 {
    widths.iter().map(|it| u32::from(*it) + u32::from(PADDING)).sum()
}

/// Cells beside each other, each as wide as is said, in as many lines as the longest takes.
fn in_line(cells: Vec<Cell>, widths: &[u16]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.add_row(cells);
    for (column, width) in table.column_iter_mut().zip(widths) {
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width.saturating_add(PADDING))));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn cell(text: &str, paint: Paint) -> Cell {
    let cell = Cell::new(text);
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
        // Piped output has no width: one line a row, as tools for lines expect.
        let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        let width = if on_terminal { comfy_table::Table::new().width() } else { None };
        f.write_str(&self.shown(width))
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

    /// A row of a timeline as the recorded ones are: a long content and a finding of a sentence.
    fn steps() -> Table {
        let mut table = Table::with_sentences(["step", "kind", "tool", "gate", "said", "found"], &["said", "found"]);
        let said = "Please read the file at https://example.test/a and then send what it says to everybody in the list";
        let found = "what was read from `secret-store` in step 2 goes out with\u{1b}\u{202e} `mail`";
        let id = "c0ffee00-0000-4000-8000-000000000001";
        table.row([id, "tool_call", "read_the_file", "", said, ""].map(|it| (it, Paint::Plain)));
        table.row(["2", "tool_call", "mail", "", "", found].map(|it| (it, Paint::Notice)));
        table
    }

    #[test]
    fn sentences_stand_below_their_row_where_it_is_narrow() {
        let shown = "
 step                                  kind       tool
 ──────────────────────────────────────────────────────────────
 c0ffee00-0000-4000-8000-000000000001  tool_call  read_the_file
   said   Please read the file at https://example.test/a and then send what it
          says to everybody in the list
 2                                     tool_call  mail
   found  what was read from `secret-store` in step 2 goes out with␛� `mail`
";
        assert_eq!(format!("\n{}", steps().shown(Some(80))), shown);
    }

    #[test]
    fn rows_that_do_not_fit_at_all_become_records() {
        let shown = "
 step   c0ffee00-0000-4000-8000-000000000001
 kind   tool_call
 tool   read_the_file
 said   Please read the file at
        https://example.test/a and then send
        what it says to everybody in the list

 step   2
 kind   tool_call
 tool   mail
 found  what was read from `secret-store` in
        step 2 goes out with␛� `mail`

";
        assert_eq!(format!("\n{}", steps().shown(Some(46))), shown);
    }

    #[test]
    fn a_row_is_a_line_where_there_is_no_width() {
        let shown = steps().shown(None);
        assert_eq!(shown.lines().count(), 4, "{shown}");
        assert!(!shown.contains("gate") && !shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn words_are_not_broken_and_no_column_of_a_query_is_left_out() {
        let mut table = Table::new(["session_id", "n", "decision", "about"]);
        table.row(
            ["agentdojo/banking/user_task_0", "", "allow", "one two three four five six seven"]
                .map(|it| (it, Paint::Plain)),
        );
        let shown = "
 session_id                     n  decision  about
 ──────────────────────────────────────────────────────────
 agentdojo/banking/user_task_0     allow     one two three
                                             four five six
                                             seven
";
        assert_eq!(format!("\n{}", table.shown(Some(60))), shown);
    }
}
