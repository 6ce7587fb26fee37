//! The core of one partition with the state it works on.

mod tenant;

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use martingale_detector_core::{Applied, Detector, Observed, Rules, State, StateKey, Tally};
use martingale_platform::log::{Append, Log, Partition, Record, StateChange};
use martingale_schemas::record::Standing;
use martingale_schemas::{
    Column, Control, ControlAction, ControlId, ControlState, Decision, Finding, Lineage, Position, Reason, Rejection,
    Scope, SessionId, Step, Timestamp, Verdict, VerdictId, topics,
};

use crate::controls::Order;
use crate::dead_letter::{self, json};
use crate::fetched::Fetched;
use crate::idle::LogTime;
use crate::metrics::{Counts, Metrics};
use crate::partition::Shared;
use crate::{Error, STORE, state};

/// Entries that one turn of the sweep looks at; a step that comes meanwhile waits for as many.
const SWEEP_ENTRIES_MAX: usize = 64;

/// Key of the entry that holds the tick of the last commit; no key of a state begins so.
const TICK_KEY: &[u8] = b"tick";

pub(crate) struct Judge {
    log: Arc<dyn Log>,
    metrics: Metrics,
    partition: Partition,
    rules: Arc<Rules>,
    fetched: Fetched,
    detector: Detector,
    time: LogTime,
    /// Entries that go into the next commit whether they change or not: those that were loaded for the first time in this
    /// tick, with it, and none where a session was found forgotten.
    renewed: HashMap<Bytes, Option<Bytes>>,
    /// Room to encode what changed.
    encoded: Vec<u8>,
    tick_changed: bool,
    counted: Tally,
}

/// Room to encode what changed that is kept from one commit to the next, in bytes.
const ENCODED_BYTES_MAX: usize = 1024 * 1024;

/// What a batch will publish, answers to orders first: a verdict under an order is never on the log without its answer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) answers: Vec<Append>,
    pub(crate) verdicts: Vec<Append>,
    /// By session.
    lineages: BTreeMap<String, Remembered>,
    pub(crate) dead_letters: Vec<Append>,
    pub(crate) standings: Vec<Append>,
    pub(crate) counts: Counts,
}

/// What is remembered of the lineage of a session.
#[derive(Debug)]
struct Remembered {
    lineage: Option<Lineage>,
    is_new: bool,
}

impl Batch {
    /// Takes out the records of what is newly remembered of sessions, and the removals of what is no more.
    pub(crate) fn take_lineages(&mut self) -> impl Iterator<Item = Append> + use<> {
        let new = std::mem::take(&mut self.lineages).into_iter().filter(|(_, it)| it.is_new);
        new.map(|(session, it)| {
            let lineage = it.lineage.map_or_else(Bytes::new, |it| it.to_json().into());
            Append::new(topics::LINEAGES, Bytes::from(session), lineage)
        })
    }

    fn dead_step(&mut self, partition: Partition, record: &Record, rejection: Rejection) {
        self.counts.dead_step();
        self.dead_letters.push(dead_letter::append(topics::STEPS, partition, record, rejection));
    }

    pub(crate) fn dead_order(&mut self, partition: Partition, record: &Record, error: &serde_json::Error) {
        self.counts.dead_order();
        let rejection = Rejection::new(Reason::InvalidJson, format!("no control: {error}"));
        self.dead_letters.push(dead_letter::append(topics::CONTROLS, partition, record, rejection));
    }

    /// Tells a gate that waits what stands against a step that was judged before.
    fn standing(&mut self, partition: Partition, record: &Record, step: &Step<'_>, finding: Option<Finding>) {
        let standing = Standing {
            verdict_id: VerdictId::of(&step.session_id, &step.step_id),
            standing: finding.as_ref().map_or(Decision::Allow, Finding::effective),
            finding,
        };
        let append = Append::new(topics::STANDINGS, record.key.clone(), json(&standing)).to_partition(partition);
        self.standings.push(append);
    }
}

impl Judge {
    pub(crate) async fn restore(shared: &Shared, partition: Partition) -> Result<Self, Error> {
        let Shared { config, log, rules, metrics, fetched, .. } = shared.clone();
        let stored = log.state(STORE, partition, TICK_KEY).await?;
        let tick = stored.and_then(|it| it.as_ref().try_into().ok().map(i64::from_le_bytes)).unwrap_or(i64::MIN);
        let time = LogTime::new(config.session_idle.as_micros(), tick);
        let detector = Detector::new(Arc::clone(&rules));
        let mut it = Self {
            log,
            metrics,
            partition,
            rules,
            fetched,
            detector,
            time,
            renewed: HashMap::new(),
            encoded: Vec::new(),
            tick_changed: false,
            counted: Tally::default(),
        };
        it.restore_tenant().await?;
        Ok(it)
    }

    pub(crate) const fn time(&self) -> LogTime {
        self.time
    }

    pub(crate) const fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Moves to the tick of the next batch. Called between batches, when everything in memory is committed.
    pub(crate) fn advance_to(&mut self, tick: i64) {
        if tick != self.time.tick() {
            self.time.advance_to(tick);
            self.tick_changed = true;
            self.detector.evict(0);
        }
    }

    /// Loads at once what these steps and orders need first. Judging some of them may show that others need more.
    pub(crate) async fn prepare(
        &mut self,
        steps: &[Result<Step<'_>, Rejection>],
        orders: impl Iterator<Item = &Control> + Send,
    ) -> Result<(), Error> {
        let mut absent: BTreeSet<StateKey<'static>> =
            steps.iter().flatten().flat_map(|it| self.detector.absent(it)).collect();
        absent.extend(orders.flat_map(|it| self.detector.absent_for_control(it)));
        for key in absent {
            self.load(key).await?;
        }
        Ok(())
    }

    async fn load(&mut self, key: StateKey<'static>) -> Result<(), Error> {
        self.metrics.states_loaded.inc();
        let name = Bytes::from(key.to_bytes());
        let stored = self.log.state(STORE, self.partition, &name).await?;
        let state = self.open(&key, name, stored.as_deref())?;
        self.detector.load(key, state);
        Ok(())
    }

    /// The state of an entry, unless its session has been silent for too long: then it is removed, and its parts with it.
    fn open(&mut self, key: &StateKey<'_>, name: Bytes, stored: Option<&[u8]>) -> Result<Option<State>, Error> {
        let fail = |source| self.unreadable(&name, source);
        let Some(entry) = state::stored(key, stored).map_err(fail)? else { return Ok(None) };
        let state = entry.state_of(key).map_err(fail)?;
        if matches!(key, StateKey::Part(..)) {
            // As old as its last change. Its session's head was opened before it, and says that it is in use.
            return Ok(Some(state));
        }
        if self.time.is_over(entry.used) && !state.is_halted() {
            self.renewed.extend(entries_of(key, &state).map(|it| (it, None)));
            return Ok(None);
        }
        if entry.used != self.time.tick() {
            self.renewed.insert(name, Some(entry.used_at(self.time.tick())));
        }
        Ok(Some(state))
    }

    pub(crate) fn unreadable(&self, key: &[u8], source: state::Error) -> Error {
        Error::State { partition: self.partition, key: String::from_utf8_lossy(key).into_owned(), source }
    }

    /// Applies an order and answers it, unless the answer is on the log already.
    pub(crate) async fn order(&mut self, order: Order, batch: &mut Batch) -> Result<(), Error> {
        while let Some(key) = self.detector.absent_for_control(&order.control).pop() {
            self.load(key).await?;
        }
        let Applied { known, changed } = match order.control.action {
            ControlAction::UseBaselines { baselines_id } if order.control.scope == Scope::Tenant => {
                self.use_baselines(&order.control, baselines_id).await?
            }
            _ => self.detector.apply(&order.control),
        };
        batch.counts.order();
        // Also where no step of the run was seen: its first one stays in it.
        let is_here = |id: &SessionId<'_>| self.log.partition_of(id.as_str().as_bytes()) == self.partition;
        if let Scope::Run { root_session_id: root } = &order.control.scope
            && (known || is_here(root))
        {
            let tie = Lineage { unheard_since: (!known).then_some(self.time.tick()), ..Lineage::of_root(root) };
            match order.control.action {
                ControlAction::Halt => self.remember(root, tie, batch).await?,
                ControlAction::Resume if !known => self.untie(root, batch).await?,
                ControlAction::Resume
                | ControlAction::UseBaselines { .. }
                | ControlAction::Grant { .. }
                | ControlAction::Revoke => {}
            }
        }
        if order.answered {
            return Ok(());
        }
        let before = Position { partition: self.partition.0, offset: order.before.0 };
        let answer =
            Control { state: ControlState::Applied { before, known, changed: Some(changed) }, ..order.control };
        let key = Bytes::from(answer.scope.key().to_owned());
        let append = Append::new(topics::CONTROLS, key, json(&answer)).to_partition(self.partition);
        batch.answers.push(append);
        Ok(())
    }

    /// Judges a step; a record that is none becomes a dead letter.
    pub(crate) async fn step(
        &mut self,
        record: &Record,
        step: Result<Step<'_>, Rejection>,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let step = match step {
            Ok(step) => step,
            Err(rejection) => {
                batch.dead_step(self.partition, record, rejection);
                return Ok(());
            }
        };
        while let Some(key) = self.detector.absent(&step).pop() {
            self.load(key).await?;
        }
        let Observed::Judged(judgement) = self.detector.observe(&step) else {
            batch.counts.duplicate();
            batch.standing(self.partition, record, &step, self.detector.standing(&step));
            return Ok(());
        };
        let hold = judgement.hold;
        let position = Position { partition: self.partition.0, offset: record.offset.0 };
        let verdict = judgement.into_verdict(&step, position);
        batch.counts.verdict(&verdict);
        // Beside its step, also where a foreign producer has put that into a partition its key does not belong to.
        let append = Append::new(topics::VERDICTS, record.key.clone(), json(&verdict)).to_partition(self.partition);
        batch.verdicts.push(append);
        if is_halted_anew(&verdict) {
            self.halt_everywhere(&verdict, record, batch).await?;
        }
        for (session, lineage) in hold.into_iter().flat_map(|it| Lineage::held(&step, it)) {
            self.remember(&session, lineage, batch).await?;
        }
        Ok(())
    }

    /// Lets go of a run that was halted and of which nothing was ever heard: whoever has that id may begin as somebody's child.
    async fn untie(&self, root: &SessionId<'_>, batch: &mut Batch) -> Result<(), Error> {
        let told = self.remembered(root, batch).await?;
        if told.lineage.as_ref().is_some_and(|it| it.unheard_since.is_some() && it.basis.is_settled()) {
            *told = Remembered { lineage: None, is_new: true };
        }
        Ok(())
    }

    /// A rule has halted a session whose run is not settled: steps of it, or of one below it, may be in another run by now, or come
    /// to be, where nobody knows of the halt. So it is ordered in every partition, as a person would, and lifted the same way. Always
    /// the same order for the same verdict.
    async fn halt_everywhere(
        &self,
        verdict: &Verdict<'static>,
        record: &Record,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let told = self.remembered(&verdict.session_id, batch).await?;
        let is_open = |it: &Lineage| !it.basis.is_settled() || it.root_session_id != verdict.root_session_id;
        if !told.lineage.as_ref().is_some_and(is_open) {
            return Ok(());
        }
        let order = Control {
            control_id: ControlId::from(format!("c-{}", verdict.verdict_id)),
            action: ControlAction::Halt,
            scope: Scope::Session { session_id: verdict.session_id.clone() },
            time: Timestamp::from_micros(record.appended_at),
            by: Some("a policy".to_owned()),
            reason: Some(format!("step {} of run {}", verdict.step_id, verdict.root_session_id)),
            state: ControlState::Requested,
        };
        let (key, json) = (Bytes::from(order.control_id.to_string()), json(&order));
        let append = |it| Append::new(topics::CONTROLS, key.clone(), json.clone()).to_partition(Partition(it));
        batch.answers.extend((0..self.log.partitions()).map(append));
        Ok(())
    }

    /// Remembers of a session what leaves it less freedom than what is remembered.
    async fn remember(&self, session: &SessionId<'_>, lineage: Lineage, batch: &mut Batch) -> Result<(), Error> {
        let known = self.remembered(session, batch).await?;
        if lineage.tightens(known.lineage.as_ref()) {
            *known = Remembered { lineage: Some(lineage), is_new: true };
        }
        Ok(())
    }

    /// What is remembered of a session, with what this batch adds.
    async fn remembered<'b>(&self, session: &SessionId<'_>, batch: &'b mut Batch) -> Result<&'b mut Remembered, Error> {
        Ok(match batch.lineages.entry(session.as_str().to_owned()) {
            Entry::Occupied(it) => it.into_mut(),
            Entry::Vacant(it) => {
                let told = self.log.newest(topics::LINEAGES, session.as_str().as_bytes()).await?;
                it.insert(Remembered { lineage: told.and_then(|it| Lineage::from_log(&it)), is_new: false })
            }
        })
    }

    /// Answers a gate that asks again about a step. From what is stored and in a detector of its own: a question is no step,
    /// and may neither keep a session alive nor be seen in a replay. Called between batches, when everything is stored.
    pub(crate) async fn ask(&self, record: &Record, batch: &mut Batch) -> Result<(), Error> {
        // Only gates write here, and whoever else does waits for nothing.
        let Ok(step) = Step::from_log(&record.value) else { return Ok(()) };
        let mut detector = Detector::new(Arc::clone(&self.rules));
        loop {
            let absent = detector.absent(&step);
            if absent.is_empty() {
                break;
            }
            for key in absent {
                let name = Bytes::from(key.to_bytes());
                let stored = self.log.state(STORE, self.partition, &name).await?;
                let entry = state::stored(&key, stored.as_deref());
                let state = entry.and_then(|it| it.map(|it| it.state_of(&key)).transpose());
                let state = state.map_err(|source| self.unreadable(&name, source))?;
                detector.load(key, state);
            }
        }
        // Its session may have moved since, with its parent, into a run that has seen no step of it.
        detector.place(&step);
        batch.standing(self.partition, record, &step, detector.standing(&step));
        Ok(())
    }

    /// What changed since the last call, as entries of the store.
    pub(crate) fn changes(&mut self) -> Result<Vec<StateChange>, Error> {
        let (partition, tick) = (self.partition, self.time.tick());
        // All of them in one piece of memory, one after the other: where each key and each value ends.
        let (mut ends, bytes) = (Vec::new(), &mut self.encoded);
        self.detector.drain_changed(|key, state| {
            key.write(bytes);
            let end = bytes.len();
            ends.push((end, state.map(|it| state::write(tick, &it, bytes).map(|()| bytes.len()))));
        });
        let (bytes, mut begin) = (Bytes::copy_from_slice(bytes), 0);
        // Not below what is in it, so that goes first.
        self.encoded.clear();
        self.encoded.shrink_to(ENCODED_BYTES_MAX);
        let mut out = Vec::with_capacity(ends.len() + self.renewed.len() + 1);
        let mut push = |key, value| out.push(StateChange { store: STORE, partition, key, value });
        for (end, value) in ends {
            let key = bytes.slice(begin..end);
            self.renewed.remove(&key);
            let value = value.transpose().map_err(|source| self.unreadable(&key, source))?;
            begin = value.unwrap_or(end);
            push(key, value.map(|it| bytes.slice(end..it)));
        }
        for (key, value) in self.renewed.drain() {
            push(key, value);
        }
        if std::mem::take(&mut self.tick_changed) {
            push(Bytes::from_static(TICK_KEY), Some(Bytes::copy_from_slice(&tick.to_le_bytes())));
        }
        Ok(out)
    }

    /// After a commit: lets go of what memory has no room for.
    pub(crate) fn evict(&mut self, sessions_max: usize) {
        self.detector.evict(sessions_max);
        let (now, before) = (self.detector.tally(), self.counted);
        self.metrics.condition_errors.inc_by(now.condition_errors - before.condition_errors);
        self.metrics.dropped.inc_by(now.dropped - before.dropped);
        self.metrics.late.inc_by(now.late - before.late);
        self.metrics.skipped.inc_by(now.skipped - before.skipped);
        self.counted = now;
    }

    /// Entries after `after` whose sessions are over, as their removal and that of what they told of their lineage, and where
    /// to go on.
    pub(crate) async fn forgotten(&self, after: Option<Bytes>) -> Result<(Forgotten, Option<Bytes>), Error> {
        let page = self.log.scan(STORE, self.partition, after, SWEEP_ENTRIES_MAX).await?;
        let mut out = Forgotten::default();
        for (name, value) in &page {
            // A part goes with the head it belongs to.
            let Some(key @ (StateKey::Session(_) | StateKey::Run(_))) = StateKey::from_bytes(name) else { continue };
            let fail = |source| self.unreadable(name, source);
            let entry = state::read(value).map_err(fail)?;
            if !self.time.is_over(entry.used) {
                continue;
            }
            let state = entry.state_of(&key).map_err(fail)?;
            if state.is_halted() {
                continue;
            }
            let lineage = match self.lineage_of(&key, &state).await? {
                Told::Stays => continue,
                Told::Asked(record) => {
                    out.lineages.push(record);
                    continue;
                }
                Told::Nothing => None,
                Told::Goes(removal) => Some(removal),
            };
            let removed = |key| StateChange { store: STORE, partition: self.partition, key, value: None };
            out.state.extend(entries_of(&key, &state).map(removed));
            out.lineages.extend(lineage);
        }
        let next = page.into_iter().nth(SWEEP_ENTRIES_MAX - 1).map(|(key, _)| key);
        Ok((out, next))
    }

    /// What becomes of what a silent session told of its lineage.
    async fn lineage_of(&self, key: &StateKey<'_>, state: &State) -> Result<Told, Error> {
        let (StateKey::Session(id), Some(root)) = (key, state.root()) else { return Ok(Told::Nothing) };
        let key = Bytes::copy_from_slice(id.as_str().as_bytes());
        let Some(told) = self.log.newest(topics::LINEAGES, &key).await? else { return Ok(Told::Nothing) };
        let told = Lineage::from_log(&told);
        // What it told of another run is removed where that is.
        if told.as_ref().is_some_and(|it| it.root_session_id != *root) {
            return Ok(Told::Nothing);
        }
        let run = StateKey::Run(root.clone());
        let name = Bytes::from(run.to_bytes());
        let stored = self.log.state(STORE, self.partition, &name).await?;
        let entry = state::stored(&run, stored.as_deref());
        let run = entry.and_then(|it| it.map(|it| it.state_of(&run)).transpose());
        if run.map_err(|source| self.unreadable(&name, source))?.is_some_and(|it| it.is_halted()) {
            return Ok(Told::Stays);
        }
        // Not settled: sessions below it may go on in a run of another partition. The doors that they come through are asked,
        // for as long as a session may be silent.
        match told.filter(|it| !it.basis.is_settled()) {
            Some(Lineage { unheard_since: Some(since), .. }) if !self.time.is_over(since) => Ok(Told::Stays),
            Some(told @ Lineage { unheard_since: None, .. }) => {
                let asked = Lineage { unheard_since: Some(self.time.tick()), ..told };
                Ok(Told::Asked(Append::new(topics::LINEAGES, key, Bytes::from(asked.to_json()))))
            }
            _ => Ok(Told::Goes(Append::new(topics::LINEAGES, key, Bytes::new()))),
        }
    }
}

/// Whether a rule has halted the session with this step.
fn is_halted_anew(verdict: &Verdict<'_>) -> bool {
    verdict.decision == Decision::Halt && verdict.findings.iter().all(|it| it.column != Column::Control)
}

/// What a silent session told of its lineage.
enum Told {
    /// Nothing that is removed with it.
    Nothing,
    /// Its run is halted: whatever it sends is refused under that halt, and it must not get out of it by silence. Or doors are
    /// asked whether they hear of one below it. The session's entry stays with it, so that both are found later.
    Stays,
    /// The doors are asked from now on.
    Asked(Append),
    Goes(Append),
}

/// What is removed with sessions that are over.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    pub(crate) state: Vec<StateChange>,
    pub(crate) lineages: Vec<Append>,
}

/// Names of the entries that make up a session or run: its own, and those of its parts.
fn entries_of(key: &StateKey<'_>, state: &State) -> impl Iterator<Item = Bytes> {
    let id = match key {
        StateKey::Session(id) | StateKey::Run(id) | StateKey::Part(id, _) => Some(id),
        StateKey::Tenant => None,
    };
    let parts = id.into_iter().flat_map(|id| state.parts().map(|it| StateKey::Part(id.as_ref(), it).to_bytes().into()));
    std::iter::once(key.to_bytes().into()).chain(parts)
}
