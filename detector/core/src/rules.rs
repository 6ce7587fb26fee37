//! Everything that judges, compiled once and shared by every detector.

use std::sync::Arc;

use crate::baseline::Baselines;
use crate::columns::LoopRules;
use crate::hijack::HijackRules;
use crate::limits::StateLimits;
use crate::policy::{self, Policies, PolicyError, STARTER};
use crate::tools::Catalogue;

/// Compiled policies, built-in loop rules, tool catalogue and limits. Immutable: a change of rules is a new `Rules`.
#[derive(Debug)]
pub struct Rules {
    pub(crate) policies: Policies,
    pub(crate) catalogue: Catalogue,
    /// None: no built-in rule over tool calls.
    pub(crate) loops: Option<LoopRules>,
    pub(crate) limits: StateLimits,
    pub(crate) values: Values,
    /// None: nothing is scored for hijack.
    pub(crate) hijack: Option<HijackRules>,
    /// None: cold start.
    pub(crate) baselines: Option<Arc<Baselines>>,
}

/// How far the values of a session are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Not at all: `flows` never holds.
    Off,
    /// For edges and for the policies that ask.
    Follow,
    /// And the built-in rules on them speak.
    #[default]
    Judge,
}

impl Rules {
    /// Reads `(name, text)` files of policies and tool catalogues. No file at all leaves the built-in rules.
    ///
    /// # Errors
    /// Every fault of every file, not only the first.
    pub fn load<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Result<Self, Vec<PolicyError>> {
        let loaded = policy::load(files);
        if loaded.errors.is_empty() {
            Ok(Self::of(loaded.policies, loaded.catalogue, Some(LoopRules::DEFAULT)))
        } else {
            Err(loaded.errors)
        }
    }

    /// The built-in rules and the policies that come with the product ([`STARTER`]).
    #[must_use]
    pub fn starter() -> Self {
        let loaded = policy::load(STARTER);
        debug_assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
        Self::of(loaded.policies, loaded.catalogue, Some(LoopRules::DEFAULT))
    }

    pub(crate) fn of(policies: Policies, catalogue: Catalogue, loops: Option<LoopRules>) -> Self {
        let hijack = Some(HijackRules::DEFAULT);
        let (limits, values) = (StateLimits::DEFAULT, Values::default());
        Self { policies, catalogue, loops, limits, values, hijack, baselines: None }
    }

    /// The same rules, under other limits of what is remembered.
    #[must_use]
    pub fn with_limits(self, limits: StateLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same rules, held against these baselines.
    #[must_use]
    pub fn with_baselines(self, baselines: Arc<Baselines>) -> Self {
        Self { baselines: Some(baselines), ..self }
    }

    /// The same rules, with another rule for hijack or none.
    #[must_use]
    pub fn with_hijack(self, hijack: Option<HijackRules>) -> Self {
        Self { hijack, ..self }
    }

    /// The same rules, with the values of sessions followed so far.
    #[must_use]
    pub fn with_values(self, values: Values) -> Self {
        Self { values, ..self }
    }

    #[must_use]
    pub fn limits(&self) -> &StateLimits {
        &self.limits
    }

    /// Number of compiled policies.
    #[must_use]
    pub fn policies(&self) -> usize {
        self.policies.all.len()
    }
}
