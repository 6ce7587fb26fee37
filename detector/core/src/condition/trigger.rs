//! Which steps can match a condition at all, read off the expression: what the index is built from.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use martingale_schemas::Kind;

use super::check::literal_text;
use super::path::segments;
use crate::tools::Flags;

/// A superset of the steps that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) kinds: Kinds,
    /// Tools, where the condition names them.
    pub(crate) tools: Option<Vec<String>>,
    /// Properties the tool must have.
    pub(crate) flags: Flags,
    /// Whether these are all the condition asks, so that it need not be evaluated.
    pub(crate) exact: bool,
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(u32);

impl Kinds {
    pub(crate) const ALL: Self = Self((1 << Kind::ALL.len()) - 1);
    pub(crate) const NONE: Self = Self(0);

    const fn of(kind: Kind) -> Self {
        Self(1 << kind as u32)
    }

    pub(crate) const fn has(self, kind: Kind) -> bool {
        self.0 & Self::of(kind).0 != 0
    }
}

impl Trigger {
    pub(crate) const ANY: Self = Self { kinds: Kinds::ALL, tools: None, flags: Flags::NONE, exact: false };

    /// Every step of a kind.
    pub(crate) fn of_kind(kind: Kind) -> Self {
        Self { kinds: Kinds::of(kind), exact: true, ..Self::ANY }
    }

    /// Derives it from a checked expression; `current` is another name of `step`.
    pub(super) fn of(expr: &IdedExpr, current: Option<&str>) -> Self {
        let Expr::Call(call) = &expr.expr else {
            return match (&expr.expr, flag(expr)) {
                (_, Some(flags)) => Self { flags, exact: true, ..Self::ANY },
                (Expr::Literal(LiteralValue::Boolean(it)), _) if *it.inner() => Self { exact: true, ..Self::ANY },
                _ => Self::ANY,
            };
        };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, [a, b]) => Self::of(a, current).and(Self::of(b, current)),
            (operators::LOGICAL_OR, [a, b]) => Self::of(a, current).or(Self::of(b, current)),
            (operators::EQUALS, [a, b]) => {
                let words = literal_text(b).or_else(|| literal_text(a)).map(|it| vec![it]);
                let field = if literal_text(b).is_some() { a } else { b };
                words.map_or(Self::ANY, |words| Self::named(field, &words, current))
            }
            (operators::IN, [a, list]) => match written_texts(list) {
                Some(words) => Self::named(a, &words, current),
                None => Self::ANY,
            },
            _ => Self::ANY,
        }
    }

    fn named(field: &IdedExpr, words: &[&str], current: Option<&str>) -> Self {
        let Some(path) = segments(field) else { return Self::ANY };
        let [object, name] = path.as_slice() else { return Self::ANY };
        let is_step = *object == "step" || Some(*object) == current;
        match *name {
            "kind" if is_step => {
                let kinds = words.iter().filter_map(|it| Kind::from_name(it)).fold(0, |all, it| all | Kinds::of(it).0);
                Self { kinds: Kinds(kinds), exact: true, ..Self::ANY }
            }
            "tool" if is_step => Self::of_tools(words),
            "name" if *object == "tool" => Self::of_tools(words),
            _ => Self::ANY,
        }
    }

    fn of_tools(words: &[&str]) -> Self {
        let mut tools: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
        // Each tool has the condition once, however often it is written.
        tools.sort();
        tools.dedup();
        Self { tools: Some(tools), exact: true, ..Self::ANY }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        let tools = match (self.tools, other.tools) {
            (Some(mut a), Some(b)) => {
                a.retain(|it| b.contains(it));
                Some(a)
            }
            (a, b) => a.or(b),
        };
        Self {
            kinds: Kinds(self.kinds.0 & other.kinds.0),
            tools,
            flags: self.flags | other.flags,
            exact: self.exact && other.exact,
        }
    }

    fn or(self, other: Self) -> Self {
        // "Kind a or kind b", "tool a or tool b": of mixed alternatives only a superset is known.
        let kinds_only = |it: &Self| it.exact && it.tools.is_none() && it.flags == Flags::NONE;
        let tools_only =
            |it: &Self| it.exact && it.tools.is_some() && it.flags == Flags::NONE && it.kinds == Kinds::ALL;
        let exact = (kinds_only(&self) && kinds_only(&other)) || (tools_only(&self) && tools_only(&other));
        let tools = match (self.tools, other.tools) {
            (Some(mut a), Some(b)) => {
                a.extend(b);
                a.sort();
                a.dedup();
                Some(a)
            }
            _ => None,
        };
        let kinds = Kinds(self.kinds.0 | other.kinds.0);
        Self { kinds, tools, flags: Flags(self.flags.0 & other.flags.0), exact }
    }

    /// No step at all can match.
    pub(crate) fn is_empty(&self) -> bool {
        self.kinds == Kinds::NONE || self.tools.as_ref().is_some_and(Vec::is_empty)
    }

    /// Every kind of step has to be looked at.
    pub(crate) fn is_unindexed(&self) -> bool {
        self.kinds == Kinds::ALL && self.tools.is_none() && self.flags == Flags::NONE
    }
}

fn flag(expr: &IdedExpr) -> Option<Flags> {
    match segments(expr)?.as_slice() {
        ["tool", "read_only"] => Some(Flags::READ_ONLY),
        ["tool", "destructive"] => Some(Flags::DESTRUCTIVE),
        ["tool", "idempotent"] => Some(Flags::IDEMPOTENT),
        ["tool", "open_world"] => Some(Flags::OPEN_WORLD),
        _ => None,
    }
}

fn written_texts(expr: &IdedExpr) -> Option<Vec<&str>> {
    match &expr.expr {
        Expr::List(list) => list.elements.iter().map(literal_text).collect(),
        _ => None,
    }
}
