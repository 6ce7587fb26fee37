//! Comparisons of one field with something written in the policy. They are most of what conditions say, cannot fail, and
//! cost a hundredth of an evaluation of the language; so they are taken out of a condition and asked first.

use std::cmp::Ordering;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::facts::{Field, Scope};
use super::path::segments;
use super::vocabulary::{Ty, fields};

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Atom {
    /// Dotted name of the field.
    name: String,
    test: Test,
    /// Whether the test must fail.
    negated: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Sent,
    True,
    Is(String),
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
                let name = name.strip_prefix("@has.")?.to_owned();
                Some(Self { name, test: Test::Sent, negated: false })
            }
            Expr::Select(_) => {
                let (name, ty) = field(expr, current)?;
                (ty == Ty::Bool).then_some(Self { name, test: Test::True, negated: false })
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
            (operator, None, [a, b]) => {
                if let Some((name, ty)) = field(a, current) {
                    return Self::compared(name, ty, operator, b);
                }
                let (name, ty) = field(b, current)?;
                Self::compared(name, ty, turned(operator)?, a)
            }
            (function, Some(target), [argument]) => {
                let (name, Ty::Text | Ty::Word(_)) = field(target, current)? else { return None };
                let text = super::check::literal_text(argument)?.to_owned();
                let test = match function {
                    "contains" => Test::Contains(text),
                    "startsWith" => Test::StartsWith(text),
                    "endsWith" => Test::EndsWith(text),
                    _ => return None,
                };
                Some(Self { name, test, negated: false })
            }
            _ => None,
        }
    }

    fn compared(name: String, ty: Ty, operator: &str, with: &IdedExpr) -> Option<Self> {
        use Ordering::{Equal, Greater, Less};

        let Expr::Literal(literal) = &with.expr else { return None };
        let negated = operator == operators::NOT_EQUALS;
        let test = match (ty, literal) {
            (Ty::Text | Ty::Word(_), LiteralValue::String(text)) => {
                matches!(operator, operators::EQUALS | operators::NOT_EQUALS)
                    .then(|| Test::Is(text.inner().to_owned()))?
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
                Test::Number(number, orders)
            }
            _ => return None,
        };
        Some(Self { name, test, negated })
    }

    /// Reading content costs more than looking at a field.
    pub(super) fn is_dear(&self) -> bool {
        self.name == "labels.secret" || matches!(self.test, Test::Contains(_))
    }

    pub(super) fn holds(&self, scope: &Scope<'_>) -> bool {
        let passes = match &self.test {
            Test::Sent => scope.has(&self.name),
            test => scope.field(&self.name).is_some_and(|it| test.passes(&it)),
        };
        passes != self.negated
    }
}

impl Test {
    #[expect(clippy::cast_precision_loss, reason = "a whole number compared with a fraction")]
    fn passes(&self, field: &Field<'_>) -> bool {
        match (self, field) {
            (Self::True, Field::Truth(it)) => *it,
            (Self::Is(text), Field::Text(it)) => it == text,
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

/// A field of the step, its tool, session or run, and its type; not of an earlier part, which may not have matched yet.
fn field(expr: &IdedExpr, current: Option<&str>) -> Option<(String, Ty)> {
    let path = segments(expr)?;
    let (object, rest) = path.split_first()?;
    let name = rest.join(".");
    let (_, ty) = fields(object, current, &[])?.iter().find(|(known, _)| *known == name)?;
    Some((format!("{object}.{name}"), *ty))
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
