//! What led to a step: edges between the steps of a session, each with the reason it is drawn.
//!
//! Three kinds. *Declared*: the producer named the cause. *Value*: a value of the call was seen in that step before.
//! *Structural*: the kinds and the order of steps say so, which is plausible and not proven. Pure, so that the rules can be tested as a table.

use std::borrow::Cow;
use std::collections::HashMap;

use martingale_schemas::Kind;

/// A step, as far as its place in the graph depends on it. Steps are in the order they were judged.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) step_id: String,
    pub(super) kind: Kind,
    pub(super) tool: Option<String>,
    /// Who acts, where several do.
    pub(super) actor: Option<String>,
    pub(super) causes: Vec<String>,
    /// Steps that its arguments came from.
    pub(super) values: Vec<Value>,
}

/// Where the value of an argument was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) from: String,
    /// As a sentence.
    pub(super) because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    Declared,
    Value,
    Structural,
}

impl EdgeKind {
    pub(crate) const ALL: [Self; 3] = [Self::Declared, Self::Value, Self::Structural];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Value => "value",
            Self::Structural => "structural",
        }
    }
}

/// "`from` led to `to`".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) kind: EdgeKind,
    pub(super) because: Cow<'static, str>,
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Edges between the step and what is farthest from it.
    pub(super) depth_max: usize,
    pub(super) edges_max: usize,
}

/// What led to a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Nearest causes first.
    pub(super) edges: Vec<Edge>,
    /// Whether it goes on beyond the bounds.
    pub(super) truncated: bool,
}

/// Every edge that leads to the step at `target`, breadth first.
pub(super) fn chain(nodes: &[Node], target: usize, bounds: Bounds) -> Chain {
    let by_id: HashMap<&str, usize> = nodes.iter().enumerate().map(|(at, it)| (it.step_id.as_str(), at)).collect();
    let answers = answered_calls(nodes, &by_id);
    let mut chain = Chain { edges: Vec::new(), truncated: false };
    let mut known = vec![false; nodes.len()];
    let mut level = vec![target];
    known[target] = true;
    for depth in 0.. {
        let mut next = Vec::new();
        for to in level {
            for (edge, from) in causes_of(nodes, to, &by_id, &answers) {
                if depth == bounds.depth_max || chain.edges.len() == bounds.edges_max {
                    chain.truncated = true;
                    return chain;
                }
                chain.edges.push(edge);
                if let Some(from) = from.filter(|it| !std::mem::replace(&mut known[*it], true)) {
                    next.push(from);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    chain
}

/// Edges to one step, with the place of the cause where the session has it.
fn causes_of(
    nodes: &[Node],
    to: usize,
    by_id: &HashMap<&str, usize>,
    answers: &HashMap<usize, usize>,
) -> Vec<(Edge, Option<usize>)> {
    let node = &nodes[to];
    let edge = |from: &str, kind, because: Cow<'static, str>| {
        let (from, to) = (from.to_owned(), node.step_id.clone());
        Edge { from, to, kind, because }
    };
    let mut edges: Vec<_> = node
        .causes
        .iter()
        .map(|cause| {
            let from = by_id.get(cause.as_str()).copied();
            let because = if from.is_some() {
                "the producer named it"
            } else {
                "the producer named it; it is not in this session"
            };
            (edge(cause, EdgeKind::Declared, because.into()), from)
        })
        .collect();
    for value in &node.values {
        let from = by_id.get(value.from.as_str()).copied();
        edges.push((edge(&value.from, EdgeKind::Value, value.because.clone().into()), from));
    }
    let structural = match answers.get(&to) {
        Some(call) => Some((*call, "the result answers this call")),
        None => before(nodes, to),
    };
    if let Some((from, because)) = structural
        && !node.causes.contains(&nodes[from].step_id)
    {
        edges.push((edge(&nodes[from].step_id, EdgeKind::Structural, because.into()), Some(from)));
    }
    edges
}

/// The latest step before one that can have led to it.
fn before(nodes: &[Node], to: usize) -> Option<(usize, &'static str)> {
    let node = &nodes[to];
    let (leads, because): (fn(Kind) -> bool, _) = match node.kind {
        Kind::SessionStart | Kind::SystemPrompt | Kind::UserMessage => return None,
        // What acts was decided by what was thought or said last.
        Kind::ToolCall | Kind::Retrieval | Kind::MemoryRead | Kind::MemoryWrite | Kind::Handoff | Kind::Spawn => {
            (decides, "the latest thought or message before the action")
        }
        // What is thought or said rests on what was seen or thought last.
        _ => (informs, "the latest of what the agent had in view"),
    };
    // A user speaks to all actors of a session; otherwise each goes on from its own steps.
    let same_actor = |it: &Node| it.actor == node.actor || it.kind == Kind::UserMessage || it.actor.is_none();
    let latest = |matches: &dyn Fn(&Node) -> bool| nodes[..to].iter().rposition(matches);
    latest(&|it| leads(it.kind) && same_actor(it)).or_else(|| latest(&|it| leads(it.kind))).map(|it| (it, because))
}

const fn decides(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::UserMessage | Kind::Plan | Kind::Reasoning | Kind::ModelCall | Kind::AssistantMessage | Kind::Approval
    )
}

const fn informs(kind: Kind) -> bool {
    decides(kind)
        || matches!(
            kind,
            Kind::ToolResult | Kind::Retrieval | Kind::MemoryRead | Kind::Handoff | Kind::State | Kind::Error
        )
}

/// The call that each result answers: the one it names, else the oldest open call of the same tool.
fn answered_calls(nodes: &[Node], by_id: &HashMap<&str, usize>) -> HashMap<usize, usize> {
    let mut open: Vec<usize> = Vec::new();
    let mut answers = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        match node.kind {
            Kind::ToolCall => open.push(at),
            Kind::ToolResult => {
                let named = node.causes.iter().filter_map(|it| by_id.get(it.as_str())).copied();
                let named = named.into_iter().find(|it| nodes[*it].kind == Kind::ToolCall);
                let same = || open.iter().copied().find(|it| node.tool.is_none() || nodes[*it].tool == node.tool);
                if let Some(call) = named.or_else(same) {
                    open.retain(|it| *it != call);
                    answers.insert(at, call);
                }
            }
            _ => {}
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use martingale_schemas::Kind;

    use super::{Bounds, Node, Value, chain};

    const WIDE: Bounds = Bounds { depth_max: 20, edges_max: 100 };

    /// Lines `id kind [tool] [@actor] [<cause] [=value]`; the last one is asked about. `from>to` with `d`, `v` or `s`,
    /// nearest first.
    fn check(lines: &str, bounds: Bounds, expected: &str) {
        let nodes: Vec<_> = lines.lines().map(str::trim).filter(|it| !it.is_empty()).map(node).collect();
        let found = chain(&nodes, nodes.len() - 1, bounds);
        let mut shown: Vec<_> =
            found.edges.iter().map(|it| format!("{}>{}{}", it.from, it.to, &it.kind.as_str()[..1])).collect();
        if found.truncated {
            shown.push("…".to_owned());
        }
        assert_eq!(shown.join(" "), expected, "{lines}");
    }

    fn node(line: &str) -> Node {
        let mut words = line.split_whitespace();
        let step_id = words.next().expect("an id").to_owned();
        let kind = Kind::from_name(words.next().expect("a kind")).expect("a kind");
        let mut node = Node { step_id, kind, tool: None, actor: None, causes: Vec::new(), values: Vec::new() };
        for word in words {
            match word.split_at(1) {
                ("@", actor) => node.actor = Some(actor.to_owned()),
                ("<", cause) => node.causes.push(cause.to_owned()),
                ("=", from) => node.values.push(Value { from: from.to_owned(), because: String::new() }),
                _ => node.tool = Some(word.to_owned()),
            }
        }
        node
    }

    #[test]
    fn a_call_rests_on_thoughts_results_and_the_user() {
        check(
            "1 user_message
             2 model_call
             3 tool_call search
             4 tool_result search
             5 model_call
             6 tool_call send",
            WIDE,
            "5>6s 4>5s 3>4s 2>3s 1>2s",
        );
    }

    #[test]
    fn results_answer_the_call_they_name_or_the_oldest_open_one_of_their_tool() {
        check("1 tool_call a\n2 tool_call b\n3 tool_result b", WIDE, "2>3s");
        check("1 tool_call a\n2 tool_call a\n3 tool_result a", WIDE, "1>3s");
        check("1 tool_call a\n2 tool_call a\n3 tool_result a\n4 tool_result a", WIDE, "2>4s");
        check("1 tool_call a\n2 tool_call a\n3 tool_result a <2", WIDE, "2>3d");
        check("1 tool_call a\n2 tool_result", WIDE, "1>2s");
    }

    #[test]
    fn declared_causes_come_first_and_are_not_doubled() {
        check("1 user_message\n2 reasoning\n3 tool_call t <1", WIDE, "1>3d 2>3s 1>2s");
        check("1 user_message\n2 tool_call t <1", WIDE, "1>2d");
        check("1 tool_call t <elsewhere", WIDE, "elsewhere>1d");
    }

    #[test]
    fn values_are_edges_of_their_own() {
        check("1 user_message\n2 tool_result a\n3 reasoning\n4 tool_call t <3 =2 =1", WIDE, "3>4d 2>4v 1>4v 2>3s 1>2s");
        check("1 tool_call t =elsewhere", WIDE, "elsewhere>1v");
    }

    #[test]
    fn actors_go_on_from_their_own_steps() {
        check("1 reasoning @a\n2 reasoning @b\n3 tool_call t @a", WIDE, "1>3s");
        check("1 reasoning @b\n2 tool_call t @a", WIDE, "1>2s");
    }

    #[test]
    fn cycles_and_bounds_end() {
        check("1 reasoning <2\n2 tool_call t <1", WIDE, "1>2d 2>1d");
        let near = Bounds { depth_max: 1, edges_max: 100 };
        check("1 user_message\n2 reasoning\n3 tool_call t", near, "2>3s …");
        let few = Bounds { depth_max: 9, edges_max: 1 };
        check("1 user_message\n2 user_message\n3 tool_call t <1 <2", few, "1>3d …");
        check("1 user_message", WIDE, "");
    }
}
