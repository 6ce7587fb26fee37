//! What of a step is looked at: what was done, of which shape, how long it took, what it cost, whether it failed.

use martingale_schemas::{Kind, Step, Timestamp};

use crate::canonical;
use crate::hash::{hash_text, mix};
use crate::hijack::words;

/// What is followed of a session, each by itself. Stored by number: a variant keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// What is done, after the two acts before.
    Order,
    /// Names, types and size of arguments; size of results and texts.
    Shape,
    Latency,
    Tokens,
    Cost,
    Errors,
    /// How much of what a call or an answer says the user said too.
    Subject,
}

impl Stream {
    pub(crate) const ALL: [Self; 7] =
        [Self::Order, Self::Shape, Self::Latency, Self::Tokens, Self::Cost, Self::Errors, Self::Subject];

    /// What of a session departs, in words.
    pub(super) const fn said(self) -> &'static str {
        match self {
            Self::Order => "the order of what it does",
            Self::Shape => "the shape and size of arguments and results",
            Self::Latency => "how long steps take",
            Self::Tokens => "how many tokens steps take",
            Self::Cost => "what steps cost",
            Self::Errors => "how often steps fail",
            Self::Subject => "how much calls and answers take up the user's words",
        }
    }
}

/// Steps of a number's scale: two for each doubling, up to 2⁴⁷.
pub(super) const BINS: usize = 96;

/// Shares of words that the user said too: none, and up to each quarter.
pub(super) const SHARES: usize = 5;
/// Of a text or of arguments, so much is compared.
const COMPARED_BYTES_MAX: usize = 4096;
/// Shorter words say nothing of what a text is about.
const WORD_BYTES_MIN: usize = 3;

/// Words that the user said, as bits; long requests fill it, and then everything looks as if it was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked(pub(super) [u64; 16]);

impl Asked {
    fn place(word: &str) -> (usize, u64) {
        let hash = words::word_hash(word);
        ((hash >> 6) as usize % 16, 1 << (hash % 64))
    }

    fn hear(&mut self, text: &str) {
        words::words(head(text), |word| {
            if word.len() >= WORD_BYTES_MIN {
                let (at, bit) = Self::place(word);
                self.0[at] |= bit;
            }
        });
    }

    /// In quarters, rounded up; `None` where nobody asked, or nothing is said.
    fn share(&self, step: &Step<'_>) -> Option<u8> {
        if self.0 == [0; 16] {
            return None;
        }
        let (mut all, mut said) = (0_usize, 0_usize);
        let mut count = |text: &str| {
            words::words(text, |word| {
                if word.len() >= WORD_BYTES_MIN {
                    let (at, bit) = Self::place(word);
                    all += 1;
                    said += usize::from(self.0[at] & bit != 0);
                }
            });
        };
        match (step.kind, &step.input, &step.text) {
            (Kind::ToolCall, Some(input), _) if input.get().len() <= COMPARED_BYTES_MAX => {
                words::leaves(input.get(), &mut |_, text| count(text));
            }
            (Kind::FinalMessage | Kind::AssistantMessage, _, Some(text)) => count(head(text)),
            _ => return None,
        }
        u8::try_from((said * (SHARES - 1)).div_ceil(all.max(1))).ok().filter(|_| all > 0)
    }
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(COMPARED_BYTES_MAX)]
}

/// What a reading needs of the steps before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// When the step before was.
    pub(super) before: Option<Timestamp>,
    pub(super) asked: Asked,
}

/// One step, as far as drift is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Fingerprint of kind and tool.
    pub(crate) act: u64,
    /// It is a move of its own. What answers a call follows from the call.
    pub(crate) is_chosen: bool,
    /// Fingerprint of the shape of what it carries.
    pub(crate) shape: Option<u64>,
    pub(crate) latency: Option<u8>,
    pub(crate) tokens: Option<u8>,
    pub(crate) cost: Option<u8>,
    pub(crate) failed: Option<bool>,
    /// In quarters.
    pub(crate) subject: Option<u8>,
}

impl Reading {
    /// `heard` is moved on. `None` for a step that says nothing of how the agent works.
    pub(crate) fn next(step: &Step<'_>, heard: &mut Heard) -> Option<Self> {
        let reading = Self::of(step, heard);
        heard.before = Some(heard.before.map_or(step.time, |it| it.max(step.time)));
        if let (Kind::UserMessage, Some(text)) = (step.kind, &step.text) {
            heard.asked.hear(text);
        }
        reading
    }

    fn of(step: &Step<'_>, heard: &Heard) -> Option<Self> {
        use Kind::{
            Approval, FinalMessage, MemoryRead, ModelCall, Retrieval, SessionEnd, SessionStart, State, SystemPrompt,
            ToolCall, ToolResult, UserMessage,
        };
        let kind = step.kind;
        if matches!(kind, SessionStart | SystemPrompt | State | SessionEnd) {
            return None;
        }
        let answers = matches!(kind, ToolResult | Retrieval | MemoryRead);
        // How long people take says nothing of the agent.
        let of_people = matches!(kind, UserMessage | Approval);
        let tool = step.tool.as_deref().filter(|_| matches!(kind, ToolCall | ToolResult)).map_or(0, hash_text);
        let latency = || {
            let took = match (step.duration_ms, heard.before) {
                (Some(took), _) => micros(took),
                (None, Some(before)) => u64::try_from(step.time.micros_since(before)).unwrap_or(0),
                (None, None) => return None,
            };
            Some(bin(took))
        };
        let usage = step.usage.as_ref();
        Some(Self {
            act: mix(kind as u64, tool),
            is_chosen: !answers,
            shape: shape(step),
            latency: if of_people { None } else { latency() },
            tokens: usage.and_then(|it| it.output_tokens.or(it.input_tokens)).map(bin),
            cost: usage.filter(|it| it.cost_usd.is_some()).map(|it| bin(it.micro_usd())),
            failed: (answers || kind == ModelCall || kind == FinalMessage).then(|| step.failed()),
            subject: heard.asked.share(step),
        })
    }
}

/// From 0 to some 10¹², so that nothing is lost of it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked when the step was read")]
fn micros(milliseconds: f64) -> u64 {
    (milliseconds * 1000.0).round() as u64
}

/// Place of a number on a scale of half doublings.
pub(super) fn bin(number: u64) -> u8 {
    let number = number.max(1);
    let octave = number.ilog2();
    let half = if octave > 0 { number >> (octave - 1) & 1 } else { 0 };
    u8::try_from(u64::from(octave) * 2 + half).unwrap_or(u8::MAX).min(BINS as u8 - 1)
}

/// What a call is given, or how much another step says.
fn shape(step: &Step<'_>) -> Option<u64> {
    let (form, here, cut) = match (step.kind, &step.input, &step.output, &step.text) {
        (Kind::ToolCall, Some(input), ..) => {
            let form = if step.input_cut.is_some() { 0 } else { canonical::form_of(input.get()) };
            (form, input.get().len(), step.input_cut)
        }
        (_, _, Some(output), _) => (u64::from(output.get().as_bytes()[0]), output.get().len(), step.output_cut),
        (_, _, _, Some(text)) => (0, text.len(), step.text_cut),
        _ => return None,
    };
    let bytes = cut.map_or(here as u64, |it| it.bytes);
    // Sizes vary more than forms: whole doublings.
    Some(mix(form, u64::from(bin(bytes) / 2)))
}
