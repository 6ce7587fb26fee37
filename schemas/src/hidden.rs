//! Characters that nobody sees, and that change what is seen.

/// Whether a character hides, reorders or tags text, or is drawn as nothing: marks of direction, joiners, spaces without
/// width, fillers, separators that break lines, variation selectors and tags. Two ids that differ in them look the same to whoever halts one.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The first of a text.
#[must_use]
pub fn first_hidden(text: &str) -> Option<char> {
    // All of it, without stopping at the first: compilers turn that into wide comparisons. Plain text has none of these.
    let suspect = text.bytes().fold(false, |found, byte| found | !byte.is_ascii());
    if suspect { text.chars().find(|c| is_hidden(*c)) } else { None }
}
