//! Comparisons of one field with something written in the policy. They are most of what conditions say, cannot fail, and
//! cost a hundredth of an evaluation of the language; so they are taken out of a condition and asked first.

use std::cmp::Ordering;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::parser::Expression;

use super::facts::{Field, Getter, Scope, getter};
use super::path::segments;
use super::pattern::{self, Pattern};
use super::vocabulary::{Ty, fields};

/// One comparison.
#[derive(Clone, Debug)]
pub(super) struct Atom {
    test: Test,
    /// Whether the test needs the content of the step, and not only what describes it.
    is_dear: bool,
    /// Whether the test must fail.
    negated: bool,
}

#[derive(Clone, Debug)]
enum Test {
    /// Whether the field of that dotted name was sent.
    Sent(String),
    Field(Getter, Check),
}

#[derive(Clone, Debug)]
enum Check {
    True,
    Is(String),
    /// The pattern of that number.
    Matches(usize),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    /// Compared with a number: the orders that pass.
    Number(Number, &'static [Ordering]),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i64),
    Double(f64),
}

impl Atom {
    /// The comparison an expression is, if it is one; `current` is another name of `step`.
    pub(super) fn of(expr: &IdedExpr, current: Option<&str>) -> Option<Self> {
        match &expr.expr {
            Expr::Ident(name) => {
                let test = Test::Sent(name.strip_prefix("@has.")?.to_owned());
                Some(Self { test, is_dear: false, negated: false })
            }
            Expr::Select(_) => {
                let field = field(expr, current)?;
                (field.ty == Ty::Bool).then(|| field.passes(Check::True))
            }
            Expr::Call(call) => Self::of_call(call, current),
            _ => None,
        }
    }

    fn of_call(call: &CallExpr, current: Option<&str>) -> Option<Self> {
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, None, [inner]) => {
                let inner = Self::of(inner, current)?;
                Some(Self { negated: !inner.negated, ..inner })
            }
            (pattern::FUNCTION, None, [text, Expression { expr: Expr::Ident(name), .. }]) => {
                let field = field(text, current)?;
                matches!(field.ty, Ty::Text | Ty::Word(_)).then_some(())?;
                Some(field.passes(Check::Matches(pattern::index(name)?)))
            }
            (operator, None, [a, b]) => {
                if let Some(field) = field(a, current) {
                    return Self::compared(field, operator, b);
                }
                Self::compared(field(b, current)?, turned(operator)?, a)
            }
            (function, Some(target), [argument]) => {
                let field = field(target, current)?;
                matches!(field.ty, Ty::Text | Ty::Word(_)).then_some(())?;
                let text = super::check::literal_text(argument)?.to_owned();
                Some(field.passes(match function {
                    "contains" => Check::Contains(text),
                    "startsWith" => Check::StartsWith(text),
                    "endsWith" => Check::EndsWith(text),
                    _ => return None,
                }))
            }
            _ => None,
        }
    }

    fn compared(field: Found, operator: &str, with: &IdedExpr) -> Option<Self> {
        use Ordering::{Equal, Greater, Less};

        let Expr::Literal(literal) = &with.expr else { return None };
        let negated = operator == operators::NOT_EQUALS;
        let check = match (field.ty, literal) {
            (Ty::Text | Ty::Word(_), LiteralValue::String(text)) => {
                matches!(operator, operators::EQUALS | operators::NOT_EQUALS)
                    .then(|| Check::Is(text.inner().to_owned()))?
            }
            (Ty::Int | Ty::Double, LiteralValue::Int(_) | LiteralValue::Double(_)) => {
                let number = match literal {
                    LiteralValue::Int(it) => Number::Whole(*it.inner()),
                    LiteralValue::Double(it) => Number::Double(*it.inner()),
                    _ => return None,
                };
                let orders: &'static [Ordering] = match operator {
                    operators::EQUALS | operators::NOT_EQUALS => &[Equal],
                    operators::LESS => &[Less],
                    operators::LESS_EQUALS => &[Less, Equal],
                    operators::GREATER => &[Greater],
                    operators::GREATER_EQUALS => &[Greater, Equal],
                    _ => return None,
                };
                Check::Number(number, orders)
            }
            _ => return None,
        };
        Some(Self { negated, ..field.passes(check) })
    }

    /// Reading content costs more than looking at a field.
    pub(super) fn is_dear(&self) -> bool {
        self.is_dear
    }

    pub(super) fn holds(&self, scope: &Scope<'_>, patterns: &[Pattern]) -> bool {
        let passes = match &self.test {
            Test::Sent(name) => scope.has(name),
            Test::Field(get, check) => check.passes(&get(scope.facts), patterns),
        };
        passes != self.negated
    }
}

impl Check {
    #[expect(clippy::cast_precision_loss, reason = "a whole number compared with a fraction")]
    fn passes(&self, field: &Field<'_>, patterns: &[Pattern]) -> bool {
        match (self, field) {
            (Self::True, Field::Truth(it)) => *it,
            (Self::Is(text), Field::Text(it)) => it == text,
            (Self::Matches(pattern), Field::Text(it)) => {
                patterns.get(*pattern).is_some_and(|pattern| pattern.matches(it))
            }
            (Self::Contains(text), Field::Text(it)) => it.contains(text.as_str()),
            (Self::StartsWith(text), Field::Text(it)) => it.starts_with(text.as_str()),
            (Self::EndsWith(text), Field::Text(it)) => it.ends_with(text.as_str()),
            (Self::Number(number, orders), field) => {
                let order = match (field, *number) {
                    (Field::Whole(it), Number::Whole(with)) => Some(i128::from(*it).cmp(&i128::from(with))),
                    (Field::Whole(it), Number::Double(with)) => (*it as f64).partial_cmp(&with),
                    (Field::Double(it), Number::Whole(with)) => it.partial_cmp(&(with as f64)),
                    (Field::Double(it), Number::Double(with)) => it.partial_cmp(&with),
                    _ => None,
                };
                order.is_some_and(|it| orders.contains(&it))
            }
            _ => false,
        }
    }
}

/// A field that an expression names.
struct Found {
    get: Getter,
    ty: Ty,
    is_secret: bool,
}

impl Found {
    fn passes(self, check: Check) -> Atom {
        let is_dear = self.is_secret || matches!(check, Check::Contains(_) | Check::Matches(_));
        Atom { test: Test::Field(self.get, check), is_dear, negated: false }
    }
}

/// A field of the step, its tool, session or run; not of an earlier part, which may not have matched yet.
fn field(expr: &IdedExpr, current: Option<&str>) -> Option<Found> {
    let path = segments(expr)?;
    let (object, rest) = path.split_first()?;
    let name = rest.join(".");
    let (_, ty) = fields(object, current, &[])?.iter().find(|(known, _)| *known == name)?;
    let get = getter(if current == Some(object) { "step" } else { object }, &name)?;
    Some(Found { get, ty: *ty, is_secret: *object == "labels" })
}

/// `5 < x` is `x > 5`.
fn turned(operator: &str) -> Option<&'static str> {
    match operator {
        operators::EQUALS => Some(operators::EQUALS),
        operators::NOT_EQUALS => Some(operators::NOT_EQUALS),
        operators::LESS => Some(operators::GREATER),
        operators::LESS_EQUALS => Some(operators::GREATER_EQUALS),
        operators::GREATER => Some(operators::LESS),
        operators::GREATER_EQUALS => Some(operators::LESS_EQUALS),
        _ => None,
    }
}
