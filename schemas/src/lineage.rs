//! Which run a session belongs to, and who started it: remembered from its first step on, so that a later one stays in its run,
//! under the halts and budgets of that, whatever it says or leaves away.
//!
//! Pure: who keeps what was told, and asks for it again, is the door that the step came through.

mod refusal;
mod settle;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::settle::{Lineages, News};
use crate::{SessionId, Step};

/// How many sessions above one are looked at, where not all is known of them.
pub(crate) const ABOVE_MAX: usize = 16;

/// What is remembered of a session: a record of [`crate::topics::LINEAGES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Lineage {
    pub root_session_id: SessionId<'static>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_session_id: Option<SessionId<'static>>,
    /// [`Step::ancestors`].
    #[serde(rename = "ancestor_session_ids", skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<SessionId<'static>>,
    #[serde(skip_serializing_if = "Basis::is_settled")]
    pub basis: Basis,
    /// Since when nobody was heard of under it, by the time of the log, in microseconds since the Unix epoch: neither the session nor
    /// one below it. Who forgets sessions writes it, and a door that hears of one takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unheard_since: Option<i64>,
}

/// How certain it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Its first step said so, or said nothing, and its parent is settled in the same run: it stays.
    #[default]
    Settled,
    /// The root was told and stays. Whether it is one, or who is between it and the session, is not all known: that is looked at
    /// again with each step.
    Unchecked,
    /// The parent was told and no root, and the run of the parent is not known: the root is that of the parent, whatever that
    /// will be.
    Implied,
    /// No producer told it: it is what telemetry showed. It stands until something is told, or a parent is shown.
    Inferred,
}

/// What was ever written: releases before `basis` wrote `inferred`.
#[derive(Deserialize)]
struct Stored {
    root_session_id: SessionId<'static>,
    #[serde(default)]
    parent_session_id: Option<SessionId<'static>>,
    #[serde(default, rename = "ancestor_session_ids")]
    ancestors: Vec<SessionId<'static>>,
    #[serde(default)]
    basis: Basis,
    #[serde(default)]
    inferred: bool,
    #[serde(default)]
    unheard_since: Option<i64>,
}

impl From<Stored> for Lineage {
    fn from(it: Stored) -> Self {
        let basis = if it.inferred { Basis::Inferred } else { it.basis };
        let Stored { root_session_id, parent_session_id, ancestors, unheard_since, .. } = it;
        Self { root_session_id, parent_session_id, ancestors, basis, unheard_since }
    }
}

/// What has to stay as it is where a halt stands against a step, so that the halt stays over whoever it reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The parent: the halt is the order of a person for a session, which every run knows, and goes where that goes.
    Parent,
    /// The run: the halt is that of a rule, or of a run, and known in this one alone.
    Run,
}

/// What a step says of its lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// What telemetry shows: the spans that happen to come in one request. It is a guess, and never contradicts.
    Shown,
    /// What a producer wrote.
    Told { root: bool, parent: bool },
}

impl Said {
    const fn tells(self) -> bool {
        matches!(self, Self::Told { root: true, .. } | Self::Told { parent: true, .. })
    }

    const fn root(self) -> bool {
        matches!(self, Self::Told { root: true, .. })
    }

    /// The session above: the parent, or the root where that alone is told.
    fn above<'s>(self, step: &'s Step<'_>) -> Option<&'s SessionId<'s>> {
        let root = || Some(&step.root_session_id).filter(|it| self.root() && it.as_str() != step.session_id.as_str());
        self.parent(step).or_else(root)
    }

    fn parent<'s>(self, step: &'s Step<'_>) -> Option<&'s SessionId<'s>> {
        step.parent_session_id.as_ref().filter(|_| !matches!(self, Self::Told { parent: false, .. }))
    }
}

impl Basis {
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(self, Self::Settled)
    }
}

impl Lineage {
    /// What a record says; nothing when it was removed, or is of a form that is not known.
    #[must_use]
    pub fn from_log(record: &[u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }

    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Cannot fail: the writer is memory and every key is a string.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What is to be remembered, and of whom, where a halt stands against a step: as far as it [`Self::tightens`] what is.
    #[must_use]
    pub fn held(step: &Step<'_>, hold: Hold) -> Vec<(SessionId<'static>, Self)> {
        let own = Self::of(step);
        let (session, root) = (step.session_id.to_static(), own.root_session_id.clone());
        match hold {
            Hold::Parent if own.parent_session_id.is_some() => vec![(session, Self { basis: Basis::Implied, ..own })],
            // Not settled: where the root turns out to be none by then, what the session proposes is refused.
            Hold::Run if root != session => {
                vec![(session, Self { basis: Basis::Unchecked, ..own }), (root.clone(), Self::of_root(&root))]
            }
            Hold::Parent | Hold::Run => vec![(session, own)],
        }
    }

    /// The root of a run, settled.
    #[must_use]
    pub fn of_root(root: &SessionId<'_>) -> Self {
        Self {
            root_session_id: root.to_static(),
            parent_session_id: None,
            ancestors: Vec::new(),
            basis: Basis::Settled,
            unheard_since: None,
        }
    }

    /// What the step says, settled.
    #[must_use]
    pub fn of(step: &Step<'_>) -> Self {
        Self {
            root_session_id: step.root_session_id.to_static(),
            parent_session_id: step.parent_session_id.as_ref().map(SessionId::to_static),
            ancestors: step.ancestors.iter().map(SessionId::to_static).collect(),
            basis: Basis::Settled,
            unheard_since: None,
        }
    }

    /// Whether it leaves a session less freedom to tell another root than what was `told`. What holds a session in its run does
    /// so too where it has moved since the step that it was halted for: whoever sends both at once is refused then, in any run.
    #[must_use]
    pub fn tightens(&self, told: Option<&Self>) -> bool {
        told.is_none_or(|it| {
            let is_looser = it.basis == Basis::Inferred || (it.basis == Basis::Implied && self.basis != Basis::Implied);
            if it.root_session_id == self.root_session_id { is_looser } else { self.basis == Basis::Unchecked }
        })
    }

    /// Who is above it, where that is to be looked at again: its parent, else the root.
    fn asks(&self) -> Option<&SessionId<'static>> {
        match (self.basis, &self.parent_session_id) {
            (Basis::Settled, _) => None,
            (Basis::Unchecked, None) => Some(&self.root_session_id),
            (_, parent) => parent.as_ref(),
        }
    }

    /// The root, where it was told and it is to be looked at again whether it is one.
    fn asks_root(&self) -> Option<&SessionId<'static>> {
        (self.basis == Basis::Unchecked).then_some(&self.root_session_id)
    }

    /// Copies nothing where the step says the same, as nearly every step does.
    fn put_on(&self, step: &mut Step<'_>) {
        if step.root_session_id.as_str() != self.root_session_id.as_str() {
            step.root_session_id = self.root_session_id.clone();
        }
        let parent = self.parent_session_id.as_ref();
        if step.parent_session_id.as_ref().map(SessionId::as_str) != parent.map(SessionId::as_str) {
            step.parent_session_id.clone_from(&self.parent_session_id);
        }
        step.ancestors.clone_from(&self.ancestors);
    }
}
