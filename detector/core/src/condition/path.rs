//! Dotted names in an expression, and places of an expression in its file.

use cel::common::ast::{Expr, IdedExpr};

use crate::yaml::Node;

/// Segments of `a.b.c`, root first; `None` for anything that is not a plain dotted name.
pub(super) fn segments(expr: &IdedExpr) -> Option<Vec<&str>> {
    let mut segments = Vec::new();
    let mut at = expr;
    loop {
        match &at.expr {
            Expr::Ident(name) => {
                segments.push(name.as_str());
                segments.reverse();
                return Some(segments);
            }
            Expr::Select(select) if !select.test => {
                segments.push(select.field.as_str());
                at = &select.operand;
            }
            _ => return None,
        }
    }
}

/// Where an expression stands in its file.
pub(super) struct Spot<'s> {
    source: &'s str,
    file: &'s str,
    line: u32,
    column: u32,
}

impl<'s> Spot<'s> {
    pub(super) fn of(node: &Node, source: &'s str, file: &'s str) -> Self {
        Self { source, file, line: node.line, column: node.column }
    }

    /// Of a parser's line and column, both from 1.
    pub(super) fn of_position(&self, (line, column): (isize, isize)) -> (u32, u32) {
        let small = |it: isize| usize::try_from(it.max(1)).unwrap_or(1) - 1;
        let before = self.source.split_inclusive('\n').take(small(line)).map(|it| it.chars().count()).sum::<usize>();
        self.of_offset(u32::try_from(before + small(column)).unwrap_or(u32::MAX))
    }

    /// Of an offset in characters. YAML folds lines, drops indentation and undoes quoting, so the text is followed through
    /// the file: its characters are there in order, with others in between.
    pub(super) fn of_offset(&self, offset: u32) -> (u32, u32) {
        let lines = self.file.lines().zip(1_u32..).skip((self.line as usize).saturating_sub(1));
        let file = lines.flat_map(|(text, line)| text.chars().zip(1_u32..).map(move |(it, column)| (it, line, column)));
        let mut file = file.skip((self.column as usize).saturating_sub(1));
        let mut at = (self.line, self.column);
        let passed = self.source.chars().take(offset as usize + 1).filter(|it| !it.is_whitespace());
        for wanted in passed {
            match file.find(|(it, _, _)| *it == wanted) {
                Some((_, line, column)) => at = (line, column),
                None => return (self.line, self.column),
            }
        }
        // An error at the end stands behind the last character.
        let beyond = self.source.chars().count() <= offset as usize;
        (at.0, at.1 + u32::from(beyond))
    }
}
