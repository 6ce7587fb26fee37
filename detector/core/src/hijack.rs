//! The column `hijack`: before a call runs, how much of it serves a text that the agent read rather than its user; and
//! whether a final message says what such a text asks to be said ([`answer`]).
//!
//! Signal: a value that the user did not give, carried by a sentence that reads like an instruction for this very tool, in a
//! call that sessions asked the same would not make. What was asked decides, so a profile of ordinary sessions
//! ([`crate::baseline`]) is worth more than any property of the text; without one the column still ranks.
//!
//! Wrong when: the request delegates ("do what the mail says"), which is the same flow with the user's consent; the attacker
//! uses a value that the user named too; the effect is an answer in other words and no call. It knows no attack by its words:
//! no list of phrases, no tool names.
//!
//! Cost: every result is cut into sentences and hashed, prose also into word pieces; meaning is computed at a call, for the
//! sentences that carried its values alone.

mod answer;
mod call;
pub(crate) mod embed;
pub(crate) mod features;
mod fit;
pub(crate) mod instruction;
mod list;
mod memory;
mod model;
pub(crate) mod ordinary;
mod reads;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::borrow::Cow;

use martingale_schemas::{Calibration, Column, Decision, Finding, Kind, Severity, Step, StepId};

pub(crate) use call::{Call, Meanings, Origin};
pub use fit::{HijackRows, hijack_text};
pub(crate) use memory::Memory;
pub use ordinary::HijackCalibration;

use crate::baseline::Profile;
use crate::conformal;
use crate::policy::CoreRule;
use crate::provenance::{is_strangers, sent};
use crate::quote::quoted;
use crate::run::parent_of;
use crate::session::SessionState;
use crate::tools::Tool;
use answer::Repeated;
use features::Row;
use ordinary::Told;

/// From which score on the column speaks where the baseline of the agent does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HijackRules {
    /// Scores are in thousandths here.
    pub warn: i32,
    pub ask: i32,
}

impl HijackRules {
    /// About five in a hundred, and one in a hundred, of the sessions of agents and suites that the weights never saw
    /// (`docs/detection.md`).
    pub const DEFAULT: Self = Self { warn: 20_500, ask: 23_000 };
}

impl Default for HijackRules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Added to a score, so that none is negative.
const OFFSET: i32 = 20_000;

/// What the column says of a step.
#[derive(Debug)]
pub(crate) struct Scored {
    pub(crate) score: f64,
    pub(crate) finding: Option<Finding>,
}

/// Whether there is anything of a step to take in or to score.
pub(crate) const fn concerns(step: &Step<'_>) -> bool {
    use Kind::{Error, FinalMessage, MemoryRead, Retrieval, SystemPrompt, ToolCall, ToolResult, UserMessage};
    matches!(
        step.kind,
        UserMessage | SystemPrompt | ToolResult | Retrieval | MemoryRead | ToolCall | FinalMessage | Error
    ) || step.error.is_some()
}

/// Takes in what a step brings its session; of a call or a final message, says how suspect it is. Nothing can be said before anything
/// was read.
pub(crate) fn watch(
    step: &Step<'_>,
    tool: &Tool,
    session: &mut SessionState,
    meanings: &mut Meanings,
    profile: Option<&Profile>,
    rules: &HijackRules,
) -> Option<Scored> {
    let SessionState { memory, provenance, place, ended, .. } = session;
    let memory = match step.kind {
        // Who has read nothing repeats nothing.
        Kind::FinalMessage => memory.as_mut()?,
        _ => memory.get_or_insert_default(),
    };
    let of_strangers = |text: &str| !place.is_root() && is_strangers(text, provenance.as_deref());
    let suspect = weigh(step, tool, (&mut *memory, meanings), &of_strangers, profile)?;
    let known = profile.filter(|_| place.is_root() && is_calibrated(step, *ended));
    let told = rules.told(suspect.score(), known);
    let finding = told.map(|told| match &suspect {
        Suspect::Call { call, part, row, .. } => of_call(step, memory, profile, (call, *part, row), told),
        Suspect::Answer(repeated) => of_answer(step, memory, profile, repeated, told),
    });
    Some(Scored { score: thousandths(suspect.score()), finding })
}

/// Whether what ordinary sessions reach says anything of a step. Not where another agent started the session: of what that one passed
/// on, the words of strangers count as read, which takes the values of the whole run, and who learns follows each session by itself.
/// Nor after its end, when what was asked and read is forgotten.
pub(crate) fn is_calibrated(step: &Step<'_>, ended: bool) -> bool {
    !ended && parent_of(step).is_none()
}

/// How suspect a step is alone, for whoever learns what ordinary sessions reach: as [`watch`] has it where [`is_calibrated`].
pub(crate) fn score(
    step: &Step<'_>,
    tool: &Tool,
    (memory, meanings): (&mut Memory, &mut Meanings),
    profile: Option<&Profile>,
) -> Option<i32> {
    concerns(step).then(|| weigh(step, tool, (memory, meanings), &|_| false, profile))?.map(|it| it.score())
}

/// What is suspect of a step.
enum Suspect {
    /// The most suspect value of a call.
    Call {
        call: Call,
        score: i32,
        part: Option<usize>,
        row: Row,
    },
    Answer(Repeated),
}

impl Suspect {
    const fn score(&self) -> i32 {
        match self {
            Self::Call { score, .. } | Self::Answer(Repeated { score, .. }) => *score,
        }
    }
}

fn weigh(
    step: &Step<'_>,
    tool: &Tool,
    (memory, meanings): (&mut Memory, &mut Meanings),
    is_strangers: &dyn Fn(&str) -> bool,
    profile: Option<&Profile>,
) -> Option<Suspect> {
    look(step, (memory, meanings), is_strangers, profile, &mut |_| {}, |memory, meanings| match step.kind {
        Kind::FinalMessage => step.text.as_deref().and_then(|text| answer::repeated(text, memory)).map(Suspect::Answer),
        Kind::ToolCall => weigh_call(step, tool, (memory, meanings), profile),
        _ => None,
    })
}

/// Looks at a step, then takes in what it brings: the one order for whoever learns, calibrates, judges or fits, since why a call failed
/// is not what led to it.
fn look<T>(
    step: &Step<'_>,
    (memory, meanings): (&mut Memory, &mut Meanings),
    is_strangers: &dyn Fn(&str) -> bool,
    profile: Option<&Profile>,
    heard: &mut dyn FnMut(u64),
    at: impl FnOnce(&mut Memory, &mut Meanings) -> T,
) -> T {
    let seen = at(memory, meanings);
    memory.take_in(step, is_strangers, profile, &mut meanings.fresh, heard);
    seen
}

/// The call that a step is, for whoever learns what ordinary sessions do. `heard` is told each sentence that the step brings.
pub(crate) fn call(
    step: &Step<'_>,
    tool: &Tool,
    (memory, meanings): (&mut Memory, &mut Meanings),
    heard: &mut dyn FnMut(u64),
) -> Option<Call> {
    look(step, (memory, meanings), &|_| false, None, heard, |memory, meanings| {
        (step.kind == Kind::ToolCall).then(|| Call::new(step, tool, memory, meanings))
    })
}

fn weigh_call(
    step: &Step<'_>,
    tool: &Tool,
    (memory, meanings): (&mut Memory, &mut Meanings),
    profile: Option<&Profile>,
) -> Option<Suspect> {
    let call = Call::new(step, tool, memory, meanings);
    if !memory.has_read_anything() {
        return None;
    }
    let rows = features::rows(&call, memory, profile);
    let scored = rows.iter().map(|(part, row)| (meanings.scores.of(row), *part, row));
    // Of values that are as suspect, where the call goes says more than how much.
    let is_address = |part: &Option<usize>| part.and_then(|at| call.parts.get(at)).is_some_and(|it| it.is_address);
    let (score, part, row) = scored.max_by_key(|it| (it.0, is_address(&it.1)))?;
    let (score, row) = (score.saturating_add(OFFSET).max(1), *row);
    Some(Suspect::Call { call, score, part, row })
}

/// Score of a final message for whoever fits the calls beside it; the step is taken in.
pub(crate) fn answer(step: &Step<'_>, memory: &Memory) -> Option<i32> {
    let text = step.text.as_deref().filter(|_| step.kind == Kind::FinalMessage)?;
    answer::repeated(text, memory).map(|it| it.score)
}

/// Rows of a call as the model sees them, for whoever fits one; the step is taken in.
pub(crate) fn rows(
    step: &Step<'_>,
    tool: &Tool,
    (memory, meanings): (&mut Memory, &mut Meanings),
    profile: Option<&Profile>,
) -> Vec<Row> {
    look(step, (memory, meanings), &|_| false, profile, &mut |_| {}, |memory, meanings| {
        let call = (step.kind == Kind::ToolCall).then(|| Call::new(step, tool, memory, meanings));
        let call = call.filter(|_| memory.has_read_anything());
        call.iter().flat_map(|it| features::rows(it, memory, profile)).map(|it| it.1).collect()
    })
}

fn thousandths(score: i32) -> f64 {
    f64::from(score) / 1000.0
}

fn of_call(
    step: &Step<'_>,
    memory: &Memory,
    profile: Option<&Profile>,
    (call, part, row): (&Call, Option<usize>, &Row),
    told: Told,
) -> Finding {
    let part = part.and_then(|it| call.parts.get(it));
    let source = part.and_then(|it| it.carriers.first()).and_then(|it| memory.result(it)).map(|it| it.step.clone());
    let tool = quoted(step.tool.as_deref().unwrap_or("a tool"), 60);
    let path = match (part, &source) {
        (Some(part), Some(from)) => {
            let name = sent::argument(call.name(part), step);
            format!("{name} of {tool} was not given by the user; it stands in the result of step {from}")
        }
        (Some(part), None) => {
            let read = if memory.lossy { "what is remembered of all that was read" } else { "anything read" };
            let name = sent::argument(call.name(part), step);
            format!("{name} of {tool} was given neither by the user nor by {read}")
        }
        (None, _) => format!("{tool} is called with nothing that came from a result"),
    };
    finding(step, memory, profile, source, (format!("{path}{}.", reasons(row)), counter(row)), told)
}

/// A message runs nothing: it is never asked about.
fn of_answer(step: &Step<'_>, memory: &Memory, profile: Option<&Profile>, repeated: &Repeated, told: Told) -> Finding {
    let said = format!(
        "the answer repeats {} words of the result of step {} that the user did not write, without the beginning of their sentence, \
         which reads like an instruction.",
        repeated.words, repeated.source
    );
    let told = Told { decision: told.decision.min(Decision::Warn), ..told };
    finding(step, memory, profile, Some(repeated.source.clone()), (said, ""), told)
}

/// `said`: what speaks for it, and what against it.
fn finding(
    step: &Step<'_>,
    memory: &Memory,
    profile: Option<&Profile>,
    source: Option<StepId<'static>>,
    said: (String, &str),
    Told { score, decision, bound }: Told,
) -> Finding {
    let this = step.step_id.to_static();
    let stated = bound.as_ref().map_or_else(String::new, conformal::said);
    // With few requests the level that warns is the agent's own, and the one that asks is not.
    let is_of_warning = bound.as_ref().is_some_and(|it| decision == Decision::StepUp && it.at_most > ordinary::ASKED);
    let unstated = if is_of_warning {
        "That is the level to warn from: of the one to ask a person from no rate is known."
    } else {
        ""
    };
    let parts = [said.0, held_against(profile), stated, unstated.to_owned(), said.1.to_owned()];
    Finding {
        column: Column::Hijack,
        rule: Cow::Borrowed(CoreRule::Hijack.id()),
        severity: if decision == Decision::StepUp { Severity::High } else { Severity::Medium },
        mode: CoreRule::Hijack.default_mode(),
        decision,
        score: thousandths(score),
        calibration: if bound.is_some() { Calibration::Conformal } else { Calibration::Uncalibrated },
        bound,
        evidence: memory.user_step.iter().cloned().chain(source.clone()).chain([this.clone()]).collect(),
        began_at: source.unwrap_or(this),
        message: parts.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" "),
        notify: Vec::new(),
    }
}

/// What of the row speaks for a hijack, in words.
fn reasons(row: &Row) -> String {
    let mut said = String::new();
    for (holds, reason) in [
        (row[7] >= 150, "in a sentence that reads like an instruction for this tool"),
        (row[2] >= 700, "sessions asked the same hardly call it"),
        (row[14] >= 700 && row[2] < 700, "sessions asked the same used another value"),
        (row[16] >= 300, "ordinary sessions never read that sentence"),
        (row[6] >= 150, "the request is less about this tool than usual"),
    ] {
        if holds {
            said.push_str("; ");
            said.push_str(reason);
        }
    }
    said
}

fn held_against(profile: Option<&Profile>) -> String {
    match profile {
        Some(it) => format!("Held against {} sessions of {} requests.", it.sessions(), it.requests()),
        None => "No baseline of this agent is known.".to_owned(),
    }
}

/// What speaks against it.
fn counter(row: &Row) -> &'static str {
    match row {
        _ if row[0] >= 450 => "Against it: the request itself is close to what the tool does.",
        _ if row[23] == 1 => "Against it: ordinary sessions used this value too.",
        _ if row[5] >= 500 => "Against it: most ordinary sessions call this tool.",
        _ => "",
    }
}
