//! How many bits of surprise there are in meeting a value twice by chance: below a threshold it links nothing.
//!
//! Estimated from the value alone: a word of the language says little however long it is, a digit 3.3 bits, and
//! separators nothing. What is usual for one agent (its own domain in every address) is for its baseline to know.

/// A value of fewer bits links nothing: "yes", "2024", "general", a date, a round price.
pub const GATE_BITS: u8 = 18;

/// The most that is told apart: whatever has more is rare enough by any rule below, and is not read to its end.
const BITS_MAX: u32 = 48;

/// Characters of a value that are read.
const READ_MAX: usize = 192;

/// Bits of a value. Case and accents count for nothing.
pub(super) fn bits(value: &[u8]) -> u8 {
    let value = &value[..value.len().min(READ_MAX)];
    let mut shape = Shape::default();
    let mut rest = value;
    while let [first, more @ ..] = rest
        && shape.bits < BITS_MAX
    {
        let class = CLASSES[usize::from(*first)];
        let length = more.iter().position(|it| CLASSES[usize::from(*it)] != class).unwrap_or(more.len());
        rest = &more[length..];
        shape.segment(class, u32::try_from(1 + length).unwrap_or(u32::MAX), *first);
    }
    u8::try_from(shape.total().min(BITS_MAX)).unwrap_or(u8::MAX)
}

/// [`bits`] of letters alone.
pub(super) const fn bits_of_word(word: &[u8]) -> u8 {
    match word.len() {
        0 => 0,
        1 => 3,
        2 => 6,
        3 => 9,
        4..=6 => 12,
        7.. => 14,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letters,
    Digits,
    Other,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = match at as u8 {
            b'0'..=b'9' => Class::Digits,
            b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => Class::Letters,
            _ => Class::Other,
        };
        at += 1;
    }
    table
};

#[derive(Default)]
struct Shape {
    bits: u32,
    words: u32,
    numbers: u32,
    digits: u32,
    address: bool,
    /// Words that begin with a capital after a space: a name.
    name: u32,
    date: bool,
    last: Option<(Class, u8)>,
}

impl Shape {
    fn segment(&mut self, class: Class, length: u32, first: u8) {
        match class {
            Class::Letters => {
                self.words += 1;
                let begins = matches!(self.last, None | Some((Class::Other, b' ')));
                self.name += u32::from(first.is_ascii_uppercase() && begins && length > 1);
                self.bits += (3 * length).min(12) + u32::from(length > 6) * 2;
            }
            Class::Digits => {
                self.numbers += 1;
                self.digits += length;
                self.bits = self.bits.saturating_add(length.saturating_mul(10) / 3);
            }
            Class::Other => {
                self.address |= matches!(first, b'@' | b'.') && self.words + self.numbers > 0;
                self.date |= matches!(first, b'-' | b'/' | b':' | b'.' | b',' | b' ') && length == 1;
            }
        }
        self.last = Some((class, first));
    }

    fn total(&self) -> u32 {
        // 2024-05-15, 10:30, 15/05, 1,200.50: many digits, few possibilities.
        if self.words == 0 && self.numbers >= 2 && self.digits <= 8 && self.date {
            return self.bits.min(12);
        }
        // "well-known", "and/or", `max_length`: words of the language joined.
        if self.numbers == 0 && self.words == 2 && !self.address && self.name < 2 {
            return self.bits.min(u32::from(GATE_BITS) - 1);
        }
        self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::{GATE_BITS, bits, bits_of_word};

    #[test]
    fn letters_alone_are_counted_by_their_length() {
        for length in 0..=300 {
            for letter in [b'a', b'Z', 0xc3] {
                let word = vec![letter; length];
                assert_eq!(bits_of_word(&word), bits(&word), "{length} of {letter}");
            }
        }
    }

    #[test]
    fn what_links_and_what_does_not() {
        for value in [
            "yes",
            "2024",
            "general",
            "information",
            "2024-05-15",
            "10:30",
            "1200.50",
            "12345",
            "13",
            "Bob",
            "e.g",
            "well-known",
            "and/or",
            "get_user",
            "true",
            "team sync",
            "",
        ] {
            assert!(bits(value.as_bytes()) < GATE_BITS, "{value}: {}", bits(value.as_bytes()));
        }
        for value in [
            "ada@example.com",
            "US133000000121212121212",
            "www.secure-systems-252.com",
            "mia_li_3668",
            "HAT0693X",
            "bill-december-2023.txt",
            "src/utils/helpers",
            "file_26ab",
            "1234567",
            "evil.com",
            "4421486",
            "Dinner with Sarah",
            "Lily White",
        ] {
            assert!(bits(value.as_bytes()) >= GATE_BITS, "{value}: {}", bits(value.as_bytes()));
        }
    }
}
