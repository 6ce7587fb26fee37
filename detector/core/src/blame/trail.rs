//! What is kept of the steps of a session.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use martingale_schemas::{Column, Decision, Finding, Kind, Severity, Step, StepId};

use crate::hash::hash_text;
use crate::hijack::words::{TEXT_BYTES_MAX, leaves, word_hash, words};

const STEPS_MAX: usize = 100_000;
const WORDS_MAX: usize = 1 << 20;
/// Requests that wait for an answer: of more, the oldest is taken to have none.
const OPEN_MAX: usize = 64;
/// Rules whose first finding is known to be one.
const RULES_MAX: usize = 256;

/// What a step is to the question who went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Came from outside, or only frames the session.
    Told,
    /// The user's.
    Asked,
    /// Was thought, planned or computed, and had no effect by itself.
    Thought,
    Said,
    /// Acted on something: a call, a handoff, a memory that was written.
    Did,
    /// An agent's answer to what it was handed.
    Delivered,
    Concluded,
}

impl Role {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::SessionStart
            | Kind::SessionEnd
            | Kind::SystemPrompt
            | Kind::ToolResult
            | Kind::Retrieval
            | Kind::MemoryRead
            | Kind::State
            | Kind::Approval
            | Kind::Guardrail
            | Kind::Error => Self::Told,
            Kind::UserMessage => Self::Asked,
            Kind::Plan | Kind::Reasoning | Kind::ModelCall => Self::Thought,
            Kind::AssistantMessage => Self::Said,
            Kind::ToolCall | Kind::Handoff | Kind::Spawn | Kind::MemoryWrite => Self::Did,
            Kind::FinalMessage => Self::Concluded,
        }
    }

    /// Whether an agent acted, and not the world or the user.
    pub(super) const fn is_agent(self) -> bool {
        !matches!(self, Self::Told | Self::Asked)
    }
}

/// What the detector found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) severity: Severity,
    pub(super) rule: Box<str>,
    pub(super) message: Box<str>,
}

#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) step_id: StepId<'static>,
    pub(super) seq: Option<u64>,
    pub(super) kind: Kind,
    pub(super) actor: Option<Box<str>>,
    pub(super) tool: Option<Box<str>>,
    pub(super) role: Role,
    /// Different words.
    pub(super) words: u32,
    /// Of those, words that no step before had.
    pub(super) new: u32,
    /// Of the new ones, words that a later step has too.
    pub(super) taken_up: u32,
    /// Steps that it says led to it.
    pub(super) causes: Vec<usize>,
    /// The worst that was found to begin here.
    pub(super) begun: Option<Found>,
    /// The worst that a rule found of this very step, having found nothing in the session before.
    pub(super) caught: Option<Found>,
}

/// The first failure of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Who asked for it: the call, where it is known, or the step that failed itself.
    pub(super) asked: usize,
    pub(super) shown: usize,
}

/// The step that brought a word in, until a later one takes it up: most of what a session is kept as are these.
#[derive(Debug)]
enum Word {
    New(u32),
    TakenUp,
}

#[derive(Debug, Default)]
pub(super) struct Trail {
    acts: Vec<Act>,
    places: HashMap<u64, usize>,
    words: HashMap<u32, Word>,
    /// Requests without an answer, oldest first: the tool and the step.
    open: Vec<(u64, usize)>,
    first_failure: Option<Failure>,
    /// Rules that found something.
    spoke: Vec<Box<str>>,
}

impl Trail {
    pub(super) fn acts(&self) -> &[Act] {
        &self.acts
    }

    pub(super) fn first_failure(&self) -> Option<Failure> {
        self.first_failure
    }

    pub(super) fn observe(&mut self, step: &Step<'_>, findings: &[Finding]) {
        let at = self.acts.len();
        if at == STEPS_MAX || self.places.contains_key(&hash_text(step.step_id.as_str())) {
            return;
        }
        self.places.insert(hash_text(step.step_id.as_str()), at);
        let causes: Vec<usize> =
            step.causes.iter().filter_map(|it| self.places.get(&hash_text(it.as_str())).copied()).collect();
        let request = self.request(step, &causes);
        let mut role = Role::of(step.kind);
        if request.is_some_and(|it| matches!(self.acts[it].kind, Kind::Handoff | Kind::Spawn)) {
            role = Role::Delivered;
        }
        if step.failed() && self.first_failure.is_none() {
            self.first_failure = Some(Failure { asked: request.unwrap_or(at), shown: at });
        }
        let (words, new) = self.read(step, at);
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(Box::from);
        self.acts.push(Act {
            step_id: step.step_id.to_static(),
            seq: step.seq,
            kind: step.kind,
            actor: owned(&step.agent.name),
            tool: owned(&step.tool),
            role,
            words,
            new,
            taken_up: 0,
            causes,
            begun: None,
            caught: None,
        });
        findings.iter().for_each(|it| self.find(at, it));
    }

    /// The request that a result answers: one of its causes, or else the latest one of the same tool. A call and a handoff
    /// wait from here on.
    fn request(&mut self, step: &Step<'_>, causes: &[usize]) -> Option<usize> {
        let tool = hash_text(step.tool.as_deref()?);
        match step.kind {
            Kind::ToolCall | Kind::Handoff | Kind::Spawn => {
                if self.open.len() == OPEN_MAX {
                    self.open.remove(0);
                }
                self.open.push((tool, self.acts.len()));
                None
            }
            Kind::ToolResult => {
                let declared = self.open.iter().rposition(|(_, at)| causes.contains(at));
                let named = || self.open.iter().rposition(|(it, _)| *it == tool);
                declared.or_else(named).map(|it| self.open.remove(it).1)
            }
            _ => None,
        }
    }

    /// Counts the words of a step: the different ones, and those of them that are new.
    fn read(&mut self, step: &Step<'_>, at: usize) -> (u32, u32) {
        let mut hashes = Vec::new();
        let mut left = TEXT_BYTES_MAX;
        let mut take = |text: &str| {
            let text = &text[..text.floor_char_boundary(left)];
            left -= text.len();
            words(text, |it| hashes.push(word_hash(it)));
        };
        take(step.text.as_deref().unwrap_or_default());
        take(step.error.as_ref().and_then(|it| it.message.as_deref()).unwrap_or_default());
        for json in [&step.input, &step.output].into_iter().flatten() {
            leaves(json.get(), &mut |_, text| take(text));
        }
        hashes.sort_unstable();
        hashes.dedup();
        let mut new = 0;
        for it in &hashes {
            let is_full = self.words.len() == WORDS_MAX;
            match self.words.entry(*it) {
                Entry::Occupied(mut known) => {
                    if let Word::New(first) = known.insert(Word::TakenUp)
                        && let Some(act) = self.acts.get_mut(first as usize)
                    {
                        act.taken_up += 1;
                    }
                }
                Entry::Vacant(place) if !is_full => {
                    place.insert(Word::New(u32::try_from(at).unwrap_or(u32::MAX)));
                    new += 1;
                }
                Entry::Vacant(_) => {}
            }
        }
        (u32::try_from(hashes.len()).unwrap_or(u32::MAX), new)
    }

    fn find(&mut self, at: usize, finding: &Finding) {
        if finding.decision == Decision::Allow {
            return;
        }
        if let Some(began) = self.places.get(&hash_text(finding.began_at.as_str())) {
            worst(self.acts.get_mut(*began).map(|it| &mut it.begun), finding);
        }
        // These are of the very step, and so is what a policy denies; a loop, or what a policy counts, went wrong where it began.
        let is_of_step = match finding.column {
            Column::Leakage | Column::Chain | Column::Hijack | Column::Escalation => true,
            Column::Policy => finding.decision == Decision::Deny,
            _ => false,
        };
        if is_of_step && !self.spoke.iter().any(|it| **it == *finding.rule) && self.spoke.len() < RULES_MAX {
            self.spoke.push(finding.rule.as_ref().into());
            worst(self.acts.get_mut(at).map(|it| &mut it.caught), finding);
        }
    }
}

fn worst(known: Option<&mut Option<Found>>, finding: &Finding) {
    let Some(known) = known else { return };
    if known.as_ref().is_none_or(|it| it.severity < finding.severity) {
        let (rule, message) = (finding.rule.as_ref().into(), finding.message.as_str().into());
        *known = Some(Found { severity: finding.severity, rule, message });
    }
}
