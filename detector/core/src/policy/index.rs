//! Which policies look at a step: by agent, kind, tool and properties of the tool, decided before any condition runs.

use std::collections::HashMap;

use martingale_schemas::Kind;

use super::rule::{Policies, Role};
use crate::condition::Trigger;
use crate::tools::Flags;

/// One condition of one policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Index into the policies.
    pub(super) policy: usize,
    pub(super) role: Role,
    flags: Flags,
    /// Place among the candidates of a step: policies in the order of their files, and within one its `unless` first and
    /// then its parts from the last to the first.
    rank: u32,
}

/// Policies by the steps they look at.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Which policies it is made of.
    policies: Vec<usize>,
    by_kind: [Vec<Candidate>; Kind::ALL.len()],
    by_tool: HashMap<Box<str>, Vec<(Trigger, Candidate)>>,
}

impl Index {
    /// `covered` are indexes into the policies, ascending.
    pub(super) fn new(policies: &Policies, covered: Vec<usize>) -> Self {
        let mut index = Self::default();
        let mut rank = 0;
        for at in &covered {
            let policy = &policies.all[*at];
            for (role, trigger) in policy.rule.triggers() {
                let only_tool = policy.reach.tool.as_ref().and_then(|it| it.literal()).map(|it| vec![it.to_owned()]);
                let trigger = trigger.and(Trigger { tools: only_tool, ..Trigger::ANY });
                rank += 1;
                index.insert(&trigger, Candidate { policy: *at, role, flags: trigger.flags, rank });
            }
        }
        index.policies = covered;
        index
    }

    pub(super) fn policies(&self) -> &Vec<usize> {
        &self.policies
    }

    fn insert(&mut self, trigger: &Trigger, candidate: Candidate) {
        match &trigger.tools {
            Some(tools) => {
                for tool in tools {
                    self.by_tool.entry(tool.as_str().into()).or_default().push((trigger.clone(), candidate));
                }
            }
            None => {
                let kinds = Kind::ALL.into_iter().zip(&mut self.by_kind);
                kinds.filter(|(kind, _)| trigger.kinds.has(*kind)).for_each(|(_, list)| list.push(candidate));
            }
        }
    }

    /// Candidates for a step, in order of rank.
    pub(super) fn candidates(&self, kind: Kind, tool: &str, flags: Flags) -> impl Iterator<Item = Candidate> {
        let mut by_kind = self.by_kind[kind as usize].iter().filter(move |it| flags.has(it.flags)).peekable();
        let by_tool = if self.by_tool.is_empty() { None } else { self.by_tool.get(tool) };
        let by_tool = by_tool.into_iter().flatten().filter(move |(it, _)| it.kinds.has(kind) && flags.has(it.flags));
        let mut by_tool = by_tool.map(|(_, candidate)| candidate).peekable();
        std::iter::from_fn(move || match (by_kind.peek(), by_tool.peek()) {
            (Some(a), Some(b)) if b.rank < a.rank => by_tool.next().copied(),
            (Some(_), _) => by_kind.next().copied(),
            (None, _) => by_tool.next().copied(),
        })
    }
}
