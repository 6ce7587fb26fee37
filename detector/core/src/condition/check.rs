//! Names, types and words of an expression, checked before it ever runs; and the rewriting that makes it cheap.

use cel::Program;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelBool;

use super::functions::IN_ORDER;
use super::path::{Spot, segments};
use super::pattern::{self, Pattern};
use super::vocabulary::{FUNCTIONS, MACROS, OBJECTS, Ty, fields};
use super::{Names, Want};
use crate::yaml::{Faults, closest};

pub(super) struct Checker<'c, 'f> {
    program: &'c Program,
    spot: Spot<'c>,
    path: &'c str,
    names: Names<'c>,
    faults: &'c mut Faults<'f>,
    patterns: Vec<Pattern>,
    /// Variables of the loops around.
    locals: Vec<String>,
}

/// What `flows(from, to)` is rewritten to, before the name of the earlier part.
const FLOWS: &str = "@flows.";

/// Whether a checked expression cannot hold without `flows`.
pub(super) fn needs_flow(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Ident(name) => name.starts_with(FLOWS),
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::LOGICAL_AND => {
            args.iter().any(needs_flow)
        }
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::LOGICAL_OR => {
            args.iter().all(needs_flow)
        }
        _ => false,
    }
}

impl<'c, 'f> Checker<'c, 'f> {
    pub(super) fn new(
        program: &'c Program,
        spot: Spot<'c>,
        path: &'c str,
        names: Names<'c>,
        faults: &'c mut Faults<'f>,
    ) -> Self {
        Self { program, spot, path, names, faults, patterns: Vec::new(), locals: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<Pattern> {
        self.patterns
    }

    pub(super) fn check_whole(&mut self, expr: &mut IdedExpr, want: Want) {
        let before = self.faults.len();
        let ty = self.check(expr);
        if self.faults.len() > before || ty == Ty::Any {
            return;
        }
        let id = beginning(expr);
        match want {
            Want::Truth if ty != Ty::Bool => {
                self.fault(id, format!("the condition is {}: write a comparison", ty.name()), None);
            }
            Want::Number if !ty.is_number() => {
                self.fault(id, format!("the amount is {}: write a number", ty.name()), None);
            }
            _ => {}
        }
    }

    fn fault(&mut self, id: u64, message: impl Into<String>, suggestion: Option<String>) {
        let offset = self.program.source_info().offset_for(id).map_or(0, |(start, _)| start);
        self.faults.error(self.path, self.spot.of_offset(offset), message, suggestion);
    }

    fn check(&mut self, expr: &mut IdedExpr) -> Ty {
        let id = expr.id;
        match &mut expr.expr {
            Expr::Literal(literal) => of_literal(literal),
            Expr::Ident(name) => {
                let name = name.clone();
                self.ident(id, &name)
            }
            Expr::Select(select) if select.test => {
                let name = segments(&select.operand).map(|it| [it.join("."), select.field.clone()].join("."));
                if let Some(name) = name.filter(|it| self.is_field(it)) {
                    expr.expr = Expr::Ident(format!("@has.{name}"));
                } else if segments(&select.operand).is_some_and(|it| it.len() == 1 && self.is_object(it[0])) {
                    let mut whole = IdedExpr { id, expr: Expr::Select(select.clone()) };
                    if let Expr::Select(it) = &mut whole.expr {
                        it.test = false;
                    }
                    self.select(&mut whole);
                } else {
                    self.check(&mut select.operand);
                }
                Ty::Bool
            }
            Expr::Select(_) => self.select(expr),
            Expr::Call(_) => self.call(expr),
            Expr::List(list) => {
                let types: Vec<Ty> = list.elements.iter_mut().map(|it| self.check(it)).collect();
                let texts = types.iter().all(|it| matches!(it, Ty::Text | Ty::Word(_)));
                if texts { Ty::Texts } else { Ty::Any }
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(it) = &mut entry.expr {
                        self.check(&mut it.key);
                        self.check(&mut it.value);
                    }
                }
                Ty::Any
            }
            Expr::Comprehension(it) => self.comprehension(id, it),
            Expr::Struct(_) | Expr::Unspecified => {
                self.fault(id, "this form of expression is not taken: compare fields instead", None);
                Ty::Any
            }
        }
    }

    fn is_object(&self, name: &str) -> bool {
        !self.locals.iter().any(|it| it == name) && fields(name, self.names.current, self.names.earlier).is_some()
    }

    /// Whether `name` is a field of an object, as `step.usage.cost_usd`.
    fn is_field(&self, name: &str) -> bool {
        let Some((object, field)) = name.split_once('.') else { return false };
        let known = fields(object, self.names.current, self.names.earlier);
        self.is_object(object) && known.is_some_and(|it| it.iter().any(|(name, _)| *name == field))
    }

    fn objects(&self) -> Vec<&str> {
        let parts = self.names.earlier.iter().map(String::as_str).chain(self.names.current);
        OBJECTS.into_iter().chain(parts).collect()
    }

    fn ident(&mut self, id: u64, name: &str) -> Ty {
        if self.locals.iter().any(|it| it == name) {
            return Ty::Any;
        }
        if self.names.amounts && matches!(name, "value" | "limit") {
            return Ty::Double;
        }
        if let Some(known) = fields(name, self.names.current, self.names.earlier) {
            let fields: Vec<&str> = known.iter().map(|(field, _)| *field).collect();
            let message = format!("`{name}` is not a value: name one of its fields {}", fields.join(", "));
            self.fault(id, message, None);
            return Ty::Any;
        }
        let objects = self.objects();
        let suggestion = closest(name, objects.iter().copied());
        let message = format!("unknown name `{name}`: expected one of {}", objects.join(", "));
        self.fault(id, message, suggestion);
        Ty::Any
    }

    fn select(&mut self, expr: &mut IdedExpr) -> Ty {
        let Some(path) = segments(expr).map(|it| it.into_iter().map(str::to_owned).collect::<Vec<_>>()) else {
            let Expr::Select(select) = &mut expr.expr else { return Ty::Any };
            self.check(&mut select.operand);
            return Ty::Any;
        };
        let (object, rest) = (&path[0], &path[1..]);
        let id = beginning(expr);
        if self.locals.iter().any(|it| it == object) {
            return Ty::Any;
        }
        let Some(known) = fields(object, self.names.current, self.names.earlier) else {
            return self.ident(id, object);
        };
        let two = rest.get(..2).map(|it| it.join("."));
        let found = known.iter().find(|(name, _)| *name == rest[0] || two.as_deref() == Some(name));
        let Some((name, ty)) = found else {
            self.unknown_field(id, object, rest, known);
            return Ty::Any;
        };
        let deeper = rest.len() > name.split('.').count();
        if deeper && *ty != Ty::Any {
            self.fault(id, format!("`{object}.{name}` is {}: it has no members", ty.name()), None);
            return Ty::Any;
        }
        if deeper { Ty::Any } else { *ty }
    }

    fn unknown_field(&mut self, id: u64, object: &str, rest: &[String], known: &[(&'static str, Ty)]) {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let earlier = self.names.earlier.iter().any(|it| it == object);
        if earlier && fields("step", None, &[]).is_some_and(|it| it.iter().any(|(name, _)| *name == rest[0])) {
            let message = format!(
                "`{object}.{}` is not kept after its step: of an earlier part there are {}",
                rest[0],
                names.join(", ")
            );
            self.fault(id, message, None);
            return;
        }
        let asked = if rest[0] == "usage" { rest.join(".") } else { rest[0].clone() };
        let suggestion = closest(&asked, names.iter().copied()).map(|it| format!("{object}.{it}"));
        let message = format!("unknown field `{object}.{asked}`: expected one of {}", names.join(", "));
        self.fault(id, message, suggestion);
    }

    fn comprehension(&mut self, id: u64, it: &mut ComprehensionExpr) -> Ty {
        // A loop in a loop costs the square of what the agent sends. Over a list written in the policy it does not.
        if !self.locals.is_empty() && !matches!(it.iter_range.expr, Expr::List(_)) {
            self.fault(id, "a loop inside a loop is not taken, unless it runs over a list written here", None);
        }
        self.check(&mut it.iter_range);
        self.check(&mut it.accu_init);
        for name in [Some(&it.iter_var), it.iter_var2.as_ref()].into_iter().flatten() {
            if self.is_object(name) {
                self.fault(id, format!("the variable `{name}` hides the object of that name: choose another"), None);
            }
        }
        let depth = self.locals.len();
        self.locals.extend([it.iter_var.clone(), it.accu_var.clone()]);
        self.locals.extend(it.iter_var2.clone());
        for part in [&mut it.loop_cond, &mut it.loop_step, &mut it.result] {
            self.check(part);
        }
        self.locals.truncate(depth);
        let range = std::mem::replace(&mut it.iter_range, IdedExpr { id, expr: Expr::Unspecified });
        it.iter_range.expr = Expr::Call(CallExpr { func_name: IN_ORDER.to_owned(), target: None, args: vec![range] });
        Ty::Any
    }

    fn call(&mut self, expr: &mut IdedExpr) -> Ty {
        let id = expr.id;
        let Expr::Call(call) = &mut expr.expr else { return Ty::Any };
        match call.func_name.as_str() {
            "flows" => {
                expr.expr = match self.flows(id, call) {
                    Some(from) => Expr::Ident(format!("{FLOWS}{from}")),
                    None => Expr::Literal(LiteralValue::Boolean(CelBool::from(false))),
                };
                Ty::Bool
            }
            "matches" => {
                self.matches(id, call);
                Ty::Bool
            }
            _ => {
                let target = call.target.as_mut().map(|it| self.check(it));
                let mut types: Vec<Ty> = target.into_iter().collect();
                types.extend(call.args.iter_mut().map(|it| self.check(it)));
                let literals: Vec<&IdedExpr> = call.args.iter().collect();
                self.operands(id, &call.func_name, &types, &literals)
            }
        }
    }

    /// The earlier part that content must come from; `None` when it cannot: nothing flows back in time.
    fn flows(&mut self, id: u64, call: &CallExpr) -> Option<String> {
        let names: Vec<&str> = call
            .args
            .iter()
            .filter_map(segments)
            .filter_map(|it| match *it {
                [name] => Some(name),
                _ => None,
            })
            .collect();
        let ([from, to], None) = (names.as_slice(), &call.target) else {
            self.fault(id, "`flows` takes the names of two parts, as `flows(read, send)`", None);
            return None;
        };
        let parts: Vec<&str> = self.names.earlier.iter().map(String::as_str).chain(self.names.current).collect();
        if parts.is_empty() {
            self.fault(id, "`flows` compares parts of a `sequence`, and there are none here", None);
            return None;
        }
        for name in [from, to] {
            if !parts.contains(name) {
                let message = format!("`flows` knows no part `{name}` up to here: parts are {}", parts.join(", "));
                let suggestion = closest(name, parts.iter().copied());
                self.fault(id, message, suggestion);
                return None;
            }
        }
        let at = |name: &str| parts.iter().position(|it| *it == name);
        if at(from) >= at(to) {
            return None;
        }
        if Some(*to) != self.names.current {
            // The content of an earlier part is not kept.
            let message =
                format!("`flows` is asked where its second part is at hand: write it in the condition of `{to}`");
            self.fault(id, message, None);
            return None;
        }
        Some((*from).to_owned())
    }

    /// A pattern is compiled here, once: the language itself would do so at each evaluation.
    fn matches(&mut self, id: u64, call: &mut CallExpr) {
        let mut operands: Vec<IdedExpr> = call.target.take().map(|it| *it).into_iter().collect();
        operands.append(&mut call.args);
        let Ok([mut text, pattern]) = <[IdedExpr; 2]>::try_from(operands) else {
            self.fault(id, "`matches` takes a text and a pattern, as `step.text.matches(\"a+\")`", None);
            return;
        };
        let ty = self.check(&mut text);
        if !ty.comparable(Ty::Text) {
            self.fault(text.id, format!("`matches` needs text, and this is {}", ty.name()), None);
        }
        let Some(source) = literal_text(&pattern) else {
            self.fault(pattern.id, "the pattern of `matches` must be written here: it is compiled once", None);
            return;
        };
        match Pattern::compile(source) {
            Ok(compiled) => self.patterns.push(compiled),
            Err(message) => {
                self.fault(pattern.id, format!("the pattern of `matches` is not valid: {message}"), None);
                return;
            }
        }
        let name = pattern::variable(self.patterns.len() - 1);
        call.func_name = pattern::FUNCTION.to_owned();
        call.args = vec![text, IdedExpr { id: pattern.id, expr: Expr::Ident(name) }];
    }

    fn operands(&mut self, id: u64, name: &str, types: &[Ty], written: &[&IdedExpr]) -> Ty {
        match (name, types) {
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                self.comparable(id, *a, *b);
                self.word(*a, written[1]);
                self.word(*b, written[0]);
                Ty::Bool
            }
            (operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS, [a, b]) => {
                self.comparable(id, *a, *b);
                Ty::Bool
            }
            (operators::IN, [a, _]) => {
                if let Expr::List(list) = &written[1].expr {
                    for element in &list.elements {
                        self.word(*a, element);
                        if let Expr::Literal(literal) = &element.expr {
                            self.comparable(element.id, *a, of_literal(literal));
                        }
                    }
                }
                Ty::Bool
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, _) => {
                for (ty, it) in types.iter().zip(written) {
                    if !matches!(ty, Ty::Bool | Ty::Any) {
                        self.fault(it.id, format!("this is {}: write a comparison", ty.name()), None);
                    }
                }
                Ty::Bool
            }
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                [a, b],
            ) => {
                if a.is_number() && b.is_number() && a != b {
                    self.fault(id, "whole numbers and fractions do not mix here: write `2.0`, or `double(…)`", None);
                }
                if *a == Ty::Any { *b } else { *a }
            }
            (operators::NEGATE, [a]) => *a,
            (operators::CONDITIONAL, [_, a, b]) => {
                if a == b {
                    *a
                } else {
                    Ty::Any
                }
            }
            (operators::INDEX | operators::NOT_STRICTLY_FALSE, _) => Ty::Any,
            _ => match FUNCTIONS.iter().find(|(known, _)| *known == name) {
                Some((_, ty)) => *ty,
                None => {
                    let known: Vec<&str> = FUNCTIONS.iter().map(|(it, _)| *it).chain(MACROS).collect();
                    let message = format!("unknown function `{name}`: expected one of {}", known.join(", "));
                    self.fault(id, message, closest(name, known));
                    Ty::Any
                }
            },
        }
    }

    fn comparable(&mut self, id: u64, a: Ty, b: Ty) {
        if !a.comparable(b) {
            self.fault(id, format!("compares {} with {}: it never holds", a.name(), b.name()), None);
        }
    }

    /// A word compared with a closed set must be in it.
    fn word(&mut self, set: Ty, other: &IdedExpr) {
        if let (Ty::Word(words), Some(text)) = (set, literal_text(other))
            && !words.contains(&text)
        {
            let message = format!("unknown word `{text}`: expected one of {}", words.join(", "));
            self.fault(other.id, message, closest(text, words.iter().copied()));
        }
    }
}

/// The node an expression begins with: of `step.tool.x` the `step`, and not its last dot.
fn beginning(expr: &IdedExpr) -> u64 {
    match &expr.expr {
        Expr::Select(select) => beginning(&select.operand),
        Expr::Call(CallExpr { target: Some(target), .. }) => beginning(target),
        _ => expr.id,
    }
}

fn of_literal(literal: &LiteralValue) -> Ty {
    match literal {
        LiteralValue::Boolean(_) => Ty::Bool,
        LiteralValue::Int(_) | LiteralValue::UInt(_) => Ty::Int,
        LiteralValue::Double(_) => Ty::Double,
        LiteralValue::String(_) => Ty::Text,
        LiteralValue::Null | LiteralValue::Bytes(_) => Ty::Any,
    }
}

pub(super) fn literal_text(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
