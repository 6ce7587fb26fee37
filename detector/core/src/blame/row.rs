//! The numbers of a step.

use super::trail::{Act, Found, Role, Trail};
use crate::secret::log2_1024ths;

/// What is counted of a step. More of a number speaks for blaming it, or against, and never now one and then the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Told,
    Asked,
    Opens,
    Thinks,
    Concludes,
    Acts,
    Size,
    New,
    Late,
    FailsFirst,
    Begun,
    Caught,
    Aside,
}

impl Number {
    /// In the order of a row.
    pub(super) const ALL: [Self; 13] = [
        Self::Told,
        Self::Asked,
        Self::Opens,
        Self::Thinks,
        Self::Concludes,
        Self::Acts,
        Self::Size,
        Self::New,
        Self::Late,
        Self::FailsFirst,
        Self::Begun,
        Self::Caught,
        Self::Aside,
    ];
}

/// Names of the numbers of a row, in their order. A flag is 0 or 1,024, `begun` and `caught` go up to 1,024 with the severity, and
/// `size`, `new` and `late` are logarithms to the base of 2, in 1,024ths, of one more than the count.
pub const BLAME_NUMBERS: [&str; Number::ALL.len()] = [
    "told",
    "asked",
    "opens",
    "thinks",
    "concludes",
    "acts",
    "size",
    "new",
    "late",
    "fails_first",
    "begun",
    "caught",
    "aside",
];

pub(super) type Row = [i32; Number::ALL.len()];

const FLAG: i32 = 1024;

pub(super) fn rows(trail: &Trail) -> Vec<Row> {
    let opens = opening(trail);
    let leads = leads_to_the_end(trail.acts());
    let fails = trail.first_failure().map(|it| it.asked);
    let of = |at: usize, act: &Act, number: Number| match number {
        Number::Told => flag(act.role == Role::Told),
        Number::Asked => flag(act.role == Role::Asked),
        Number::Opens => flag(opens == Some(at)),
        Number::Thinks => flag(act.role == Role::Thought),
        Number::Concludes => flag(act.role == Role::Concluded),
        Number::Acts => flag(matches!(act.role, Role::Did | Role::Delivered)),
        Number::Size => log2(act.words),
        Number::New => log2(act.new),
        Number::Late => log2(u32::try_from(at).unwrap_or(u32::MAX)),
        Number::FailsFirst => flag(fails == Some(at)),
        Number::Begun => severity(act.begun.as_ref()),
        Number::Caught => severity(act.caught.as_ref()),
        Number::Aside => flag(leads.as_ref().is_some_and(|it| !it[at])),
    };
    trail.acts().iter().enumerate().map(|(at, act)| Number::ALL.map(|it| of(at, act, it))).collect()
}

const fn flag(it: bool) -> i32 {
    if it { FLAG } else { 0 }
}

fn severity(found: Option<&Found>) -> i32 {
    found.map_or(0, |it| FLAG * (1 + it.severity as i32) / 5)
}

/// The first step of an agent: little was read before it that it could have got wrong, and most of what it says is the task.
fn opening(trail: &Trail) -> Option<usize> {
    trail.acts().iter().position(|it| it.role.is_agent())
}

/// Which steps led to the last one by what the steps declare; nothing where the last one declares no cause.
fn leads_to_the_end(acts: &[Act]) -> Option<Vec<bool>> {
    let last = acts.len().checked_sub(1)?;
    if acts[last].causes.is_empty() {
        return None;
    }
    let mut leads = vec![false; acts.len()];
    leads[last] = true;
    // Causes stand before what they led to.
    for at in (0..=last).rev() {
        if leads[at] {
            acts[at].causes.iter().for_each(|it| leads[*it] = true);
        }
    }
    Some(leads)
}

fn log2(count: u32) -> i32 {
    i32::try_from(log2_1024ths(count.saturating_add(1))).unwrap_or(i32::MAX)
}
