//! What was hidden in the latest runs, so that it is hidden again wherever it comes back: plain, or in another coding. In
//! memory alone, and of this door alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE};

use crate::provenance::{decode, fold};

/// Runs that are remembered, and bytes of all their values; what finds them takes some 200 times as much. Full: the run that first
/// hid something is forgotten.
const RUNS_MAX: usize = 4_096;
const BYTES_MAX: usize = 256 * 1024;
/// Values of one run, and their bytes. Full: the run is, and nothing is added to it.
const RUN_VALUES_MAX: usize = 128;
const RUN_BYTES_MAX: usize = 16 * 1024;
/// Shorter values are found in words that have nothing to do with them.
const VALUE_MIN: usize = 6;
/// Of fewer letters and digits only the value as it stands is found, and not one taken apart.
const SQUEEZED_MIN: usize = 12;
/// How many codings may lie in each other.
pub(super) const CODINGS_MAX: u8 = 2;

/// A value, and what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) value: Box<str>,
    pub(super) pseudonym: Box<str>,
}

/// Values of one run, with what finds them.
#[derive(Clone, Default)]
pub(super) struct Values {
    all: Vec<Hidden>,
    /// In the characters as they stand.
    literal: Finder,
    /// In letters and digits alone, so that case, separators and the width of letters do not count.
    squeezed: Finder,
}

/// Most of an encoding on each side of a value that is hidden with it.
const BESIDE_MAX: usize = 1024;

/// Between what stands for several values of one place: of no token and no address.
pub(super) const BESIDE: &str = "~";

/// Where values stand in a text, in each other or over each other.
struct Place {
    at: Range<usize>,
    /// Each once, by where it begins.
    values: Vec<usize>,
}

/// Places of values in a text that are told, and one more for each four bytes of it.
const HITS_MIN: usize = 1024;

/// Of an encoding: how many characters hold the beginning of a value and how many its end, beside those that are the same wherever it
/// stands.
type Beside = Option<(usize, usize)>;

/// Literals, with the value that each is a form of, and what of it stands beside them.
#[derive(Clone, Default)]
struct Finder {
    finder: Option<AhoCorasick>,
    patterns: Vec<(usize, Beside)>,
}

impl Finder {
    fn new(forms: Vec<(Vec<u8>, usize, Beside)>) -> Self {
        let patterns = forms.iter().map(|(_, value, beside)| (*value, *beside)).collect();
        // Encodings that differ in case alone are other texts, and as rare.
        let mut builder = AhoCorasick::builder();
        // Made anew with each value, and then asked a few times: what is made fastest.
        builder.kind(Some(AhoCorasickKind::NoncontiguousNFA));
        let builder = builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard);
        Self { finder: builder.build(forms.into_iter().map(|it| it.0)).ok(), patterns }
    }

    /// Whether that was all. Values that somebody made up to stand in each other are in a text without end: that is a text to hide.
    fn each(&self, text: &[u8], mut f: impl FnMut(Range<usize>, usize, Beside)) -> bool {
        let mut left = HITS_MIN + text.len() / 4;
        for found in self.finder.iter().flat_map(|it| it.find_overlapping_iter(text)) {
            if left == 0 {
                return false;
            }
            left -= 1;
            let (value, beside) = self.patterns[found.pattern().as_usize()];
            f(found.range(), value, beside);
        }
        true
    }
}

impl Values {
    fn with(&self, more: &[Hidden]) -> Self {
        let mut all = self.all.clone();
        all.extend(more.iter().cloned());
        let (mut literal, mut squeezed) = (Vec::new(), Vec::new());
        for (at, it) in all.iter().enumerate() {
            literal.extend(forms(it.value.as_bytes()).into_iter().map(|(form, beside)| (form, at, beside)));
            let (letters, _) = squeeze(&it.value);
            if letters.len() >= SQUEEZED_MIN {
                squeezed.push((letters, at, None));
            }
        }
        Self { all, literal: Finder::new(literal), squeezed: Finder::new(squeezed) }
    }

    fn bytes(&self) -> usize {
        self.all.iter().map(|it| it.value.len()).sum()
    }

    /// The text with each of them hidden; `None` where there is none.
    pub(super) fn hide(&self, text: &str) -> Option<String> {
        let (mut out, mut copied) = (String::new(), 0);
        for place in self.find(text) {
            out.push_str(text.get(copied..place.at.start).unwrap_or_default());
            let pseudonyms: Vec<&str> = place.values.iter().map(|it| &*self.all[*it].pseudonym).collect();
            out.push_str(&pseudonyms.join(BESIDE));
            copied = place.at.end;
        }
        (copied > 0).then(|| out + text.get(copied..).unwrap_or_default())
    }

    /// What stands for each of them that is in a text.
    pub(super) fn within(&self, text: &str) -> Vec<&str> {
        let values: BTreeSet<usize> = self.find(text).into_iter().flat_map(|it| it.values).collect();
        values.into_iter().map(|it| &*self.all[it].pseudonym).collect()
    }

    /// Where they stand in a text, from its beginning on. Those that overlap share a place: what was added to a known one, so that
    /// the whole is another, does not keep the known one from being followed.
    fn find(&self, text: &str) -> Vec<Place> {
        let mut hits = if self.all.is_empty() { Vec::new() } else { self.hits(text, 0) };
        hits.sort_by_key(|(at, value)| (at.start, Reverse(at.end), *value));
        let mut places: Vec<Place> = Vec::new();
        for (at, value) in hits {
            match places.last_mut().filter(|it| at.start < it.at.end) {
                Some(place) => {
                    place.at.end = place.at.end.max(at.end);
                    if !place.values.contains(&value) {
                        place.values.push(value);
                    }
                }
                None => places.push(Place { at, values: vec![value] }),
            }
        }
        places
    }

    /// `codings`: how many the text was decoded from.
    fn hits(&self, text: &str, codings: u8) -> Vec<(Range<usize>, usize)> {
        let mut hits: Vec<(Range<usize>, usize)> = Vec::new();
        let mut is_all = self.literal.each(text.as_bytes(), |at, value, beside| {
            let at = match beside {
                Some(beside) => word_around(text.as_bytes(), at, beside),
                None => at,
            };
            hits.push((at, value));
        });
        let (letters, places) = squeeze(text);
        is_all &= self.squeezed.each(&letters, |at, value, _| {
            if let (Some(first), Some(last)) = (places.get(at.start), places.get(at.end - 1)) {
                hits.push((first.start..last.end, value));
            }
        });
        if !is_all {
            // Any of them may be in it.
            return (0..self.all.len()).map(|it| (0..text.len(), it)).collect();
        }
        if codings < CODINGS_MAX {
            // A line's end is no coding; what it breaks is one. Joined, a text has none.
            if let Some((plain, places)) = decode::joined(text) {
                let inner = self.hits(&plain, codings).into_iter();
                hits.extend(inner.map(|(at, value)| (places[at.start].start..places[at.end - 1].end, value)));
            }
            let pluses: &[u8] = if text.contains('+') { b" +" } else { b" " };
            for (plain, places) in pluses.iter().filter_map(|plus| decode::percent_text(text, *plus)) {
                let inner = self.hits(&plain, codings + 1).into_iter();
                hits.extend(inner.map(|(at, value)| (places[at.start].start..places[at.end - 1].end, value)));
            }
            // By where they begin: where they end, and how many hits are in them.
            let mut decodings: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
            for (at, decoded) in decode::each(text.as_bytes()) {
                let inner = self.hits(&decoded, codings + 1);
                if inner.is_empty() || decodings.get(&at.start).is_some_and(|it| it.0 > at.end) {
                    continue;
                }
                // The same text comes once more with what stands beside it, which is to stay.
                let within = decodings.range(at.clone()).filter(|(_, it)| it.0 <= at.end);
                let (begins, met): (Vec<usize>, Vec<usize>) = within.map(|(begin, it)| (*begin, it.1)).unzip();
                if met.iter().sum::<usize>() < inner.len() {
                    for begin in &begins {
                        decodings.remove(begin);
                    }
                    decodings.insert(at.start, (at.end, inner.len()));
                    hits.extend(inner.into_iter().map(|(_, value)| (at.clone(), value)));
                }
            }
        }
        hits
    }
}

/// What is remembered of a run.
#[derive(Clone, Default)]
pub(super) struct Run {
    pub(super) values: Arc<Values>,
    /// It has shown more than is remembered, so that nobody knows what in it is secret.
    pub(super) is_full: bool,
}

impl Run {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.values, &other.values) && self.is_full == other.is_full
    }

    /// With what a step shows, which may be `too_much` to be told apart. Takes as long as the values are long.
    fn with(&self, more: &[Hidden], too_much: bool) -> Self {
        let is_new = |it: &&Hidden| it.value.len() >= VALUE_MIN && !self.values.all.contains(it);
        let more: Vec<Hidden> = more.iter().filter(is_new).cloned().collect();
        if more.is_empty() || self.is_full {
            return Self { is_full: self.is_full || too_much, ..self.clone() };
        }
        let values = Arc::new(self.values.with(&more));
        let is_full = too_much || values.all.len() > RUN_VALUES_MAX || values.bytes() > RUN_BYTES_MAX;
        Self { values, is_full }
    }
}

/// Runs by their root.
#[derive(Default)]
struct Runs {
    all: HashMap<Box<str>, Run>,
    order: VecDeque<Box<str>>,
    bytes: usize,
    /// Values that were pushed out since somebody asked.
    forgotten: u64,
}

impl Runs {
    fn put(&mut self, root: &str, run: Run) {
        self.bytes += run.values.bytes();
        match self.all.insert(root.into(), run) {
            Some(before) => self.bytes -= before.values.bytes(),
            None => self.order.push_back(root.into()),
        }
        while self.order.len() > RUNS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            let Some(run) = self.all.remove(&oldest) else { continue };
            self.bytes -= run.values.bytes();
            self.forgotten += run.values.all.len() as u64;
        }
    }
}

/// Shared by all who take steps in at one door.
#[derive(Default)]
pub(super) struct Known(Mutex<Runs>);

impl Known {
    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_forgotten(&self) -> u64 {
        std::mem::take(&mut self.runs().forgotten)
    }

    /// The run, with what this step shows of it.
    pub(super) fn learn(&self, root: &str, more: &[Hidden], too_much: bool) -> Run {
        loop {
            let before = self.runs().all.get(root).cloned();
            if before.is_none() && more.is_empty() && !too_much {
                return Run::default();
            }
            let before = before.unwrap_or_default();
            // Nobody waits for it.
            let after = before.with(more, too_much);
            if after.is(&before) {
                return after;
            }
            if self.put(root, &before, &after) {
                return after;
            }
        }
    }

    /// Whether the run was still as it was `before`: another step of it may have shown something meanwhile.
    fn put(&self, root: &str, before: &Run, after: &Run) -> bool {
        let mut runs = self.runs();
        let unchanged = runs.all.get(root).is_none_or(|it| it.is(before));
        if unchanged {
            runs.put(root, after.clone());
        }
        unchanged
    }
}

/// A value as it may come back. What a whole run is an encoding of is decoded instead.
fn forms(value: &[u8]) -> Vec<(Vec<u8>, Beside)> {
    let (mut percent, mut hex) = (String::new(), String::with_capacity(2 * value.len()));
    for it in value {
        let _ = write!(hex, "{it:02x}");
        match it {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => percent.push(char::from(*it)),
            _ => {
                let _ = write!(percent, "%{it:02x}");
            }
        }
    }
    let mut out: Vec<_> = [value.to_vec(), percent.into_bytes(), hex.into_bytes()].map(|it| (it, None)).into();
    for phase in 0..3 {
        for alphabet in [STANDARD, URL_SAFE] {
            out.push(base64(value, phase, &alphabet));
        }
    }
    out.retain(|it| it.0.len() >= VALUE_MIN);
    out.sort_unstable();
    out.dedup_by(|a, b| a.0 == b.0);
    out
}

/// What is the same of a value in base64 whatever stands before and after it, when it begins `phase` bytes into a group; and how many
/// characters beside that hold something of it.
fn base64(value: &[u8], phase: usize, alphabet: &GeneralPurpose) -> (Vec<u8>, Beside) {
    let before = (3 - phase) % 3;
    let whole = value.get(before..).unwrap_or_default();
    let after = whole.len() % 3;
    // Of so many bytes: one more character than there are.
    let beside = [before, after].map(|it| if it == 0 { 0 } else { it + 1 });
    (alphabet.encode(&whole[..whole.len() - after]).into_bytes(), Some(beside.into()))
}

/// Letters and digits of a text in their plain form and small, each with where its character stands.
fn squeeze(text: &str) -> (Vec<u8>, Vec<Range<usize>>) {
    let plain = fold::plain(text).into_owned().into_iter().zip(fold::places(text));
    plain.filter(|it| it.0.is_ascii_alphanumeric() || it.0 >= 0x80).map(|it| (it.0.to_ascii_lowercase(), it.1)).unzip()
}

/// The word of an encoding that a part of it stands in, with the padding. A sign ends it, unless it holds something of the value: it may
/// be of the encoding, but as well of a path, a host or a name that it stands in.
fn word_around(text: &[u8], part: Range<usize>, (before, after): (usize, usize)) -> Range<usize> {
    let before = beside(text[..part.start].iter().rev(), before);
    let end = part.end + beside(text[part.end..].iter(), after);
    let padding = if after > 0 { text[end..].iter().take(2).take_while(|it| **it == b'=').count() } else { 0 };
    part.start - before..end + padding
}

/// How many characters beside it are of the encoding: those that hold something of the value, and letters and digits behind them.
fn beside<'t>(mut bytes: impl Iterator<Item = &'t u8>, held: usize) -> usize {
    let of_value = bytes.by_ref().take(held).take_while(|it| decode::is_in_run(**it)).count();
    if of_value < held {
        of_value
    } else {
        of_value + bytes.take(BESIDE_MAX).take_while(|it| it.is_ascii_alphanumeric()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::{Hidden, Known};

    fn hidden(value: &str) -> Hidden {
        Hidden { value: value.into(), pseudonym: format!("<{}>", value.len()).into() }
    }

    #[test]
    fn a_value_is_hidden_again_in_every_coding() {
        let known = Known::default();
        let hide = |root: &str, text: &str| known.learn(root, &[], false).values.hide(text);
        assert_eq!(hide("r", "hunter22x"), None);
        known.learn("r", &[hidden("hunter22x"), hidden("p@ss w0rd")], false);
        for (text, expected) in [
            ("it is hunter22x.", "it is <9>."),
            ("HUNTER22X and p@ss w0rd", "<9> and <9>"),
            ("x=p%40ss%20w0rd&y", "x=<9>&y"),
            // Some of its signs spelled, and others not.
            ("a.test/?x=h%75nter2%32x!&y", "a.test/?x=<9>!&y"),
            ("a.test/p@ss+w%30rd/é%41", "a.test/<9>/é%41"),
            // What was added to it, and another that it overlaps.
            ("pre-hunter22xyz-and-p@ss w0rd", "pre-<9>yz-and-<9>"),
            ("68756e746572323278", "<9>"),
            // "hunter22x" alone, behind one byte and behind two.
            ("aHVudGVyMjJ4", "<9>"),
            ("see eGh1bnRlcjIyeA== there", "see <9> there"),
            ("eHhodW50ZXIyMng=", "<9>"),
            // What stands beside it stays: the place that it goes to.
            ("https://api.corp.test/v1/aHVudGVyMjJ4", "https://api.corp.test/v1/<9>"),
            ("https://api.corp.test/v1/aHVudGVyMjJ4/x?y=1", "https://api.corp.test/v1/<9>/x?y=1"),
            ("a.test/aHVudGVyMjJ4=1", "a.test/<9>=1"),
            ("id_cEBzcyB3MHJk.", "id_<9>."),
        ] {
            assert_eq!(hide("r", text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "hunter22", "another text", "aHVudGVy"] {
            assert_eq!(hide("r", text), None, "{text}");
        }
        assert_eq!(hide("other", "hunter22x"), None, "of this run alone");
    }

    /// Two steps of a run at once: one is too much and shows nothing new, the other shows a value.
    #[test]
    fn a_full_run_stays_full() {
        let known = Known::default();
        known.learn("r", &[hidden("hunter22x")], false);
        let before = known.runs().all["r"].clone();
        let after = before.with(&[hidden("sunny-day-7")], false);
        assert!(known.learn("r", &[], true).is_full);
        assert!(!known.put("r", &before, &after), "it is another one by now");
        let run = known.learn("r", &[hidden("sunny-day-7")], false);
        assert!(run.is_full && known.learn("r", &[], false).is_full);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let known = Known::default();
        let many: Vec<_> = (0..300).map(|it| hidden(&format!("value-{it:03}"))).collect();
        let run = known.learn("r", &many, false);
        assert!(run.is_full && run.values.hide("value-000").is_some() && run.values.hide("value-299").is_some());
        let run = known.learn("r", &[hidden("one more value")], false);
        assert!(run.is_full && run.values.hide("one more value").is_none(), "nothing pushes out what is known");
        for root in 0..5_000 {
            assert!(!known.learn(&root.to_string(), &[hidden("another-value"), hidden("short")], false).is_full);
        }
        let forgotten = known.take_forgotten();
        assert_eq!(known.take_forgotten(), 0);
        let runs = known.runs();
        assert_eq!(forgotten, 300 + 5_000 - runs.all.len() as u64);
        assert!(!runs.all.contains_key("r") && runs.all.len() == runs.order.len());
        assert_eq!(runs.bytes, runs.all.len() * "another-value".len());
    }
}
