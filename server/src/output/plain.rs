//! Makes foreign text harmless for a terminal.

use std::borrow::Cow;

use martingale_schemas::hidden::is_hidden;

/// The text on one line, with everything that a terminal acts on replaced by something to see: control characters by
/// their pictures (`␛`), characters that reorder, hide or tag text by `�`. At most `chars_max` characters are kept.
pub(crate) fn plain(text: &str, chars_max: usize) -> Cow<'_, str> {
    // One look at the bytes settles the common case: short, printable ASCII.
    if text.len() <= chars_max && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut chars = text.chars();
    let mut out: String = chars.by_ref().take(chars_max).map(harmless).collect();
    if chars.next().is_some() {
        out.pop();
        out.push('…');
    }
    Cow::Owned(out)
}

/// The same of a text that may have several lines: they stay lines, the ones after the first moved in, so that none can be
/// taken for one of ours.
pub(crate) fn plain_lines(text: &str, chars_max: usize) -> Cow<'_, str> {
    if !text.contains('\n') {
        return plain(text, chars_max);
    }
    let mut out = String::new();
    let mut left = chars_max;
    for line in text.lines().map(str::trim_end).filter(|it| !it.is_empty()) {
        if left == 0 {
            break;
        }
        if !out.is_empty() {
            out.push_str("\n  ");
        }
        let line = plain(line, left);
        left -= line.chars().count().min(left);
        out.push_str(&line);
    }
    Cow::Owned(out)
}

fn harmless(c: char) -> char {
    match c {
        '\n' => '⏎',
        '\t' => ' ',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '␡',
        '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        c if is_hidden(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::{plain, plain_lines};

    #[test]
    fn nothing_a_terminal_acts_on_is_left() {
        for (text, shown) in [
            ("search flights", "search flights"),
            ("", ""),
            ("Zürich → 東京", "Zürich → 東京"),
            ("\u{1b}[2J\u{1b}]0;owned\u{7}", "␛[2J␛]0;owned␇"),
            ("a\r\nb\tc\0", "a␍⏎b c␀"),
            ("\u{9b}31m red \u{7f}", "�31m red ␡"),
            ("abc\u{202e}dcba\u{2066}", "abc�dcba�"),
            ("a\u{e0041}b\u{200d}c\u{2028}d", "a�b�c�d"),
        ] {
            assert_eq!(plain(text, 80), shown, "{text:?}");
        }
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_gets_through() {
        for (text, max, shown) in [
            ("one line", 80, "one line"),
            ("No field named x.\nDid you mean `y`?", 80, "No field named x.\n  Did you mean `y`?"),
            ("a\r\n\n \nerror: b\u{1b}[2J\rc", 80, "a\n  error: b␛[2J␍c"),
            ("abc\ndef\nghi", 5, "abc\n  d…"),
            ("abc\ndef", 3, "abc"),
        ] {
            assert_eq!(plain_lines(text, max), shown, "{text:?}");
        }
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        for (text, max, shown) in
            [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("ääää", 4, "ääää"), ("äääää", 4, "äää…")]
        {
            assert_eq!(plain(text, max), shown);
        }
    }
}
