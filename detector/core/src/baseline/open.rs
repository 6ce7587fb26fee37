//! Sessions that are followed to their end.

use std::collections::HashMap;

use martingale_schemas::{SessionId, Step};

/// Sessions that are open at once. Full: the one begun first is taken as closed.
const OPEN_MAX: usize = 1024;

/// What is known of sessions so far, with when they began.
#[derive(Debug)]
pub(super) struct Open<S> {
    sessions: HashMap<String, (u64, S)>,
    begun: u64,
}

impl<S> Default for Open<S> {
    fn default() -> Self {
        Self { sessions: HashMap::new(), begun: 0 }
    }
}

impl<S> Open<S> {
    /// The session of a step, and one that had to be closed for it.
    pub(super) fn of(&mut self, step: &Step<'_>, begin: impl FnOnce() -> S) -> (&mut S, Option<S>) {
        let id = step.session_id.as_str();
        let mut closed = None;
        if !self.sessions.contains_key(id) && self.sessions.len() >= OPEN_MAX {
            let first = self.sessions.iter().min_by_key(|it| it.1.0).map(|it| it.0.clone());
            closed = first.and_then(|it| self.sessions.remove(&it)).map(|it| it.1);
        }
        let begun = &mut self.begun;
        let session = self.sessions.entry(id.to_owned()).or_insert_with(|| {
            *begun += 1;
            (*begun, begin())
        });
        (&mut session.1, closed)
    }

    /// A session that is over, if it is open.
    pub(super) fn end(&mut self, session: &SessionId<'_>) -> Option<S> {
        self.sessions.remove(session.as_str()).map(|it| it.1)
    }

    /// Those that are still open, in the order in which they began.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = S> + use<S> {
        let mut open: Vec<(u64, S)> = std::mem::take(&mut self.sessions).into_values().collect();
        open.sort_by_key(|it| it.0);
        open.into_iter().map(|it| it.1)
    }
}
