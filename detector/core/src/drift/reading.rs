//! What of a step is looked at: what was done, of which shape, how long it took, what it cost, whether it failed.

use martingale_schemas::{Kind, Step};

use super::heard::Heard;
use super::layout::Layout;
use crate::canonical;
use crate::hash::{hash_text, mix};

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
    /// How much of what a call or an answer says stood nowhere before.
    Novelty,
    /// How what a tool gives is laid out, as a whole.
    Layout,
    /// The same, sign after sign.
    Signs,
}

impl Stream {
    pub(crate) const ALL: [Self; 10] = [
        Self::Order,
        Self::Shape,
        Self::Latency,
        Self::Tokens,
        Self::Cost,
        Self::Errors,
        Self::Subject,
        Self::Novelty,
        Self::Layout,
        Self::Signs,
    ];

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
            Self::Novelty => "how much calls and answers say that stood nowhere before",
            Self::Layout => "how results are laid out",
            Self::Signs => "how results begin and end",
        }
    }
}

/// Steps of a number's scale: two for each doubling, up to 2⁴⁷.
pub(super) const BINS: usize = 96;

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
    /// Shares of words that the user said, and that stood nowhere before, in quarters.
    pub(crate) subject: Option<u8>,
    pub(crate) novelty: Option<u8>,
    /// How a result is laid out.
    pub(crate) layout: Option<Layout>,
}

impl Reading {
    /// `heard` is moved on. `None` for a step that says nothing of how the agent works.
    pub(crate) fn next(step: &Step<'_>, heard: &mut Heard) -> Option<Self> {
        let reading = Self::of(step, heard);
        heard.hear(step);
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
        let shares = heard.shares(step);
        Some(Self {
            act: mix(kind as u64, tool),
            is_chosen: !answers,
            shape: shape(step),
            latency: if of_people { None } else { latency() },
            tokens: usage.and_then(|it| it.output_tokens.or(it.input_tokens)).map(bin),
            cost: usage.filter(|it| it.cost_usd.is_some()).map(|it| bin(it.micro_usd())),
            failed: (answers || kind == ModelCall || kind == FinalMessage).then(|| step.failed()),
            subject: shares.asked,
            novelty: shares.new,
            layout: if answers { Layout::of(step) } else { None },
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
