//! What should have happened: the log read once, from its beginning, by the core alone.
//!
//! No shell, no batches, no cache that forgets, no faults. What it takes from the log is what the detector promises to
//! depend on: the steps, the positions at which orders took force, and the times at which steps were appended.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use martingale_detector_core::{Detector, Observed, Rules, State, StateKey};
use martingale_platform::log::{Error, Log, Offset, Partition, ReadLimit, Record, Topic};
use martingale_schemas::{
    BaselinesId, Control, ControlAction, ControlState, Position, SessionId, Step, VerdictId, topics,
};

use crate::learnt::learnt;

/// What should be on the log of one partition.
#[derive(Debug, Default)]
pub struct Expected {
    /// In the order of the steps.
    pub verdicts: Vec<(VerdictId<'static>, Bytes)>,
    /// Entries of the state store, as they are stored.
    pub state: BTreeMap<Bytes, Bytes>,
    /// Entries of sessions that are over.
    pub over: BTreeMap<Bytes, Over>,
    /// Records that are no steps.
    pub dead_letters: usize,
}

/// An entry of a session that is over: it may be kept with what is remembered of the session's lineage.
#[derive(Debug)]
pub struct Over {
    pub session: SessionId<'static>,
    /// As it was stored.
    pub value: Bytes,
    /// Something is halted in its run, or was until a resume in this tick.
    pub is_held: bool,
}

struct Kept {
    used: i64,
    state: State,
}

impl Kept {
    /// As it is stored.
    fn entry(&self, key: &StateKey<'_>) -> (Bytes, Bytes) {
        let mut value = vec![10];
        value.extend_from_slice(&self.used.to_le_bytes());
        let value = postcard::to_extend(&self.state, value).unwrap_or_default();
        (Bytes::from(key.to_bytes()), Bytes::from(value))
    }
}

struct Replay {
    rules: Arc<Rules>,
    detector: Detector,
    kept: BTreeMap<StateKey<'static>, Kept>,
    idle_micros: i64,
    tick: i64,
    /// Something was resumed in this tick.
    resumed: bool,
}

/// # Errors
/// When the log cannot be read.
pub async fn replay(
    log: &dyn Log,
    partition: Partition,
    rules: &Arc<Rules>,
    idle_micros: i64,
) -> Result<Expected, Error> {
    let mut orders = orders(log, partition).await?;
    let detector = Detector::new(Arc::clone(rules));
    let mut it = Replay {
        rules: Arc::clone(rules),
        detector,
        kept: BTreeMap::new(),
        idle_micros,
        tick: i64::MIN,
        resumed: false,
    };
    let mut expected = Expected::default();
    for record in records(log, topics::STEPS, partition).await? {
        while let Some(order) = orders.pop_front_if(|(before, _)| *before <= record.offset) {
            it.order(&order.1);
        }
        it.advance(record.appended_at);
        let Ok(step) = Step::from_log(&record.value) else {
            expected.dead_letters += 1;
            continue;
        };
        let position = Position { partition: partition.0, offset: record.offset.0 };
        if let Some((id, json)) = it.step(&step, position) {
            expected.verdicts.push((id, json));
        }
    }
    for (_, order) in orders {
        it.order(&order);
    }
    expected.state = it.entries();
    expected.over = it.over();
    Ok(expected)
}

/// Orders in the order of the log, with the position of their first answer.
async fn orders(log: &dyn Log, partition: Partition) -> Result<VecDeque<(Offset, Control)>, Error> {
    let mut out = VecDeque::new();
    let mut seen = HashSet::new();
    for record in records(log, topics::CONTROLS, partition).await? {
        let Ok(control) = serde_json::from_slice::<Control>(&record.value) else { continue };
        if let ControlState::Applied { before, .. } = control.state
            && seen.insert(control.control_id.clone())
        {
            out.push_back((Offset(before.offset), control));
        }
    }
    Ok(out)
}

impl Replay {
    /// An eighth of the idle time is a tick; a session is over when more than the idle time lies between two ticks.
    fn advance(&mut self, appended_at: i64) {
        let tick_micros = (self.idle_micros / 8).max(1);
        let tick = appended_at.div_euclid(tick_micros) * tick_micros;
        if tick > self.tick {
            self.tick = tick;
            self.resumed = false;
            // What is in memory is also in `kept`; used again, it is looked at with the new time.
            self.detector = Detector::new(Arc::clone(&self.rules));
            self.detector.load(StateKey::Tenant, self.kept.get(&StateKey::Tenant).map(|it| it.state.clone()));
            if let Some(id) = self.detector.tenant().baselines() {
                self.hold_against(id);
            }
        }
    }

    fn hold_against(&mut self, id: BaselinesId) {
        if let Some((baselines, _)) = learnt().get(&id) {
            self.detector.hold_against(Arc::clone(baselines));
        }
    }

    fn is_over(&self, kept: &Kept) -> bool {
        let is_forgotten = !kept.state.is_halted() && !matches!(kept.state, State::Tenant(_));
        self.tick.saturating_sub(kept.used) > self.idle_micros && is_forgotten
    }

    fn load(&mut self, key: StateKey<'static>) {
        let over = self.kept.get(&key).is_some_and(|it| self.is_over(it)) && !matches!(key, StateKey::Part(..));
        if over {
            self.kept.retain(|it, _| *it != key && head_of(it).is_none_or(|head| head != key));
        }
        let state = self.kept.get_mut(&key).map(|it| {
            if !matches!(key, StateKey::Part(..)) {
                it.used = self.tick;
            }
            it.state.clone()
        });
        self.detector.load(key, state);
    }

    fn keep(&mut self) {
        let (kept, tick) = (&mut self.kept, self.tick);
        self.detector.drain_changed(|key, state| match state {
            Some(state) => drop(kept.insert(key.to_static(), Kept { used: tick, state: state.to_state() })),
            None => drop(kept.remove(&key.to_static())),
        });
    }

    fn order(&mut self, order: &Control) {
        while let Some(key) = self.detector.absent_for_control(order).pop() {
            self.load(key);
        }
        self.resumed |= order.action == ControlAction::Resume;
        if let ControlAction::UseBaselines { baselines_id } = order.action {
            self.hold_against(baselines_id);
        }
        self.detector.apply(order);
        self.keep();
    }

    fn step(&mut self, step: &Step<'_>, position: Position) -> Option<(VerdictId<'static>, Bytes)> {
        while let Some(key) = self.detector.absent(step).pop() {
            self.load(key);
        }
        let observed = self.detector.observe(step);
        self.keep();
        let Observed::Judged(judgement) = observed else { return None };
        let verdict = judgement.into_verdict(step, position);
        Some((verdict.verdict_id.clone(), serde_json::to_vec(&verdict).unwrap_or_default().into()))
    }

    /// A part is as old as its last change, and lives as long as its session.
    fn lives(&self, key: &StateKey<'static>, kept: &Kept) -> bool {
        match head_of(key) {
            Some(head) => self.kept.get(&head).is_some_and(|it| !self.is_over(it)),
            None => !self.is_over(kept),
        }
    }

    fn over(&self) -> BTreeMap<Bytes, Over> {
        let is_held = |head: &StateKey<'static>| {
            let root = self.kept.get(head).and_then(|it| it.state.root());
            let run = root.and_then(|it| self.kept.get(&StateKey::Run(it.clone())));
            self.resumed || run.is_some_and(|it| it.state.is_halted())
        };
        let over = self.kept.iter().filter(|(key, it)| !self.lives(key, it));
        let of_sessions = over.filter_map(|(key, it)| match key {
            StateKey::Session(id) | StateKey::Part(id, _) => {
                let (name, value) = it.entry(key);
                let is_held = is_held(&head_of(key).unwrap_or_else(|| key.clone()));
                Some((name, Over { session: id.clone(), value, is_held }))
            }
            StateKey::Run(_) | StateKey::Tenant => None,
        });
        of_sessions.collect()
    }

    fn entries(&self) -> BTreeMap<Bytes, Bytes> {
        let alive = self.kept.iter().filter(|(key, it)| self.lives(key, it));
        let mut entries: BTreeMap<_, _> = alive.map(|(key, it)| it.entry(key)).collect();
        if self.tick != i64::MIN {
            entries.insert(Bytes::from_static(b"tick"), Bytes::copy_from_slice(&self.tick.to_le_bytes()));
        }
        entries
    }
}

/// The session a part belongs to.
fn head_of(key: &StateKey<'static>) -> Option<StateKey<'static>> {
    match key {
        StateKey::Part(id, _) => Some(StateKey::Session(id.clone())),
        StateKey::Session(_) | StateKey::Run(_) | StateKey::Tenant => None,
    }
}

/// All records of a partition.
///
/// # Errors
/// When the log cannot be read.
pub async fn records(log: &dyn Log, topic: Topic, partition: Partition) -> Result<Vec<Record>, Error> {
    let mut out: Vec<Record> = Vec::new();
    let limit = ReadLimit { records_max: 1_000, bytes_max: usize::MAX };
    loop {
        let next = out.last().map_or(Offset::START, |it| it.offset.next());
        let page = log.read(topic, partition, next, limit).await?;
        if page.is_empty() {
            return Ok(out);
        }
        out.extend(page);
    }
}
