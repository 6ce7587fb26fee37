//! Sessions that are followed to their end.

use std::collections::{HashMap, HashSet};

use martingale_schemas::{SessionId, Step};

/// Sessions that are open at once. Full: the one begun first is taken as closed.
const OPEN_MAX: usize = 1024;

/// What is known of sessions so far, with when they began.
#[derive(Debug)]
pub(super) struct Open<S> {
    sessions: HashMap<String, Followed<S>>,
    begun: u64,
}

#[derive(Debug)]
struct Followed<S> {
    /// Its place among those that began.
    begun: u64,
    /// Steps that were met: a producer may send one again.
    steps: HashSet<[u8; 16]>,
    state: S,
}

/// Steps of a session that are told from those sent again; of a longer one, the first.
const STEPS_MAX: usize = 1 << 16;

impl<S> Default for Open<S> {
    fn default() -> Self {
        Self { sessions: HashMap::new(), begun: 0 }
    }
}

impl<S> Open<S> {
    /// The session of a step, and one that had to be closed for it. `None` for a step that was met.
    pub(super) fn of(&mut self, step: &Step<'_>, begin: impl FnOnce() -> S) -> Option<(&mut S, Option<S>)> {
        let id = step.session_id.as_str();
        let mut closed = None;
        if !self.sessions.contains_key(id) && self.sessions.len() >= OPEN_MAX {
            let first = self.sessions.iter().min_by_key(|it| it.1.begun).map(|it| it.0.clone());
            closed = first.and_then(|it| self.sessions.remove(&it)).map(|it| it.state);
        }
        let begun = &mut self.begun;
        let session = self.sessions.entry(id.to_owned()).or_insert_with(|| {
            *begun += 1;
            Followed { begun: *begun, steps: HashSet::new(), state: begin() }
        });
        let is_new = session.steps.len() >= STEPS_MAX || session.steps.insert(step.key());
        is_new.then_some((&mut session.state, closed))
    }

    /// A session that is over, if it is open.
    pub(super) fn end(&mut self, session: &SessionId<'_>) -> Option<S> {
        self.sessions.remove(session.as_str()).map(|it| it.state)
    }

    /// Those that are still open, in the order in which they began.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = S> + use<S> {
        let mut open: Vec<Followed<S>> = std::mem::take(&mut self.sessions).into_values().collect();
        open.sort_by_key(|it| it.begun);
        open.into_iter().map(|it| it.state)
    }
}
