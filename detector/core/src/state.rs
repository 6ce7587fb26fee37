//! What the shell stores between steps.

use martingale_schemas::SessionId;
use serde::{Deserialize, Serialize};

use crate::run::RunState;
use crate::session::SessionState;

/// Which state: of a session, or of a run by its root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKey {
    Session(SessionId<'static>),
    Run(SessionId<'static>),
}

impl StateKey {
    /// `s/` or `r/` and the id.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (prefix, id) = match self {
            Self::Session(id) => ("s/", id),
            Self::Run(id) => ("r/", id),
        };
        [prefix.as_bytes(), id.as_str().as_bytes()].concat()
    }

    /// Reads [`Self::to_bytes`]; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (prefix, id) = text.split_at_checked(2)?;
        let id = SessionId::from(id.to_owned());
        match prefix {
            "s/" => Some(Self::Session(id)),
            "r/" => Some(Self::Run(id)),
            _ => None,
        }
    }
}

/// State of one session or one run. Its serialised form is positional in binary formats: a change of any field is a new
/// version for whoever writes it (`fixtures/state`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "lives for a moment, on its way to or from the store")]
pub enum State {
    Session(SessionState),
    Run(RunState),
}

impl State {
    /// Whether a halt stands in it: such a state must not be forgotten.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        match self {
            Self::Session(state) => state.is_halted(),
            Self::Run(state) => state.is_halted(),
        }
    }
}
