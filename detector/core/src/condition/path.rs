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
pub(super) struct Place<'s> {
    source: &'s str,
    line: u32,
    column: u32,
    /// Column where later lines begin.
    margin: u32,
}

impl<'s> Place<'s> {
    /// The scalar at `node` may be plain, quoted, or a block (`|`, `>`), whose text begins on the next line.
    pub(super) fn of(node: &Node, source: &'s str, file: &str) -> Self {
        let mut lines = file.lines().skip((node.line as usize).saturating_sub(1));
        let first = lines.next().unwrap_or("").chars().nth((node.column as usize).saturating_sub(1));
        let indent = |line: Option<&str>| {
            let spaces = line.map_or(0, |it| it.len() - it.trim_start().len());
            u32::try_from(spaces).unwrap_or(0) + 1
        };
        let next = indent(lines.find(|it| !it.trim().is_empty()));
        match first {
            Some('|' | '>') => Self { source, line: node.line + 1, column: next, margin: next },
            Some('"' | '\'') => Self { source, line: node.line, column: node.column + 1, margin: next },
            _ => Self { source, line: node.line, column: node.column, margin: next },
        }
    }

    /// Of a parser's line and column, both from 1.
    pub(super) fn of_position(&self, (line, column): (isize, isize)) -> (u32, u32) {
        let small = |it: isize| u32::try_from(it.max(1)).unwrap_or(1) - 1;
        let (line, column) = (small(line), small(column));
        if line == 0 { (self.line, self.column + column) } else { (self.line + line, self.margin + column) }
    }

    /// Of an offset in characters.
    pub(super) fn of_offset(&self, offset: u32) -> (u32, u32) {
        let before: String = self.source.chars().take(offset as usize).collect();
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|it| *it != '\n').count();
        self.of_position((isize::try_from(line + 1).unwrap_or(1), isize::try_from(column + 1).unwrap_or(1)))
    }
}
