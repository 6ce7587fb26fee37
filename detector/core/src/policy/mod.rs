//! Declared policies: read, checked, indexed, and judged step by step.
//!
//! A policy is one YAML document with exactly one of `when`, `sequence`, `threshold`, `budget`, `delegation`, `repeat`,
//! `cycle`, `near_duplicate` and `no_progress`. A document with `tools:` describes tools instead, and one whose id is
//! that of a [`CoreRule`] sets its mode.

mod budget;
mod core_rule;
mod document;
mod engine;
mod index;
mod load;
mod loops;
mod message;
mod misnomers;
mod progress;
mod report;
mod rule;
mod starter;
mod test_cases;

pub use core_rule::CoreRule;
pub(crate) use core_rule::Modes;
pub(crate) use engine::{Engine, Judged};
pub(crate) use load::load;
pub(crate) use progress::Progress;
pub use report::{Note, PolicyError, Report, TestResult};
pub(crate) use rule::{Policies, Policy};
pub use starter::{BUILT_IN, STARTER};

/// Reads `(name, text)` files and reports every fault and note of all of them.
#[must_use]
pub fn check_policies<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Report {
    let loaded = load(files);
    let policies = loaded.policies.all.len() + loaded.modes.len();
    Report { policies, errors: loaded.errors, notes: loaded.notes }
}

/// Runs the cases beside the policies of `(name, text)` files: each policy alone, enforced whatever its mode, with the
/// tool catalogue of the files.
///
/// # Errors
/// Every fault of the files.
pub fn run_tests<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Result<Vec<TestResult>, Vec<PolicyError>> {
    let loaded = load(files);
    if loaded.errors.is_empty() { Ok(test_cases::run(loaded)) } else { Err(loaded.errors) }
}

#[cfg(test)]
mod tests;
