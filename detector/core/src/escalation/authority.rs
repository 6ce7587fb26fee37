//! What the sessions of a run were granted, and how high their tools have reached.

use martingale_schemas::SessionId;
use serde::{Deserialize, Serialize};

use super::grant::{Entitled, Who};
use super::scopes::Scopes;
use crate::hash::hash_text;
use crate::provenance::Mark;

/// Different grants kept of a run; they are bits of [`Holder::grants`].
const GRANTS_MAX: usize = 16;
/// Sessions whose grants are kept. Full: the one that declared longest ago goes.
const HOLDERS_MAX: usize = 64;

/// State of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Authority {
    /// The highest privilege that its calls have used, unquestioned.
    pub(super) level: u8,
    /// The call that reached it.
    pub(super) reached: Option<Mark>,
    grants: Vec<Held>,
    holders: Vec<Holder>,
    /// There were more grants or sessions: one that is not known may have been granted anything.
    cut: bool,
}

/// A grant that sessions of the run hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) who: Who,
    pub(super) scopes: Scopes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    /// Hash of the session's id.
    session: u64,
    /// Which of the run's grants, as bits.
    grants: u16,
}

impl Authority {
    /// Takes in what a session was granted, in place of what it was before.
    pub(super) fn hold(&mut self, session: &SessionId<'_>, entitled: &Entitled) {
        let session = hash_text(session.as_str());
        self.cut |= entitled.cut;
        let mut grants = 0;
        for grant in &entitled.grants {
            let same = |it: &Held| it.who == grant.who && it.scopes == grant.scopes;
            let at = self.grants.iter().position(same).or_else(|| self.room(session));
            let Some(at) = at else {
                self.cut = true;
                continue;
            };
            let held = Held { who: grant.who, scopes: grant.scopes.clone() };
            match self.grants.get_mut(at) {
                Some(it) => *it = held,
                None => {
                    self.grants.reserve_exact(1);
                    self.grants.push(held);
                }
            }
            grants |= 1 << at;
            // From now on it is held, and no room for the next.
            self.set(session, grants);
        }
    }

    fn set(&mut self, session: u64, grants: u16) {
        if let Some(it) = self.holders.iter_mut().find(|it| it.session == session) {
            it.grants = grants;
            return;
        }
        if self.holders.len() >= HOLDERS_MAX {
            self.holders.remove(0);
            self.cut = true;
        }
        self.holders.reserve_exact(1);
        self.holders.push(Holder { session, grants });
    }

    /// Where another grant has room: in place of one that nobody holds, or at the end.
    fn room(&self, session: u64) -> Option<usize> {
        let others = self.holders.iter().filter(|it| it.session != session).fold(0, |bits, it| bits | it.grants);
        let own = self.holders.iter().find(|it| it.session == session).map_or(0, |it| it.grants);
        let free = (0..self.grants.len()).find(|at| (others | own) >> at & 1 == 0);
        free.or_else(|| (self.grants.len() < GRANTS_MAX).then_some(self.grants.len()))
    }

    /// What a session was granted; `None` where it declared nothing, or is forgotten.
    pub(super) fn of(&self, session: u64) -> Option<impl Iterator<Item = &Held>> {
        let bits = self.holders.iter().find(|it| it.session == session)?.grants;
        Some(self.grants.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, it)| it))
    }

    /// Whether a session of which nothing is known may have been granted something.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Estimated memory beyond its own size, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let mark = self.reached.as_ref().map_or(0, |it| it.session.as_str().len() + it.step.as_str().len());
        self.holders.capacity() * size_of::<Holder>()
            + self.grants.capacity() * size_of::<Held>()
            + self.grants.iter().map(|it| it.scopes.bytes()).sum::<usize>()
            + mark
    }
}
