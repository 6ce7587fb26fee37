//! Which policies look at a step: by agent, kind, tool and properties of the tool, decided before any condition runs.

use std::collections::HashMap;

use martingale_schemas::Kind;

use super::rule::{Policies, Role};
use crate::condition::{Kinds, Trigger};
use crate::glob::Glob;
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
    by_tool: HashMap<Box<str>, Vec<OfTool>>,
    /// Those whose scope is a pattern of tools, ...
    by_pattern: Vec<(Glob, OfTool)>,
    /// ... and what they and `by_tool` come to for each tool seen, bounded: a pattern is matched once for each name.
    known: HashMap<Box<str>, Vec<OfTool>>,
}

/// A candidate for some kinds of steps of a tool.
#[derive(Clone, Copy, Debug)]
struct OfTool {
    kinds: Kinds,
    candidate: Candidate,
}

impl Index {
    /// `covered` are indexes into the policies, ascending.
    pub(super) fn new(policies: &Policies, covered: Vec<usize>) -> Self {
        let mut index = Self::default();
        let mut rank = 0;
        for at in &covered {
            let policy = &policies.all[*at];
            for (role, trigger) in policy.rule.triggers() {
                rank += 1;
                let candidate = Candidate { policy: *at, role, flags: trigger.flags, rank };
                index.insert(trigger, policy.reach.tool.as_ref(), candidate);
            }
        }
        index.policies = covered;
        index
    }

    pub(super) fn policies(&self) -> &Vec<usize> {
        &self.policies
    }

    /// A candidate for the steps its trigger lets through, of the tools in its policy's scope.
    fn insert(&mut self, trigger: Trigger, scope: Option<&Glob>, candidate: Candidate) {
        let of_tool = OfTool { kinds: trigger.kinds, candidate };
        let tools = match (trigger.tools, scope) {
            (Some(tools), None) => tools,
            (Some(tools), Some(scope)) => tools.into_iter().filter(|it| scope.matches(it)).collect(),
            (None, Some(scope)) => match scope.literal() {
                Some(tool) => vec![tool.to_owned()],
                None => return self.by_pattern.push((scope.clone(), of_tool)),
            },
            (None, None) => {
                let kinds = Kind::ALL.into_iter().zip(&mut self.by_kind);
                return kinds.filter(|(kind, _)| trigger.kinds.has(*kind)).for_each(|(_, list)| list.push(candidate));
            }
        };
        for tool in tools {
            self.by_tool.entry(tool.into()).or_default().push(of_tool);
        }
    }

    /// Must be called with a step's tool before [`Self::candidates`]. Full, it forgets what it knows and learns it anew.
    pub(super) fn meet(&mut self, tool: &str, tools_max: usize) {
        if self.by_pattern.is_empty() || self.known.contains_key(tool) {
            return;
        }
        if self.known.len() >= tools_max {
            self.known.clear();
        }
        let by_pattern = self.by_pattern.iter().filter(|(pattern, _)| pattern.matches(tool)).map(|(_, it)| *it);
        let mut all: Vec<OfTool> = self.by_tool.get(tool).into_iter().flatten().copied().chain(by_pattern).collect();
        all.sort_by_key(|it| it.candidate.rank);
        self.known.insert(tool.into(), all);
    }

    /// Candidates for a step, in order of rank.
    pub(super) fn candidates(&self, kind: Kind, tool: &str, flags: Flags) -> impl Iterator<Item = Candidate> {
        let tools = if self.by_pattern.is_empty() { &self.by_tool } else { &self.known };
        let by_tool = if tools.is_empty() { None } else { tools.get(tool) };
        let mut by_tool = by_tool.map_or(&[][..], Vec::as_slice);
        let mut by_kind = self.by_kind[kind as usize].as_slice();
        let in_order = std::iter::from_fn(move || match (by_kind, by_tool) {
            ([it, rest @ ..], others) if others.first().is_none_or(|other| it.rank < other.candidate.rank) => {
                by_kind = rest;
                Some((true, it))
            }
            (_, [it, rest @ ..]) => {
                by_tool = rest;
                Some((it.kinds.has(kind), &it.candidate))
            }
            (_, []) => None,
        });
        in_order.filter(move |(is_of_kind, it)| *is_of_kind && flags.has(it.flags)).map(|it| *it.1)
    }
}

#[cfg(test)]
mod tests {
    use martingale_schemas::Kind;

    use super::Index;
    use crate::policy::load;
    use crate::tools::Flags;

    /// A thousand patterns cost a step of another tool nothing, and one of theirs what matches.
    #[test]
    fn patterns_of_tools_are_indexed() {
        let policy = |n: usize| {
            format!(
                "id: p{n}\ntitle: T\nseverity: low\nscope: {{ tool: \"db{n}_*\" }}\nwhen: session.steps > 0\nthen: {{ decision: warn }}\n"
            )
        };
        let files: Vec<(String, String)> = (0..1000).map(|n| (format!("{n}.yaml"), policy(n))).collect();
        let loaded = load(&files);
        assert!(loaded.errors.is_empty() && loaded.notes.is_empty(), "{:?} {:?}", loaded.errors, loaded.notes);
        let mut index = Index::new(&loaded.policies, (0..1000).collect());
        for (tool, expected) in [("db7_read", 1), ("search", 0), ("", 0), ("db77_", 1), ("db7", 0), ("db7_read", 1)] {
            index.meet(tool, 2);
            assert!(index.known.len() <= 2);
            assert_eq!(index.candidates(Kind::ToolCall, tool, Flags::NONE).count(), expected, "{tool}");
        }
    }
}
