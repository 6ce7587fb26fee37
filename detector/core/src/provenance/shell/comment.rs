//! Comments, in the languages that agents write.

use std::ops::Range;

/// What begins a comment in languages other than the shell's. In a shell such a line runs nothing.
const MARKS: [&str; 4] = ["//", "--", "/*", "<!--"];

/// Whether a text is a patch. As an argument of what applies it nothing of it is run.
pub(in super::super) fn is_patch(text: &str) -> bool {
    ["*** Begin Patch", "diff --git ", "--- "].iter().any(|it| text.starts_with(it))
}

/// What ends a line in some languages.
pub(super) fn is_line_break(it: char) -> bool {
    matches!(it, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a line is a comment and nothing else in the languages that have such a comment, and runs nothing in others.
pub(super) fn is_comment(line: &str) -> bool {
    let line = line.trim_end_matches('\r');
    let has_quote = line.contains(['\'', '"', '\\']);
    let is_begun = match line.strip_prefix('#') {
        Some(text) => !has_quote || text.starts_with([' ', '\t', '#', '!']),
        None => !has_quote && MARKS.iter().any(|it| line.strip_prefix(it).is_some_and(|it| it.starts_with(' '))),
    };
    is_begun && !line.contains([';', '|', '&', '$', '`']) && !line.contains(is_line_break)
}

/// Comments in the lines of a patch, of which each has a sign before.
pub(super) fn patch_comments(body: &str) -> Vec<Range<usize>> {
    let mut at = 0;
    let lines = body.split_inclusive('\n').map(|it| {
        at += it.len();
        (at - it.len(), it.trim_end_matches('\n'))
    });
    lines
        .filter(|(_, it)| it.starts_with(['+', '-', ' ']) && is_comment(it[1..].trim_start_matches([' ', '\t'])))
        .map(|(at, it)| at..at + it.len())
        .collect()
}
