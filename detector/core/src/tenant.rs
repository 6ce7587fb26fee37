//! What holds for every session of a partition.

use martingale_schemas::{BaselinesId, ControlAction};
use serde::{Deserialize, Serialize};

/// Orders that stand for the whole tenant. Serialised it is positional, as every state is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantState {
    /// What steps are held against; until one is ordered, what the detector began with.
    pub(crate) baselines: Option<[u8; 16]>,
}

impl TenantState {
    /// The baselines that were ordered last.
    #[must_use]
    pub fn baselines(&self) -> Option<BaselinesId> {
        self.baselines.map(BaselinesId::from)
    }

    /// Whether the order changes anything.
    pub(crate) fn order(&mut self, action: ControlAction) -> bool {
        match action {
            ControlAction::UseBaselines { baselines_id } => {
                let ordered = Some(*baselines_id.as_bytes());
                std::mem::replace(&mut self.baselines, ordered) != ordered
            }
            // Of a session or a run; nobody orders them for all.
            ControlAction::Halt | ControlAction::Resume => false,
        }
    }
}
