//! Who hears what.

use martingale_platform::log::Partition;
use martingale_schemas::{Control, ControlState, Decision, Scope};

use crate::feed::{Event, Head};
use crate::http::glob;

/// What a stream was asked for; what is not given lets everything through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) session_id: Option<String>,
    pub(super) root_session_id: Option<String>,
    /// The agent's id, `*` for any run of characters. A control names no agent, so this does not hold one back.
    pub(super) agent: Option<String>,
    pub(super) min_decision: Decision,
}

impl Filter {
    /// `home` is the partition the scope of a control hashes to, where it is heard even if nobody knows it.
    pub(super) fn passes(&self, event: &Event, partition: Partition, home: impl Fn(&[u8]) -> Partition) -> bool {
        match &event.head {
            Head::Verdict(head) => {
                head.decision >= self.min_decision
                    && self.session_id.as_deref().is_none_or(|id| id == &*head.session_id)
                    && self.root_session_id.as_deref().is_none_or(|id| id == &*head.root_session_id)
                    && self.agent.as_deref().is_none_or(|agent| glob(agent, &head.agent_id))
            }
            Head::Control(control) => {
                let at_home = partition == home(control.scope.key().as_bytes());
                heard_once(control, at_home) && self.concerns(&control.scope)
            }
        }
    }

    /// A control of a session is heard by those who listen to the session, or to the run it is the root of; one of a run
    /// by those who listen to the run or to its root.
    fn concerns(&self, scope: &Scope) -> bool {
        let given = [self.session_id.as_deref(), self.root_session_id.as_deref()];
        given == [None, None] || given.into_iter().flatten().any(|id| id == scope.key())
    }
}

/// A control is on every partition. As requested it is told once, at home; as applied where its session is known, and at
/// home in any case: so a session that lives elsewhere is told of twice, `known` at one of them. A reader goes on from a
/// cursor in each partition, and what another one had answered before it is not known to it.
fn heard_once(control: &Control, at_home: bool) -> bool {
    match control.state {
        ControlState::Requested => at_home,
        ControlState::Applied { known, .. } => known || at_home,
    }
}
