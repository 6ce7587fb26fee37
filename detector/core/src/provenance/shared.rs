//! What the sessions of a run share: secrets that were read, and the first steps that brought in text of strangers and
//! what is to be kept. So a secret that one agent reads is known when another one sends it.

use martingale_schemas::{Kind, SessionId, Step, StepId};
use serde::{Deserialize, Serialize};

use super::index::{ToolTraits, Watch};
use super::sip::Key;
use super::source::{Confidentiality, Integrity};
use super::vault::{Leak, Secret, Vault};
use super::walk::{self, Leaf};

/// A step of some session of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub session: SessionId<'static>,
    pub step: StepId<'static>,
}

impl Mark {
    fn of(step: &Step<'_>) -> Self {
        Self { session: step.session_id.to_static(), step: step.step_id.to_static() }
    }
}

/// What the sessions of a run share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    vault: Vault,
    keyed: bool,
    /// The first step that read what anybody could have written.
    pub untrusted: Option<Mark>,
    /// The first step that read what must not leave.
    pub sensitive: Option<Mark>,
}

impl Shared {
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Takes in what a step reads; to be told of its leaves while the index reads them.
    pub fn reading<'s>(&'s mut self, step: &'s Step<'s>, integrity: Integrity, tool: ToolTraits) -> Reading<'s> {
        if !self.keyed {
            self.vault = Vault::new(Key::of_run(&step.root_session_id));
            self.keyed = true;
        }
        if integrity == Integrity::Untrusted && self.untrusted.is_none() {
            self.untrusted = Some(Mark::of(step));
        }
        if tool.confidentiality == Confidentiality::Secret && integrity > Integrity::System && self.sensitive.is_none()
        {
            self.sensitive = Some(Mark::of(step));
        }
        Reading { shared: self, step, integrity }
    }

    /// Secrets in the arguments of a call.
    pub fn leaks(&self, step: &Step<'_>) -> Vec<Leak> {
        let Some(input) = step.input.as_ref().filter(|_| !self.vault.is_empty()) else { return Vec::new() };
        let mut search = self.vault.search();
        walk::leaves(input.get(), &mut |leaf| search.argument(leaf.path, leaf.item, leaf.text));
        search.leaks
    }

    /// Estimated memory beyond its own size, in bytes.
    pub fn bytes(&self) -> usize {
        self.vault.bytes()
    }
}

/// Reads a step for secrets.
pub struct Reading<'s> {
    shared: &'s mut Shared,
    step: &'s Step<'s>,
    integrity: Integrity,
}

impl Watch for Reading<'_> {
    fn leaf(&mut self, leaf: &Leaf<'_>) {
        let (step, authored) = (self.step, self.integrity <= Integrity::System);
        let found = self.shared.vault.learn(leaf.key, leaf.text, &|kind| Secret {
            kind,
            session: step.session_id.to_static(),
            step: step.step_id.to_static(),
            path: leaf.path.into(),
            authored,
        });
        // What the user typed is theirs to give away.
        let counts = found > 0 && !authored && step.kind != Kind::UserMessage;
        if counts && self.shared.sensitive.is_none() {
            self.shared.sensitive = Some(Mark::of(step));
        }
    }
}
