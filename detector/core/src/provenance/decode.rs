//! Text inside text: percent-encoding, hexadecimal and base64, where what comes out is text again.

use std::ops::Range;

use super::atom::Coding;

/// Most bytes of one run of characters that are decoded.
pub(super) const DECODED_MAX: usize = 4096;
/// Shorter runs are words and numbers that happen to look like an encoding.
pub(crate) const RUN_MIN: usize = 16;

/// Shortest part of a run that is decoded: six characters in base64.
pub(super) const PART_MIN: usize = 8;
/// Shortest stretch of text between bytes that are none.
const TEXT_MIN: usize = 6;

/// Base64 in the standard or the URL alphabet, without its padding, from `phase` characters on.
pub(super) fn base64(run: &[u8], phase: usize, out: &mut Vec<u8>) -> bool {
    out.clear();
    let run = &run[phase.min(run.len())..];
    let run = &run[..run.len().min(DECODED_MAX / 3 * 4)];
    let mut odd = 0;
    for group in run.chunks(4) {
        let mut word = 0_u32;
        for it in group {
            let Some(six) = six_bits(*it) else { return false };
            word = word << 6 | six;
        }
        let bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => break,
        };
        word <<= 6 * (4 - u32::try_from(group.len()).unwrap_or(4));
        let [_, decoded @ ..] = word.to_be_bytes();
        let decoded = &decoded[..bytes];
        odd += odd_of(decoded);
        if shows_no_text(out.len() + bytes, odd) {
            return false;
        }
        match decoded.first_chunk::<3>() {
            // The length is known: no call to copy three bytes.
            Some(decoded) => out.extend_from_slice(decoded),
            None => out.extend_from_slice(decoded),
        }
    }
    is_text(out.len(), odd)
}

const fn six_bits(it: u8) -> Option<u32> {
    Some(match it {
        b'A'..=b'Z' => it - b'A',
        b'a'..=b'z' => it - b'a' + 26,
        b'0'..=b'9' => it - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    } as u32)
}

/// Pairs of hexadecimal digits.
pub(super) fn hex(run: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut odd = 0;
    for pair in run[..run.len().min(2 * DECODED_MAX)].chunks_exact(2) {
        let (Some(high), Some(low)) = (four_bits(pair[0]), four_bits(pair[1])) else { return false };
        let decoded = high << 4 | low;
        odd += odd_of(&[decoded]);
        if shows_no_text(out.len() + 1, odd) {
            return false;
        }
        out.push(decoded);
    }
    run.len().is_multiple_of(2) && is_text(out.len(), odd)
}

const fn four_bits(it: u8) -> Option<u8> {
    match it {
        b'0'..=b'9' => Some(it - b'0'),
        b'a'..=b'f' => Some(it - b'a' + 10),
        b'A'..=b'F' => Some(it - b'A' + 10),
        _ => None,
    }
}

/// Percent-encoding, up to so many bytes. `false` when there is none.
pub(super) fn percent(run: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut found = false;
    for (byte, length) in spelled(run).take(max) {
        out.push(byte);
        found |= length > 1;
    }
    found
}

/// A text without percent-encoding, with where each byte of it stands; `None` where none is encoded. Any sign may be spelled or not.
/// `plus`: what `+` is, a space in forms and itself in paths.
pub(crate) fn percent_text(text: &str, plus: u8) -> Option<(String, Vec<Range<usize>>)> {
    if !text.contains('%') {
        return None;
    }
    let (mut bytes, mut places, mut at) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()), 0);
    for (byte, length) in spelled(text.as_bytes()) {
        bytes.push(if text.as_bytes()[at] == b'+' { plus } else { byte });
        places.push(at..at + length);
        at += length;
    }
    if bytes.len() == text.len() {
        return None;
    }
    let (mut plain, mut of_plain, mut next) = (String::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()), 0);
    for chunk in bytes.utf8_chunks() {
        let (valid, invalid) = (chunk.valid(), chunk.invalid());
        plain.push_str(valid);
        of_plain.extend_from_slice(&places[next..next + valid.len()]);
        next += valid.len();
        if !invalid.is_empty() {
            let odd = places[next].start..places[next + invalid.len() - 1].end;
            plain.push(char::REPLACEMENT_CHARACTER);
            of_plain.resize(plain.len(), odd);
            next += invalid.len();
        }
    }
    Some((plain, of_plain))
}

/// A text whose lines are joined, with where each byte of it stands; `None` where it has one. Programs break a long run into lines and
/// indent them.
pub(crate) fn joined(text: &str) -> Option<(String, Vec<Range<usize>>)> {
    if !text.contains(['\n', '\r']) {
        return None;
    }
    let (mut out, mut places, mut is_new) = (String::with_capacity(text.len()), Vec::with_capacity(text.len()), false);
    for (at, it) in text.char_indices() {
        is_new = matches!(it, '\n' | '\r') || is_new && it.is_ascii_whitespace();
        if !is_new {
            out.push(it);
            places.resize(out.len(), at..at + it.len_utf8());
        }
    }
    Some((out, places))
}

/// Bytes of percent-encoding, each with how many characters it is written with; `+` is a space, as forms have it.
fn spelled(run: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = *run.get(at)?;
        let four_bits = |at: usize| run.get(at).copied().and_then(four_bits);
        let pair = if first == b'%' { four_bits(at + 1).zip(four_bits(at + 2)) } else { None };
        let (byte, length) = match (first, pair) {
            (_, Some((high, low))) => (high << 4 | low, 3),
            (b'+', None) => (b' ', 1),
            (it, None) => (it, 1),
        };
        at += length;
        Some((byte, length))
    })
}

/// Characters that runs of an encoding are made of, but for the padding at their end.
pub(crate) const fn is_in_run(it: u8) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, b'%' | b'+' | b'/' | b'-' | b'_')
}

/// How far the run goes that begins here, with its padding; `None` where it is too short to be an encoding.
pub(crate) fn run(text: &[u8]) -> Option<usize> {
    let length = text.iter().take_while(|it| is_in_run(**it)).count();
    let padding = text[length..].iter().take(2).take_while(|it| **it == b'=').count();
    (length >= RUN_MIN || text[..length].contains(&b'%')).then_some(length + padding)
}

/// Where each run of a text stands.
pub(crate) fn runs(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let from = at + text[at..].iter().take_while(|it| !is_in_run(**it)).count();
            if let Some(length) = run(&text[from..]) {
                at = from + length;
                return Some(from..at);
            }
            at = from + text[from..].iter().take_while(|it| is_in_run(**it)).count();
        }
        None
    })
}

/// What a text holds in hexadecimal and base64, and where each stands: as a whole run, and beside other things in a path, a host or a
/// name (`/p/…`, `id_…`, `0x…`).
pub(crate) fn each(text: &[u8]) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    for run in runs(text) {
        let bytes = &text[run.clone()];
        // A slash may be of the encoding, or of a path: what is found between two of them stands before what goes over them.
        let whole = bytes.contains(&b'/').then_some(0..bytes.len());
        for part in parts(bytes, |it| it == b'/').chain(whole) {
            inside(&bytes[part.clone()], &mut |at, _, decoded| {
                if at.len() >= RUN_MIN {
                    let from = run.start + part.start;
                    found.push((from + at.start..from + at.end, String::from_utf8_lossy(decoded).into_owned()));
                }
            });
        }
    }
    found
}

/// Is told where in a run something is encoded, how, and what comes out.
type Tell<'f> = dyn FnMut(Range<usize>, Coding, &[u8]) + 'f;

/// Texts that stand in hexadecimal or base64 somewhere in a run: from whatever character on, however long. It has no padding inside.
///
/// A run is decoded from each place in which its groups can begin (two, and four), and to its end: what stands before an
/// encoding in the same run comes out as bytes that are no text, and so does what stands behind.
pub(super) fn inside(run: &[u8], tell: &mut Tell<'_>) {
    let mut out = Vec::new();
    for part in parts(run, |it| !it.is_ascii_hexdigit()) {
        for phase in 0..2 {
            let from = part.start + phase;
            out.clear();
            let pairs = run[from.min(part.end)..part.end].as_chunks::<2>().0;
            out.extend(pairs.iter().filter_map(|[high, low]| Some(four_bits(*high)? << 4 | four_bits(*low)?)));
            texts(&out, |it| tell(from + 2 * it.start..from + 2 * it.end, Coding::HEX, &out[it]));
        }
    }
    for part in parts(run, |it| six_bits(it).is_none()) {
        for phase in 0..4 {
            let from = part.start + phase;
            out.clear();
            for group in run[from.min(part.end)..part.end].chunks(4) {
                let word = group.iter().fold(0, |word, it| word << 6 | six_bits(*it).unwrap_or(0));
                let [_, decoded @ ..] = (word << (6 * (4 - group.len()))).to_be_bytes();
                // Of a group that is cut, six bits alone are no byte.
                out.extend_from_slice(&decoded[..group.len() * 6 / 8]);
            }
            let place = |at: usize| at / 3 * 4 + (at % 3 * 8).div_ceil(6);
            texts(&out, |it| {
                let end = (from + place(it.end)).min(part.end);
                tell(from + it.start / 3 * 4 + it.start % 3..end, Coding::BASE64, &out[it]);
            });
        }
    }
}

/// Where there is text in what was decoded: stretches that can be printed, then all of it where most can. The former stand for
/// themselves where something stood beside the encoding.
fn texts(decoded: &[u8], mut tell: impl FnMut(Range<usize>)) {
    let odd = odd_of(decoded);
    let mut next = 0;
    for stretch in decoded.split(|it| is_odd(*it)) {
        let at = next..next + stretch.len();
        next = at.end + 1;
        if stretch.len() >= TEXT_MIN {
            tell(at);
        }
    }
    if odd > 0 && is_text(decoded.len(), odd) {
        tell(0..decoded.len());
    }
}

/// Where the parts of a run stand that are long enough to be an encoding.
fn parts(run: &[u8], divides: impl Fn(u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    let part = move |it: &[u8]| {
        let at = next..next + it.len();
        next = at.end + 1;
        at
    };
    run.split(move |it| divides(*it)).map(part).filter(|it| it.len() >= PART_MIN)
}

fn bare(run: &[u8]) -> &[u8] {
    &run[..run.len() - run.iter().rev().take_while(|it| **it == b'=').count()]
}

/// The text that a whole run is an encoding of, in any of them.
pub(crate) fn any(run: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if run.contains(&b'%') && percent(run, DECODED_MAX, &mut out) {
        return Some(out);
    }
    let bare = bare(run);
    let is_encoded = bare.len() >= RUN_MIN
        && bare.iter().any(|it| !it.is_ascii_alphabetic())
        && (hex(bare, &mut out) || base64(bare, 0, &mut out));
    is_encoded.then_some(out)
}

/// Nine of ten bytes can be printed.
const fn is_text(bytes: usize, odd: usize) -> bool {
    bytes >= 4 && odd * 10 <= bytes
}

/// Whether the first bytes say already that no text begins like that: two of the first twelve cannot be printed. Most of
/// what is tried is no encoding, and shows it within three or four bytes.
const fn shows_no_text(bytes: usize, odd: usize) -> bool {
    bytes <= 12 && odd >= 2
}

/// How many cannot be printed.
fn odd_of(bytes: &[u8]) -> usize {
    bytes.iter().filter(|it| is_odd(**it)).count()
}

const fn is_odd(it: u8) -> bool {
    !(it.is_ascii_graphic() || it.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::{base64, each, hex, joined, percent, percent_text};

    #[test]
    fn decodes_text_and_nothing_else() {
        let mut out = Vec::new();
        let mut check = |decode: &dyn Fn(&[u8], &mut Vec<u8>) -> bool, run: &str, expected: Option<&str>| {
            let got = decode(run.as_bytes(), &mut out).then(|| String::from_utf8_lossy(&out).into_owned());
            assert_eq!(got.as_deref(), expected, "{run}");
        };
        let plain = |run: &[u8], out: &mut Vec<u8>| base64(run, 0, out);
        let url = |run: &[u8], out: &mut Vec<u8>| percent(run, 99, out);
        check(&plain, "YWRhQGV4YW1wbGUuY29t", Some("ada@example.com"));
        check(&plain, "c2VjcmV0LXZhbHVlLTEy", Some("secret-value-12"));
        check(&plain, "c2VjcmV0LXZhbHVlLTE", Some("secret-value-1"));
        check(&plain, "Pz8_Pj4-YWJjZGVm", Some("???>>>abcdef"));
        check(&plain, "internationalization", None);
        check(&plain, "not base64!", None);
        check(&|run, out| base64(run, 1, out), "xYWRhQGV4YW1wbGUuY29t", Some("ada@example.com"));
        check(&hex, "616461406578616d706c652e636f6d", Some("ada@example.com"));
        check(&hex, "616461406578616d706c652e636f6d7", None);
        check(&hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709", None);
        check(&url, "ada%40example.com", Some("ada@example.com"));
        check(&url, "a+b%20c%zz", Some("a b c%zz"));
        check(&url, "100%", None);
    }

    #[test]
    fn percent_encoding_is_known_by_its_place() {
        for (text, plus, expected) in [
            ("a%40b", b' ', Some(("a@b", vec!["a", "%40", "b"]))),
            ("+%c3%a9é", b'+', Some(("+éé", vec!["+", "%c3", "%a9", "\u{fffd}", "\u{fffd}"]))),
            ("+%ff%", b' ', Some((" \u{fffd}%", vec!["+", "%ff", "%ff", "%ff", "%"]))),
            ("100% +", b' ', None),
            ("%4", b' ', None),
            ("", b' ', None),
        ] {
            let got = percent_text(text, plus);
            let places = |it: &[std::ops::Range<usize>]| -> Vec<String> {
                it.iter().map(|it| String::from_utf8_lossy(&text.as_bytes()[it.clone()]).into_owned()).collect()
            };
            let got = got.as_ref().map(|(plain, at)| (&**plain, places(at)));
            assert_eq!(got, expected.map(|(plain, at)| (plain, at.into_iter().map(str::to_owned).collect())), "{text}");
        }
    }

    #[test]
    fn lines_are_joined_by_their_place() {
        let (text, places) = joined("ab\r\n  é\nc d").unwrap();
        assert_eq!(text, "abéc d");
        assert_eq!(places, [0..1, 1..2, 6..8, 6..8, 9..10, 10..11, 11..12]);
        assert_eq!(joined("one line"), None);
    }

    #[test]
    fn what_stands_beside_other_things_is_found() {
        for (text, expected) in [
            ("see 616461406578616d706c65", vec![("616461406578616d706c65", "ada@example")]),
            ("a.test/p/0x616461406578616d706c65/q", vec![("616461406578616d706c65", "ada@example")]),
            ("a.test/id_a616461406578616d706c65", vec![("616461406578616d706c65", "ada@example")]),
            ("a.test/YWRhQGV4YW1wbGUuY29tLg==?q", vec![("YWRhQGV4YW1wbGUuY29tLg", "ada@example.com.")]),
            ("a.test/abc/YWRhQGV4YW1wbGUuY29t", vec![("YWRhQGV4YW1wbGUuY29t", "ada@example.com")]),
            ("id-YWRhQGV4YW1wbGUuY29t", vec![("YWRhQGV4YW1wbGUuY29t", "ada@example.com")]),
            ("session-id-YWRhQGV4YW1wbGUuY29t", vec![("YWRhQGV4YW1wbGUuY29t", "ada@example.com")]),
            ("abcdefYWRhQGV4YW1wbGUuY29t-logo", vec![("YWRhQGV4YW1wbGUuY29t", "ada@example.com")]),
            ("a.test/0xda39a3ee5e6b4b0d3255bfef95601890afd80709/internationalization/of-a-long-path", vec![]),
            ("7c9e6679-7425-40de-944b-e07fc1f90ae7 and 0x52908400098527886E0F7030069857D2E4169EE7", vec![]),
        ] {
            let found = each(text.as_bytes());
            let found: Vec<_> = found.iter().map(|(at, decoded)| (&text[at.clone()], &**decoded)).collect();
            // A word right before an encoding may come out as a few printable characters.
            let is =
                |it: &(&str, &str), expected: &(&str, &str)| it.0.ends_with(expected.0) && it.1.ends_with(expected.1);
            assert!(expected.iter().all(|it| found.iter().any(|found| is(found, it))), "{text}: {found:?}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{text}: {found:?}");
        }
    }
}
