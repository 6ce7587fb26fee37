//! Sentences of the results of a session, as fingerprints of their words, prose also as word pieces.
//!
//! Results lie on sheets, the oldest first, each stored as a page of its own: a step writes the sheet that it added to.

use std::collections::VecDeque;

use martingale_schemas::StepId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::provenance::pages::{Page, PageRef, Paged, Pages};

/// Limits of one session. Full: the oldest result goes with all its sentences, and values that came from it count as coming
/// from nowhere.
const READS_MAX: usize = PLACES;
pub(super) const SENTENCES_MAX: usize = 256;
pub(super) const WORDS_MAX: usize = 2048;
pub(super) const PIECES_MAX: usize = 2048;

/// A sheet of so many bytes takes no further result. Part of the stored form, as is the number of places in which sheets
/// take turns: as many as results are kept, of which each sheet has one or more.
const SHEET_BYTES: usize = 512;
const PLACES: usize = 64;

/// One sentence of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(super) words: u8,
    pub(super) pieces: u8,
    /// Sessions of the baseline have read the same sentence.
    pub(crate) known: bool,
    /// A field, or too short for prose.
    pub(crate) is_record: bool,
    /// Likeness to an instruction by its form alone, in thousandths of a logit.
    pub(super) surface: i16,
}

impl Line {
    /// Prose, or a field that holds some: what could command a call.
    pub(super) fn is_sentence(&self) -> bool {
        !self.is_record || self.pieces > 0
    }
}

const LINE_BYTES: usize = 5;

/// One result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) tool: u64,
    pub(crate) step: StepId<'static>,
    lines: u16,
}

/// Results that are stored together.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sheet {
    reads: Vec<Read>,
    lines: Vec<Line>,
    words: Vec<u32>,
    pieces: Vec<u16>,
    /// Of its words, and so not stored.
    marks: Marks,
}

/// Which words may be among those of a sheet, a bit for each. A value that a call brings is in few sheets or in none, and a
/// full memory has thousands of words to look through. Of words that are forgotten the bits stay.
#[derive(Clone, Debug, Default)]
struct Marks([u64; 8]);

/// A guess changes nothing of what a sheet says: two of the same words are equal.
impl PartialEq for Marks {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Marks {
    fn of(words: &[u32]) -> Self {
        let mut marks = Self::default();
        marks.add(words);
        marks
    }

    fn add(&mut self, words: &[u32]) {
        for word in words {
            self.0[(word >> 6) as usize % 8] |= 1 << (word % 64);
        }
    }

    fn may_have(&self, word: u32) -> bool {
        self.0[(word >> 6) as usize % 8] >> (word % 64) & 1 == 1
    }
}

/// A sentence in which a value was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier {
    pub(crate) line: Line,
    /// Number of the sentence.
    pub(crate) number: usize,
    /// Where its result and its pieces are.
    sheet: usize,
    read: usize,
    piece: usize,
}

/// Is told sentences: the result of each, its words and its pieces.
pub(super) type Tell<'f> = dyn FnMut(&Read, &Line, &[u32], &[u16]) + 'f;

/// Sentences of a result that is being read.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    pub(crate) lines: Vec<Line>,
    pub(super) words: Vec<u32>,
    pub(super) pieces: Vec<u16>,
}

impl Fresh {
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.words.clear();
        self.pieces.clear();
        // What a large result needed for a moment is given back.
        self.words.shrink_to(WORDS_MAX);
        self.pieces.shrink_to(PIECES_MAX);
    }

    /// How many sentences, words and pieces of it are kept: as many as fit alone, from the beginning.
    fn head(&self) -> (usize, usize, usize) {
        let (mut lines, mut words, mut pieces) = (0, 0, 0);
        for line in self.lines.iter().take(SENTENCES_MAX) {
            let (w, p) = (words + usize::from(line.words), pieces + usize::from(line.pieces));
            if w > WORDS_MAX || p > PIECES_MAX {
                break;
            }
            (lines, words, pieces) = (lines + 1, w, p);
        }
        (lines, words, pieces)
    }
}

/// The latest results, the oldest first. Serialised is how many there are on which sheet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reads {
    sheets: VecDeque<Sheet>,
    /// Results on each sheet. Of one whose page was lost there are none, and still so many count.
    counts: VecDeque<u8>,
    /// Number of the oldest sheet.
    first: u32,
    pages: Pages,
    /// Sums over all sheets.
    lines: usize,
    words: usize,
    pieces: usize,
}

impl Reads {
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Takes a result in; whether something had to go.
    pub(super) fn push(&mut self, tool: u64, step: StepId<'static>, fresh: &Fresh) -> bool {
        if self.sheets.back().is_none_or(|it| it.stored_bytes() >= SHEET_BYTES) {
            if let Some(full) = self.sheets.back_mut() {
                full.shrink();
            }
            self.sheets.reserve_exact(1);
            self.sheets.push_back(Sheet::default());
            self.counts.push_back(0);
            self.pages.replace(self.place(self.sheets.len() - 1));
        }
        self.pages.touch(self.place(self.sheets.len() - 1));
        let (lines, words, pieces) = fresh.head();
        if let (Some(sheet), Some(count)) = (self.sheets.back_mut(), self.counts.back_mut()) {
            *count += 1;
            sheet.reads.push(Read { tool, step, lines: u16::try_from(lines).unwrap_or(u16::MAX) });
            sheet.lines.extend_from_slice(&fresh.lines[..lines]);
            sheet.words.extend_from_slice(&fresh.words[..words]);
            sheet.marks.add(&fresh.words[..words]);
            sheet.pieces.extend_from_slice(&fresh.pieces[..pieces]);
        }
        (self.lines, self.words, self.pieces) = (self.lines + lines, self.words + words, self.pieces + pieces);
        let mut forgot = lines < fresh.lines.len();
        while self.is_over() {
            self.forget_oldest();
            forgot = true;
        }
        forgot
    }

    /// The latest one always fits alone.
    fn is_over(&self) -> bool {
        let is_full = self.lines > SENTENCES_MAX || self.words > WORDS_MAX || self.pieces > PIECES_MAX;
        let count: usize = self.counts.iter().map(|it| usize::from(*it)).sum();
        count > READS_MAX || is_full && count > 1
    }

    fn forget_oldest(&mut self) {
        let (Some(sheet), Some(count)) = (self.sheets.front_mut(), self.counts.front_mut()) else { return };
        *count = count.saturating_sub(1);
        let keep = usize::from(*count);
        let (lines, words, pieces) = sheet.keep_last(keep);
        (self.lines, self.words, self.pieces) = (self.lines - lines, self.words - words, self.pieces - pieces);
        if keep == 0 {
            self.pages.touch(self.place(0));
            self.sheets.pop_front();
            self.counts.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Place of the page of a sheet.
    fn place(&self, at: usize) -> usize {
        (self.first as usize % PLACES + at) % PLACES
    }

    /// Sentences that carry a value, at most `max`.
    pub(super) fn carriers(&self, value: &[u32], max: usize) -> Vec<Carrier> {
        let mut out = Vec::new();
        let mut number = 0;
        for (sheet, it) in self.sheets.iter().enumerate() {
            it.carriers(value, max, Carrier { line: Line::default(), number, sheet, read: 0, piece: 0 }, &mut out);
            number += it.lines.len();
        }
        out
    }

    /// Tells every sentence, the oldest first.
    pub(super) fn each_sentence(&self, f: &mut Tell<'_>) {
        for sheet in &self.sheets {
            let (mut word, mut piece, mut lines) = (0, 0, sheet.lines.iter());
            for read in &sheet.reads {
                for line in lines.by_ref().take(read.lines.into()) {
                    let (words, pieces) = (word + usize::from(line.words), piece + usize::from(line.pieces));
                    let here = (sheet.words.get(word..words), sheet.pieces.get(piece..pieces));
                    f(read, line, here.0.unwrap_or_default(), here.1.unwrap_or_default());
                    (word, piece) = (words, pieces);
                }
            }
        }
    }

    pub(super) fn pieces(&self, carrier: &Carrier) -> &[u16] {
        let end = carrier.piece + usize::from(carrier.line.pieces);
        self.sheets.get(carrier.sheet).and_then(|it| it.pieces.get(carrier.piece..end)).unwrap_or_default()
    }

    /// The result in which the sentence stood.
    pub(super) fn result(&self, carrier: &Carrier) -> Option<&Read> {
        self.sheets.get(carrier.sheet)?.reads.get(carrier.read)
    }

    pub(super) fn bytes(&self) -> usize {
        self.sheets.capacity() * size_of::<Sheet>() + self.sheets.iter().map(Sheet::bytes).sum::<usize>()
    }
}

impl Sheet {
    /// Gives back the room it grew for, once nothing more comes: a third of what sessions have in memory here.
    fn shrink(&mut self) {
        self.reads.shrink_to_fit();
        self.lines.shrink_to_fit();
        self.words.shrink_to_fit();
        self.pieces.shrink_to_fit();
    }

    /// Bytes of its page, about.
    fn stored_bytes(&self) -> usize {
        let ids: usize = self.reads.iter().map(|it| it.step.as_str().len() + 12).sum();
        ids + self.lines.len() * LINE_BYTES + self.words.len() * 4 + self.pieces.len() * 2
    }

    fn bytes(&self) -> usize {
        self.reads.iter().map(|it| it.step.as_str().len()).sum::<usize>()
            + self.reads.capacity() * size_of::<Read>()
            + self.lines.capacity() * size_of::<Line>()
            + self.words.capacity() * 4
            + self.pieces.capacity() * 2
    }

    /// Forgets all but the latest `count` results; the sentences, words and pieces that went.
    fn keep_last(&mut self, count: usize) -> (usize, usize, usize) {
        let reads = self.reads.len().saturating_sub(count);
        let lines: usize = self.reads.drain(..reads).map(|it| usize::from(it.lines)).sum();
        let lines = lines.min(self.lines.len());
        let (mut words, mut pieces) = (0, 0);
        for line in self.lines.drain(..lines) {
            (words, pieces) = (words + usize::from(line.words), pieces + usize::from(line.pieces));
        }
        (words, pieces) = (words.min(self.words.len()), pieces.min(self.pieces.len()));
        self.words.drain(..words);
        self.pieces.drain(..pieces);
        (lines, words, pieces)
    }

    fn carriers(&self, value: &[u32], max: usize, begin: Carrier, out: &mut Vec<Carrier>) {
        let Some(first) = value.first().filter(|it| self.marks.may_have(**it)) else { return };
        // Where it may begin: sentences before that are passed over, and nothing is left to see where there is no such place.
        let begins = |from: usize| Some(from + self.words.get(from..)?.iter().position(|it| it == first)?);
        let Some(mut next) = begins(0) else { return };
        let (mut at, mut word, mut lines) = (begin, 0, self.lines.iter());
        for (read, it) in self.reads.iter().enumerate() {
            at.read = read;
            for line in lines.by_ref().take(it.lines.into()) {
                word += usize::from(line.words);
                if next < word {
                    at.line = *line;
                    if self.words.get(next..word).is_some_and(|it| contains(it, value)) {
                        if out.len() == max {
                            return;
                        }
                        out.push(at);
                    }
                    let Some(it) = begins(word) else { return };
                    next = it;
                }
                at.piece += usize::from(line.pieces);
                at.number += 1;
            }
        }
    }
}

/// Whether a word is among these: most are not, and the loop is one of wide comparisons.
fn has(words: &[u32], word: u32) -> bool {
    const LANES: usize = 64;
    words.chunks(LANES).any(|it| it.iter().fold(false, |hit, it| hit | (*it == word)))
}

pub(super) fn contains(words: &[u32], value: &[u32]) -> bool {
    value.first().is_some_and(|it| has(words, *it)) && words.windows(value.len()).any(|it| it == value)
}

impl Paged for Reads {
    fn pages(&self) -> &Pages {
        &self.pages
    }

    fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    fn held(&self) -> u64 {
        (0..self.sheets.len()).fold(0, |bits, at| bits | 1 << self.place(at))
    }

    fn page(&self, place: usize) -> PageRef<'_> {
        PageRef::Sentences(self.sheets.get(self.at(place)).map(Sheet::to_bytes).unwrap_or_default())
    }

    fn put_back(&mut self, place: usize, page: Page) {
        let Page::Sentences(bytes) = page else { return };
        let Some(mut sheet) = Sheet::from_bytes(&bytes) else { return };
        let at = self.at(place);
        if let (Some(it), Some(count)) = (self.sheets.get_mut(at), self.counts.get(at)) {
            // What was forgotten since it was written.
            sheet.keep_last((*count).into());
            self.lines += sheet.lines.len();
            self.words += sheet.words.len();
            self.pieces += sheet.pieces.len();
            *it = sheet;
        }
    }
}

impl Reads {
    /// Which sheet the page of a place is.
    fn at(&self, place: usize) -> usize {
        (place + PLACES - self.place(0)) % PLACES
    }
}

impl Serialize for Reads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.first, &self.counts).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (first, counts): (u32, VecDeque<u8>) = Deserialize::deserialize(deserializer)?;
        let sum: usize = counts.iter().map(|it| usize::from(*it)).sum();
        if sum > READS_MAX || counts.contains(&0) {
            return Err(serde::de::Error::custom("more results than are kept, or a sheet without any"));
        }
        let mut reads = Self { sheets: vec![Sheet::default(); counts.len()].into(), counts, first, ..Self::default() };
        reads.pages = Pages::stored(reads.held());
        Ok(reads)
    }
}

const KNOWN: u8 = 1;
const RECORD: u8 = 2;

impl Sheet {
    /// Its page: the results, each its tool, how many sentences it has and the id of its step with its length; then the
    /// sentences, the words and the pieces. All of fixed width, the least significant byte first.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.stored_bytes() + 8);
        out.push(u8::try_from(self.reads.len()).unwrap_or(u8::MAX));
        for it in &self.reads {
            let id = it.step.as_str().as_bytes();
            out.extend_from_slice(&it.tool.to_le_bytes());
            out.extend_from_slice(&it.lines.to_le_bytes());
            out.extend_from_slice(&u16::try_from(id.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(id);
        }
        for it in &self.lines {
            let [low, high] = it.surface.to_le_bytes();
            let flags = (u8::from(it.known) * KNOWN) | (u8::from(it.is_record) * RECORD);
            out.extend_from_slice(&[it.words, it.pieces, flags, low, high]);
        }
        self.words.iter().for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
        self.pieces.iter().for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
        out
    }

    /// Reads [`Self::to_bytes`]; of anything else, as far as it can be read.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut sheet = Self::default();
        let (count, mut rest) = bytes.split_first()?;
        for _ in 0..*count {
            let tool = u64::from_le_bytes(take(&mut rest)?);
            let lines = u16::from_le_bytes(take(&mut rest)?);
            let (id, after) = rest.split_first_chunk().map(|(it, rest)| (u16::from_le_bytes(*it), rest))?;
            let (id, after) = after.split_at_checked(id.into())?;
            rest = after;
            let step = StepId::from(std::str::from_utf8(id).ok()?.to_owned());
            sheet.reads.push(Read { tool, step, lines });
        }
        let lines: usize = sheet.reads.iter().map(|it| usize::from(it.lines)).sum();
        let (lines, rest) = rest.split_at_checked(lines * LINE_BYTES)?;
        sheet.lines = lines.as_chunks().0.iter().map(line).collect();
        let words: usize = sheet.lines.iter().map(|it| usize::from(it.words)).sum();
        let (words, pieces) = rest.split_at_checked(words * 4)?;
        sheet.words = words.as_chunks().0.iter().map(|it| u32::from_le_bytes(*it)).collect();
        sheet.marks = Marks::of(&sheet.words);
        sheet.pieces = pieces.as_chunks().0.iter().map(|it| u16::from_le_bytes(*it)).collect();
        Some(sheet)
    }
}

fn line([words, pieces, flags, low, high]: &[u8; LINE_BYTES]) -> Line {
    Line {
        words: *words,
        pieces: *pieces,
        known: flags & KNOWN != 0,
        is_record: flags & RECORD != 0,
        surface: i16::from_le_bytes([*low, *high]),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
