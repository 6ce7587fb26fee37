//! What a session said and read before a step, as far as a reading asks for it. No text is kept.

use martingale_schemas::{Kind, Step, Timestamp};

use crate::hijack::words;

/// Shares of words: none, and up to each quarter.
pub(super) const SHARES: usize = 5;
/// Of what is compared, so much is read: a message, the arguments of a call.
const COMPARED_BYTES_MAX: usize = 4096;
/// Of what is remembered to compare with, so much.
const REMEMBERED_BYTES_MAX: usize = words::TEXT_BYTES_MAX;
/// Shorter words say nothing of what a text is about.
const WORD_BYTES_MIN: usize = 3;

/// Size of what is remembered of the user's words, and of all words.
pub(super) const ASKED: usize = 16;
pub(super) const KNOWN: usize = 64;

/// Words as bits of a table of `N` times 64; many words fill it, and then every word looks as if it was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words<const N: usize>(pub(super) [u64; N]);

impl<const N: usize> Default for Words<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Words<N> {
    fn place(word: &str) -> (usize, u64) {
        let hash = words::word_hash(word);
        ((hash >> 6) as usize % N, 1 << (hash % 64))
    }

    fn add(&mut self, word: &str) {
        let (at, bit) = Self::place(word);
        self.0[at] |= bit;
    }

    fn has(&self, word: &str) -> bool {
        let (at, bit) = Self::place(word);
        self.0[at] & bit != 0
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; N]
    }
}

/// What a reading needs of the steps before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// When the step before was.
    pub(super) before: Option<Timestamp>,
    /// Words that the user said.
    pub(super) asked: Words<ASKED>,
    /// Words that stood in anything so far: said by the user or the operator, read, or in a call.
    pub(super) known: Words<KNOWN>,
}

/// How the words of a call or an answer stand to what was there before it, in quarters rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    /// Of those that say something, the share that the user said; `None` where nobody asked, or nothing is said.
    pub(super) asked: Option<u8>,
    /// Of all, the share that stood nowhere before.
    pub(super) new: Option<u8>,
}

impl Heard {
    /// Of a call or an answer.
    pub(super) fn shares(&self, step: &Step<'_>) -> Shares {
        let (mut all, mut new, mut telling, mut asked) = (0_usize, 0_usize, 0_usize, 0_usize);
        let mut count = |text: &str| {
            words::words(text, |word| {
                all += 1;
                new += usize::from(!self.known.has(word));
                if word.len() >= WORD_BYTES_MIN {
                    telling += 1;
                    asked += usize::from(self.asked.has(word));
                }
            });
        };
        match (step.kind, &step.input, &step.text) {
            (Kind::ToolCall, Some(input), _) if input.get().len() <= COMPARED_BYTES_MAX => {
                words::leaves(input.get(), &mut |_, text| count(text));
            }
            (Kind::FinalMessage | Kind::AssistantMessage, _, Some(text)) => count(head(text, COMPARED_BYTES_MAX)),
            _ => return Shares::default(),
        }
        Shares { asked: if self.asked.is_empty() { None } else { quarters(asked, telling) }, new: quarters(new, all) }
    }

    /// After the step was looked at, never before.
    pub(super) fn hear(&mut self, step: &Step<'_>) {
        self.before = Some(self.before.map_or(step.time, |it| it.max(step.time)));
        let known = &mut self.known;
        let content = match step.kind {
            Kind::ToolCall => step.input.as_ref(),
            Kind::ToolResult | Kind::Retrieval | Kind::MemoryRead => step.output.as_ref(),
            Kind::UserMessage | Kind::SystemPrompt => None,
            _ => return,
        };
        let mut left = REMEMBERED_BYTES_MAX;
        let mut remember = |text: &str| {
            let text = head(text, left);
            left -= text.len();
            words::words(text, |word| known.add(word));
        };
        match (content, &step.text) {
            (Some(content), _) => {
                words::leaves(content.get(), &mut |_, text| remember(text));
            }
            (None, Some(text)) => remember(text),
            (None, None) => {}
        }
        if let (Kind::UserMessage, Some(text)) = (step.kind, &step.text) {
            words::words(head(text, COMPARED_BYTES_MAX), |word| {
                if word.len() >= WORD_BYTES_MIN {
                    self.asked.add(word);
                }
            });
        }
    }
}

fn quarters(some: usize, all: usize) -> Option<u8> {
    u8::try_from((some * (SHARES - 1)).div_ceil(all.max(1))).ok().filter(|_| all > 0)
}

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
