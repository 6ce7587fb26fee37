//! How a result is laid out, whatever it says: kinds of signs at its beginning and its end.
//!
//! What a tool gives looks alike from call to call: a price and its unit, a sentence, an object. Something added to it, cut
//! off, put in another order or given instead of it mostly begins or ends otherwise.

use martingale_schemas::Step;

use crate::canonical;
use crate::hash::mix;
use crate::hijack::words;

/// Signs that are looked at, at either end.
const SIGNS: usize = 3;
/// So many bytes hold them: a longer word is taken for a shorter one.
const END_BYTES: usize = 256;

/// The layout of one result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The first signs and the last; all, where there are no more. The rest is [`Sign::End`].
    pub(super) ends: [Sign; 2 * SIGNS],
    /// Names and types of members, of an object.
    pub(super) form: u64,
}

impl Layout {
    /// `None` for a result that was cut, and for a step without one.
    pub(super) fn of(step: &Step<'_>) -> Option<Self> {
        let mut ends = Ends::default();
        let form = match (&step.output, &step.text) {
            (Some(output), _) if step.output_cut.is_none() => {
                let is_read = words::leaves(output.get(), &mut |_, text| ends.put(text));
                if !is_read {
                    return None;
                }
                canonical::form_of(output.get())
            }
            (None, Some(text)) if step.text_cut.is_none() => {
                ends.put(text);
                0
            }
            _ => return None,
        };
        Some(Self { ends: ends.signs(), form })
    }

    /// Signs one after the other, each with the one before it; the end among them.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Sign, Sign)> {
        let signs = self.ends.into_iter().take_while(|it| *it != Sign::End).chain([Sign::End]);
        signs.scan(Sign::End, |before, sign| Some((std::mem::replace(before, sign), sign)))
    }

    pub(super) fn print(&self) -> u64 {
        self.ends.iter().fold(self.form, |print, it| mix(print, *it as u64))
    }
}

/// What a run of characters is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Sign {
    /// Before the first, and after the last.
    #[default]
    End,
    Number,
    Fraction,
    /// Of three letters or fewer, which are mostly those that hold a sentence together.
    ShortWord,
    Word,
    /// A word with a capital.
    Name,
    Capitals,
    Mixed,
    Line,
    Stop,
    Comma,
    Colon,
    Opens,
    Closes,
    Quote,
    Unit,
    Dash,
    Slash,
    Asks,
    Other,
}

impl Sign {
    pub(super) const COUNT: usize = Self::Other as usize + 1;

    fn of_mark(it: char) -> Self {
        match it {
            '\n' => Self::Line,
            '.' => Self::Stop,
            ',' | ';' => Self::Comma,
            ':' => Self::Colon,
            '(' | '[' | '{' | '<' => Self::Opens,
            ')' | ']' | '}' | '>' => Self::Closes,
            '"' | '\'' | '`' => Self::Quote,
            '$' | '€' | '£' | '%' | '#' => Self::Unit,
            '-' | '–' | '—' | '_' => Self::Dash,
            '/' | '\\' | '|' => Self::Slash,
            '!' | '?' => Self::Asks,
            _ => Self::Other,
        }
    }

    fn of_word(word: &str) -> Self {
        let mut rest = word.chars();
        let is_large = rest.next().is_some_and(char::is_uppercase);
        let (mut letters, mut large) = (0, 0);
        for it in rest {
            letters += 1;
            large += usize::from(it.is_uppercase());
        }
        match (is_large, large) {
            (false, 0) if letters < 3 => Self::ShortWord,
            (false, 0) => Self::Word,
            (true, 0) => Self::Name,
            (true, _) if large == letters => Self::Capitals,
            _ => Self::Mixed,
        }
    }

    /// The first sign of a text that does not begin with a space, and what comes after it.
    fn next(text: &str) -> (Self, &str) {
        let Some(first) = text.chars().next() else { return (Self::End, "") };
        if first.is_numeric() {
            let rest = text.trim_start_matches(char::is_numeric);
            let after = after_fraction(rest);
            return (if after.len() < rest.len() { Self::Fraction } else { Self::Number }, after);
        }
        if first.is_alphabetic() {
            let rest = text.trim_start_matches(char::is_alphabetic);
            return (Self::of_word(&text[..text.len() - rest.len()]), rest);
        }
        (Self::of_mark(first), &text[first.len_utf8()..])
    }
}

/// Past `.5` and `,000`.
fn after_fraction(mut rest: &str) -> &str {
    while let Some(more) = rest.strip_prefix(['.', ',']) {
        let after = more.trim_start_matches(char::is_numeric);
        if after.len() == more.len() {
            break;
        }
        rest = after;
    }
    rest
}

/// The first and the last signs of texts in a row.
#[derive(Debug, Default)]
struct Ends {
    first: [Sign; SIGNS],
    last: [Sign; SIGNS],
    count: usize,
}

impl Ends {
    fn put(&mut self, text: &str) {
        if text.len() <= 2 * END_BYTES {
            return self.put_all(text);
        }
        self.put_all(&text[..text.floor_char_boundary(END_BYTES)]);
        self.put_all(&text[text.ceil_char_boundary(text.len() - END_BYTES)..]);
    }

    fn put_all(&mut self, text: &str) {
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches(|it: char| it != '\n' && it.is_whitespace());
            if rest.is_empty() {
                return;
            }
            let (sign, after) = Sign::next(rest);
            rest = after;
            if let Some(place) = self.first.get_mut(self.count) {
                *place = sign;
            }
            self.last.rotate_left(1);
            self.last[SIGNS - 1] = sign;
            self.count = self.count.saturating_add(1);
        }
    }

    fn signs(&self) -> [Sign; 2 * SIGNS] {
        let mut out = [Sign::End; 2 * SIGNS];
        out[..SIGNS].copy_from_slice(&self.first);
        // Of fewer, those that are among the first are not said again.
        let more = self.count.saturating_sub(SIGNS).min(SIGNS);
        out[SIGNS..SIGNS + more].copy_from_slice(&self.last[SIGNS - more..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Sign::{
        self, Capitals, Closes, Fraction, Line, Mixed, Name, Number, Opens, ShortWord, Slash, Stop, Unit, Word,
    };
    use super::{Ends, Layout};

    #[test]
    fn what_is_put_to_a_result_shows() {
        for (text, expected) in [
            ("", &[][..]),
            ("$120/night", &[Unit, Number, Slash, Word]),
            ("$48.97 $159", &[Unit, Fraction, Unit, Number]),
            ("1,000.50", &[Fraction]),
            ("A word of HTTP, and aBc.", &[Name, Word, ShortWord, ShortWord, Mixed, Stop]),
            ("ÉCOLE école École", &[Capitals, Word, Name]),
            (" (\n ) ", &[Opens, Line, Closes]),
        ] {
            let mut ends = Ends::default();
            ends.put(text);
            let layout = Layout { ends: ends.signs(), form: 0 };
            let signs: Vec<Sign> = layout.pairs().map(|it| it.1).collect();
            assert_eq!(signs.split_last().unwrap(), (&Sign::End, expected), "{text}");
        }
    }

    #[test]
    fn of_long_texts_the_ends_are_read() {
        for text in ["é".repeat(100_000), "1".repeat(100_000), "a. ".repeat(100_000), " ".repeat(100_000)] {
            let mut ends = Ends::default();
            ends.put(&text);
            assert!(ends.count <= 512, "{text:.9}: {}", ends.count);
        }
    }
}
