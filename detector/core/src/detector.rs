//! The one composition: state in, step in, judgement out.

use std::borrow::Cow;
use std::sync::Arc;

use martingale_schemas::lineage::Hold;
use martingale_schemas::{
    Calibration, Column, Control, ControlAction, Decision, Finding, Kind, Mode, Scope, Scores, SessionId, Severity,
    Step,
};

use crate::baseline::Baselines;
use crate::condition::{Facts, RunFacts, SessionFacts};
use crate::drift;
use crate::escalation;
use crate::flow::{self, Sources};
use crate::halt::{Cause, Halt};
use crate::hijack::{self, Meanings};
use crate::judgement::{Applied, Judgement, Observed};
use crate::policy::{CoreRule, Engine, Judged};
use crate::rules::Rules;
use crate::run::{Place, RunState, ancestors_of, parent_of};
use crate::session::SessionState;
use crate::state::{State, StateKey, StateRef};
use crate::store::Store;
use crate::tally::Tally;
use crate::tenant::TenantState;
use crate::tools::{Flags, Tools};

/// Judges the steps of one partition. No clock, no I/O; [`Detector::observe`] cannot fail.
#[derive(Debug)]
pub struct Detector {
    rules: Arc<Rules>,
    sessions: Store<SessionState>,
    runs: Store<RunState>,
    tenant: TenantState,
    tenant_changed: bool,
    /// What steps are held against now. None: cold start.
    baselines: Option<Arc<Baselines>>,
    tools: Tools,
    meanings: Meanings,
    engine: Engine,
    tally: Tally,
}

impl Detector {
    #[must_use]
    pub fn new(rules: Arc<Rules>) -> Self {
        let (sessions, runs, tenant, tenant_changed, tools, meanings, engine, tally) = Default::default();
        let baselines = rules.baselines.clone();
        Self { rules, sessions, runs, tenant, tenant_changed, baselines, tools, meanings, engine, tally }
    }

    /// Holds the steps from now on against these baselines, in place of those of its rules. Whoever applies an order to do so, or
    /// loads the state of one, is to bring them.
    pub fn hold_against(&mut self, baselines: Arc<Baselines>) {
        self.baselines = Some(baselines);
    }

    /// The orders that stand for all.
    #[must_use]
    pub fn tenant(&self) -> &TenantState {
        &self.tenant
    }

    /// State to load before this step can be judged. **Ask again after loading, until it is empty**: a session that is
    /// loaded may show that its parts and ancestors are needed too. What is not loaded is judged as if it had never been stored.
    #[must_use]
    pub fn absent(&self, step: &Step<'_>) -> Vec<StateKey<'static>> {
        let mut absent = Vec::new();
        match self.sessions.get(&step.session_id) {
            None => absent.push(StateKey::Session(step.session_id.to_static())),
            // Not before the session is there: what is asked for must not depend on the order of loading.
            Some(slot) => {
                if !slot.whole {
                    absent.extend(slot.state.missing().map(|it| StateKey::Part(step.session_id.to_static(), it)));
                }
                // Also those of one that has its place: who loads them keeps them, so that nobody above a session that goes on is
                // forgotten; and one that was, since nothing but an order or a halt kept this session, is named again.
                let unseen = ancestors_of(step).filter(|it| !self.sessions.has(it));
                absent.extend(unseen.map(|it| StateKey::Session(it.to_static())));
            }
        }
        match self.runs.get(&step.root_session_id) {
            None => absent.push(StateKey::Run(step.root_session_id.to_static())),
            Some(slot) if slot.whole => {}
            Some(slot) => {
                absent.extend(slot.state.missing().map(|it| StateKey::Part(step.root_session_id.to_static(), it)));
            }
        }
        absent
    }

    /// State to load before this control can be applied. Ask again after loading, until it is empty: a session names its
    /// run.
    #[must_use]
    pub fn absent_for_control(&self, control: &Control) -> Vec<StateKey<'static>> {
        match &control.scope {
            Scope::Run { root_session_id: id } if !self.runs.has(id) => vec![StateKey::Run(id.clone())],
            Scope::Run { .. } | Scope::Tenant | Scope::Flow(_) => Vec::new(),
            Scope::Session { session_id: id } => match self.sessions.get(id) {
                None => vec![StateKey::Session(id.clone())],
                Some(slot) => {
                    let absent = runs_of(id, &slot.state).into_iter().filter(|it| !self.runs.has(it));
                    absent.map(StateKey::Run).collect()
                }
            },
        }
    }

    /// Takes stored state into memory; `None` when nothing was stored under the key. State that is in memory already
    /// stays as it is. A part goes to its session or run, which must be there.
    pub fn load(&mut self, key: StateKey<'_>, state: Option<State>) {
        match (key, state) {
            (StateKey::Session(id), state) => {
                let stored = match state {
                    Some(State::Session(it)) => it,
                    _ => SessionState::default(),
                };
                let whole = stored.is_whole();
                self.sessions.put(&id, stored, whole);
            }
            (StateKey::Run(id), state) => {
                let stored = match state {
                    Some(State::Run(it)) => it,
                    _ => RunState::default(),
                };
                let whole = stored.is_whole();
                self.runs.put(&id, stored, whole);
            }
            (StateKey::Tenant, state) => {
                if let Some(State::Tenant(it)) = state {
                    self.tenant = it;
                }
            }
            (StateKey::Part(id, part), state) => {
                let stored = match state {
                    Some(State::Part(it)) => Some(it),
                    _ => None,
                };
                if part.is_of_run() {
                    let at = self.runs.find(&id);
                    if let Some(slot) = at.and_then(|at| self.runs.slot(at)) {
                        slot.state.attach(part, stored);
                        slot.whole = slot.state.is_whole();
                    }
                    return;
                }
                let at = self.sessions.find(&id);
                if let Some(slot) = at.and_then(|at| self.sessions.slot(at)) {
                    slot.state.attach(part, stored);
                    slot.whole = slot.state.is_whole();
                }
            }
        }
    }

    /// Judges one step and remembers it.
    pub fn observe(&mut self, step: &Step<'_>) -> Observed {
        let rules = Arc::clone(&self.rules);
        let limits = &rules.limits;
        let at = self.sessions.touch(&step.session_id);
        let key = step.key();
        let is_new = self.sessions.slot(at).is_some_and(|it| it.state.recent.insert(key));
        if !is_new {
            return Observed::Duplicate;
        }
        let run_at = self.runs.touch(&step.root_session_id);
        self.join(step, at, run_at, limits.run_sessions_max);
        self.sessions.mark(at);
        self.runs.mark(run_at);
        let (Some(slot), Some(run_slot)) = (self.sessions.slot(at), self.runs.slot(run_at)) else {
            return Observed::Duplicate;
        };
        let (session, run) = (&mut slot.state, &mut run_slot.state);
        session.advance(step, &mut self.tally);
        run.advance(step);
        let mut findings = Vec::new();
        findings.extend(standing_halt(session, run, step));
        self.tally.dropped += session.defined.take_in(step);
        let tool = self.tools.of(step, &rules.catalogue, &session.defined, limits.tools_max);
        let heard =
            if tool.flags.has(Flags::POLL) { None } else { session.calls.hear(step, &tool, session.place.is_root()) };
        let of_the_web = heard.as_ref().is_some_and(|it| session.calls.answers_the_web(it));
        let (is_root, index) = (session.place.is_root(), &mut session.provenance);
        let mut flow = flow::observe(step, &tool, is_root, of_the_web, index, run, &rules);
        self.tally.dropped += run.shared.as_mut().map_or(0, |it| it.take_forgotten());
        findings.append(&mut flow.findings);
        let approved = escalation::is_approved(step, session);
        findings.append(&mut escalation::observe(step, &tool, session, run, &rules));
        let profile = self.baselines.as_ref().zip(session.agent).and_then(|(it, agent)| it.of(agent));
        let scored = rules.hijack.as_ref().filter(|_| hijack::concerns(step));
        let scored = scored.and_then(|it| hijack::watch(step, &tool, session, &mut self.meanings, profile, it));
        let score = scored.as_ref().map(|it| it.score);
        findings.extend(scored.and_then(|it| rules.in_mode(CoreRule::Hijack, true, it.finding?)));
        let began = session.counts.steps > 1;
        // Not after its end: it would be watched anew, as if nothing had been told of it.
        let drifted =
            profile.filter(|_| !session.ended).and_then(|it| drift::watch(step, &tool, &mut session.drift, began, it));
        let drift = drifted.as_ref().map(|it| it.score);
        let told = drifted.into_iter().flat_map(|it| it.passed.map(|it| (true, it)).into_iter().chain(it.asked));
        findings.extend(told.filter_map(|(certain, it)| rules.in_mode(CoreRule::Drift, certain, it)));
        let sources = Sources::new(&flow, session.provenance.as_deref());
        let facts = SessionFacts {
            counts: session.counts,
            depth: session.place.depth,
            fan_out: session.fan_out(),
            elapsed: session.now.micros_since(session.started),
        };
        let run_facts = RunFacts { sessions: run.sessions_total, depth: run.depth };
        self.engine.judge(
            &mut slot.hint,
            Judged {
                policies: &rules.policies,
                limits,
                facts: &Facts::new(step, &tool, facts, run_facts, sources, limits),
                calls: heard.as_ref().map(|it| (&session.calls, it)),
                progress: &mut session.progress,
                run,
                pace: &session.pace,
                past: profile.map(|it| &it.finals),
                now: session.now,
                started: session.started,
                findings: &mut findings,
                tally: &mut self.tally,
            },
        );
        self.tenant.grants.settle(step, &tool, (session, approved), &rules.policies, &mut findings);
        let mut judgement = conclude(session, run, step, findings, limits.run_sessions_max);
        if let Some(heard) = heard {
            session.calls.remember(heard, judgement.decision);
        }
        for (column, score) in [(Column::Hijack, score), (Column::Drift, drift)] {
            // Also where it is too low to be said: what ranks sessions needs every score.
            judgement.scores.extend(score.map(|it| (Cow::Borrowed(column.as_str()), it)));
        }
        judgement.edges = flow.edges;
        Observed::Judged(judgement)
    }

    /// The halt that stands now against a step that was judged before. Changes nothing; what is [`Detector::absent`]
    /// counts as never stored.
    #[must_use]
    pub fn standing(&self, step: &Step<'_>) -> Option<Finding> {
        let (session, run) = (self.sessions.get(&step.session_id)?, self.runs.get(&step.root_session_id)?);
        standing_halt(&session.state, &run.state, step)
    }

    /// Puts the session of a step where a step of it would, and judges nothing: before [`Self::standing`] is asked of one that its
    /// run may not have seen yet. For a detector of its own, since it changes state.
    pub fn place(&mut self, step: &Step<'_>) {
        let (at, run_at) = (self.sessions.touch(&step.session_id), self.runs.touch(&step.root_session_id));
        self.join(step, at, run_at, self.rules.limits.run_sessions_max);
    }

    /// Takes the session into its run when a step of it is seen there for the first time, and under its parent when one tells
    /// that for the first time. Whoever is above it and was forgotten is named again, so that a halt finds the run.
    fn join(&mut self, step: &Step<'_>, at: usize, run_at: usize, sessions_max: usize) {
        let root = &step.root_session_id;
        let is_found = |it: &SessionId<'_>| self.sessions.get(it).is_some_and(|it| it.state.is_found_in(root));
        let are_above = ancestors_of(step).all(is_found);
        let Some(slot) = self.sessions.slot(at) else { return };
        let is_placed = slot.state.is_placed(step);
        if is_placed && are_above {
            return;
        }
        let comes_back =
            !slot.state.is_in(root) && self.runs.slot(run_at).is_some_and(|it| it.state.has_seen(&step.session_id));
        let is_counted = |parent: &SessionId<'_>| slot.state.is_in(root) && slot.state.place.is_below(parent);
        let counts = parent_of(step).is_some_and(|it| !comes_back && !is_counted(it));
        let mut place = Place::default();
        // The root first and the parent last.
        for ancestor in ancestors_of(step) {
            let ancestor_at = self.sessions.touch(ancestor);
            let (Some(slot), Some(run)) = (self.sessions.slot(ancestor_at), self.runs.slot(run_at)) else { continue };
            let is_new = slot.state.root.is_none();
            if is_new {
                // Now a control of the ancestor finds the run its descendants are in.
                slot.state.place = run.state.place_of(ancestor, root);
                slot.state.root = Some(root.to_static());
            }
            let of_this_run = slot.state.belongs_to(root);
            let enters = slot.state.stands_in(root);
            let mut stands = if of_this_run { slot.state.place.clone() } else { run.state.place_of(ancestor, root) };
            let learns = !slot.state.is_in(root) && stands.is_below_the_root() && place.depth > 1;
            if learns {
                stands = place;
                if of_this_run {
                    slot.state.place = stands.clone();
                }
            }
            run.state.name(ancestor, root, (&slot.state, &stands), is_new, sessions_max);
            run.state.mirror(ancestor, root, &slot.state, sessions_max);
            place = stands.child(ancestor);
            let is_child = counts && parent_of(step) == Some(ancestor);
            slot.state.children = slot.state.children.saturating_add(u32::from(is_child));
            if is_new || is_child || learns || enters {
                self.sessions.mark(ancestor_at);
            }
        }
        let (Some(slot), Some(run)) = (self.sessions.slot(at), self.runs.slot(run_at)) else { return };
        let (session, run) = (&mut slot.state, &mut run.state);
        // What it knows of those above is more than is known of one that was forgotten.
        if !is_placed {
            session.place = if comes_back { run.place_of(&step.session_id, root) } else { place };
        }
        let is_new = !comes_back && !session.belongs_to(root);
        session.enter(root);
        run.join(&step.session_id, root, session, is_new, sessions_max);
        run.mirror(&step.session_id, root, session, sessions_max);
    }

    /// Applies a standing order. Applying it again changes nothing.
    pub fn apply(&mut self, control: &Control) -> Applied {
        match &control.scope {
            Scope::Session { session_id } => self.apply_to_session(control, session_id),
            Scope::Run { root_session_id } => self.apply_to_run(control, root_session_id),
            Scope::Tenant | Scope::Flow(_) => {
                let (applied, is_other) = self.tenant.order(control);
                self.tenant_changed |= is_other;
                applied
            }
        }
    }

    fn apply_to_session(&mut self, control: &Control, id: &SessionId<'static>) -> Applied {
        let at = self.sessions.touch(id);
        let Some(slot) = self.sessions.slot(at) else { return Applied::default() };
        let session = &mut slot.state;
        let by_rule = session.halt.as_ref().is_some_and(|it| matches!(it.cause, Cause::Step { .. }));
        let known = session.is_known();
        let changed = Halt::order(&mut session.halt, control);
        if !changed {
            return Applied { known, changed };
        }
        let resumed = control.action == ControlAction::Resume;
        if resumed {
            session.resume();
        }
        for root in runs_of(id, session) {
            let run_at = self.runs.touch(&root);
            let run = self.runs.slot(run_at);
            let Some(run) = run.filter(|it| session.belongs_to(&root) || it.state.has(id)) else { continue };
            run.state.mirror(id, &root, session, self.rules.limits.run_sessions_max);
            if by_rule && resumed {
                // The rule may have been a budget of the run, which would give the halt again at the next step.
                run.state.grant();
            }
            self.runs.mark(run_at);
        }
        self.sessions.mark(at);
        Applied { known, changed }
    }

    fn apply_to_run(&mut self, control: &Control, id: &SessionId<'static>) -> Applied {
        let at = self.runs.touch(id);
        let Some(slot) = self.runs.slot(at) else { return Applied::default() };
        let run = &mut slot.state;
        let known = run.counts.steps > 0;
        let mut changed = Halt::order(&mut run.halt, control);
        // Also where no halt stands: its budgets may have halted sessions, each of which is resumed by itself.
        if control.action == ControlAction::Resume && (changed || known) {
            changed |= run.resume();
        }
        if changed {
            self.runs.mark(at);
        }
        Applied { known, changed }
    }

    /// Hands out every state that changed since the last call: what holds for all, sessions, then runs, the parts of each before its head, in
    /// the order of their first change. `None` means that nothing is worth storing: delete it.
    pub fn drain_changed(&mut self, mut f: impl FnMut(&StateKey<'_>, Option<StateRef<'_>>)) {
        if std::mem::take(&mut self.tenant_changed) {
            f(&StateKey::Tenant, Some(StateRef::Tenant(&self.tenant)));
        }
        self.sessions.drain_changed(|id, state| {
            state.drain_parts(|part, it| f(&StateKey::Part(id.as_ref(), part), it.map(StateRef::Part)));
            f(&StateKey::Session(id.as_ref()), (!state.is_blank()).then_some(StateRef::Session(state)));
        });
        self.runs.drain_changed(|id, state| {
            state.drain_parts(|part, it| f(&StateKey::Part(id.as_ref(), part), it.map(StateRef::Part)));
            f(&StateKey::Run(id.as_ref()), (!state.is_blank()).then_some(StateRef::Run(state)));
        });
    }

    /// Forgets the least recently used states that have no change to hand out until at most `sessions_max` sessions, and
    /// as many runs, are in memory.
    pub fn evict(&mut self, sessions_max: usize) {
        self.sessions.evict(sessions_max);
        self.runs.evict(sessions_max);
    }

    #[must_use]
    pub fn sessions_in_memory(&self) -> usize {
        self.sessions.len()
    }

    /// Estimated memory of all states, in bytes. Walks them all.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        let sessions: usize = self.sessions.states().map(SessionState::bytes).sum();
        sessions + self.runs.states().map(RunState::bytes).sum::<usize>() + self.tenant.grants.bytes()
    }

    /// What was met since the start, for metrics.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// Runs in which a halt of this session counts: the one it is in, the one that it is the root of for sessions that named it as
/// their parent and no root, and others in which it stands.
fn runs_of(id: &SessionId<'static>, session: &SessionState) -> Vec<SessionId<'static>> {
    session.root.iter().chain(&session.also_in).filter(|it| *it != id).chain([id]).cloned().collect()
}

/// Halts that stand against this step: of its session, of the nearest ancestor that has one, and of the run.
fn halts<'s>(session: &'s SessionState, run: &'s RunState, step: &Step<'_>) -> [Option<&'s Halt>; 3] {
    [session.halt.as_deref(), run.of_ancestor(step, &session.place), run.halt.as_deref()]
}

/// What of the session's lineage has to stay for these halts.
fn hold([own, above, of_run]: [Option<&Halt>; 3]) -> Option<Hold> {
    let nearest = || own.into_iter().chain(above);
    let is_of_this_run = of_run.is_some() || nearest().any(|it| matches!(it.cause, Cause::Step { .. }));
    if is_of_this_run { Some(Hold::Run) } else { nearest().next().map(|_| Hold::Parent) }
}

/// The finding that a halt stands against this step.
fn standing_halt(session: &SessionState, run: &RunState, step: &Step<'_>) -> Option<Finding> {
    let (halt, whose) = match halts(session, run, step) {
        [Some(halt), _, _] => (halt, "This session".to_owned()),
        [None, Some(halt), _] if session.place.is_cut() => {
            (halt, format!("Session {}, which may be above this one,", halt.of))
        }
        [None, Some(halt), _] => (halt, format!("Session {}, from which this one descends,", halt.of)),
        [None, None, Some(halt)] => (halt, format!("Run {}", halt.of)),
        [None, None, None] => return None,
    };
    let own = session.halt.is_some();
    let cause = match &halt.cause {
        Cause::Step { step_id, .. } if own => Some(step_id.clone()),
        _ => None,
    };
    let this = step.step_id.to_static();
    Some(Finding {
        column: Column::Control,
        rule: Cow::Borrowed(halt.rule()),
        severity: Severity::High,
        mode: Mode::Enforce,
        decision: Decision::Halt,
        score: 1.0,
        calibration: Calibration::Fact,
        bound: None,
        began_at: cause.clone().unwrap_or_else(|| this.clone()),
        evidence: cause.into_iter().chain(std::iter::once(this)).collect(),
        message: format!("{whose} was {halt}; a person must resume it."),
        notify: Vec::new(),
    })
}

/// Combines the findings, and lets a halt stand.
fn conclude(
    session: &mut SessionState,
    run: &mut RunState,
    step: &Step<'_>,
    findings: Vec<Finding>,
    run_sessions_max: usize,
) -> Judgement {
    let decision = findings.iter().map(Finding::effective).max().unwrap_or_default();
    let by_rule = findings.iter().find(|it| it.column != Column::Control && it.effective() == Decision::Halt);
    if let Some(finding) = by_rule.filter(|_| session.halt.is_none()) {
        let cause = Cause::Step { step_id: step.step_id.to_static(), rule: finding.rule.clone().into_owned() };
        session.halt = Some(Box::new(Halt { of: step.session_id.to_static(), since: session.now, cause }));
        run.mirror(&step.session_id, &step.root_session_id, session, run_sessions_max);
    }
    let hold = hold(halts(session, run, step));
    if step.kind == Kind::SessionEnd {
        session.end();
        run.end(&step.session_id);
    }
    let mut scores = Scores::new();
    for finding in &findings {
        let score: &mut f64 = scores.entry(Cow::Borrowed(finding.column.as_str())).or_default();
        *score = score.max(finding.score);
    }
    // A halt finding is there as long as one stands, so the decision already says so.
    Judgement { decision, standing: decision, scores, findings, edges: Vec::new(), hold }
}
