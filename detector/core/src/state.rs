//! What the shell stores between steps.

use martingale_schemas::SessionId;
use serde::{Deserialize, Serialize};

use crate::columns::Call;
use crate::provenance::{Page, PageRef, Shelf};
use crate::recent::Fingerprints;
use crate::run::RunState;
use crate::session::SessionState;
use crate::tenant::TenantState;

/// Which state: of a session, of a run by its root, a part of either, or what holds for all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKey<'a> {
    Session(SessionId<'a>),
    Run(SessionId<'a>),
    Part(SessionId<'a>, Part),
    Tenant,
}

/// A part of a session's or run's state that is stored apart from its head, and written only when it changed. It belongs to the head
/// that was stored last: where that is forgotten, so are the parts it has ([`State::parts`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Ids of steps, for the duplicate check.
    Recent(u8),
    /// Tool calls, for loop detection.
    Calls(u8),
    /// A page of what was read: of the session's, or, for some shelves, of the run's of which the session is the root.
    Values(Shelf, u8),
}

impl Part {
    /// Whether it belongs to a run, whose root its key names, and not to a session.
    #[must_use]
    pub const fn is_of_run(self) -> bool {
        matches!(self, Self::Values(shelf, _) if shelf.is_of_run())
    }
}

impl StateKey<'_> {
    /// `t/`; `s/` or `r/` and the id; for a part `p/`, the id, a slash, and a letter and two digits.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Appends [`Self::to_bytes`].
    pub fn write(&self, out: &mut Vec<u8>) {
        let (prefix, id, part) = match self {
            Self::Session(id) => (b"s/", id.as_str(), None),
            Self::Run(id) => (b"r/", id.as_str(), None),
            Self::Part(id, part) => (b"p/", id.as_str(), Some(part)),
            Self::Tenant => (b"t/", "", None),
        };
        out.extend_from_slice(prefix);
        out.extend_from_slice(id.as_bytes());
        let (letter, place) = match part {
            None => return,
            Some(Part::Recent(place)) => (b'r', place),
            Some(Part::Calls(place)) => (b'c', place),
            Some(Part::Values(shelf, place)) => (shelf.letter(), place),
        };
        out.extend_from_slice(&[b'/', letter, b'0' + place / 10, b'0' + place % 10]);
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
                let part = match part.as_bytes().first_chunk()? {
                    b"/r" => Part::Recent(place),
                    b"/c" => Part::Calls(place),
                    [b'/', letter] => Part::Values(*Shelf::ALL.iter().find(|it| it.letter() == *letter)?, place),
                    _ => return None,
                };
                Some(StateKey::Part(owned(id), part))
            }
            "t/" if id.is_empty() => Some(StateKey::Tenant),
            _ => None,
        }
    }

    #[must_use]
    pub fn to_static(&self) -> StateKey<'static> {
        match self {
            Self::Session(id) => StateKey::Session(id.to_static()),
            Self::Run(id) => StateKey::Run(id.to_static()),
            Self::Part(id, part) => StateKey::Part(id.to_static(), *part),
            Self::Tenant => StateKey::Tenant,
        }
    }
}

/// State of one session or run without its parts, or one part. Its serialised form is positional in binary formats: a
/// change of any field is a new version for whoever writes it (`fixtures/state`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "lives for a moment, on its way to or from the store")]
pub enum State {
    Session(SessionState),
    Run(RunState),
    Part(PartState),
    Tenant(TenantState),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PartState {
    Recent(Fingerprints),
    Calls(Vec<Call>),
    Values(Page),
}

impl PartState {
    pub(crate) fn into_page(self) -> Option<Page> {
        match self {
            Self::Values(page) => Some(page),
            Self::Recent(_) | Self::Calls(_) => None,
        }
    }
}

/// A [`State`] that is still in memory. Serialised it is the same.
#[derive(Clone, Debug, Serialize)]
pub enum StateRef<'s> {
    Session(&'s SessionState),
    Run(&'s RunState),
    Part(PartRef<'s>),
    Tenant(&'s TenantState),
}

#[derive(Clone, Debug, Serialize)]
pub enum PartRef<'s> {
    Recent(Fingerprints),
    Calls(Vec<&'s Call>),
    Values(PageRef<'s>),
}

impl State {
    /// Whether a halt stands in it: such a state must not be forgotten.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        match self {
            Self::Session(state) => state.is_halted(),
            Self::Run(state) => state.is_halted(),
            Self::Part(_) | Self::Tenant(_) => false,
        }
    }

    /// Root of the run that a session was last seen in.
    #[must_use]
    pub fn root(&self) -> Option<&SessionId<'static>> {
        match self {
            Self::Session(state) => state.root.as_ref(),
            Self::Run(_) | Self::Part(_) | Self::Tenant(_) => None,
        }
    }

    /// The parts that are stored beside it.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let (session, run) = match self {
            Self::Session(state) => (Some(state), None),
            Self::Run(state) => (None, Some(state)),
            Self::Part(_) | Self::Tenant(_) => (None, None),
        };
        session.into_iter().flat_map(SessionState::parts).chain(run.into_iter().flat_map(RunState::parts))
    }
}

impl StateRef<'_> {
    #[must_use]
    pub fn to_state(&self) -> State {
        match self {
            Self::Session(state) => State::Session((*state).clone()),
            Self::Run(state) => State::Run((*state).clone()),
            Self::Tenant(state) => State::Tenant((*state).clone()),
            Self::Part(PartRef::Recent(it)) => State::Part(PartState::Recent(it.clone())),
            Self::Part(PartRef::Values(it)) => State::Part(PartState::Values(it.to_page())),
            Self::Part(PartRef::Calls(it)) => {
                State::Part(PartState::Calls(it.iter().map(|it| (*it).clone()).collect()))
            }
        }
    }
}
