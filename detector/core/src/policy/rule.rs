//! A compiled policy.

use cel::Context;
use martingale_schemas::{Decision, Mode, Severity};

use super::budget::Budget;
use super::message::Message;
use super::test_cases::Case;
use crate::columns::LoopRule;
use crate::condition::{Condition, Trigger, base_context};
use crate::glob::Glob;

/// Which agents and tools a policy is about.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    pub(super) agent: Option<Glob>,
    pub(super) version: Option<Glob>,
    /// Empty: every one.
    pub(super) environments: Vec<String>,
    pub(super) tool: Option<Glob>,
}

impl Reach {
    pub(super) fn covers(&self, agent: &str, version: &str, environment: &str) -> bool {
        self.agent.as_ref().is_none_or(|it| it.matches(agent))
            && self.version.as_ref().is_none_or(|it| it.matches(version))
            && (self.environments.is_empty() || self.environments.iter().any(|it| it == environment))
    }
}

#[derive(Debug)]
pub(crate) struct Then {
    pub(super) decision: Decision,
    /// Absent: the title, or what the rule says by itself.
    pub(super) message: Option<Message>,
    pub(super) notify: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Rule {
    /// One step.
    When(Condition),
    /// Steps in order; `unless` in between cancels.
    Sequence { parts: Vec<Condition>, names: Vec<String>, unless: Option<Condition>, within: i64 },
    /// Many steps in a window of time; without `sum` they are counted.
    Threshold { filter: Condition, sum: Option<Condition>, at_least: f64, within: i64 },
    /// A total of the session or of its run.
    Budget(Budget),
    /// How deep and how wide sessions may start sessions.
    Delegation { depth_max: Option<u32>, fan_out_max: Option<u32> },
    /// Tool calls that lead nowhere.
    Loop(LoopRule),
}

impl Rule {
    /// Conditions of the rule and the role each has.
    pub(super) fn triggers(&self) -> Vec<(Role, Trigger)> {
        match self {
            Self::When(condition) => vec![(Role::Whole, condition.trigger.clone())],
            Self::Sequence { parts, unless, .. } => {
                let unless = unless.iter().map(|it| (Role::Unless, it.trigger.clone()));
                // The last part goes first, so that one step does not stand for two parts in a row.
                let parts = parts.iter().enumerate().rev();
                unless.chain(parts.map(|(at, it)| (Role::Part(at), it.trigger.clone()))).collect()
            }
            Self::Threshold { filter, .. } => vec![(Role::Whole, filter.trigger.clone())],
            Self::Budget(_) | Self::Delegation { .. } => vec![(Role::Whole, Trigger::ANY)],
            Self::Loop(rule) => vec![(Role::Whole, Trigger::of_kind(rule.form.kind()))],
        }
    }
}

/// What a matching step does for its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Unless,
    Part(usize),
    Whole,
}

#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) id: String,
    /// Hash of the whole document: what a session remembers of a policy is void once the policy changes.
    pub(crate) key: u64,
    pub(crate) title: String,
    pub(crate) severity: Severity,
    pub(crate) mode: Mode,
    pub(super) reach: Reach,
    pub(super) rule: Rule,
    pub(super) then: Then,
    pub(super) file: String,
    pub(super) tests: Vec<Case>,
}

/// All policies and the context their conditions start from.
pub(crate) struct Policies {
    pub(crate) all: Vec<Policy>,
    pub(super) base: Context<'static, 'static>,
}

impl Policies {
    pub(crate) fn new(all: Vec<Policy>) -> Self {
        Self { all, base: base_context() }
    }

    /// Whether the policy of this id finds nothing but where content flows to the step it is found at.
    pub(crate) fn rests_on_flow(&self, id: &str) -> bool {
        let last = |it: &Policy| match &it.rule {
            Rule::Sequence { parts, .. } => parts.last().is_some_and(|it| it.needs_flow),
            _ => false,
        };
        self.all.iter().any(|it| it.id == id && last(it))
    }

    /// Indexes of the policies that are about this agent.
    pub(super) fn covering(&self, agent: &str, version: &str, environment: &str) -> Vec<usize> {
        let on = |it: &Policy| it.mode != Mode::Off && it.reach.covers(agent, version, environment);
        self.all.iter().enumerate().filter(|(_, it)| on(it)).map(|(at, _)| at).collect()
    }
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|it| &it.id)).finish()
    }
}
