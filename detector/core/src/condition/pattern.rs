//! Patterns of `matches`, compiled with the policy. The matcher runs in time linear in the text, whatever the pattern.

use std::any::Any;

use cel::common::types::{CelBool, CelString, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use regex::{Regex, RegexBuilder};

/// What calls of `matches` are rewritten to. No expression can name it.
pub(super) const FUNCTION: &str = "@matches";

const PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");
static PATTERN: Type = PATTERN_TYPE;

/// Memory of one compiled pattern, in bytes.
const SIZE_MAX: usize = 1 << 20;

/// A compiled pattern as a value of the language.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        let compiled = RegexBuilder::new(source).size_limit(SIZE_MAX).build();
        compiled.map(Self).map_err(|error| error.to_string().lines().last().unwrap_or("it cannot be read").to_owned())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Name under which the pattern at `index` is found.
pub(super) fn variable(index: usize) -> String {
    format!("@pattern{index}")
}

/// The pattern that a name stands for.
pub(super) fn find<'p>(name: &str, patterns: &'p [Pattern]) -> Option<&'p Pattern> {
    patterns.get(index(name)?)
}

/// The number that such a name holds.
pub(super) fn index(name: &str) -> Option<usize> {
    name.strip_prefix("@pattern")?.parse().ok()
}

pub(super) fn declare(env: &mut Env) {
    // Cannot clash: the name is not one of the language's.
    let _ = env.add_overload(FUNCTION, FUNCTION, vec![STRING_TYPE, PATTERN_TYPE], matches);
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of an overload")]
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = args.first().and_then(|it| it.downcast_ref::<CelString<'_>>());
    let pattern = args.get(1).and_then(|it| it.downcast_ref::<Pattern>());
    match (text, pattern) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.matches(text.inner())))),
        _ => Err(ExecutionError::missing_argument_or_target()),
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN
    }

    fn cel_type() -> &'static Type {
        &PATTERN
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
