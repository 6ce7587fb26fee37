//! The rules over values, meanings, what is ordinary and what was granted. They are part of the core and cannot be declared; a document of their id sets
//! their mode, and nothing else.

use martingale_schemas::{Decision, Mode, Severity};

use super::document::{MODES, RULES};
use super::misnomers;
use crate::yaml::{Faults, Node, Object};

/// A rule that no policy declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreRule {
    /// A secret that was read is about to leave.
    SecretLeak,
    /// The same, of a secret that is the user's own or goes where they said.
    SecretGiven,
    /// Text of strangers and something to be kept were read, and now something goes out.
    Trifecta,
    /// A call serves a text that was read rather than the user.
    Hijack,
    /// A session works otherwise than its agent's sessions do.
    Drift,
    /// A call needs a scope that its principal does not have.
    ScopeExceeded,
    /// A principal has more scopes than it, or who started its session, was granted.
    ScopeWidened,
    /// A step acts for a person whom nobody above acts for.
    PrincipalSwitched,
    /// A call reaches higher than its run has, by what a stranger wrote.
    PrivilegeRise,
    /// A call does with its own scopes what a session without them handed over.
    ConfusedDeputy,
}

impl CoreRule {
    pub const ALL: [Self; 10] = [
        Self::SecretLeak,
        Self::SecretGiven,
        Self::Trifecta,
        Self::Hijack,
        Self::Drift,
        Self::ScopeExceeded,
        Self::ScopeWidened,
        Self::PrincipalSwitched,
        Self::PrivilegeRise,
        Self::ConfusedDeputy,
    ];

    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::SecretLeak => "secret_leak",
            Self::SecretGiven => "secret_given",
            Self::Trifecta => "trifecta",
            Self::Hijack => "hijack",
            Self::Drift => "drift",
            Self::ScopeExceeded => "scope_exceeded",
            Self::ScopeWidened => "scope_widened",
            Self::PrincipalSwitched => "principal_switched",
            Self::PrivilegeRise => "privilege_rise",
            Self::ConfusedDeputy => "confused_deputy",
        }
    }

    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.id() == id)
    }

    /// The mode it has when nobody sets it: what states a fact decides, and the others watch.
    #[must_use]
    pub const fn default_mode(self) -> Mode {
        match self {
            Self::SecretLeak | Self::ScopeExceeded | Self::ScopeWidened | Self::PrincipalSwitched => Mode::Enforce,
            Self::SecretGiven
            | Self::Trifecta
            | Self::Hijack
            | Self::Drift
            | Self::PrivilegeRise
            | Self::ConfusedDeputy => Mode::Shadow,
        }
    }

    /// The worst that it decides.
    #[must_use]
    pub const fn decision(self) -> Decision {
        match self {
            Self::SecretLeak => Decision::Halt,
            Self::ScopeExceeded => Decision::Deny,
            Self::SecretGiven
            | Self::Trifecta
            | Self::Hijack
            | Self::ScopeWidened
            | Self::PrincipalSwitched
            | Self::PrivilegeRise
            | Self::ConfusedDeputy
            | Self::Drift => Decision::StepUp,
        }
    }

    /// How bad it is at most.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::SecretLeak => Severity::Critical,
            Self::SecretGiven | Self::Drift => Severity::Medium,
            Self::Trifecta
            | Self::Hijack
            | Self::ScopeExceeded
            | Self::ScopeWidened
            | Self::PrincipalSwitched
            | Self::PrivilegeRise
            | Self::ConfusedDeputy => Severity::High,
        }
    }
}

/// Modes that documents set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes([Option<Mode>; CoreRule::ALL.len()]);

impl Modes {
    pub(crate) fn of(self, rule: CoreRule) -> Mode {
        self.0[rule as usize].unwrap_or_else(|| rule.default_mode())
    }

    pub(crate) fn set(&mut self, rule: CoreRule, mode: Mode) {
        self.0[rule as usize] = Some(mode);
    }

    /// How many are set.
    pub(crate) fn len(self) -> usize {
        self.0.iter().flatten().count()
    }
}

/// Reads the document that sets the mode of a rule; `None` when it has any fault.
pub(super) fn read(node: &Node, rule: CoreRule, faults: &mut Faults<'_>) -> Option<Mode> {
    let before = faults.len();
    let mut it = Object::of(node, "", faults)?;
    faults.policy = it.required_text("id", faults).map(str::to_owned);
    it.text("title", faults);
    it.text("description", faults);
    let mode = it.word_or_meant("mode", MODES, misnomers::MODES, faults);
    if it.get("mode").is_none() {
        it.fault("", "`mode` is missing: off, shadow or enforce", faults);
    }
    for name in ["severity", "scope", "unless", "within", "then", "tests"].into_iter().chain(RULES) {
        if it.get(name).is_some() {
            let message = format!(
                "`{}` is a rule of the core, of which only the `mode` can be set: leave this out, or give a policy of your own another id",
                rule.id()
            );
            it.fault(name, message, faults);
        }
    }
    it.finish(faults);
    mode.filter(|_| faults.len() == before)
}
