//! One form of a value, whatever its case and, unless it is an address, its separators.

use super::atom::{Atom, Coding, Flag};
use super::scan::{CLASS, DIGIT, HIGH, LETTER};
use super::sip::Key;

/// Characters of a value that identify it; longer ones are told apart by these.
const VALUE_MAX: usize = 192;

/// A value in its canonical form.
pub(super) struct Canonical<'v> {
    value: &'v [u8],
    form: [u8; VALUE_MAX],
    length: usize,
    address: bool,
    /// Has a capital.
    upper: bool,
}

/// Bits of [`KEPT`]: what stays of an address, what stays of anything else, and what says which of them a value is.
const OF_ADDRESS: u8 = 1;
const OF_OTHER: u8 = 2;
const MARKS_ADDRESS: u8 = 4;
const UPPER: u8 = 8;

const KEPT: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let it = at as u8;
        let other = if CLASS[at] & (LETTER | DIGIT | HIGH) != 0 { OF_OTHER } else { 0 };
        let address = if it == b' ' { 0 } else { OF_ADDRESS };
        let marks = if matches!(it, b'@' | b'.' | b'/') { MARKS_ADDRESS } else { 0 };
        let upper = if it.is_ascii_uppercase() { UPPER } else { 0 };
        table[at] = other | address | marks | upper;
        at += 1;
    }
    table
};

impl<'v> Canonical<'v> {
    /// Lower case; of an address everything counts, of anything else not the separators, which people put where they like.
    pub(super) fn of(value: &'v [u8]) -> Self {
        let value = &value[..value.len().min(VALUE_MAX)];
        let (marks, all) = value.iter().map(|it| KEPT[usize::from(*it)]).fold((0, !0), |(a, b), it| (a | it, b & it));
        let (address, upper) = (marks & MARKS_ADDRESS != 0, marks & UPPER != 0);
        let mut it = Self { value, form: [0; VALUE_MAX], length: value.len(), address, upper };
        let keeps = if address { OF_ADDRESS } else { OF_OTHER };
        if upper || all & keeps == 0 {
            it.fill(keeps);
        } else {
            // Most values are in this form already.
            it.form[..value.len()].copy_from_slice(value);
        }
        it
    }

    /// Every character is written, and kept where the place moves on.
    fn fill(&mut self, keeps: u8) {
        self.length = 0;
        for it in self.value {
            self.form[self.length] = it.to_ascii_lowercase();
            self.length += usize::from(KEPT[usize::from(*it)] & keeps != 0);
        }
    }

    pub(super) fn loosen(&mut self) {
        self.fill(OF_OTHER);
    }

    pub(super) fn strict(&self) -> &[u8] {
        &self.form[..self.length]
    }

    /// Whether separators tell it from another.
    pub(super) fn is_address(&self) -> bool {
        self.address
    }

    pub(super) fn atom(&self, key: &Key, bits: u8, sentence: u16, flags: Flag, coding: Coding) -> Atom {
        let (raw, lower) = self.tags();
        Atom { hash: key.hash(self.strict()), raw, lower, bits, sentence, flags, coding }
    }

    /// Of the value as it stands and in lower case.
    pub(super) fn tags(&self) -> (u16, u16) {
        let raw = Atom::tag(self.value);
        let lower = if !self.upper {
            raw
        } else if self.length == self.value.len() {
            // Where nothing was left out the canonical form is the one in lower case.
            Atom::tag(self.strict())
        } else {
            let mut lower = [0; VALUE_MAX];
            for (to, from) in lower.iter_mut().zip(self.value) {
                *to = from.to_ascii_lowercase();
            }
            Atom::tag(&lower[..self.value.len()])
        };
        (raw, lower)
    }
}

#[cfg(test)]
mod tests {
    use super::{Atom, Canonical, Coding, Flag, Key};

    #[test]
    fn case_and_separators() {
        let shown = |value: &str, loose: bool| {
            let mut it = Canonical::of(value.as_bytes());
            if loose {
                it.loosen();
            }
            String::from_utf8_lossy(it.strict()).into_owned()
        };
        for (value, strict, loose) in [
            ("", "", ""),
            ("---", "", ""),
            ("Lily White", "lilywhite", "lilywhite"),
            ("CH93 0076-2011", "ch9300762011", "ch9300762011"),
            ("Ada.L@Example.com", "ada.l@example.com", "adalexamplecom"),
            ("src/a b-c", "src/ab-c", "srcabc"),
        ] {
            assert_eq!((shown(value, false), shown(value, true)), (strict.to_owned(), loose.to_owned()), "{value}");
        }
        assert_eq!(
            shown(&"aB-".repeat(100), false),
            "ab".repeat(64),
            "what is beyond the first characters is left out"
        );
    }

    /// The tags are those of the value as it stands and in lower case, however they come about.
    #[test]
    fn tags_of_every_kind_of_value() {
        for value in ["abc-1", "Abc-1", "abc1", "ABC1", "a.b@c", "A.b@C d", "", "é1", &"Long-1".repeat(60)] {
            let bytes = value.as_bytes();
            let head = &bytes[..bytes.len().min(super::VALUE_MAX)];
            for loose in [false, true] {
                let mut it = Canonical::of(bytes);
                if loose {
                    it.loosen();
                }
                let atom = it.atom(&Key::default(), 20, 0, Flag::NONE, Coding::NONE);
                let expected = (Atom::tag(head), Atom::tag(&head.to_ascii_lowercase()));
                assert_eq!((atom.raw, atom.lower), expected, "{value} {loose}");
                assert_eq!(atom.hash, Key::default().hash(it.strict()));
            }
        }
    }
}
