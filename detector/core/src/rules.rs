//! Everything that judges, compiled once and shared by every detector.

use crate::limits::StateLimits;
use crate::policy::PolicyError;

/// Compiled policies, built-in loop rules, tool catalogue and limits. Immutable: a change of rules is a new `Rules`.
#[derive(Debug, Default)]
pub struct Rules {
    pub(crate) limits: StateLimits,
}

impl Rules {
    /// Reads `(name, text)` files of policies and tool catalogues.
    ///
    /// # Errors
    /// Every fault of every file, not only the first.
    pub fn load<N: AsRef<str>, T: AsRef<str>>(_files: &[(N, T)]) -> Result<Self, Vec<PolicyError>> {
        Ok(Self::default())
    }

    /// The policies that come with the product.
    #[must_use]
    pub fn starter() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn limits(&self) -> &StateLimits {
        &self.limits
    }

    /// Number of compiled policies.
    #[must_use]
    pub fn policies(&self) -> usize {
        0
    }
}
