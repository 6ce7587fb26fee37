//! Rules over the tool calls of one session: the columns `loop` and `progress`.
//!
//! What they look at is remembered here, once for all of them; which of them are in force, for whom and from which count
//! on, is said by policies (`repeat`, `cycle`, `near_duplicate`, `no_progress`), of which four are built in. All of them
//! are general: none knows a tool, an agent or a data set.
//!
//! Adding a rule: a file here, a form in [`Form`] with its kind and counts, an arm in [`Calls::judge`], all of which the
//! compiler asks for; and its name and members in `policy/loops.rs`, which it does not.

mod cycle;
mod near_duplicate;
mod no_progress;
mod repeat;
mod stored;
mod waits;

use std::collections::VecDeque;

use martingale_schemas::step::Cut;
use martingale_schemas::{Calibration, Column, Decision, Kind, Severity, Status, Step, StepId};

use crate::canonical;
use crate::hash::{hash, hash_text, mix};
use crate::limits::{CALLS, CALLS_PART as PART};
use crate::parts::Parts;
use crate::provenance::is_of_the_web;
use crate::tools::{Flags, Said, Tool};

/// Shorter results say too little to be called seen before, in bytes of JSON. Not a matter of taste as the counts are:
/// what is remembered of a result depends on it.
const RESULT_BYTES_MIN: usize = 24;

/// What a rule counts. In the order in which one of two that decide the same is said: the plainest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// Results in a row that were all seen before.
    NoProgress,
    /// Calls whose simhashes differ in at most so many of 64 bits are nearly the same. Unrelated ones differ in 32, give
    /// or take 4; changing one word of thirty moves about six.
    NearDuplicate { bits_max: u32 },
    /// Longest cycle of calls that is looked for.
    Cycle { length_max: usize },
    /// Most other calls between two repetitions. A call that comes back later is looked up again, not stuck.
    Repeat { between_max: usize },
}

impl Form {
    /// The steps it is about.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::NoProgress => Kind::ToolResult,
            Self::NearDuplicate { .. } | Self::Cycle { .. } | Self::Repeat { .. } => Kind::ToolCall,
        }
    }

    /// Lowest count that says anything: what was never there before cannot come again, and a repetition is known to be
    /// useless once two calls gave the same result.
    pub(crate) const fn count_min(self) -> usize {
        match self {
            Self::NoProgress | Self::NearDuplicate { .. } | Self::Cycle { .. } => 2,
            Self::Repeat { .. } => 1 + repeat::ANSWERED_MIN,
        }
    }

    /// Highest count that can be reached, given what a session remembers.
    pub(crate) const fn count_max(self) -> usize {
        match self {
            // Counted by itself: the remembered calls only say what was seen before.
            Self::NoProgress => 1_000,
            Self::Cycle { length_max } => CALLS / length_max,
            Self::NearDuplicate { .. } | Self::Repeat { .. } => CALLS,
        }
    }
}

/// What is decided from which count on: both ascend, and there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels(Vec<(u32, Decision)>);

impl Levels {
    /// `None` when there is none.
    pub(crate) fn new(ascending: Vec<(u32, Decision)>) -> Option<Self> {
        (!ascending.is_empty()).then_some(Self(ascending))
    }

    fn first(&self) -> u32 {
        self.0.first().map_or(u32::MAX, |(count, _)| *count)
    }

    fn last(&self) -> u32 {
        self.0.last().map_or(u32::MAX, |(count, _)| *count)
    }

    /// The worst that a count has come to, and the count it is decided from.
    fn reached(&self, count: u32) -> Option<(u32, Decision)> {
        self.0.iter().rev().find(|(from, _)| *from <= count).copied()
    }

    /// The same, where not every result is known: nothing proves the calls useless, so it warns at last and never more.
    fn reached_unanswered(&self, count: u32) -> Option<(u32, Decision)> {
        (count >= self.last()).then(|| (self.last(), Decision::Warn))
    }

    /// The worst of all.
    pub(crate) fn worst(&self) -> Decision {
        self.0.last().map_or(Decision::Allow, |(_, decision)| *decision)
    }
}

/// A rule over tool calls as a policy declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoopRule {
    pub(crate) form: Form,
    pub(crate) levels: Levels,
}

/// One tool call and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Hash of tool and arguments.
    key: u64,
    /// Hash of its name, with [`CHANGES`] and [`WAITS`] in its first bits; [`ASKED`] of a message of the user.
    tool: u64,
    /// Hash of the result, with [`BRIEF`] in its second bit; while there is none its marks.
    result: u64,
    simhash: u64,
    step: StepId<'static>,
}

/// Set in the hash of a result too short to say anything.
const BRIEF: u64 = 2;
/// Set in every result, and in nothing that stands in place of one.
const GIVEN: u64 = 1;
/// In place of a result that is still to come: of a call that was given an address of the web, of one that was not let through, and of
/// one that a person said yes to.
const OF_THE_WEB: u64 = 8;
const APPROVED: u64 = 16;
const REFUSED: u64 = 32;
/// Set in the hash of a tool that is not known to only read: what was true before may not be after it.
const CHANGES: u64 = 1;
/// Set in the hash of the tool of a call that waits for somebody else.
const WAITS: u64 = 2;
/// All that is set in it.
const MARKS: u64 = CHANGES | WAITS;
/// In place of a tool: the user said something. Whoever is asked anew does not repeat itself.
const ASKED: u64 = CHANGES;

impl Call {
    /// And no message of the user.
    const fn is_call(&self) -> bool {
        self.tool != ASKED
    }

    /// Whether its result is still to come.
    const fn is_open(&self) -> bool {
        self.result & GIVEN == 0
    }

    /// Not let through, and nobody said yes to it since.
    const fn was_refused(&self) -> bool {
        self.is(REFUSED) && !self.is(APPROVED)
    }

    const fn is(&self, mark: u64) -> bool {
        self.is_open() && self.result & mark != 0
    }

    const fn changes(&self) -> bool {
        self.tool & CHANGES != 0
    }

    const fn waits(&self) -> bool {
        self.tool & WAITS != 0
    }
}

/// Whether somebody who is to be believed calls it a reader, or its name does. A name that says nothing says nothing of what
/// it changes either.
fn only_reads(tool: &Tool) -> bool {
    tool.flags.has(Flags::READ_ONLY) || tool.level == 1 && tool.level_by == Said::Catalogue
}

/// The latest tool calls of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Calls {
    ring: VecDeque<Call>,
    parts: Parts<CALLS, PART>,
    /// Results in a row that brought nothing new.
    stale: u32,
}

/// A call or result that is being judged: not remembered yet.
pub(crate) struct Heard(What);

enum What {
    Call(Call),
    Asked(StepId<'static>),
    Approved {
        at: usize,
    },
    Result {
        /// The call it belongs to.
        at: Option<usize>,
        result: u64,
        /// The step that gave the same result before.
        seen: Option<StepId<'static>>,
    },
}

impl Calls {
    /// Number of the oldest call that is remembered.
    fn first(&self) -> u64 {
        self.parts.total() - self.ring.len() as u64
    }

    /// [`key_of`] the latest call that is one of these steps.
    pub(crate) fn key_of_one(&self, steps: &[StepId<'_>]) -> Option<u64> {
        let is_one = |it: &&Call| it.is_call() && steps.iter().any(|step| step.as_str() == it.step.as_str());
        self.ring.iter().rev().find(is_one).map(|it| it.key)
    }

    /// What a step is among the calls of its session; `None` when it is none. `is_root`: a message of the user is one.
    pub(crate) fn hear(&mut self, step: &Step<'_>, tool: &Tool, is_root: bool) -> Option<Heard> {
        match step.kind {
            Kind::ToolCall => {
                let call = call(step);
                let changes = if only_reads(tool) { 0 } else { CHANGES };
                let waits = if waits::waits(step, tool) { WAITS } else { 0 };
                let result = if !tool.says_whose_words() && is_of_the_web(step) { OF_THE_WEB } else { 0 };
                Some(Heard(What::Call(Call { tool: call.tool & !MARKS | changes | waits, result, ..call })))
            }
            Kind::ToolResult => Some(Heard(self.result(step))),
            Kind::UserMessage if is_root && !self.ring.is_empty() => Some(Heard(What::Asked(step.step_id.to_static()))),
            Kind::Approval if step.status == Some(Status::Ok) => self.approved(step),
            _ => None,
        }
    }

    /// Whether a step tells what a call gave that was given an address of the web.
    pub(crate) fn answers_the_web(&self, heard: &Heard) -> bool {
        let call = match &heard.0 {
            What::Call(call) => Some(call),
            What::Result { at, .. } => at.and_then(|at| self.ring.get(at)),
            What::Asked(_) | What::Approved { .. } => None,
        };
        call.is_some_and(|it| it.is(OF_THE_WEB))
    }

    /// What a rule says of it.
    pub(crate) fn judge(&self, heard: &Heard, rule: &LoopRule, step: &Step<'_>) -> Option<Saw> {
        let levels = &rule.levels;
        match (&heard.0, rule.form) {
            (What::Call(call), Form::Repeat { between_max }) => {
                repeat::observe(&self.ring, call, step, levels, between_max)
            }
            (What::Call(call), Form::Cycle { length_max }) => cycle::observe(&self.ring, call, levels, length_max),
            (What::Call(call), Form::NearDuplicate { bits_max }) => {
                near_duplicate::observe(&self.ring, call, step, levels, bits_max)
            }
            (What::Result { seen: Some(seen), .. }, Form::NoProgress) => {
                no_progress::observe(self.stale, seen, step, levels)
            }
            (What::Result { .. } | What::Asked(_) | What::Approved { .. }, _) | (What::Call(_), Form::NoProgress) => {
                None
            }
        }
    }

    /// Takes it in, and what was decided of it.
    pub(crate) fn remember(&mut self, heard: Heard, decision: Decision) {
        match heard.0 {
            What::Asked(step) => {
                let key = hash_text(step.as_str());
                self.push(Call { key, tool: ASKED, result: 1, simhash: 0, step });
            }
            What::Call(mut call) => {
                call.result |= if decision >= Decision::StepUp { REFUSED } else { 0 };
                self.push(call);
            }
            What::Approved { at } => {
                if let Some(call) = self.ring.get_mut(at) {
                    call.result |= APPROVED;
                    self.parts.touch(self.first() + at as u64);
                }
            }
            What::Result { at: Some(at), result, .. } => {
                if let Some(call) = self.ring.get_mut(at) {
                    call.result = result;
                    self.parts.touch(self.first() + at as u64);
                }
            }
            What::Result { at: None, .. } => {}
        }
    }

    fn push(&mut self, call: Call) {
        if self.ring.len() >= CALLS {
            self.ring.pop_front();
        }
        // Doubling would leave a third of it empty in most sessions.
        if self.ring.len() == self.ring.capacity() {
            self.ring.reserve_exact(PART / 2);
        }
        self.ring.push_back(call);
        self.parts.push();
    }

    /// A person's yes to a call that was not let through: the one it names as its cause, or where it names none the latest of its tool.
    fn approved(&self, step: &Step<'_>) -> Option<Heard> {
        let tool = step.tool.as_deref().map(|it| hash_text(it) & !MARKS);
        let is_meant = |it: &Call| match &*step.causes {
            [] => Some(it.tool & !MARKS) == tool,
            causes => causes.iter().any(|cause| cause.as_str() == it.step.as_str()),
        };
        let at = self.ring.iter().rposition(|it| it.is_call() && it.is(REFUSED) && is_meant(it))?;
        Some(Heard(What::Approved { at }))
    }

    /// A tool's answer. It belongs to the call it names as its cause, else to the latest open call of its tool.
    fn result(&mut self, step: &Step<'_>) -> What {
        let body = step.output.as_ref().map(|it| it.get());
        let content = match body {
            Some(body) => whole(canonical::hash_of(body), step.output_cut, step),
            None => whole(hash_text(step.text.as_deref().unwrap_or_default()), step.text_cut, step),
        };
        let bytes = body.map_or_else(|| step.text.as_ref().map_or(0, |it| it.len()), str::len);
        let is_brief = bytes < RESULT_BYTES_MIN;
        let brief = if is_brief { BRIEF } else { 0 };
        let result = mix(content, u64::from(step.failed())) & !BRIEF | GIVEN | brief;
        let tool = step.tool.as_deref().map(|it| hash_text(it) & !MARKS);
        let is_cause = |it: &Call| step.causes.iter().any(|cause| cause.as_str() == it.step.as_str());
        let named = |it: &Call| it.is_call() && is_cause(it);
        let open = |it: &Call| it.is_open() && tool.is_none_or(|tool| tool == it.tool & !MARKS);
        let at = self.ring.iter().rposition(named).or_else(|| self.ring.iter().rposition(open));
        if is_brief {
            // Neither progress nor its absence.
            return What::Result { at, result, seen: None };
        }
        let seen = self.ring.iter().enumerate().rev().find(|(n, it)| Some(*n) != at && it.result == result);
        let seen = seen.map(|(_, it)| it.step.clone());
        self.stale = if seen.is_some() { self.stale.saturating_add(1) } else { 0 };
        What::Result { at, result, seen }
    }

    pub(crate) fn clear(&mut self) {
        self.ring.clear();
        self.parts.clear();
        self.stale = 0;
    }

    /// Estimated memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let ids: usize = self.ring.iter().map(|it| it.step.as_str().len()).sum();
        self.ring.capacity() * size_of::<Call>() + ids
    }
}

/// Hash of tool and arguments of a call.
pub(crate) fn key_of(step: &Step<'_>) -> u64 {
    call(step).key
}

/// A tool call about to run.
fn call(step: &Step<'_>) -> Call {
    let tool = hash_text(step.tool.as_deref().unwrap_or_default());
    let arguments = canonical::print(step.input.as_ref().map_or("", |it| it.get()));
    Call {
        key: mix(tool, whole(arguments.hash, step.input_cut, step)),
        tool,
        result: 0,
        // Of what was cut only the beginning is here, and beginnings of equal words do not make near arguments.
        simhash: if step.input_cut.is_some() { 0 } else { arguments.simhash },
        step: step.step_id.to_static(),
    }
}

/// Hash of content of which `head` is the hash of what is here: where it was cut, equal beginnings prove nothing, so the
/// fingerprint of the whole decides; where the producer sent none, it is equal to no other.
fn whole(head: u64, cut: Option<Cut>, step: &Step<'_>) -> u64 {
    let Some(cut) = cut else { return head };
    let rest = match cut.fingerprint {
        Some(fingerprint) => hash(&fingerprint),
        None => mix(hash_text(step.step_id.as_str()), 1),
    };
    mix(mix(head, cut.bytes), rest)
}

/// What a rule says of a call or result.
pub(crate) struct Saw {
    pub(crate) column: Column,
    pub(crate) decision: Decision,
    pub(crate) calibration: Calibration,
    pub(crate) count: u32,
    /// Count that the decision is given from.
    pub(crate) from: u32,
    pub(crate) evidence: Vec<StepId<'static>>,
    pub(crate) message: String,
}

impl Saw {
    /// How bad it is at most: one rule warns of a third repetition and stops the sixth.
    pub(crate) const fn severity_max(&self) -> Severity {
        match self.decision {
            Decision::Allow | Decision::Warn => Severity::Low,
            Decision::Throttle | Decision::Modify | Decision::StepUp => Severity::Medium,
            Decision::Deny | Decision::Halt => Severity::Critical,
        }
    }
}

/// 1st, 2nd, 3rd, 4th, 11th, 21st.
fn ordinal(n: u32) -> String {
    let suffix = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// A tool's name in a sentence: short, and on one line.
fn shown_tool(step: &Step<'_>) -> String {
    crate::quote::quoted(step.tool.as_deref().unwrap_or("a tool"), 60)
}

#[cfg(test)]
mod tests;
