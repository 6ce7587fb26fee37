//! What holds for every session of a partition.

use martingale_schemas::{BaselinesId, Control, ControlAction, Scope};
use serde::{Deserialize, Serialize};

use crate::grants::Grants;
use crate::judgement::Applied;

/// Orders that stand for the whole tenant. Serialised it is positional, as every state is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantState {
    /// What steps are held against; until one is ordered, what the detector began with.
    pub(crate) baselines: Option<[u8; 16]>,
    pub(crate) grants: Grants,
}

impl TenantState {
    /// The baselines that were ordered last.
    #[must_use]
    pub fn baselines(&self) -> Option<BaselinesId> {
        self.baselines.map(BaselinesId::from)
    }

    /// Takes an order; whether the state is another than before, which it may be where the order itself changed nothing.
    pub(crate) fn order(&mut self, control: &Control) -> (Applied, bool) {
        match (&control.scope, control.action) {
            (Scope::Tenant, ControlAction::UseBaselines { baselines_id }) => {
                let ordered = Some(*baselines_id.as_bytes());
                let changed = std::mem::replace(&mut self.baselines, ordered) != ordered;
                (Applied { known: true, changed }, changed)
            }
            (Scope::Flow(_), ControlAction::Grant { .. } | ControlAction::Revoke) => self.grants.order(control),
            // No door gives them, and others may write to the log.
            _ => (Applied::default(), false),
        }
    }
}
