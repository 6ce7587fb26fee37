//! The context every evaluation starts from: the language's own functions and ours. Building one costs as much as fifty
//! evaluations, so it is built once.

use std::sync::Arc;

use cel::{Context, Env};

use super::pattern;

pub(crate) fn base_context() -> Context<'static, 'static> {
    let mut env = Env::stdlib();
    pattern::declare(&mut env);
    Context::with_env(Arc::new(env))
}
