//! The context every evaluation starts from: the language's own functions and ours. Building one costs as much as fifty
//! evaluations, so it is built once.

use std::sync::Arc;

use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelString, CelUInt, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError};

use super::pattern;

/// What the range of every loop is wrapped in. No expression can name it.
pub(super) const IN_ORDER: &str = "@in_order";

pub(crate) fn base_context() -> Context<'static, 'static> {
    let mut env = Env::stdlib();
    pattern::declare(&mut env);
    // Cannot clash: the name is not one of the language's.
    let _ = env.add_overload(IN_ORDER, IN_ORDER, vec![DYN_TYPE], in_order);
    Context::with_env(Arc::new(env))
}

/// The keys of an object in their order, and everything else as it is. The language itself walks an object in the order of
/// a randomly keyed hash map, and a verdict must not depend on that.
fn in_order<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let range = args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
    let Some(object) = range.downcast_ref::<CelMap<'_>>() else { return Ok(range) };
    let mut keys: Vec<&dyn Val> = object.inner().keys().map(|it| it.inner()).collect();
    keys.sort_by(|a, b| order(*a).cmp(&order(*b)));
    Ok(CowVal::owned(CelList::from(keys.into_iter().map(Val::clone_as_boxed).collect::<Vec<_>>())))
}

/// Truths, then numbers, then text: all that can be a key.
fn order(key: &dyn Val) -> (u8, i128, &str) {
    if let Some(text) = key.downcast_ref::<CelString<'_>>() {
        return (2, 0, text.inner());
    }
    let int = || key.downcast_ref::<CelInt>().map(|it| i128::from(*it.inner()));
    let number = int().or_else(|| key.downcast_ref::<CelUInt>().map(|it| i128::from(*it.inner())));
    match number {
        Some(number) => (1, number, ""),
        None => (0, i128::from(key.downcast_ref::<CelBool>().is_some_and(|it| *it.inner())), ""),
    }
}
