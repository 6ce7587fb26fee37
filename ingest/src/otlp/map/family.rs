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
    /// Whether its first step is a tool's call, whose id is known once it is mapped.
    pub(super) is_tool: bool,
    pub(super) is_workflow: bool,
}

impl Relative {
    pub(super) fn called(&mut self, step: &str) {
        if self.is_tool {
            self.step = Some(step.to_owned());
        }
    }
}

/// What the spans above one say, as far as they are in the request.
pub(super) struct Above {
    pub(super) parent: Option<Parent>,
    pub(super) session: Option<String>,
    pub(super) agent: Option<Agent>,
}

impl Above {
    pub(super) fn of(direct: Option<&str>, family: &Family) -> Self {
        let Some(base) = direct else { return Self { parent: None, session: None, agent: None } };
        let (mut parent, mut session, mut agent) = (None, None, None);
        let mut at = Some(base);
        for _ in 0..ANCESTORS_MAX {
            let Some(here) = at else { break };
            let Some(relative) = family.get(here) else {
                // Not in this request: its first step will most likely have this id.
                parent.get_or_insert_with(|| (here.to_owned(), false, false));
                break;
            };
            if let (None, Some(step)) = (&parent, &relative.step) {
                parent = Some((step.clone(), true, relative.is_workflow));
            }
            agent = agent.or_else(|| relative.agent.clone());
            session = session.or_else(|| relative.session.clone());
            if parent.is_some() && agent.is_some() && session.is_some() {
                break;
            }
            at = relative.parent.as_deref();
        }
        let parent = parent.map(|(step, seen, is_workflow)| Parent { step, seen, is_workflow, base: base.to_owned() });
        Self { parent, session, agent }
    }
}

/// Root and parent of a session, where the spans above are of other sessions. `only` is the session of those that none
/// above names.
pub(super) fn lineage(
    direct: Option<&str>,
    family: &Family,
    session: &str,
    only: &str,
) -> (Option<String>, Option<String>) {
    // The sessions of the steps above, nearest first; `None` goes with the next one named.
    let mut above: Vec<Option<&str>> = Vec::new();
    let mut at = direct;
    for _ in 0..ANCESTORS_MAX {
        let Some(relative) = at.and_then(|here| family.get(here)) else { break };
        if relative.step.is_some() || relative.session.is_some() {
            above.push(relative.session.as_deref());
        }
        at = relative.parent.as_deref();
    }
    let (mut root, mut parent, mut named) = (None, None, only);
    for own in above.into_iter().rev() {
        named = own.unwrap_or(named);
        root.get_or_insert(named);
        // The last one that differs is the nearest.
        if named != session {
            parent = Some(named);
        }
    }
    match (root, parent) {
        (Some(root), Some(parent)) if root != session => (Some(root.to_owned()), Some(parent.to_owned())),
        _ => (None, None),
    }
}
