//! One spelling for characters that look or mean the same, so that a value is recognised however it was typed.
//!
//! What compatibility normalisation (NFKC) does to the characters that occur in addresses, numbers and names, and no more:
//! full-width and mathematical letters and digits become ASCII, accents are taken off Latin letters, invisible characters
//! vanish, dashes, quotes and spaces become the plain ones. A table of our own, because the value is stored: a newer
//! Unicode version of a library must not change what an old session knows.

use std::borrow::Cow;
use std::ops::Range;

/// `text` with every character in its plain form. Borrowed when it is ASCII, which is nearly always.
pub(crate) fn plain(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    for it in text.chars() {
        push(it, &mut out);
    }
    Cow::Owned(out)
}

/// Where in `text` each byte of its plain form comes from.
pub(crate) fn places(text: &str) -> Vec<Range<usize>> {
    let (mut places, mut plain) = (Vec::with_capacity(text.len()), Vec::with_capacity(4));
    for (at, it) in text.char_indices() {
        plain.clear();
        push(it, &mut plain);
        places.resize(places.len() + plain.len(), at..at + it.len_utf8());
    }
    places
}

/// Appends the plain form of a character, which may be nothing.
pub(crate) fn push(it: char, out: &mut Vec<u8>) {
    let code = u32::from(it);
    let ascii = |base: u8, offset: u32| base + u8::try_from(offset).unwrap_or(0);
    match code {
        0..0x80 => out.push(ascii(0, code)),
        0xA0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => out.push(b' '),
        0x2028 | 0x2029 | 0x85 => out.push(b'\n'),
        // Soft hyphen, zero-width characters, marks of direction, combining accents, variation selectors, tags.
        0xAD
        | 0x0300..=0x036F
        | 0x200B..=0x200F
        | 0x202A..=0x202E
        | 0x2060..=0x206F
        | 0xFE00..=0xFE0F
        | 0xFEFF
        | 0xE0000..=0xE007F => {}
        0x2010..=0x2015 | 0x2212 | 0xFE58 | 0xFE63 => out.push(b'-'),
        0x2018..=0x201B | 0x2032 => out.push(b'\''),
        0x201C..=0x201F | 0x2033 | 0xAB | 0xBB => out.push(b'"'),
        0x3002 | 0xFF61 => out.push(b'.'),
        0xFF01..=0xFF5E => out.push(ascii(b'!', code - 0xFF01)),
        // Bold, italic, script, fraktur, double-struck, sans-serif and monospace letters come in runs of 26.
        0x1D400..=0x1D6A3 => {
            let at = (code - 0x1D400) % 52;
            out.push(if at < 26 { ascii(b'A', at) } else { ascii(b'a', at - 26) });
        }
        0x1D7CE..=0x1D7FF => out.push(ascii(b'0', (code - 0x1D7CE) % 10)),
        0x24B6..=0x24CF => out.push(ascii(b'A', code - 0x24B6)),
        0x24D0..=0x24E9 => out.push(ascii(b'a', code - 0x24D0)),
        0x2460..=0x2468 => out.push(ascii(b'1', code - 0x2460)),
        0x2080..=0x2089 => out.push(ascii(b'0', code - 0x2080)),
        0x2070 | 0x2074..=0x2079 => out.push(ascii(b'0', code - 0x2070)),
        0xB9 => out.push(b'1'),
        0xB2 | 0xB3 => out.push(ascii(b'2', code - 0xB2)),
        0x0660..=0x0669 => out.push(ascii(b'0', code - 0x0660)),
        0x06F0..=0x06F9 => out.push(ascii(b'0', code - 0x06F0)),
        0xC0..=0x17F => match latin(code) {
            Some(letters) => out.extend_from_slice(letters),
            None => keep(it, out),
        },
        _ => keep(it, out),
    }
}

fn keep(it: char, out: &mut Vec<u8>) {
    let mut utf8 = [0; 4];
    for lower in it.to_lowercase() {
        out.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
    }
}

/// Letters of Latin-1 and Latin Extended-A without their accents.
fn latin(code: u32) -> Option<&'static [u8]> {
    /// First code, last code, letters. Capitals and small letters alternate from U+0100 on.
    const RANGES: &[(u32, u32, &[u8])] = &[
        (0xC0, 0xC5, b"A"),
        (0xC6, 0xC6, b"AE"),
        (0xC7, 0xC7, b"C"),
        (0xC8, 0xCB, b"E"),
        (0xCC, 0xCF, b"I"),
        (0xD1, 0xD1, b"N"),
        (0xD2, 0xD6, b"O"),
        (0xD8, 0xD8, b"O"),
        (0xD9, 0xDC, b"U"),
        (0xDD, 0xDD, b"Y"),
        (0xDF, 0xDF, b"ss"),
        (0xE0, 0xE5, b"a"),
        (0xE6, 0xE6, b"ae"),
        (0xE7, 0xE7, b"c"),
        (0xE8, 0xEB, b"e"),
        (0xEC, 0xEF, b"i"),
        (0xF1, 0xF1, b"n"),
        (0xF2, 0xF6, b"o"),
        (0xF8, 0xF8, b"o"),
        (0xF9, 0xFC, b"u"),
        (0xFD, 0xFD, b"y"),
        (0xFF, 0xFF, b"y"),
        (0x100, 0x105, b"a"),
        (0x106, 0x10D, b"c"),
        (0x10E, 0x111, b"d"),
        (0x112, 0x11B, b"e"),
        (0x11C, 0x123, b"g"),
        (0x124, 0x127, b"h"),
        (0x128, 0x131, b"i"),
        (0x134, 0x135, b"j"),
        (0x136, 0x138, b"k"),
        (0x139, 0x142, b"l"),
        (0x143, 0x148, b"n"),
        (0x14C, 0x151, b"o"),
        (0x152, 0x153, b"oe"),
        (0x154, 0x159, b"r"),
        (0x15A, 0x161, b"s"),
        (0x162, 0x167, b"t"),
        (0x168, 0x173, b"u"),
        (0x174, 0x175, b"w"),
        (0x176, 0x178, b"y"),
        (0x179, 0x17E, b"z"),
        (0x17F, 0x17F, b"s"),
    ];
    RANGES.iter().find(|(from, to, _)| (*from..=*to).contains(&code)).map(|(_, _, letters)| *letters)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn looks_the_same_is_the_same() {
        for (text, expected) in [
            ("ada@example.com", "ada@example.com"),
            ("ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", "ada@example.com"),
            ("𝐚𝐝𝐚@𝓮𝔁ample.𝚌𝚘𝚖", "ada@example.com"),
            ("a\u{200b}da\u{ad}", "ada"),
            ("Zoe\u{308} Müller", "Zoe Muller"),
            ("Zoë Mu\u{308}ller", "Zoe Muller"),
            ("１２３ ②³ ٣", "123 23 3"),
            ("a–b—c “d”", "a-b-c \"d\""),
            ("łódź straße", "lodz strasse"),
            ("a\u{a0}b", "a b"),
            ("Ω日本", "ω日本"),
        ] {
            assert_eq!(String::from_utf8_lossy(&plain(text)), expected, "{text}");
        }
    }
}
