//! How much of the content of steps is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Rejection, Step};

/// How the content of a step was captured, the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// As it was sent.
    #[default]
    Full,
    /// Secrets and configured fields stand as keyed pseudonyms.
    Redacted,
    /// So does every word and number: no text is kept but names of members that look like names of fields.
    Fingerprint,
}

impl Capture {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Redacted => "redacted",
            Self::Fingerprint => "fingerprint",
        }
    }
}

/// What a door does to a checked step before it puts it on the log. Made by whoever starts the doors, since what a secret is
/// the detector knows and no door does.
pub trait Redact: std::fmt::Debug + Send + Sync {
    /// The step with its content as it may be kept, and [`Step::capture`] saying so.
    fn redact<'a>(&self, step: Step<'a>) -> Step<'a>;

    /// The same for a log that takes records of at most so many bytes, key and value together: pseudonyms may be longer than
    /// what they stand for.
    ///
    /// # Errors
    /// [`Reason::TooLarge`](crate::Reason::TooLarge), with both numbers.
    fn redact_for<'a>(&self, step: Step<'a>, record_bytes_max: usize) -> Result<Step<'a>, Rejection> {
        let step = self.redact(step);
        if step.capture != Capture::Full {
            step.fits(usize::MAX, record_bytes_max)?;
        }
        Ok(step)
    }

    /// Whether what was rejected may be kept as it was sent: nobody knows whose it is, and what in it is secret.
    fn keeps_rejected(&self) -> bool;
}
