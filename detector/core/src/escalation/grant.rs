//! Who a step acts as and for, and what they were granted.

use martingale_schemas::step::Principal;
use martingale_schemas::{Kind, Step, StepId};
use serde::{Deserialize, Serialize};

use super::scopes::{self, Scopes};
use crate::columns;
use crate::hash::hash_text;

/// A principal by the hashes of its names; a collision would only hide a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {
    id: u64,
    /// 0: nobody is declared.
    on_behalf_of: u64,
    /// Its `type` is `user`.
    is_user: bool,
}

impl Who {
    pub(super) fn of(principal: &Principal<'_>) -> Self {
        Self {
            id: hash_text(&principal.id),
            on_behalf_of: principal.on_behalf_of.as_deref().map_or(0, hash_text),
            is_user: principal.kind.as_deref() == Some("user"),
        }
    }

    /// Whose authority it uses: of whom it acts for, else its own.
    pub(super) fn subject(self) -> u64 {
        if self.on_behalf_of == 0 { self.id } else { self.on_behalf_of }
    }

    /// The person it acts for; `None` for a service in its own name.
    pub(super) fn person(self) -> Option<u64> {
        (self.on_behalf_of != 0 || self.is_user).then(|| self.subject())
    }

    pub(super) fn is_or_acts_for(self, subject: u64) -> bool {
        self.id == subject || self.on_behalf_of == subject
    }
}

/// What one actor of a session was granted as one principal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// Hash of the actor's name.
    actor: u64,
    pub(super) who: Who,
    pub(super) scopes: Scopes,
    /// A person approved of more than was granted above.
    pub(super) approved: bool,
    /// The step that declared it first.
    pub(super) step: StepId<'static>,
}

/// Grants kept of one session. Full: the first stay, and nothing is said of a principal that has none.
const GRANTS_MAX: usize = 8;

/// What a session was granted, and what a person approved since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entitled {
    pub(super) grants: Vec<Grant>,
    /// What the latest approval is of: the call that it names as its cause, by the hash of tool and arguments; where it names no
    /// cause its tool, and 0 where it names neither.
    approval: Option<u64>,
    /// There were more grants.
    pub(super) cut: bool,
}

impl Entitled {
    /// Remembers what a person said; `call`: of this one.
    pub(super) fn hear(&mut self, step: &Step<'_>, yes: bool, call: Option<u64>) {
        let tool = step.tool.as_deref().map_or(0, hash_text);
        match call {
            Some(_) if yes => self.approval = call,
            None if yes && step.causes.is_empty() => self.approval = Some(tool),
            // They were shown one call, and it is not known which: that is no word on the others of its tool.
            None if yes => {}
            // Of this call alone. A yes to whatever comes, or to any call of the tool, was one to it as well.
            Some(call) if tool != 0 => self.approval = self.approval.filter(|it| ![call, tool, 0].contains(it)),
            // What was approved may be the very thing that is refused now: of a call its tool is not kept.
            _ => self.approval = None,
        }
    }

    /// Whether a person approved of this step.
    pub(super) fn approves(&self, step: &Step<'_>) -> bool {
        let is_of_tool = |it| step.tool.as_deref().is_some_and(|tool| hash_text(tool) == it);
        self.approval.is_some_and(|it| it == 0 || is_of_tool(it)) || self.approves_call(step)
    }

    /// Whether a person was shown this very call, and approved of it.
    pub(super) fn approves_call(&self, step: &Step<'_>) -> bool {
        step.kind == Kind::ToolCall && self.approval.is_some_and(|it| it == columns::key_of(step))
    }

    /// An approval is for the next step that it fits.
    pub(super) fn use_approval(&mut self) {
        self.approval = None;
    }

    pub(super) fn knows(&self, person: u64) -> bool {
        self.grants.iter().any(|it| it.who.is_or_acts_for(person))
    }

    /// Grants of the same authority that this actor has, with scopes.
    fn of(&self, actor: u64, subject: u64) -> impl Iterator<Item = &Grant> {
        self.grants
            .iter()
            .filter(move |it| it.actor == actor && it.who.is_or_acts_for(subject) && it.scopes.are_declared())
    }

    /// The grant that a step's scopes go beyond, and the scopes that it does not give. `None` where they do not, or nothing
    /// is known.
    pub(super) fn beyond<'s>(
        &self,
        step: &'s Step<'_>,
        principal: &'s Principal<'_>,
    ) -> Option<(&Grant, Vec<&'s str>)> {
        let (actor, subject) = (actor(step), Who::of(principal).subject());
        let first = self.of(actor, subject).next()?;
        let lacks = |it: &&str| !self.of(actor, subject).any(|grant| grant.scopes.give(it));
        let beyond: Vec<&str> = scopes::of(principal).filter(lacks).collect();
        (!beyond.is_empty()).then_some((first, beyond))
    }

    /// Whether a person approved of what this principal has beyond what was granted above.
    pub(super) fn is_approved(&self, step: &Step<'_>, who: Who) -> bool {
        self.of(actor(step), who.subject()).any(|it| it.approved)
    }

    /// Takes a step's principal in as granted, where it is new or `approved`; whether that changed anything.
    pub(super) fn take(&mut self, step: &Step<'_>, principal: &Principal<'_>, approved: bool) -> bool {
        let (actor, who) = (actor(step), Who::of(principal));
        if let Some(it) = self.grants.iter_mut().find(|it| it.actor == actor && it.who == who) {
            let is_new = !it.scopes.are_declared() && !principal.scopes.is_empty();
            if is_new || approved {
                it.scopes.add(scopes::of(principal));
                it.approved |= approved;
            }
            return is_new || approved;
        }
        if self.grants.len() >= GRANTS_MAX {
            let is_new = !self.cut;
            self.cut = true;
            return is_new;
        }
        let (scopes, step) = (Scopes::new(scopes::of(principal)), step.step_id.to_static());
        self.grants.push(Grant { actor, who, scopes, approved, step });
        true
    }

    /// Estimated memory beyond its own size, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.grants.iter().map(|it| it.scopes.bytes() + it.step.as_str().len());
        self.grants.capacity() * size_of::<Grant>() + texts.sum::<usize>()
    }
}

fn actor(step: &Step<'_>) -> u64 {
    step.agent.name.as_deref().map_or(0, hash_text)
}
