//! Judging one step against the policies that can match it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem::take;

use martingale_schemas::{Calibration, Column, Decision, Finding, Kind, Mode, Step, StepId, Timestamp};

use super::budget::{Budget, Foretold};
use super::index::{Candidate, Index};
use super::message;
use super::progress::{Partial, Progress};
use super::rule::{Policies, Policy, Role, Rule};
use crate::baseline::Finals;
use crate::columns::{Calls, Form, Heard, LoopRule};
use crate::condition::{Bound, Condition, Facts, Scope};
use crate::hash::{hash_text, mix};
use crate::limits::StateLimits;
use crate::pace::Pace;
use crate::run::RunState;
use crate::tally::Tally;
use crate::tools::Flags;

/// The policies of each agent, version and environment seen, bounded.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    reaches: Vec<Reached>,
    by_hash: HashMap<u64, usize>,
    /// Agents that the same policies are about share one index.
    indexes: Vec<Index>,
}

/// One agent, version and environment.
#[derive(Debug)]
struct Reached {
    agent: Box<str>,
    version: Box<str>,
    environment: Box<str>,
    index: usize,
}

impl Reached {
    fn is_for(&self, (agent, version, environment): (&str, &str, &str)) -> bool {
        *self.agent == *agent && *self.version == *version && *self.environment == *environment
    }
}

/// What a judgement works on.
pub(crate) struct Judged<'j, 'a> {
    pub(crate) policies: &'j Policies,
    pub(crate) limits: &'j StateLimits,
    pub(crate) facts: &'j Facts<'a>,
    /// The calls of the session, and what this step is among them.
    pub(crate) calls: Option<(&'j Calls, &'j Heard)>,
    pub(crate) progress: &'j mut Progress,
    pub(crate) run: &'j RunState,
    /// How fast the session uses what budgets are about.
    pub(crate) pace: &'j Pace,
    /// What past sessions of its agent used, where there is a baseline.
    pub(crate) past: Option<&'j Finals>,
    /// Event time reached by the session, and its first.
    pub(crate) now: Timestamp,
    pub(crate) started: Timestamp,
    pub(crate) findings: &'j mut Vec<Finding>,
    pub(crate) tally: &'j mut Tally,
}

impl Engine {
    /// Index for the step's agent. `hint` is where it was found for the session's last step.
    fn index(&mut self, step: &Step<'_>, policies: &Policies, hint: &mut usize, limits: &StateLimits) -> usize {
        let agent = step.agent.id.as_str();
        let version = step.agent.version.as_deref().unwrap_or_default();
        let environment = step.environment.as_deref().unwrap_or_default();
        let who = (agent, version, environment);
        if let Some(reached) = self.reaches.get(*hint).filter(|it| it.is_for(who)) {
            return reached.index;
        }
        let hash = mix(mix(hash_text(agent), hash_text(version)), hash_text(environment));
        let found = self.by_hash.get(&hash).and_then(|at| Some((*at, self.reaches.get(*at)?)));
        if let Some((at, reached)) = found.filter(|(_, it)| it.is_for(who)) {
            *hint = at;
            return reached.index;
        }
        if self.reaches.len() >= limits.scopes_max {
            (self.reaches, self.by_hash, self.indexes) = Default::default();
        }
        let covered = policies.covering(agent, version, environment);
        let index = self.indexes.iter().position(|it| *it.policies() == covered).unwrap_or_else(|| {
            self.indexes.push(Index::new(policies, covered));
            self.indexes.len() - 1
        });
        *hint = self.reaches.len();
        self.by_hash.insert(hash, *hint);
        let (agent, version, environment) = (agent.into(), version.into(), environment.into());
        self.reaches.push(Reached { agent, version, environment, index });
        index
    }

    pub(crate) fn judge(&mut self, hint: &mut usize, mut on: Judged<'_, '_>) {
        if on.policies.all.is_empty() {
            return;
        }
        let step = on.facts.step;
        let at = self.index(step, on.policies, hint, on.limits);
        let flags: Flags = on.facts.tool.flags;
        let (index, tool) = (&mut self.indexes[at], step.tool.as_deref().unwrap_or_default());
        index.meet(tool, on.limits.tools_max);
        let begin = on.findings.len();
        let mut of_calls: Vec<(Form, Finding)> = Vec::new();
        for Candidate { policy, role, .. } in index.candidates(step.kind, tool, flags) {
            let policy = &on.policies.all[policy];
            let mut one = One { policy, on: &mut on };
            match (&policy.rule, role) {
                (Rule::When(condition), _) => one.when(condition),
                (Rule::Sequence { unless: Some(unless), names, .. }, Role::Unless) => one.unless(unless, names),
                (Rule::Sequence { parts, names, within, .. }, Role::Part(at)) => one.part(parts, names, *within, at),
                (Rule::Threshold { filter, sum, at_least, within }, _) => {
                    one.threshold(filter, sum.as_ref(), *at_least, *within);
                }
                (Rule::Budget(budget), _) => one.budget(budget),
                (Rule::Delegation { depth_max, fan_out_max }, _) => one.delegation(*depth_max, *fan_out_max),
                (Rule::Loop(rule), _) => of_calls.extend(one.of_calls(rule).map(|it| (rule.form, it))),
                (Rule::Sequence { .. }, _) => {}
            }
        }
        on.findings.splice(begin..begin, plainest(of_calls));
    }
}

/// Rules over tool calls see the same thing in several ways, so of those that do only the worst is said: one that is
/// enforced, and one of those that watch. Of equals the plainest.
fn plainest(mut of_calls: Vec<(Form, Finding)>) -> Vec<Finding> {
    of_calls.sort_by_key(|(form, it)| (it.decision, *form));
    let mut said: Vec<Finding> = Vec::new();
    for (_, finding) in of_calls.into_iter().rev() {
        if !said.iter().any(|it| it.mode == finding.mode && speaks_for(it, &finding)) {
            said.push(finding);
        }
    }
    said.sort_by_key(|it| it.mode == Mode::Shadow);
    said
}

/// Whether `worse` makes `other` superfluous: an earlier call counts for both, and whoever `other` tells is told. Findings
/// that have only the step itself in common are about different things.
fn speaks_for(worse: &Finding, other: &Finding) -> bool {
    let earlier = |it: &StepId<'_>| worse.evidence.iter().rev().skip(1).any(|of_worse| of_worse == it);
    other.evidence.iter().rev().skip(1).any(earlier) && other.notify.iter().all(|it| worse.notify.contains(it))
}

/// One policy and one step.
struct One<'o, 'j, 'a> {
    policy: &'j Policy,
    on: &'o mut Judged<'j, 'a>,
}

impl One<'_, '_, '_> {
    fn scope(&self) -> Scope<'_> {
        Scope::new(self.on.facts)
    }

    /// An error counts as no match: what the agent sent has not the shape the policy speaks about.
    fn holds(&mut self, condition: &Condition) -> bool {
        let result = condition.holds(&self.on.policies.base, &self.scope());
        self.on.tally.condition_errors += u64::from(result.is_err());
        result.unwrap_or(false)
    }

    fn step_id(&self) -> StepId<'static> {
        self.on.facts.step.step_id.to_static()
    }

    fn find(&mut self, decision: Decision, score: f64, evidence: Vec<StepId<'static>>, message: String) {
        self.find_as(Calibration::Fact, (decision, score), evidence, message);
    }

    fn find_as(
        &mut self,
        calibration: Calibration,
        (decision, score): (Decision, f64),
        evidence: Vec<StepId<'static>>,
        message: String,
    ) {
        let Some(began_at) = evidence.first().cloned() else { return };
        let policy = self.policy;
        self.on.findings.push(Finding {
            column: Column::Policy,
            rule: Cow::Owned(policy.id.clone()),
            severity: policy.severity,
            mode: policy.mode,
            decision,
            score,
            calibration,
            bound: None,
            evidence: shortened(evidence, self.on.limits.evidence_max),
            began_at,
            message,
            notify: policy.then.notify.clone(),
        });
    }

    fn render(&self, scope: &Scope<'_>) -> String {
        match &self.policy.then.message {
            Some(message) => message.render(&self.on.policies.base, scope, self.on.limits.quoted_chars_max),
            None => message::cut(self.policy.title.clone()),
        }
    }

    fn of_calls(&self, rule: &LoopRule) -> Option<Finding> {
        let (calls, heard) = self.on.calls?;
        let saw = calls.judge(heard, rule, self.on.facts.step)?;
        let policy = self.policy;
        let severity = policy.severity.min(saw.severity_max());
        let message = if policy.then.message.is_some() {
            let mut scope = self.scope();
            scope.amounts = [f64::from(saw.count), f64::from(saw.from)];
            self.render(&scope)
        } else {
            saw.message
        };
        Some(Finding {
            column: saw.column,
            rule: Cow::Owned(policy.id.clone()),
            severity,
            mode: policy.mode,
            decision: saw.decision,
            score: f64::from(saw.count),
            calibration: saw.calibration,
            bound: None,
            began_at: saw.evidence.first()?.clone(),
            evidence: saw.evidence,
            message,
            notify: policy.then.notify.clone(),
        })
    }

    fn when(&mut self, condition: &Condition) {
        if !self.holds(condition) {
            return;
        }
        let message = self.render(&self.scope());
        self.find(self.policy.then.decision, 1.0, vec![self.step_id()], message);
    }

    /// Cancels what has begun and is met by the condition.
    fn unless(&mut self, condition: &Condition, names: &[String]) {
        let key = self.policy.key;
        if !self.on.progress.partials.iter().any(|it| it.policy == key) {
            return;
        }
        let mut partials = take(&mut self.on.progress.partials);
        partials.retain(|partial| {
            if partial.policy != key {
                return true;
            }
            let mut scope = self.scope();
            (scope.names, scope.bound) = (names, &partial.steps);
            let met = condition.holds(&self.on.policies.base, &scope);
            self.on.tally.condition_errors += u64::from(met.is_err());
            met != Ok(true)
        });
        self.on.progress.partials = partials;
    }

    /// The step as part `at` of the sequence. What has begun stays open until its window ends, so that the second try of
    /// the last part is found like the first.
    fn part(&mut self, parts: &[Condition], names: &[String], within: i64, at: usize) {
        let condition = &parts[at];
        let now = self.on.now;
        if at == 0 {
            let mut scope = self.scope();
            scope.current = &names[0];
            let begins = condition.holds(&self.on.policies.base, &scope);
            self.on.tally.condition_errors += u64::from(begins.is_err());
            if begins == Ok(true) {
                let steps = vec![Bound::of(self.on.facts.step)];
                let partial = Partial { policy: self.policy.key, began: now, steps };
                self.on.tally.dropped += self.on.progress.push(partial, self.on.limits);
            }
            return;
        }
        let key = self.policy.key;
        let open = |it: &Partial| it.policy == key && it.steps.len() == at && now.micros_since(it.began) <= within;
        if !self.on.progress.partials.iter().any(open) {
            return;
        }
        let partials = take(&mut self.on.progress.partials);
        // The one that began last reaches furthest into the future.
        let mut found = None;
        for partial in partials.iter().rev().filter(|it| open(it)) {
            let mut scope = self.scope();
            (scope.current, scope.names, scope.bound) = (&names[at], &names[..at], &partial.steps);
            match condition.holds(&self.on.policies.base, &scope) {
                Ok(true) => {
                    found = Some((
                        partial.clone(),
                        if at + 1 == parts.len() { self.render(&scope) } else { String::new() },
                    ));
                    break;
                }
                Ok(false) => {}
                Err(_) => self.on.tally.condition_errors += 1,
            }
        }
        self.on.progress.partials = partials;
        let Some((mut partial, message)) = found else { return };
        partial.steps.push(Bound::of(self.on.facts.step));
        if at + 1 < parts.len() {
            self.on.tally.dropped += self.on.progress.push(partial, self.on.limits);
            return;
        }
        let evidence: Vec<StepId<'static>> = partial.steps.into_iter().map(|it| it.id).collect();
        #[expect(clippy::cast_precision_loss, reason = "a few parts")]
        let score = evidence.len() as f64;
        self.find(self.policy.then.decision, score, evidence, message);
    }

    fn threshold(&mut self, filter: &Condition, sum: Option<&Condition>, at_least: f64, within: i64) {
        if !self.holds(filter) {
            return;
        }
        let amount = match sum.map(|it| it.number(&self.on.policies.base, &self.scope())) {
            None => 1.0,
            Some(Ok(amount)) if amount.is_finite() => amount,
            // Also where the expression has no value, as infinity less infinity.
            Some(Ok(_) | Err(_)) => {
                self.on.tally.condition_errors += 1;
                return;
            }
        };
        let event = (self.on.now, amount, self.step_id());
        let span = (within, sum.is_some());
        let (total, window, dropped) = self.on.progress.window(self.policy.key, event, span, self.on.limits);
        self.on.tally.dropped += dropped;
        if total < at_least {
            return;
        }
        let evidence = window.steps.iter().cloned().collect();
        let mut scope = self.scope();
        scope.amounts = [total, at_least];
        let message = self.render(&scope);
        self.find(self.policy.then.decision, total, evidence, message);
    }

    fn budget(&mut self, budget: &Budget) {
        let (progress, run) = (&self.on.progress, self.on.run);
        let (used, pace) = if budget.of_run {
            (budget.used(run.counts, run.base, (run.now, run.base_time.unwrap_or(run.started))), &run.pace)
        } else {
            let since = progress.base_time.unwrap_or(self.on.started);
            (budget.used(self.on.facts.session.counts, progress.base, (self.on.now, since)), self.on.pace)
        };
        if budget.is_quiet(used) {
            return;
        }
        let (value, key, decision) = (budget.shown(used), self.policy.key, self.policy.then.decision);
        if used > budget.limit {
            // What stops is said at every step over the limit, what only warns once.
            if decision.stops() || self.on.progress.say_once(mix(key, 1)) {
                let mut scope = self.scope();
                scope.amounts = [value, budget.shown(budget.limit)];
                let message = self.render(&scope);
                self.find(decision, value, vec![self.step_id()], message);
            }
            return;
        }
        let warns = budget.warn_at.is_some_and(|it| used >= it) && self.on.progress.say_once(mix(key, 2));
        let ends_in = budget.ends_in(used, pace);
        // After a resume its total is no longer what it has used of this budget.
        let past = self.on.past.filter(|_| !budget.of_run && self.on.progress.base_time.is_none());
        let past = past.and_then(|it| budget.past(used, it));
        let is_foretold = ends_in.is_some() || past.is_some_and(|it| it.is_usual());
        // One of them is said of one step, and what is foretold says how much is used as well. Whichever foretells it first: it is
        // one end, and a session is not slowed down twice for it.
        if is_foretold && self.on.progress.say_once(mix(key, 3)) {
            let foretold = Foretold { ends_in: ends_in.map(|it| (it, pace)), past };
            let message = format!("{}: {}", self.policy.title, budget.foretold(used, &foretold));
            let slows = decision.min(Decision::Throttle);
            self.find_as(Calibration::Uncalibrated, (slows, value), vec![self.step_id()], message);
        } else if warns {
            let message = format!("{}: {}.", self.policy.title, budget.told(used));
            self.find(Decision::Warn, value, vec![self.step_id()], message);
        }
    }

    /// Judged where a session is about to start another, and at the first step of the one that was started.
    fn delegation(&mut self, depth_max: Option<u32>, fan_out_max: Option<u32>) {
        let step = self.on.facts.step;
        let starts = step.kind == Kind::Spawn;
        let depth = self.on.facts.session.depth.saturating_add(u32::from(starts));
        let is_first = self.on.facts.session.counts.steps == 1;
        let fan_out = if starts { self.on.facts.session.fan_out } else { 0 };
        let decision = self.policy.then.decision;
        let over = |value: u32, max: Option<u32>| max.filter(|max| value > *max).map(|max| (value, max));
        // What denies is said at every step. A halt stands by itself, and given anew at every step no person could lift it.
        let again = decision.stops() && decision != Decision::Halt;
        let deep = over(depth, depth_max).filter(|_| starts || is_first || again);
        if let Some((value, max)) = deep.or_else(|| over(fan_out, fan_out_max)) {
            let mut scope = self.scope();
            scope.amounts = [f64::from(value), f64::from(max)];
            let message = self.render(&scope);
            self.find(decision, f64::from(value), vec![self.step_id()], message);
        }
    }
}

/// The first and the latest of a long list of evidence.
fn shortened(mut evidence: Vec<StepId<'static>>, max: usize) -> Vec<StepId<'static>> {
    if evidence.len() > max {
        let excess = evidence.len() - max;
        evidence.drain(1..=excess);
    }
    evidence
}
