//! # escalation
//!
//! Before a call runs: whether it is above what its principal was granted, or above what its run has done so far.
//!
//! Three rules state facts, of what was declared and of nothing else. `scope_exceeded`: the operator's catalogue names the
//! scopes that a tool needs, and the principal has not all of them. `scope_widened`: the principal has scopes that the same
//! authority did not have, in this session or in the one that started it, and no approval of it came between.
//! `principal_switched`: the step acts for a person whom nobody in this session or above acts for. Two are judgements and
//! watch. `privilege_rise`: a call reaches higher than any before it in the run, something of it stood in a text that anybody
//! could have written, and user and operator have not named it. `confused_deputy`: a call uses scopes that the session
//! which handed its value over does not have, and that value was a stranger's.
//!
//! Wrong where a person agrees to more scopes, or sends the agent on for somebody else, and no `approval` is reported, or one
//! whose cause is no call that is remembered; where one service is declared under the name of another; where a request says in
//! other words what its tool does. Misses what is not declared, and a high call after another one of that height.
//!
//! Cost: a step without a principal asks for the level of its tool and no more.

mod authority;
mod grant;
mod rise;
mod scopes;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use martingale_schemas::step::{Principal, Status};
use martingale_schemas::{Calibration, Column, Finding, Kind, SessionId, Step, StepId};

pub(crate) use authority::Authority;
pub(crate) use grant::Entitled;

use crate::hash::hash_text;
use crate::policy::CoreRule;
use crate::provenance::{Integrity, sent};
use crate::quote::quoted;
use crate::rules::Rules;
use crate::run::{Place, RunState, parent_of};
use crate::session::SessionState;
use crate::tools::Tool;
use grant::Who;

/// Whether a person was shown this very call, as the cause of their approval, and approved of it. To be asked before
/// [`observe`], which uses the approval up.
pub(crate) fn is_approved(step: &Step<'_>, session: &SessionState) -> bool {
    session.entitled.as_ref().is_some_and(|it| it.approves_call(step))
}

/// Takes in what a step declares, and says what of it goes too far.
pub(crate) fn observe(
    step: &Step<'_>,
    tool: &Tool,
    session: &mut SessionState,
    run: &mut RunState,
    rules: &Rules,
) -> Vec<Finding> {
    if step.kind == Kind::Approval {
        // Whoever approves is not who acts.
        let yes = step.status == Some(Status::Ok);
        if yes || session.entitled.is_some() {
            let call = session.calls.key_of_one(&step.causes);
            session.entitled.get_or_insert_default().hear(step, yes, call);
        }
        return Vec::new();
    }
    let mut findings = Vec::new();
    let acts = matches!(step.kind, Kind::ToolCall | Kind::Spawn | Kind::Handoff);
    let approved = acts && session.entitled.as_ref().is_some_and(|it| it.approves(step));
    if approved && let Some(entitled) = &mut session.entitled {
        entitled.use_approval();
    }
    // Whether a fact speaks against it: what is refused reaches nothing.
    let mut refused = false;
    let mut find = |rule, certain, found: Option<Found>| {
        findings.extend(found.and_then(|it| rules.in_mode(rule, certain, it.finding(rule, step))));
    };
    if let Some(principal) = &step.principal {
        let granted = Granted::of(step, session, run);
        let (switched, widened) = (granted.switched(principal), granted.widened(principal));
        // In the first session of a run a user is a person, who may speak and act.
        let speaks = step.kind == Kind::UserMessage && session.place.is_root();
        let is_beyond = switched.is_some() && !speaks || widened.is_some();
        if acts && !approved {
            // Of a person whom nobody knows, no scopes are known either.
            let rule = if switched.is_some() { CoreRule::PrincipalSwitched } else { CoreRule::ScopeWidened };
            find(rule, true, switched.or(widened));
        }
        refused |= is_beyond && acts && !approved;
        if !is_beyond || approved {
            let entitled = session.entitled.get_or_insert_default();
            if entitled.take(step, principal, is_beyond) {
                run.authority.get_or_insert_default().hold(&step.session_id, entitled);
            }
        }
        if step.kind == Kind::ToolCall && !tool.scopes.is_empty() && !principal.scopes.is_empty() {
            let exceeded = exceeded(step, tool, principal);
            let is_within = exceeded.is_none();
            refused |= !is_within;
            find(CoreRule::ScopeExceeded, true, exceeded);
            if is_within {
                find(CoreRule::ConfusedDeputy, true, deputy(step, tool, session, run));
            }
        }
    }
    if step.kind == Kind::ToolCall && tool.level > run.authority.as_ref().map_or(0, |it| it.level) {
        let risen = rise::of(step, tool, session.provenance.as_deref(), run);
        if risen.is_some() && !approved {
            find(CoreRule::PrivilegeRise, !tool.is_guessed(), risen);
            return findings;
        }
        // What a person approved has reached what was asked about, whoever said so.
        let reach = if risen.is_some() { tool.level } else { tool.reach };
        if !refused && reach > run.authority.as_ref().map_or(0, |it| it.level) {
            run.authority.get_or_insert_default().reach(step, reach);
        }
    }
    findings
}

/// What a rule saw, before it is told.
struct Found {
    /// Steps of this session that show it, oldest first, without the judged one.
    evidence: Vec<StepId<'static>>,
    /// How many scopes or levels too many.
    score: f64,
    calibration: Calibration,
    message: String,
}

impl Found {
    fn fact(evidence: Vec<StepId<'static>>, count: usize, message: String) -> Self {
        let score = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        Self { evidence, score, calibration: Calibration::Fact, message }
    }

    fn judgement(evidence: Vec<StepId<'static>>, count: u8, message: String) -> Self {
        Self { evidence, score: f64::from(count), calibration: Calibration::Uncalibrated, message }
    }

    fn finding(self, rule: CoreRule, step: &Step<'_>) -> Finding {
        let Self { mut evidence, score, calibration, message } = self;
        let this = step.step_id.to_static();
        evidence.dedup();
        let began_at = evidence.first().cloned().unwrap_or_else(|| this.clone());
        evidence.push(this);
        Finding {
            column: Column::Escalation,
            rule: Cow::Borrowed(rule.id()),
            severity: rule.severity(),
            mode: rule.default_mode(),
            decision: rule.decision(),
            score,
            calibration,
            bound: None,
            began_at,
            evidence,
            message,
            notify: Vec::new(),
        }
    }
}

/// What is known to be granted to the session of a step and to those above it.
struct Granted<'g> {
    step: &'g Step<'g>,
    own: Option<&'g Entitled>,
    above: Option<&'g Authority>,
    place: &'g Place,
}

impl<'g> Granted<'g> {
    fn of(step: &'g Step<'g>, session: &'g SessionState, run: &'g RunState) -> Self {
        Self { step, own: session.entitled.as_deref(), above: run.authority.as_deref(), place: &session.place }
    }

    /// Hashes of the sessions above, the nearest first.
    fn sessions_above(&self) -> impl Iterator<Item = u64> {
        let root = (self.place.depth > 0).then(|| hash_text(self.step.root_session_id.as_str()));
        self.place.above().chain(root)
    }

    /// A person whom nobody here or above acts for, where it is known whom they act for.
    fn switched(&self, principal: &Principal<'_>) -> Option<Found> {
        let person = Who::of(principal).person()?;
        if self.own.is_some_and(|it| it.cut || it.knows(person)) {
            return None;
        }
        let own = self.own.into_iter().flat_map(|it| &it.grants).find(|it| it.who.person().is_some());
        let mut acts_for_somebody = own.is_some();
        if let Some(authority) = self.above.filter(|_| self.place.depth > 0) {
            if authority.is_cut() || self.place.is_cut() {
                return None;
            }
            for held in self.sessions_above().filter_map(|it| authority.of(it)).flatten() {
                if held.who.is_or_acts_for(person) {
                    return None;
                }
                acts_for_somebody |= held.who.person().is_some();
            }
        }
        if !acts_for_somebody {
            return None;
        }
        let whom = quoted(principal.on_behalf_of.as_deref().unwrap_or(&principal.id), 60);
        let message = format!(
            "{} acts for `{whom}`, whom nobody in this session{} acts for, and no approval of it came between.",
            what(self.step),
            if self.place.depth > 0 { " or above it" } else { "" },
        );
        Some(Found::fact(own.map(|it| it.step.clone()).into_iter().collect(), 1, message))
    }

    /// Scopes that the same authority did not have: here before, or where the session was started from.
    fn widened(&self, principal: &Principal<'_>) -> Option<Found> {
        if principal.scopes.is_empty() {
            return None;
        }
        if let Some((grant, beyond)) = self.own.and_then(|it| it.beyond(self.step, principal)) {
            let message = format!(
                "{} has scopes that `{}` was not granted in this session (step {}), and no approval of it came between: {}. Granted were: {}.",
                what(self.step),
                quoted(principal.on_behalf_of.as_deref().unwrap_or(&principal.id), 60),
                quoted(grant.step.as_str(), 60),
                listed(&beyond),
                quoted(grant.scopes.as_str(), 120),
            );
            return Some(Found::fact(vec![grant.step.clone()], beyond.len(), message));
        }
        let (who, authority) = (Who::of(principal), self.above?);
        if self.place.is_root() || self.own.is_some_and(|it| it.is_approved(self.step, who)) {
            return None;
        }
        for session in self.sessions_above() {
            let Some(held) = authority.of(session) else {
                // Nothing was declared there, or it is forgotten.
                if authority.is_cut() {
                    return None;
                }
                continue;
            };
            let held: Vec<_> =
                held.filter(|it| it.who.is_or_acts_for(who.subject()) && it.scopes.are_declared()).collect();
            let Some(first) = held.first() else { continue };
            let lacks = |it: &&str| !held.iter().any(|held| held.scopes.give(it));
            let beyond: Vec<&str> = scopes::of(principal).filter(lacks).collect();
            if beyond.is_empty() {
                return None;
            }
            let message = format!(
                "{} has scopes that `{}` was not granted in {}, from which this session was started, and no approval of it came between: {}. Granted there: {}.",
                what(self.step),
                quoted(principal.on_behalf_of.as_deref().unwrap_or(&principal.id), 60),
                self.named(session),
                listed(&beyond),
                quoted(first.scopes.as_str(), 120),
            );
            return Some(Found::fact(Vec::new(), beyond.len(), message));
        }
        None
    }

    /// A session above by its name, where the step tells it.
    fn named(&self, session: u64) -> String {
        let step = self.step;
        let told = parent_of(step).into_iter().chain([&step.root_session_id]).chain(&step.ancestors);
        let named = |it: &SessionId<'_>| format!("session {}", quoted(it.as_str(), 60));
        told.into_iter().find(|it| hash_text(it.as_str()) == session).map_or_else(|| "a session".to_owned(), named)
    }
}

/// The scopes that the operator says a call needs and its principal does not have.
fn exceeded(step: &Step<'_>, tool: &Tool, principal: &Principal<'_>) -> Option<Found> {
    let lacks = |it: &&str| !scopes::of(principal).any(|held| scopes::gives(held, it));
    let lacking: Vec<&str> = tool.scopes.iter().map(AsRef::as_ref).filter(lacks).collect();
    if lacking.is_empty() {
        return None;
    }
    let held: Vec<&str> = scopes::of(principal).collect();
    let message = format!(
        "{} needs {}, as the operator's catalogue says, which `{}` does not have. Granted are: {}.",
        what(step),
        listed(&lacking),
        quoted(&principal.id, 60),
        listed(&held),
    );
    Some(Found::fact(Vec::new(), lacking.len(), message))
}

/// A value of a stranger's that a session without the scopes of this call handed over.
fn deputy(step: &Step<'_>, tool: &Tool, session: &SessionState, run: &RunState) -> Option<Found> {
    let (index, authority) = (session.provenance.as_deref()?, run.authority.as_deref()?);
    let handed = run.shared.as_deref()?.handed_to(step, tool.traits(), index);
    let of_strangers = handed.into_iter().filter(|it| it.integrity == Integrity::Untrusted);
    for it in of_strangers.filter(|it| it.session.as_str() != step.session_id.as_str()) {
        let Some(held) = authority.of(hash_text(it.session.as_str())) else { continue };
        let held: Vec<_> = held.filter(|it| it.scopes.are_declared()).collect();
        let lacks = |scope: &&str| !held.iter().any(|held| held.scopes.give(scope));
        let lacking: Vec<&str> = tool.scopes.iter().map(AsRef::as_ref).filter(lacks).collect();
        if held.is_empty() || lacking.is_empty() {
            continue;
        }
        let message = format!(
            "{} does with {} what session {} could not do itself: that handed over {} (step {}), out of text that anybody could have written, and has no such scope. The operator's catalogue says what the call needs. Against it: to hand on what was found may be what it was asked for.",
            what(step),
            listed(&lacking),
            quoted(it.session.as_str(), 60),
            sent::argument(&it.argument, step),
            quoted(it.step.as_str(), 60),
        );
        let count = u8::try_from(lacking.len()).unwrap_or(u8::MAX);
        return Some(Found::judgement(it.read.into_iter().collect(), count, message));
    }
    None
}

/// Scopes in a sentence: the first of them.
fn listed(scopes: &[&str]) -> String {
    const SHOWN_MAX: usize = 4;
    let shown: Vec<String> = scopes.iter().take(SHOWN_MAX).map(|it| format!("`{}`", quoted(it, 60))).collect();
    let more = scopes.len().saturating_sub(SHOWN_MAX);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

/// The step in a sentence, at its beginning.
fn what(step: &Step<'_>) -> String {
    match step.tool.as_deref() {
        Some(tool) => quoted(tool, 60),
        None => format!("This {}", step.kind.as_str()),
    }
}
