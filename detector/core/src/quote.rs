//! Text of an agent inside a sentence of ours.

/// At most `chars_max` characters, on one line: it may come from an attacker and is read in terminals and mails.
pub(crate) fn quoted(text: &str, chars_max: usize) -> String {
    if is_plain(text, chars_max) {
        return text.to_owned();
    }
    let mut out: String =
        text.chars().take(chars_max).map(|it| if it.is_control() || is_directional(it) { ' ' } else { it }).collect();
    if text.chars().nth(chars_max).is_some() {
        out.push('…');
    }
    out
}

/// [`quoted`] of a text that is needed for nothing else.
pub(crate) fn quoted_whole(text: String, chars_max: usize) -> String {
    if is_plain(&text, chars_max) { text } else { quoted(&text, chars_max) }
}

/// Most of what is quoted by far: as it stands.
fn is_plain(text: &str, chars_max: usize) -> bool {
    text.len() <= chars_max && text.bytes().all(|it| it == b' ' || it.is_ascii_graphic())
}

/// Characters that reorder what a person sees.
fn is_directional(it: char) -> bool {
    matches!(it, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn short_and_on_one_line() {
        assert_eq!(quoted("send_email", 20), "send_email");
        assert_eq!(quoted("a\n\u{1b}[31mb\u{202e}c", 20), "a  [31mb c");
        assert_eq!(quoted("äöüß", 3), "äöü…");
    }
}
