//! Built-in rules over the tool calls of one session: the columns `loop` and `progress`.
//!
//! Adding a rule: one file, one line in [`Calls::call`] or [`Calls::result`].

mod cycle;
mod form;
mod near_duplicate;
mod no_progress;
mod repeat;

use std::borrow::Cow;
use std::collections::VecDeque;

use martingale_schemas::step::Cut;
use martingale_schemas::{Calibration, Column, Decision, Finding, Mode, Severity, Step, StepId};

use crate::canonical;
use crate::hash::{hash, hash_text, mix};
use crate::limits::{CALLS, CALLS_PART as PART};
use crate::parts::Parts;

/// When the built-in rules speak. All of them are general: none knows a tool, an agent or a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopRules {
    /// The same call gave the same result: at which repetition (this call included) to warn, ask and stop.
    pub repeat_warn: u32,
    pub repeat_step_up: u32,
    pub repeat_halt: u32,
    /// Most other calls between two repetitions. A call that comes back later is looked up again, not stuck.
    pub repeat_between_max: usize,
    /// Longest cycle of calls that is looked for.
    pub cycle_length_max: usize,
    /// How often a cycle must have run, the current round included, to warn and to ask.
    pub cycle_warn: usize,
    pub cycle_step_up: usize,
    /// Calls whose simhashes differ in at most so many of 64 bits are nearly the same. Unrelated ones differ in 32, give or
    /// take 4; changing one word of thirty moves about six.
    pub near_bits_max: u32,
    /// Nearly equal calls with equal results until a warning.
    pub near_warn: u32,
    /// Results in a row that were all seen before until a warning.
    pub stale_warn: u32,
    /// Shorter results say too little to be called seen before, in bytes of JSON.
    pub stale_bytes_min: usize,
}

impl LoopRules {
    pub const DEFAULT: Self = Self {
        repeat_warn: 3,
        repeat_step_up: 4,
        repeat_halt: 6,
        repeat_between_max: 2,
        cycle_length_max: 8,
        cycle_warn: 3,
        cycle_step_up: 4,
        near_bits_max: 6,
        near_warn: 4,
        stale_warn: 8,
        stale_bytes_min: 24,
    };
}

impl Default for LoopRules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One tool call and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Hash of tool and arguments.
    key: u64,
    tool: u64,
    /// Hash of the result, with [`BRIEF`] in its second bit; 0 while there is none.
    result: u64,
    simhash: u64,
    step: StepId<'static>,
}

/// Set in the hash of a result too short to say anything.
const BRIEF: u64 = 2;

/// The latest tool calls of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Calls {
    ring: VecDeque<Call>,
    parts: Parts<CALLS, PART>,
    /// Results in a row that brought nothing new.
    stale: u32,
}

impl Calls {
    /// Number of the oldest call that is remembered.
    fn first(&self) -> u64 {
        self.parts.total() - self.ring.len() as u64
    }

    /// A tool call about to run.
    pub(crate) fn call(&mut self, step: &Step<'_>, rules: &LoopRules) -> Option<Finding> {
        let tool = hash_text(step.tool.as_deref().unwrap_or_default());
        let arguments = canonical::print(step.input.as_ref().map_or("", |it| it.get()));
        let call = Call {
            key: mix(tool, whole(arguments.hash, step.input_cut, step)),
            tool,
            result: 0,
            // Of what was cut only the beginning is here, and beginnings of equal words do not make near arguments.
            simhash: if step.input_cut.is_some() { 0 } else { arguments.simhash },
            step: step.step_id.to_static(),
        };
        // The worst is said; of equals the last of this list, which is the plainest.
        let findings = [
            near_duplicate::observe(&self.ring, &call, step, rules),
            cycle::observe(&self.ring, &call, rules),
            repeat::observe(&self.ring, &call, step, rules),
        ];
        let finding = findings.into_iter().flatten().max_by_key(|it| it.decision);
        if self.ring.len() >= CALLS {
            self.ring.pop_front();
        }
        self.ring.push_back(call);
        self.parts.push();
        finding
    }

    /// A tool's answer. It belongs to the call it names as its cause, else to the latest open call of its tool.
    pub(crate) fn result(&mut self, step: &Step<'_>, rules: &LoopRules) -> Option<Finding> {
        let body = step.output.as_ref().map(|it| it.get());
        let content = match body {
            Some(body) => whole(canonical::hash_of(body), step.output_cut, step),
            None => whole(hash_text(step.text.as_deref().unwrap_or_default()), step.text_cut, step),
        };
        let bytes = body.map_or_else(|| step.text.as_ref().map_or(0, |it| it.len()), str::len);
        let brief = if bytes < rules.stale_bytes_min { BRIEF } else { 0 };
        let result = mix(content, u64::from(step.failed())) & !BRIEF | 1 | brief;
        let tool = step.tool.as_deref().map(hash_text);
        let named = |it: &Call| step.causes.iter().any(|cause| cause.as_str() == it.step.as_str());
        let open = |it: &Call| it.result == 0 && tool.is_none_or(|tool| tool == it.tool);
        let at = self.ring.iter().rposition(named).or_else(|| self.ring.iter().rposition(open));
        let seen = self.ring.iter().enumerate().rev().find(|(n, it)| Some(*n) != at && it.result == result);
        let seen = seen.map(|(_, it)| it.step.clone());
        let finding = no_progress::observe(&mut self.stale, seen, brief != 0, step, rules);
        if let Some(at) = at {
            self.ring[at].result = result;
            self.parts.touch(self.first() + at as u64);
        }
        finding
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

/// What differs between the findings of these rules.
struct Saw {
    column: Column,
    rule: &'static str,
    severity: Severity,
    decision: Decision,
    calibration: Calibration,
    score: u32,
    evidence: Vec<StepId<'static>>,
    message: String,
}

impl Saw {
    fn finding(self) -> Finding {
        let began_at = self.evidence.first().cloned().unwrap_or_else(|| StepId::from(String::new()));
        Finding {
            column: self.column,
            rule: Cow::Borrowed(self.rule),
            severity: self.severity,
            mode: Mode::Enforce,
            decision: self.decision,
            score: f64::from(self.score),
            calibration: self.calibration,
            evidence: self.evidence,
            began_at,
            message: self.message,
            notify: Vec::new(),
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
