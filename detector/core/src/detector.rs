//! The one composition: state in, step in, judgement out.

use std::sync::Arc;

use martingale_schemas::{Control, Step};

use crate::judgement::{Applied, Judgement, Observed};
use crate::rules::Rules;
use crate::state::{State, StateKey};

/// Judges the steps of one partition. No clock, no I/O; `observe` cannot fail.
#[derive(Debug)]
pub struct Detector {
    _rules: Arc<Rules>,
}

impl Detector {
    #[must_use]
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { _rules: rules }
    }

    /// State to load before this step can be judged. **Ask again after loading, until it is empty**: a loaded run may
    /// name a parent that is needed too.
    #[must_use]
    pub fn absent(&self, _step: &Step<'_>) -> Vec<StateKey> {
        Vec::new()
    }

    /// State to load before this control can be applied. Ask again after loading, until it is empty.
    #[must_use]
    pub fn absent_for_control(&self, _control: &Control) -> Vec<StateKey> {
        Vec::new()
    }

    /// Takes stored state into memory; `None` when nothing was stored under the key.
    pub fn load(&mut self, _key: StateKey, _state: Option<State>) {}

    /// Judges one step and remembers it.
    pub fn observe(&mut self, _step: &Step<'_>) -> Observed {
        Observed::Judged(Judgement::default())
    }

    /// Applies a standing order.
    pub fn apply(&mut self, _control: &Control) -> Applied {
        Applied { known: false }
    }

    /// Hands out every state that changed since the last call, in the order it first changed; `None` means: delete it.
    pub fn drain_changed(&mut self, _f: impl FnMut(&StateKey, Option<&State>)) {}

    /// Forgets the least recently used states that have no change to hand out until at most `sessions_max` sessions are
    /// in memory.
    pub fn evict(&mut self, _sessions_max: usize) {}

    #[must_use]
    pub fn sessions_in_memory(&self) -> usize {
        0
    }

    /// Estimated memory of all states, in bytes. Walks them all.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        0
    }

    /// Conditions that could not be evaluated (a missing field, a wrong type) since the start; each counted as no match.
    #[must_use]
    pub fn cel_errors(&self) -> u64 {
        0
    }
}
