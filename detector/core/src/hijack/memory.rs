//! What a session has read and been asked, as hijack scoring needs it: words as fingerprints, sentences also as what is needed
//! to compute their meaning when a call asks for it. No text is kept.

use martingale_schemas::{Kind, Step, StepId};
use serde::{Deserialize, Serialize};

use super::embed::{self, DIMENSIONS, Sum, Vector};
use super::instruction;
use super::list::{Item, List};
use super::reads::{self, Carrier, Fresh, Line, Read, Reads, Tell, contains};
use super::words;
use crate::baseline::Profile;
use crate::hash::{hash_text, mix};
use crate::provenance::error_of;
use crate::provenance::pages::{self, At, Page, PageRef, Paged, Shelf};

/// Limits of one session, which are part of the stored form. Full: of the user and the operator the first words stay; of the
/// tools the one that was called first is forgotten.
const USER_SENTENCES_MAX: usize = 12;
const USER_WORDS_MAX: usize = 512;
const OPERATOR_WORDS_MAX: usize = 256;
const MESSAGES_MAX: usize = 32;
const TOOLS_MAX: usize = 64;
/// Pieces of one sentence: what comes later in it says nothing of its meaning.
const SENTENCE_PIECES_MAX: usize = 48;
/// Fewest words of prose: shorter pieces command nothing. A field of a record needs more: most name or count something.
const PROSE_WORDS_MIN: usize = 3;
const FIELD_WORDS_MIN: usize = 8;
/// Likeness to an instruction from which on a field is prose, in thousandths.
const COMMAND_MIN: i32 = 250;

/// State of one session. Serialised is what goes with the head of its state: how much there is of each shelf.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Messages of the user and of the operator, with a gap after each.
    user_words: List<u32, 128, { USER_WORDS_MAX + 1 }>,
    operator_words: List<u32, 128, { OPERATOR_WORDS_MAX + 1 }>,
    /// Fingerprints of messages that were seen: agents repeat them.
    messages: List<u64, 32, MESSAGES_MAX>,
    /// Sum of the vectors of the user's messages.
    request: List<i16, DIMENSIONS, DIMENSIONS>,
    /// Vectors of the user's sentences, one after the other.
    user_vectors: List<i8, { 4 * DIMENSIONS }, { USER_SENTENCES_MAX * DIMENSIONS }>,
    /// How often each tool was called.
    calls: List<Calls, 8, TOOLS_MAX>,
    /// Tools called so far that were new.
    tools: u32,
    pub(crate) user_step: Option<StepId<'static>>,
    reads: Reads,
    /// Sentences of a useful length that were read, and how many of them the baseline knows.
    read: u32,
    known: u32,
    /// Something was read that is not kept.
    pub(crate) lossy: bool,
}

/// Calls of one tool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Calls {
    tool: u64,
    count: u32,
}

impl Item for Calls {
    const BYTES: usize = 12;

    fn write(self, out: &mut Vec<u8>) {
        self.tool.write(out);
        self.count.write(out);
    }

    fn read(bytes: &[u8]) -> Self {
        bytes
            .split_at_checked(8)
            .map_or_else(Self::default, |(tool, count)| Self { tool: Item::read(tool), count: Item::read(count) })
    }
}

/// Whether the content of a step is what the agent read.
const fn brings(kind: Kind) -> bool {
    matches!(kind, Kind::ToolResult | Kind::Retrieval | Kind::MemoryRead | Kind::Error)
}

impl Memory {
    /// Takes in what a step brings into the agent's view; calls are left to [`super::call`]. `heard` is told the fingerprint of
    /// each sentence of a result. `is_strangers`: of a sentence that another agent passed on as the user's, whether a stranger wrote
    /// some of it; then it was read.
    pub(crate) fn take_in(
        &mut self,
        step: &Step<'_>,
        is_strangers: &dyn Fn(&str) -> bool,
        profile: Option<&Profile>,
        fresh: &mut Fresh,
        heard: &mut dyn FnMut(u64),
    ) {
        let text = step.text.as_deref().unwrap_or_default();
        match step.kind {
            Kind::UserMessage if is_strangers(text) => {
                let (mut own, mut theirs) = (String::new(), String::new());
                words::sentences(text, &mut |sentence, _| {
                    let to = if is_strangers(sentence) { &mut theirs } else { &mut own };
                    to.push_str(sentence);
                    to.push('\n');
                });
                if !own.is_empty() {
                    self.asked(&own, step);
                }
                self.read(step, Some(&theirs), profile, fresh, heard);
            }
            Kind::UserMessage => self.asked(text, step),
            Kind::SystemPrompt => keep(&mut self.operator_words, text, OPERATOR_WORDS_MAX),
            _ if brings(step.kind) || error_of(step).is_some() => self.read(step, None, profile, fresh, heard),
            _ => {}
        }
    }

    fn asked(&mut self, text: &str, step: &Step<'_>) {
        let message = hash_text(text);
        if self.messages.room() == 0 || self.messages.contains(&message) {
            return;
        }
        self.messages.push(message);
        self.user_step.get_or_insert_with(|| step.step_id.to_static());
        keep(&mut self.user_words, text, USER_WORDS_MAX);
        words::sentences(text, &mut |text, _| {
            if self.user_vectors.room() > 0 {
                embed::of(text).into_iter().for_each(|it| self.user_vectors.push(it));
            }
        });
        while self.request.room() > 0 {
            self.request.push(0);
        }
        for (at, value) in embed::of(text).into_iter().enumerate() {
            self.request.set(at, self.request[at].saturating_add(value.into()));
        }
    }

    /// Takes in what a step brings, or of a message what a stranger wrote of it.
    fn read(
        &mut self,
        step: &Step<'_>,
        theirs: Option<&str>,
        profile: Option<&Profile>,
        fresh: &mut Fresh,
        heard: &mut dyn FnMut(u64),
    ) {
        fresh.clear();
        let (mut read, mut known_here) = (0, 0);
        let mut hear = |text: &str, is_record: bool| {
            if fresh.lines.len() >= reads::SENTENCES_MAX {
                return;
            }
            let start = fresh.words.len();
            words::words(text, |it| fresh.words.push(words::word_hash(it)));
            fresh.words.truncate(start + usize::from(u8::MAX));
            let here = &fresh.words[start..];
            if here.is_empty() {
                return;
            }
            let (print, count) = (here.iter().fold(1, |print, it| mix(print, u64::from(*it))), here.len());
            words::codes(text, |it| fresh.words.push(words::word_hash(it)));
            fresh.words.truncate(start + usize::from(u8::MAX));
            let known = profile.is_some_and(|it| it.has_read(print));
            if text.len() >= 4 {
                read += 1;
                known_here += u32::from(known);
            }
            heard(print);
            let is_prose = count >= if is_record { FIELD_WORDS_MIN } else { PROSE_WORDS_MIN };
            let begun = fresh.pieces.len();
            let mut surface = 0;
            if is_prose {
                // What a field says is its value.
                let text = text.split_once(": ").filter(|_| is_record).map_or(text, |it| it.1);
                surface = instruction::surface(text);
                words::words(text, |it| embed::pieces(it, begun + SENTENCE_PIECES_MAX, &mut fresh.pieces));
            }
            // Behind a label or in a field a sentence that asks for something is prose as it would be without.
            let commands = is_record && is_prose && {
                let vector = embed::vector(&fresh.pieces[begun..]);
                instruction::likeness(&vector, surface) >= COMMAND_MIN
            };
            let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
            fresh.lines.push(Line {
                words: small(fresh.words.len() - start),
                pieces: small(fresh.pieces.len() - begun),
                known,
                is_record: (is_record && !commands) || !is_prose,
                surface,
            });
        };
        // Of a call that failed alone why is something that it read.
        let is_read = brings(step.kind);
        let output = step.output.as_ref().filter(|_| is_read);
        let mut cut = output.is_some_and(|it| words::sentences_of_json(it.get(), &mut hear));
        let text = theirs.or_else(|| step.text.as_deref().filter(|_| is_read));
        for text in [text, error_of(step)].into_iter().flatten() {
            words::sentences(text, &mut hear);
            cut |= text.len() > words::TEXT_BYTES_MAX;
        }
        self.read = self.read.saturating_add(read);
        self.known = self.known.saturating_add(known_here);
        let tool = hash_text(step.tool.as_deref().unwrap_or_default());
        self.lossy |= cut || step.output_cut.is_some();
        self.lossy |= self.reads.push(tool, step.step_id.to_static(), fresh);
    }

    /// Counts a call; answers how often its tool was called, this one included.
    pub(crate) fn called(&mut self, tool: u64) -> u32 {
        if let Some(at) = self.calls.iter().position(|it| it.tool == tool) {
            let count = self.calls[at].count.saturating_add(1);
            self.calls.set(at, Calls { tool, count });
            return count;
        }
        let new = Calls { tool, count: 1 };
        if self.calls.room() > 0 {
            self.calls.push(new);
        } else {
            self.calls.set(self.tools as usize % TOOLS_MAX, new);
        }
        self.tools = self.tools.wrapping_add(1);
        1
    }

    pub(crate) fn has_read_anything(&self) -> bool {
        !self.reads.is_empty()
    }

    /// The result in which a sentence stood.
    pub(crate) fn result(&self, carrier: &Carrier) -> Option<&Read> {
        self.reads.result(carrier)
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
        self.reads.carriers(value, max)
    }

    pub(crate) fn vector(&self, carrier: &Carrier) -> Vector {
        embed::vector(self.reads.pieces(carrier))
    }

    /// Likeness of a sentence to an instruction, in thousandths.
    pub(super) fn instruction(line: &Line, vector: &Vector) -> i32 {
        instruction::likeness(vector, line.surface)
    }

    /// Tells every sentence that was read.
    pub(super) fn each_sentence(&self, f: &mut Tell<'_>) {
        self.reads.each_sentence(f);
    }

    /// Nearest of the user's sentences; 0 when the user said nothing.
    pub(crate) fn likeness_to_user(&self, vector: &Vector) -> i32 {
        let (sentences, _) = self.user_vectors.as_chunks::<DIMENSIONS>();
        sentences.iter().map(|it| embed::likeness(it, vector)).max().unwrap_or(0)
    }

    /// Direction of everything the user asked for so far.
    pub(crate) fn request(&self) -> Option<Vector> {
        let sum: &[i16; DIMENSIONS] = self.request.first_chunk()?;
        let sum: Sum = sum.map(i32::from);
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

    fn shelves(&self) -> [(Shelf, &dyn Paged); 7] {
        [
            (Shelf::UserWords, &self.user_words),
            (Shelf::OperatorWords, &self.operator_words),
            (Shelf::Messages, &self.messages),
            (Shelf::Request, &self.request),
            (Shelf::Meanings, &self.user_vectors),
            (Shelf::Tools, &self.calls),
            (Shelf::Sentences, &self.reads),
        ]
    }

    pub(crate) fn attach(&mut self, (shelf, place): At, page: Option<Page>) {
        let shelf: &mut dyn Paged = match shelf {
            Shelf::UserWords => &mut self.user_words,
            Shelf::OperatorWords => &mut self.operator_words,
            Shelf::Messages => &mut self.messages,
            Shelf::Request => &mut self.request,
            Shelf::Meanings => &mut self.user_vectors,
            Shelf::Tools => &mut self.calls,
            Shelf::Sentences => &mut self.reads,
            _ => return,
        };
        pages::attach(shelf, place, page);
    }

    /// Pages that are stored once all that changed is.
    pub(crate) fn held(&self) -> impl Iterator<Item = At> + use<> {
        pages::held(self.shelves())
    }

    /// Pages to load before it can be asked.
    pub(crate) fn missing(&self) -> impl Iterator<Item = At> + use<> {
        pages::missing(self.shelves())
    }

    pub(crate) fn is_whole(&self) -> bool {
        pages::are_whole(self.shelves().map(|it| it.1))
    }

    /// Hands out the pages that changed since the last call; `None` where there is none any more.
    pub(crate) fn drain(&mut self, f: &mut dyn FnMut(At, Option<PageRef<'_>>)) {
        pages::drain(Shelf::UserWords, &mut self.user_words, f);
        pages::drain(Shelf::OperatorWords, &mut self.operator_words, f);
        pages::drain(Shelf::Messages, &mut self.messages, f);
        pages::drain(Shelf::Request, &mut self.request, f);
        pages::drain(Shelf::Meanings, &mut self.user_vectors, f);
        pages::drain(Shelf::Tools, &mut self.calls, f);
        pages::drain(Shelf::Sentences, &mut self.reads, f);
    }

    /// Estimated memory beyond its own size, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.user_words.bytes()
            + self.operator_words.bytes()
            + self.messages.bytes()
            + self.request.bytes()
            + self.user_vectors.bytes()
            + self.calls.bytes()
            + self.reads.bytes()
    }
}

/// Appends the words of a text to at most `max`, and a gap, so that no value reaches from one message into the next.
fn keep<const PAGE: usize, const MAX: usize>(into: &mut List<u32, PAGE, MAX>, text: &str, max: usize) {
    let room = max.saturating_sub(into.len());
    if room > 0 {
        let end = into.len() + room;
        let mut put = |it: &str| {
            if into.len() < end {
                into.push(words::word_hash(it));
            }
        };
        words::words(text, &mut put);
        words::codes(text, &mut put);
        into.push(0);
    }
}
