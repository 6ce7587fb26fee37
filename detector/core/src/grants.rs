//! What a person approved once and need not be asked again: flows from a source through a tool to a destination.
//!
//! "Do what the mail says" is the flow of a hijack with the user's consent, and no reading of it tells them apart; whoever
//! answers for the agent can. A grant takes away the decision of findings that ask a person because of a flow, and of
//! nothing else: it is no word against facts, budgets, loops, denials and halts. The finding stays, and says who granted it.
//!
//! Wrong where whoever writes to the source is not whom the operator thinks of: a grant without a destination hands the
//! choice of it to the source.

use std::fmt::Write as _;

use martingale_schemas::grant::{Flow, FlowRef, GRANTS_MAX, names_agent};
use martingale_schemas::{Column, Control, ControlAction, Decision, Finding, Kind, Scope, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::hijack::{Memory, words};
use crate::judgement::Applied;
use crate::policy::{CoreRule, Policies};
use crate::provenance::{Aim, Short};
use crate::quote::quoted;
use crate::session::SessionState;
use crate::tools::Tool;

/// Bytes of the texts of all grants that are kept. Full: a new one is refused, and the answer says so.
const BYTES_MAX: usize = 256 * 1024;
/// Longest name of a person, and of a control, that is kept, in characters.
const WORDS_MAX: usize = 100;
/// Sentences looked at that carry a short value; one in more of them stands for nothing.
const CARRIERS_MAX: usize = 64;

/// A flow that is not asked about. Stored, and positional: its fields are part of the form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    agent: Box<str>,
    environment: Option<Box<str>>,
    source: Option<Box<str>>,
    tool: Box<str>,
    destination: Option<Box<str>>,
    /// When it was given, and when it is over.
    from: Timestamp,
    until: Timestamp,
    by: Box<str>,
    control_id: Box<str>,
}

/// The grants in force, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grants(Vec<Grant>);

impl Grants {
    /// Gives or takes back, and answers whether these are others than before. What is over by the time of the order goes first.
    pub(crate) fn order(&mut self, control: &Control) -> (Applied, bool) {
        let Scope::Flow(flow) = &control.scope else { return (Applied::default(), false) };
        let before = self.0.len();
        self.0.retain(|it| it.until > control.time);
        let is_shorter = self.0.len() < before;
        let applied = match control.action {
            ControlAction::Grant { until } => self.give(flow, until, control),
            ControlAction::Revoke => {
                let before = self.0.len();
                self.0.retain(|it| !it.flow().is_within(flow.borrowed()));
                let changed = self.0.len() < before;
                Applied { known: changed, changed }
            }
            ControlAction::Halt | ControlAction::Resume | ControlAction::UseBaselines { .. } => Applied::default(),
        };
        (applied, is_shorter || applied.changed)
    }

    fn give(&mut self, flow: &Flow, until: Timestamp, control: &Control) -> Applied {
        // Doors refuse these, and others may write to the log.
        let Some(by) = control.by.as_deref().filter(|_| flow.ungrantable(control.time, until).is_none()) else {
            return Applied::default();
        };
        let new = Grant::of(flow, (control.time, until), by, control.control_id.as_str());
        if let Some(standing) = self.0.iter_mut().find(|it| it.flow().is_same(new.flow())) {
            let changed = standing.until < until;
            if changed {
                *standing = Grant { from: standing.from, ..new };
            }
            return Applied { known: true, changed };
        }
        let bytes: usize = self.0.iter().map(Grant::bytes).sum();
        if self.0.len() >= GRANTS_MAX || bytes + new.bytes() > BYTES_MAX {
            return Applied::default();
        }
        self.0.push(new);
        Applied { known: true, changed: true }
    }

    /// Takes the decision of each finding that a grant covers, and says of those that ask a person what a grant would name.
    /// `approved`: a person was shown this very call and said yes, once.
    pub(crate) fn settle(
        &self,
        step: &Step<'_>,
        tool: &Tool,
        (session, approved): (&SessionState, bool),
        policies: &Policies,
        findings: &mut [Finding],
    ) {
        if step.kind != Kind::ToolCall {
            return;
        }
        let asks_of_person =
            |it: &Finding| Needs::of(it, policies).is_some() || CoreRule::named(&it.rule) == Some(CoreRule::Drift);
        if approved {
            for it in findings.iter_mut().filter(|it| it.effective() == Decision::StepUp && asks_of_person(it)) {
                it.decision = Decision::Allow;
                it.message.push_str(" A person was asked about this very call, and approved of it.");
            }
        }
        let mut askings: Vec<(&mut Finding, Needs)> =
            findings.iter_mut().filter_map(|it| Needs::of(it, policies).map(|needs| (it, needs))).collect();
        if askings.is_empty() {
            return;
        }
        let asks = askings.iter().any(|(it, _)| it.effective() == Decision::StepUp);
        let grants: Vec<&Grant> = self.0.iter().filter(|it| it.is_for(step, session.now)).collect();
        if grants.is_empty() && !asks {
            return;
        }
        let index = session.provenance.as_deref();
        let short = |text: &str| short(text, session.memory.as_deref(), session.place.is_root());
        let Some(aim) = Aim::of(step, tool.traits(), index, &short) else { return };
        for (finding, needs) in &mut askings {
            match grants.iter().find(|it| it.covers(&aim, *needs)) {
                Some(grant) => {
                    finding.decision = Decision::Allow;
                    let _ = write!(finding.message, " {grant}");
                }
                None if finding.effective() == Decision::StepUp => finding.message.push_str(&hint(step, &aim, *needs)),
                None => {}
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|it| size_of::<Grant>() + it.bytes()).sum()
    }
}

/// What a grant has to name to speak to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Source or destination.
    Either,
    /// The destination: it is about what leaves.
    Destination,
}

impl Needs {
    /// `None` for a finding that no grant speaks to.
    fn of(finding: &Finding, policies: &Policies) -> Option<Self> {
        if !matches!(finding.decision, Decision::Warn | Decision::StepUp) {
            return None;
        }
        if finding.column == Column::Policy {
            let asks = finding.decision == Decision::StepUp && policies.rests_on_flow(&finding.rule);
            return asks.then_some(Self::Either);
        }
        match CoreRule::named(&finding.rule)? {
            CoreRule::Hijack | CoreRule::PrivilegeRise | CoreRule::ConfusedDeputy => Some(Self::Either),
            // A leak asks where the secret is its author's own.
            CoreRule::Trifecta | CoreRule::SecretGiven | CoreRule::SecretLeak => Some(Self::Destination),
            CoreRule::Drift | CoreRule::ScopeExceeded | CoreRule::ScopeWidened | CoreRule::PrincipalSwitched => None,
        }
    }
}

impl Grant {
    fn of(flow: &Flow, (from, until): (Timestamp, Timestamp), by: &str, control_id: &str) -> Self {
        let own = |it: &Option<String>| it.as_deref().map(Into::into);
        Self {
            agent: flow.agent_id.as_str().into(),
            environment: own(&flow.environment),
            source: own(&flow.source),
            tool: flow.tool.as_str().into(),
            destination: own(&flow.destination),
            from,
            until,
            by: quoted(by, WORDS_MAX).into(),
            control_id: quoted(control_id, WORDS_MAX).into(),
        }
    }

    fn flow(&self) -> FlowRef<'_> {
        FlowRef {
            agent_id: &self.agent,
            environment: self.environment.as_deref(),
            source: self.source.as_deref(),
            tool: &self.tool,
            destination: self.destination.as_deref(),
        }
    }

    /// Whether it is in force for whoever makes this call.
    fn is_for(&self, step: &Step<'_>, now: Timestamp) -> bool {
        // A session of before it was given, by its own times, was not thought of.
        (self.from..self.until).contains(&now)
            && step.tool.as_deref() == Some(&*self.tool)
            && names_agent(&self.agent, step.agent.id.as_str())
            && self.environment.as_deref().is_none_or(|it| step.environment.as_deref() == Some(it))
    }

    fn covers(&self, aim: &Aim, needs: Needs) -> bool {
        let from = self.source.as_deref().is_none_or(|it| aim.comes_from(it));
        let to = match &self.destination {
            Some(it) => aim.goes_to(it),
            None => needs == Needs::Either && self.source.is_some(),
        };
        from && to
    }

    fn bytes(&self) -> usize {
        let optional = [&self.environment, &self.source, &self.destination];
        let optional: usize = optional.into_iter().flatten().map(|it| it.len()).sum();
        self.agent.len() + self.tool.len() + self.by.len() + self.control_id.len() + optional
    }
}

/// Who granted what until when, in a sentence.
impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let any = |it: &Option<Box<str>>| it.as_deref().map_or_else(|| "*".to_owned(), |it| quoted(it, 60));
        write!(
            f,
            "Granted by {} until {}: {} → {} → {} (control {}).",
            self.by,
            self.until,
            any(&self.source),
            quoted(&self.tool, 60),
            any(&self.destination),
            self.control_id,
        )
    }
}

/// What a grant of this call would name, as narrow as one can be.
fn hint(step: &Step<'_>, aim: &Aim, needs: Needs) -> String {
    // What is asked of an address, and who asks.
    let may_hold_a_secret = |it: &str| it.contains('?') || it.contains("://") && it.contains('@');
    let source = aim.sources.first().map(|it| quoted(it, 60));
    let destination = match aim.destinations.as_slice() {
        // What has a `*` no grant can name.
        [one] if !may_hold_a_secret(one) && !one.contains('*') => Some(quoted(one, 200)),
        _ => None,
    };
    if destination.is_none() && (source.is_none() || needs == Needs::Destination) {
        return String::new();
    }
    let tool = quoted(step.tool.as_deref().unwrap_or_default(), 60);
    let named = |what: &str, it: Option<String>| it.map_or_else(String::new, |it| format!(", {what} `{it}`"));
    format!(" A grant of it would name tool `{tool}`{}{}.", named("source", source), named("destination", destination))
}

/// Which tools gave a value that is too short to be followed by itself.
fn short(text: &str, memory: Option<&Memory>, is_root: bool) -> Short {
    let Some(memory) = memory else { return Short::Unknown };
    let mut value = Vec::new();
    words::value_words(&text.to_lowercase(), &mut value);
    if value.is_empty() {
        return Short::Nobody;
    }
    let carriers = memory.carriers(&value, CARRIERS_MAX);
    // What another agent told is known to the child session alone, and not from where it came.
    let is_told = !is_root && memory.is_authored(&value);
    if carriers.len() >= CARRIERS_MAX || is_told || carriers.is_empty() && memory.lossy {
        return Short::Unknown;
    }
    if carriers.is_empty() {
        return Short::Nobody;
    }
    let mut tools: Vec<u64> = carriers.iter().filter_map(|it| memory.result(it)).map(|it| it.tool).collect();
    tools.sort_unstable();
    tools.dedup();
    Short::Tools(tools)
}
