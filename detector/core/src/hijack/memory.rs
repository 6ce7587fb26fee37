//! What a session has read and been asked, as hijack scoring needs it: sentences as fingerprints of their words, prose also
//! as word pieces, so that its meaning can be computed when a call asks for it. No text is kept.

use martingale_schemas::{Kind, Step, StepId};
use serde::{Deserialize, Serialize};

use super::embed::{self, DIMENSIONS, Sum, Vector};
use super::instruction;
use super::words::{self, Sentence};
use crate::baseline::Profile;
use crate::hash::{hash_text, mix};

/// Limits of one session. Full: the oldest result goes with all its sentences, and values that came from it count as coming
/// from nowhere; of the user and the operator the first words stay.
const READS_MAX: usize = 64;
const SENTENCES_MAX: usize = 256;
const WORDS_MAX: usize = 2048;
const PIECES_MAX: usize = 2048;
/// Pieces of one sentence: what comes later in it says nothing of its meaning.
const SENTENCE_PIECES_MAX: usize = 48;
const USER_SENTENCES_MAX: usize = 12;
const USER_WORDS_MAX: usize = 512;
const OPERATOR_WORDS_MAX: usize = 256;
const MESSAGES_MAX: usize = 32;
const TOOLS_MAX: usize = 64;
/// Fewest words of prose: shorter pieces command nothing.
const PROSE_WORDS_MIN: usize = 3;

/// One sentence of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    words: u16,
    pieces: u8,
    /// Sessions of the baseline have read the same sentence.
    pub(crate) known: bool,
    pub(crate) is_record: bool,
    /// Likeness to an instruction by its form alone, in thousandths of a logit.
    surface: i16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) tool: u64,
    pub(crate) step: StepId<'static>,
    lines: u16,
}

/// State of one session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    user_words: Vec<u32>,
    operator_words: Vec<u32>,
    /// Vectors of the user's sentences, one after the other.
    user_vectors: Vec<i8>,
    /// Sum of the vectors of the user's messages.
    request: Vec<i32>,
    /// Fingerprints of messages that were seen: agents repeat them.
    messages: Vec<u64>,
    pub(crate) user_step: Option<StepId<'static>>,
    reads: Vec<Read>,
    lines: Vec<Line>,
    words: Vec<u32>,
    pieces: Vec<u16>,
    /// How often each tool was called.
    calls: Vec<(u64, u32)>,
    /// Sentences of a useful length that were read, and how many of them the baseline knows.
    read: u32,
    known: u32,
    /// Something was read that is not kept.
    pub(crate) lossy: bool,
    /// Fingerprints of the sentences of the latest step, for whoever learns.
    #[serde(skip)]
    pub(crate) fresh: Vec<u64>,
}

/// A sentence in which a value was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier {
    pub(crate) line: Line,
    /// Number of the result among those that are kept.
    pub(crate) read: usize,
    pieces: (usize, usize),
    /// Number of the sentence.
    pub(crate) number: usize,
}

impl Memory {
    /// Takes in what a step brings into the agent's view; calls are left to [`super::call`].
    pub(crate) fn take_in(&mut self, step: &Step<'_>, profile: Option<&Profile>) {
        self.fresh.clear();
        let text = step.text.as_deref().unwrap_or_default();
        match step.kind {
            Kind::UserMessage => self.asked(text, step),
            Kind::SystemPrompt => keep(&mut self.operator_words, text, OPERATOR_WORDS_MAX),
            Kind::ToolResult | Kind::Retrieval | Kind::MemoryRead => {
                let (sentences, cut) = match &step.output {
                    Some(output) => words::sentences_of_json(output.get()),
                    None => {
                        let mut sentences = Vec::new();
                        words::sentences(text, &mut sentences);
                        (sentences, text.len() > words::TEXT_BYTES_MAX)
                    }
                };
                self.lossy |= cut || step.output_cut.is_some();
                self.read(step, &sentences, profile);
            }
            _ => {}
        }
    }

    fn asked(&mut self, text: &str, step: &Step<'_>) {
        let message = hash_text(text);
        if self.messages.len() >= MESSAGES_MAX || self.messages.contains(&message) {
            return;
        }
        self.messages.push(message);
        self.user_step.get_or_insert_with(|| step.step_id.to_static());
        keep(&mut self.user_words, text, USER_WORDS_MAX);
        let mut sentences = Vec::new();
        words::sentences(text, &mut sentences);
        for Sentence { text, .. } in sentences {
            if self.user_vectors.len() < USER_SENTENCES_MAX * DIMENSIONS {
                self.user_vectors.extend(vector_of(&text));
            }
        }
        self.request.resize(DIMENSIONS, 0);
        for (total, value) in self.request.iter_mut().zip(vector_of(text)) {
            *total = total.saturating_add(i32::from(value));
        }
    }

    fn read(&mut self, step: &Step<'_>, sentences: &[Sentence], profile: Option<&Profile>) {
        let mut lines = 0;
        for Sentence { text, is_record } in sentences.iter().take(SENTENCES_MAX) {
            let split: Vec<String> = words::words(text).collect();
            let start = self.words.len();
            self.words.extend(split.iter().take(WORDS_MAX / 4).map(|it| words::word_hash(it)));
            let here = &self.words[start..];
            if here.is_empty() {
                continue;
            }
            let print = here.iter().fold(1, |print, it| mix(print, u64::from(*it)));
            let known = profile.is_some_and(|it| it.has_read(print));
            if text.len() >= 4 {
                self.read = self.read.saturating_add(1);
                self.known = self.known.saturating_add(u32::from(known));
            }
            self.fresh.push(print);
            let words_here = u16::try_from(here.len()).unwrap_or(u16::MAX);
            let is_prose = !is_record && split.len() >= PROSE_WORDS_MIN;
            let mut pieces = if is_prose { embed::pieces(split.iter().map(String::as_str)) } else { Vec::new() };
            pieces.truncate(SENTENCE_PIECES_MAX);
            #[expect(clippy::cast_possible_truncation, reason = "at most SENTENCE_PIECES_MAX")]
            let count = pieces.len() as u8;
            self.pieces.extend(pieces);
            let surface = if is_prose { instruction::surface(text) } else { 0 };
            self.lines.push(Line { words: words_here, pieces: count, known, is_record: !is_prose, surface });
            lines += 1;
        }
        let tool = hash_text(step.tool.as_deref().unwrap_or_default());
        self.reads.push(Read { tool, step: step.step_id.to_static(), lines });
        while self.reads.len() > 1 && self.is_over() || self.reads.len() > READS_MAX {
            self.forget_oldest();
        }
        if self.is_over() {
            // One result alone is too large: its end goes.
            self.keep_head();
        }
        // What a large result needed for a moment is given back.
        self.words.shrink_to(WORDS_MAX);
        self.pieces.shrink_to(PIECES_MAX);
        self.lines.shrink_to(SENTENCES_MAX);
    }

    fn is_over(&self) -> bool {
        self.lines.len() > SENTENCES_MAX || self.words.len() > WORDS_MAX || self.pieces.len() > PIECES_MAX
    }

    fn forget_oldest(&mut self) {
        let lines = usize::from(self.reads.remove(0).lines);
        let gone = self.lines.drain(..lines.min(self.lines.len()));
        let (words, pieces) =
            gone.fold((0, 0), |sum, it| (sum.0 + usize::from(it.words), sum.1 + usize::from(it.pieces)));
        self.words.drain(..words.min(self.words.len()));
        self.pieces.drain(..pieces.min(self.pieces.len()));
        self.lossy = true;
    }

    fn keep_head(&mut self) {
        let (mut words, mut pieces, mut lines) = (0, 0, 0);
        for line in &self.lines {
            let (w, p) = (words + usize::from(line.words), pieces + usize::from(line.pieces));
            if w > WORDS_MAX || p > PIECES_MAX || lines == SENTENCES_MAX {
                break;
            }
            (words, pieces, lines) = (w, p, lines + 1);
        }
        self.words.truncate(words);
        self.pieces.truncate(pieces);
        self.lines.truncate(lines);
        if let Some(read) = self.reads.last_mut() {
            read.lines = u16::try_from(lines).unwrap_or(u16::MAX);
        }
        self.lossy = true;
    }

    /// Counts a call; answers how often its tool was called, this one included.
    pub(crate) fn called(&mut self, tool: u64) -> u32 {
        if let Some((_, count)) = self.calls.iter_mut().find(|(it, _)| *it == tool) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.calls.len() == TOOLS_MAX {
            self.calls.remove(0);
        }
        self.calls.push((tool, 1));
        1
    }

    pub(crate) fn has_read_anything(&self) -> bool {
        !self.reads.is_empty()
    }

    pub(crate) fn result(&self, number: usize) -> Option<&Read> {
        self.reads.get(number)
    }

    /// Whether user or operator wrote this value.
    pub(crate) fn is_authored(&self, value: &[u32]) -> bool {
        contains(&self.user_words, value) || contains(&self.operator_words, value)
    }

    /// Whether the user wrote it.
    pub(crate) fn is_users(&self, value: &[u32]) -> bool {
        contains(&self.user_words, value)
    }

    /// Sentences that carry this value, at most `max`.
    pub(crate) fn carriers(&self, value: &[u32], max: usize) -> Vec<Carrier> {
        let mut out = Vec::new();
        let (mut word, mut piece, mut number) = (0, 0, 0);
        for (read, source) in self.reads.iter().enumerate() {
            for _ in 0..source.lines {
                let Some(line) = self.lines.get(number) else { return out };
                let words = self.words.get(word..word + usize::from(line.words)).unwrap_or_default();
                let pieces = (piece, piece + usize::from(line.pieces));
                if contains(words, value) {
                    out.push(Carrier { line: *line, read, pieces, number });
                    if out.len() == max {
                        return out;
                    }
                }
                (word, piece, number) = (word + usize::from(line.words), pieces.1, number + 1);
            }
        }
        out
    }

    pub(crate) fn vector(&self, carrier: &Carrier) -> Vector {
        embed::vector(self.pieces.get(carrier.pieces.0..carrier.pieces.1).unwrap_or_default())
    }

    /// Likeness of a sentence to an instruction, in thousandths.
    pub(crate) fn instruction(&self, carrier: &Carrier, vector: &Vector) -> i32 {
        instruction::likeness(vector, carrier.line.surface)
    }

    /// Nearest of the user's sentences; 0 when the user said nothing.
    pub(crate) fn likeness_to_user(&self, vector: &Vector) -> i32 {
        let (sentences, _) = self.user_vectors.as_chunks::<DIMENSIONS>();
        sentences.iter().map(|it| embed::likeness(it, vector)).max().unwrap_or(0)
    }

    /// Direction of everything the user asked for so far.
    pub(crate) fn request(&self) -> Option<Vector> {
        let sum: Sum = self.request.as_slice().try_into().ok()?;
        Some(embed::scaled(&sum))
    }

    /// Fingerprint of the messages of the user.
    pub(crate) fn request_print(&self) -> u64 {
        self.messages.iter().fold(1, |print, it| mix(print, *it))
    }

    /// Share of what was read that the baseline knows, in thousandths.
    pub(crate) fn recurrence(&self) -> i32 {
        i32::try_from(u64::from(self.known) * 1000 / u64::from(self.read.max(1))).unwrap_or(0)
    }

    /// Estimated memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let ids: usize = self.reads.iter().map(|it| it.step.as_str().len()).sum();
        (self.user_words.capacity() + self.operator_words.capacity() + self.words.capacity() + self.request.capacity())
            * 4
            + self.user_vectors.capacity()
            + (self.messages.capacity() + self.fresh.capacity()) * 8
            + self.reads.capacity() * size_of::<Read>()
            + self.lines.capacity() * size_of::<Line>()
            + self.pieces.capacity() * 2
            + self.calls.capacity() * size_of::<(u64, u32)>()
            + ids
    }
}

fn vector_of(text: &str) -> Vector {
    let words: Vec<String> = words::words(text).collect();
    embed::vector(&embed::pieces(words.iter().map(String::as_str)))
}

/// Appends the words of a text to at most `max`, and a gap, so that no value reaches from one message into the next.
fn keep(into: &mut Vec<u32>, text: &str, max: usize) {
    let room = max.saturating_sub(into.len());
    into.extend(words::words(text).take(room).map(|it| words::word_hash(&it)));
    if room > 0 {
        into.push(0);
    }
}

fn contains(words: &[u32], value: &[u32]) -> bool {
    !value.is_empty() && words.windows(value.len()).any(|it| it == value)
}
