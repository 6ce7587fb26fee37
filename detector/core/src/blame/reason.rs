//! Why a step is suspect, in sentences.

use std::cmp::Reverse;
use std::fmt;

use martingale_schemas::StepId;

use super::row::{Number, Row};
use super::trail::{Act, Found, Trail};
use super::weigh::weights;

/// Ranks of size that are worth a word, of steps that are not small.
const LARGEST: usize = 3;
const LARGE_WORDS_MIN: u32 = 16;

/// One thing that speaks for blaming a step, or against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A finding of the detector began here. The message holds text from the agent: treat it as untrusted.
    Begun { rule: Box<str>, message: Box<str> },
    /// A rule of the detector found something here, and nothing before. The message as above.
    Caught { rule: Box<str>, message: Box<str> },
    /// What it asked for was the first thing to fail; the step that showed it.
    FailedFirst { shown: StepId<'static> },
    /// It brought in words that no step before it had, and later ones took some of them up.
    Brought { new: u32, taken_up: u32 },
    /// It is among the largest things an agent did; its rank from 1, and its different words.
    Large { rank: usize, words: u32 },
    /// It acted: a call, a handoff, or the work another agent delivered.
    Acted,
    /// Few steps went before it, and many came after.
    Early { before: usize, after: usize },
    /// Against: it came from outside.
    Told,
    /// Against: the user said it.
    Asked,
    /// Against: no step of an agent went before it.
    Opens,
    /// Against: it is a thought or a plan.
    Thinks,
    /// Against: it concludes.
    Concludes,
    /// Against: nothing that led to the end names it as a cause.
    Aside,
}

impl Reason {
    /// Whether it speaks for blaming the step.
    #[must_use]
    pub const fn speaks_for(&self) -> bool {
        match self {
            Self::Begun { .. }
            | Self::Caught { .. }
            | Self::FailedFirst { .. }
            | Self::Brought { .. }
            | Self::Large { .. }
            | Self::Acted
            | Self::Early { .. } => true,
            Self::Told | Self::Asked | Self::Opens | Self::Thinks | Self::Concludes | Self::Aside => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun { rule, message } => write!(f, "what `{rule}` found begins here: {message}"),
            Self::Caught { rule, message } => write!(f, "`{rule}` found something for the first time: {message}"),
            Self::FailedFirst { shown } => {
                write!(f, "nothing failed before it did: step {shown} shows the error")
            }
            Self::Brought { new, taken_up: 0 } => {
                write!(f, "it brought in {} that no step before it had", counted(*new, "word"))
            }
            Self::Brought { new, taken_up } => write!(
                f,
                "it brought in {} that no step before it had, and later steps took up {taken_up} of them",
                counted(*new, "word")
            ),
            Self::Large { rank: 1, words } => write!(f, "no other step of an agent is as large: {words} words"),
            Self::Large { rank, words } => {
                write!(f, "it is the {} largest step of an agent: {words} words", ordinal(*rank))
            }
            Self::Acted => f.write_str("it acted, where others only spoke"),
            Self::Early { before, after } => {
                let before = u32::try_from(*before).unwrap_or(u32::MAX);
                write!(f, "it came early, after {} and before {after}", counted(before, "step"))
            }
            Self::Told => f.write_str("against it: it came from outside, and no agent did it"),
            Self::Asked => f.write_str("against it: the user said it"),
            Self::Opens => {
                f.write_str("against it: no agent did anything here before it, so there was little to get wrong yet")
            }
            Self::Thinks => f.write_str("against it: it is a thought or a plan, and had no effect by itself"),
            Self::Concludes => f.write_str("against it: it concludes, and what went wrong came before"),
            Self::Aside => f.write_str("against it: nothing that led to the end names it as a cause"),
        }
    }
}

fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn ordinal(rank: usize) -> &'static str {
    if rank == 2 { "second" } else { "third" }
}

/// The largest steps of agents, largest first; of equals the earlier.
pub(super) fn largest(trail: &Trail) -> Vec<usize> {
    let acts = trail.acts();
    let mut largest: Vec<usize> =
        (0..acts.len()).filter(|it| acts[*it].role.is_agent() && acts[*it].words >= LARGE_WORDS_MIN).collect();
    largest.sort_by_key(|it| (Reverse(acts[*it].words), *it));
    largest.truncate(LARGEST);
    largest
}

/// What speaks for a step and then what speaks against it, the heaviest first.
pub(super) fn reasons(trail: &Trail, at: usize, row: &Row, largest: &[usize]) -> Vec<Reason> {
    let Some(act) = trail.acts().get(at) else { return Vec::new() };
    let mut weighed: Vec<(bool, Reverse<i32>, Reason)> = Number::ALL
        .iter()
        .zip(row)
        .zip(weights())
        .filter_map(|((number, value), weight)| {
            let reason = match number {
                Number::Size => {
                    let rank = 1 + largest.iter().position(|it| *it == at)?;
                    Reason::Large { rank, words: act.words }
                }
                Number::Late => early(trail, at)?,
                _ if *value == 0 => return None,
                number => simple(*number, trail, act)?,
            };
            Some((!reason.speaks_for(), Reverse((value * weight).abs()), reason))
        })
        .collect();
    weighed.sort_by_key(|(against, weight, _)| (*against, *weight));
    weighed.into_iter().map(|(.., reason)| reason).collect()
}

/// The reason of a number that is not 0.
fn simple(number: Number, trail: &Trail, act: &Act) -> Option<Reason> {
    Some(match number {
        Number::Told => Reason::Told,
        Number::Asked => Reason::Asked,
        Number::Opens => Reason::Opens,
        Number::Thinks => Reason::Thinks,
        Number::Concludes => Reason::Concludes,
        Number::Aside => Reason::Aside,
        Number::Acts => Reason::Acted,
        Number::New if act.role.is_agent() => Reason::Brought { new: act.new, taken_up: act.taken_up },
        Number::FailsFirst => {
            let shown = trail.acts().get(trail.first_failure()?.shown)?;
            Reason::FailedFirst { shown: shown.step_id.clone() }
        }
        Number::Begun => {
            let Found { rule, message, .. } = act.begun.clone()?;
            Reason::Begun { rule, message }
        }
        Number::Caught => {
            // Said once where it was found at the step where it began.
            let Found { rule, message, .. } = act.caught.clone().filter(|it| act.begun.as_ref() != Some(it))?;
            Reason::Caught { rule, message }
        }
        Number::New | Number::Size | Number::Late => return None,
    })
}

/// Of an agent's step in the first quarter of a session.
fn early(trail: &Trail, at: usize) -> Option<Reason> {
    let after = trail.acts().len() - at - 1;
    (trail.acts()[at].role.is_agent() && at * 3 < after).then_some(Reason::Early { before: at, after })
}
