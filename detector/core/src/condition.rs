//! Conditions in CEL, compiled once: names and types are checked when a policy is loaded, so that at run time only the
//! agent's own data can surprise (a missing field of an input, say), and that means: no match.

mod atom;
mod check;
mod facts;
mod functions;
mod json;
mod path;
mod pattern;
mod trigger;
mod vocabulary;

use cel::common::ast::{CallExpr, Expr, operators};
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, CelUInt};
use cel::common::value::Val;
use cel::parser::Expression;
use cel::{Context, Program, Value};

use crate::yaml::{Faults, Node};
use atom::Atom;
pub(crate) use facts::{Bound, Facts, RunFacts, Scope, SessionFacts};
pub(crate) use functions::base_context;
use pattern::Pattern;
pub(crate) use trigger::{Kinds, Trigger};
pub(crate) use vocabulary::reserved;

/// What a condition may name beside the step: parts of a sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names<'n> {
    /// The part this condition belongs to: another name of the step.
    pub(crate) current: Option<&'n str>,
    /// Parts that matched before, in order.
    pub(crate) earlier: &'n [String],
    /// Whether `value` and `limit` mean something: in the message of a threshold or budget.
    pub(crate) amounts: bool,
}

/// What an expression must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Truth,
    Number,
    /// Part of a message.
    Anything,
}

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Condition {
    /// Comparisons asked first; all must hold.
    atoms: Vec<Atom>,
    /// What is left for the language: nothing, when the index and the comparisons say it all.
    rest: Option<Expression>,
    patterns: Vec<Pattern>,
    pub(crate) trigger: Trigger,
    /// It cannot hold unless content flows from an earlier part.
    pub(crate) needs_flow: bool,
}

/// The expression could not be evaluated for this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown;

/// Longest expression, in bytes. Far more than a person writes; the parser recurses.
const SOURCE_BYTES_MAX: usize = 4096;
/// Deepest nesting of brackets and operators such as `!`, for the same reason.
const NESTING_MAX: usize = 64;

impl Condition {
    /// Compiles `source`, which stands at `node` of the file; faults go to `path`.
    pub(crate) fn compile(
        source: &str,
        node: &Node,
        path: &str,
        (want, names): (Want, Names<'_>),
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        let nesting = source.bytes().filter(|it| matches!(it, b'(' | b'[' | b'{' | b'!' | b'-' | b'?')).count();
        if source.len() > SOURCE_BYTES_MAX || nesting > NESTING_MAX {
            let message = format!(
                "the condition is too large: at most {SOURCE_BYTES_MAX} bytes and {NESTING_MAX} brackets; split the policy"
            );
            faults.error(path, (node.line, node.column), message, None);
            return None;
        }
        let spot = path::Spot::of(node, source, faults.text());
        let program = match Program::compile(source) {
            Ok(program) => program,
            Err(errors) => {
                for error in errors.errors {
                    let message = format!("the condition cannot be read: {}", error.msg.lines().next().unwrap_or("?"));
                    faults.error(path, spot.of_position(error.pos), message, None);
                }
                return None;
            }
        };
        let before = faults.len();
        let mut expression = program.expression().clone();
        let mut checker = check::Checker::new(&program, spot, path, names, faults);
        checker.check_whole(&mut expression, want);
        let patterns = checker.finish();
        (faults.len() == before).then(|| {
            let trigger = Trigger::of(&expression, names.current);
            let needs_flow = check::needs_flow(&expression);
            let (atoms, rest) = match want {
                Want::Truth => divide(expression, names.current),
                Want::Number | Want::Anything => (Vec::new(), Some(expression)),
            };
            Self { atoms, rest, patterns, trigger, needs_flow }
        })
    }

    /// Whether it holds for a step that its trigger let through.
    pub(crate) fn holds(&self, base: &Context<'_, '_>, scope: &Scope<'_>) -> Result<bool, Unknown> {
        if !self.atoms.iter().all(|it| it.holds(scope, &self.patterns)) {
            return Ok(false);
        }
        if self.rest.is_none() {
            return Ok(true);
        }
        self.evaluate(base, scope, |it| it.downcast_ref::<CelBool>().map(|it| *it.inner()))
    }

    /// Its number.
    #[expect(clippy::cast_precision_loss, reason = "sums are compared with limits far below 2^52")]
    pub(crate) fn number(&self, base: &Context<'_, '_>, scope: &Scope<'_>) -> Result<f64, Unknown> {
        self.evaluate(base, scope, |it| {
            let double = it.downcast_ref::<CelDouble>().map(|it| *it.inner());
            let int = || it.downcast_ref::<CelInt>().map(|it| *it.inner() as f64);
            let uint = || it.downcast_ref::<CelUInt>().map(|it| *it.inner() as f64);
            // What is beyond all numbers is as large as can be, so that a sum over it is not left out.
            double.or_else(int).or_else(uint).filter(|it| !it.is_nan()).map(|it| it.clamp(f64::MIN, f64::MAX))
        })
    }

    /// Its value in words.
    pub(crate) fn words(&self, base: &Context<'_, '_>, scope: &Scope<'_>, chars_max: usize) -> Result<String, Unknown> {
        self.evaluate(base, scope, |it| {
            if let Some(text) = it.downcast_ref::<CelString<'_>>() {
                return Some(crate::quote::quoted(text.inner(), chars_max));
            }
            match Value::try_from(it).ok()? {
                Value::Int(it) => Some(it.to_string()),
                Value::UInt(it) => Some(it.to_string()),
                Value::Float(it) => Some(amount(it)),
                Value::Bool(it) => Some(it.to_string()),
                _ => None,
            }
        })
    }

    fn evaluate<T>(
        &self,
        base: &Context<'_, '_>,
        scope: &Scope<'_>,
        read: impl FnOnce(&dyn Val) -> Option<T>,
    ) -> Result<T, Unknown> {
        let expression = self.rest.as_ref().ok_or(Unknown)?;
        let scope = scope.with_patterns(&self.patterns);
        let mut context = base.new_inner_scope();
        context.set_variable_resolver(&scope);
        let value = Value::resolve_val(expression, &context).map_err(|_| Unknown)?;
        read(value.as_ref()).ok_or(Unknown)
    }
}

/// Takes out of a conjunction what the index answers and what is a mere comparison.
fn divide(expression: Expression, current: Option<&str>) -> (Vec<Atom>, Option<Expression>) {
    let mut parts = Vec::new();
    flatten(expression, &mut parts);
    let mut atoms = Vec::new();
    let mut rest: Option<Expression> = None;
    for part in parts {
        if Trigger::of(&part, current).exact {
            continue;
        }
        if let Some(atom) = Atom::of(&part, current) {
            atoms.push(atom);
            continue;
        }
        rest = Some(match rest {
            None => part,
            Some(before) => Expression {
                id: part.id,
                expr: Expr::Call(CallExpr {
                    func_name: operators::LOGICAL_AND.to_owned(),
                    target: None,
                    args: vec![before, part],
                }),
            },
        });
    }
    atoms.sort_by_key(Atom::is_dear);
    (atoms, rest)
}

fn flatten(expression: Expression, parts: &mut Vec<Expression>) {
    match expression.expr {
        Expr::Call(CallExpr { func_name, target: None, args }) if func_name == operators::LOGICAL_AND => {
            args.into_iter().for_each(|it| flatten(it, parts));
        }
        expr => parts.push(Expression { id: expression.id, expr }),
    }
}

/// A number without needless digits.
pub(crate) fn amount(it: f64) -> String {
    let rounded = (it * 1e4).round() / 1e4;
    format!("{rounded}")
}

#[cfg(test)]
mod tests;
