//! What the shell stores between steps.

use martingale_schemas::SessionId;
use serde::{Deserialize, Serialize};

use crate::columns::Call;
use crate::recent::Fingerprints;
use crate::run::RunState;
use crate::session::SessionState;

/// Which state: of a session, of a run by its root, or a part of a session's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKey<'a> {
    Session(SessionId<'a>),
    Run(SessionId<'a>),
    Part(SessionId<'a>, Part),
}

/// A part of a session's state that is stored apart from its head, and written only when it changed. It belongs to the head
/// that was stored last: where that is forgotten, so are the parts it has ([`State::parts`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Ids of steps, for the duplicate check.
    Recent(u8),
    /// Tool calls, for loop detection.
    Calls(u8),
}

impl StateKey<'_> {
    /// `s/` or `r/` and the id; for a part `p/`, the id, a slash, and a letter and two digits.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let key = |prefix: &[u8; 2], id: &SessionId<'_>| [prefix, id.as_str().as_bytes()].concat();
        match self {
            Self::Session(id) => key(b"s/", id),
            Self::Run(id) => key(b"r/", id),
            Self::Part(id, part) => {
                let (letter, place) = match part {
                    Part::Recent(place) => (b'r', place),
                    Part::Calls(place) => (b'c', place),
                };
                let mut key = key(b"p/", id);
                key.extend([b'/', letter, b'0' + place / 10, b'0' + place % 10]);
                key
            }
        }
    }

    /// Reads [`Self::to_bytes`]; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<StateKey<'static>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (prefix, id) = text.split_at_checked(2)?;
        let owned = |id: &str| SessionId::from(id.to_owned());
        match prefix {
            "s/" => Some(StateKey::Session(owned(id))),
            "r/" => Some(StateKey::Run(owned(id))),
            "p/" => {
                // As long for every part, so that it does not matter what is in the id.
                let (id, part) = id.split_at_checked(id.len().checked_sub(4)?)?;
                let place = part.get(2..).filter(|it| it.bytes().all(|it| it.is_ascii_digit()))?.parse().ok()?;
                match part.get(..2)? {
                    "/r" => Some(StateKey::Part(owned(id), Part::Recent(place))),
                    "/c" => Some(StateKey::Part(owned(id), Part::Calls(place))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    #[must_use]
    pub fn to_static(&self) -> StateKey<'static> {
        match self {
            Self::Session(id) => StateKey::Session(id.to_static()),
            Self::Run(id) => StateKey::Run(id.to_static()),
            Self::Part(id, part) => StateKey::Part(id.to_static(), *part),
        }
    }
}

/// State of one session without its parts, of one run, or one part. Its serialised form is positional in binary formats: a
/// change of any field is a new version for whoever writes it (`fixtures/state`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "lives for a moment, on its way to or from the store")]
pub enum State {
    Session(SessionState),
    Run(RunState),
    Part(PartState),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PartState {
    Recent(Fingerprints),
    Calls(Vec<Call>),
}

/// A [`State`] that is still in memory. Serialised it is the same.
#[derive(Clone, Debug, Serialize)]
pub enum StateRef<'s> {
    Session(&'s SessionState),
    Run(&'s RunState),
    Part(PartRef<'s>),
}

#[derive(Clone, Debug, Serialize)]
pub enum PartRef<'s> {
    Recent(Fingerprints),
    Calls(Vec<&'s Call>),
}

impl State {
    /// Whether a halt stands in it: such a state must not be forgotten.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        match self {
            Self::Session(state) => state.is_halted(),
            Self::Run(state) => state.is_halted(),
            Self::Part(_) => false,
        }
    }

    /// The parts that are stored beside it.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let session = match self {
            Self::Session(state) => Some(state),
            Self::Run(_) | Self::Part(_) => None,
        };
        session.into_iter().flat_map(SessionState::parts)
    }
}

impl StateRef<'_> {
    #[must_use]
    pub fn to_state(&self) -> State {
        match self {
            Self::Session(state) => State::Session((*state).clone()),
            Self::Run(state) => State::Run((*state).clone()),
            Self::Part(PartRef::Recent(it)) => State::Part(PartState::Recent(it.clone())),
            Self::Part(PartRef::Calls(it)) => {
                State::Part(PartState::Calls(it.iter().map(|it| (*it).clone()).collect()))
            }
        }
    }
}
