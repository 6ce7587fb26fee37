//! Everything that judges, compiled once and shared by every detector.

use std::sync::Arc;

use martingale_schemas::{Finding, Mode};

use crate::baseline::Baselines;
use crate::hijack::HijackRules;
use crate::limits::StateLimits;
use crate::policy::{self, BUILT_IN, CoreRule, Modes, Policies, Policy, PolicyError, STARTER};
use crate::tools::Catalogue;

/// Compiled policies, tool catalogue and limits. Immutable: a change of rules is a new `Rules`.
#[derive(Debug)]
pub struct Rules {
    pub(crate) policies: Policies,
    pub(crate) catalogue: Catalogue,
    pub(crate) limits: StateLimits,
    pub(crate) values: Values,
    /// Of the rules that no policy declares.
    pub(crate) modes: Modes,
    /// The first so many policies come with the core.
    built_in: usize,
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
    /// Reads `(name, text)` files of policies and tool catalogues, beside the built-in policies ([`BUILT_IN`]) whose ids
    /// they do not take: to set one otherwise, or off, is to write a policy of its id. A document of the id of a [`CoreRule`]
    /// sets its mode.
    ///
    /// # Errors
    /// Every fault of every file, not only the first.
    pub fn load<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Result<Self, Vec<PolicyError>> {
        let loaded = policy::load(files);
        if !loaded.errors.is_empty() {
            return Err(loaded.errors);
        }
        let built_in = policy::load(BUILT_IN);
        debug_assert!(built_in.errors.is_empty(), "{:?}", built_in.errors);
        let taken = |it: &Policy| loaded.policies.all.iter().any(|own| own.id == it.id);
        let mut all: Vec<Policy> = built_in.policies.all.into_iter().filter(|it| !taken(it)).collect();
        let built_in = all.len();
        all.extend(loaded.policies.all);
        let modes = loaded.modes;
        Ok(Self { built_in, modes, ..Self::of(Policies::new(all), loaded.catalogue) })
    }

    /// The built-in policies and those that come with the product ([`STARTER`]).
    #[must_use]
    pub fn starter() -> Self {
        Self::load(STARTER).unwrap_or_else(|errors| {
            debug_assert!(false, "{errors:?}");
            Self::of(Policies::new(Vec::new()), Catalogue::default())
        })
    }

    /// These policies alone.
    pub(crate) fn of(policies: Policies, catalogue: Catalogue) -> Self {
        let (limits, values, hijack) = (StateLimits::DEFAULT, Values::default(), Some(HijackRules::DEFAULT));
        Self { policies, catalogue, limits, built_in: 0, values, modes: Modes::default(), hijack, baselines: None }
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

    /// The finding in the mode of its rule; `None` when that is off. `certain`: it rests on what was described and not on
    /// what a name suggests, which is never enforced.
    pub(crate) fn in_mode(&self, rule: CoreRule, certain: bool, finding: Finding) -> Option<Finding> {
        match self.modes.of(rule) {
            Mode::Off => None,
            Mode::Enforce if !certain => Some(Finding { mode: Mode::Shadow, ..finding }),
            mode => Some(Finding { mode, ..finding }),
        }
    }

    /// Number of policies that were read from files, modes of rules of the core among them: the built-in ones are not
    /// counted.
    #[must_use]
    pub fn policies(&self) -> usize {
        self.policies.all.len() - self.built_in + self.modes.len()
    }
}
