//! What the spans above one say, as far as they are in the same request.

use std::collections::HashMap;

use super::context::Parent;
use super::draft::Agent;

/// Spans above one that are looked at; a longer chain, or a circle, ends there.
const ANCESTORS_MAX: usize = 64;

/// Spans of a request by `{trace}-{span}`.
pub(super) type Family = HashMap<String, Relative>;

/// What a span is to those below it.
pub(super) struct Relative {
    pub(super) parent: Option<String>,
    pub(super) session: Option<String>,
    pub(super) agent: Option<Agent>,
    /// Its first step; none for a span that is ignored.
    pub(super) step: Option<String>,
    pub(super) is_workflow: bool,
}

/// What the spans above one say, as far as they are in the request.
pub(super) struct Above {
    pub(super) parent: Option<Parent>,
    pub(super) session: Option<String>,
    pub(super) agent: Option<Agent>,
}

impl Above {
    pub(super) fn of(direct: Option<String>, family: &Family) -> Self {
        let Some(base) = direct else { return Self { parent: None, session: None, agent: None } };
        let (mut parent, mut session, mut agent) = (None, None, None);
        let mut at = Some(base.as_str());
        for _ in 0..ANCESTORS_MAX {
            let Some(here) = at else { break };
            let Some(relative) = family.get(here) else {
                // Not in this request: its first step will most likely have this id.
                parent.get_or_insert_with(|| (here.to_owned(), false));
                break;
            };
            if let (None, Some(step)) = (&parent, &relative.step) {
                parent = Some((step.clone(), relative.is_workflow));
            }
            agent = agent.or_else(|| relative.agent.clone());
            session = session.or_else(|| relative.session.clone());
            if parent.is_some() && agent.is_some() && session.is_some() {
                break;
            }
            at = relative.parent.as_deref();
        }
        let parent = parent.map(|(step, is_workflow)| Parent { step, is_workflow, base: base.clone() });
        Self { parent, session, agent }
    }
}
