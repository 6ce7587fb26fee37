//! One round: survey → choose → learn → calibrate → publish.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use bytes::Bytes;
use martingale_detector_core::{Baselines, Calibrator, Learner, Rules};
use martingale_platform::clock::Clock;
use martingale_platform::log::{self, Append, Bounds, Log, Offset, Partition, ReadLimit, Record, Topic, blob};
use martingale_schemas::baselines::Stored;
use martingale_schemas::{
    BaselinesId, Control, ControlAction, ControlId, ControlState, Scope, SessionId, Step, StepReader, Timestamp, ids,
    topics,
};

use super::Learning;
use super::survey::{Chosen, Survey, by_turns};
use crate::dead_letter::json;
use crate::{Error, write_baselines};

const PAGE: ReadLimit = ReadLimit { records_max: 4_096, bytes_max: 8 << 20 };
/// Sessions that ended since the last round, at least: fewer change nothing that is worth a new version.
const NEW_MIN: usize = 16;
/// And of all that are learnt from, one in so many.
const NEW_SHARE: usize = 10;

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) config: Learning,
    pub(super) clock: Clock,
    pub(super) reader: StepReader,
    pub(super) log: Arc<dyn Log>,
    pub(super) rules: Arc<Rules>,
}

pub(super) struct Round {
    shared: Shared,
    surveys: Vec<Survey>,
    /// The newest end of a session that was learnt from; when this process has not learnt yet, when baselines were put last.
    learnt_to: Option<i64>,
    /// What was ordered last. Not known after a start: what is ordered twice changes nothing.
    ordered: Option<BaselinesId>,
}

/// What a round learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) sessions: usize,
    pub(super) audited: usize,
    pub(super) left_out: usize,
}

impl Round {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, surveys: Vec::new(), learnt_to: None, ordered: None }
    }

    /// Answers what was published; `None` when there was too little that is new, or the same was learnt again.
    pub(super) async fn learn(&mut self) -> Result<Option<(BaselinesId, Basis)>, Error> {
        self.survey().await?;
        let (chosen, from) = self.choose();
        let newest = chosen.iter().flatten().map(|it| it.last_at).max().unwrap_or(i64::MIN);
        let learnt_to = match self.learnt_to {
            Some(it) => it,
            None => {
                let held = blob::list(&*self.shared.log, topics::BASELINES).await?;
                held.last().map_or(i64::MIN, |it| it.put_at)
            }
        };
        let new = chosen.iter().flatten().filter(|it| it.last_at > learnt_to).count();
        if new < NEW_MIN.max(from.sessions / NEW_SHARE) {
            return Ok(None);
        }
        let learner = self.read(Learner::default(), &chosen).await?;
        let calibrator = tokio::task::spawn_blocking(|| learner.into_calibrator()).await.map_err(Error::Broken)?;
        let calibrator = self.read(calibrator, &chosen).await?;
        let stored = tokio::task::spawn_blocking(move || write_baselines(&calibrator.finish())).await;
        let stored = Bytes::from(stored.map_err(Error::Broken)?.map_err(Error::Unwritten)?);
        let id = Stored::read(&stored).map_err(|it| Error::Unwritten(it.into()))?.id;
        let is_new = self.ordered != Some(id);
        if is_new {
            self.publish(id, stored, from).await?;
        }
        (self.learnt_to, self.ordered) = (Some(newest), Some(id));
        Ok(is_new.then_some((id, from)))
    }

    /// Reads the verdicts that came since the last round.
    async fn survey(&mut self) -> Result<(), Error> {
        let Shared { config, clock, log, .. } = &self.shared;
        let partitions = log.partitions();
        let begins = clock.now_micros().saturating_sub(config.window.as_micros());
        let sessions_max = config.sessions_max.div_ceil(partitions.max(1) as usize);
        for partition in (0..partitions).map(Partition) {
            let at = partition.0 as usize;
            if self.surveys.len() <= at {
                let orders = log.bounds(topics::CONTROLS, partition).await?.start;
                self.surveys.push(Survey::new(log.bounds(topics::VERDICTS, partition).await?, orders));
            }
            while let Some(survey) = self.surveys.get_mut(at) {
                let orders = match log.read(topics::CONTROLS, partition, survey.next_order, PAGE).await {
                    Err(log::Error::Expired { start, .. }) => {
                        survey.next_order = start;
                        continue;
                    }
                    read => read?,
                };
                if orders.is_empty() {
                    break;
                }
                orders.iter().for_each(|it| survey.note_order(it));
            }
            while let Some(survey) = self.surveys.get_mut(at) {
                let records = match log.read(topics::VERDICTS, partition, survey.next, PAGE).await {
                    Err(log::Error::Expired { .. }) => {
                        let orders = log.bounds(topics::CONTROLS, partition).await?.start;
                        *survey = Survey::new(log.bounds(topics::VERDICTS, partition).await?, orders);
                        continue;
                    }
                    read => read?,
                };
                if records.is_empty() {
                    break;
                }
                let bounds = Bounds { start: survey.next, end: survey.next };
                let mut read = std::mem::replace(survey, Survey::new(bounds, Offset::START));
                let config = config.clone();
                // As below: what is read is some microseconds a record.
                let noted = tokio::task::spawn_blocking(move || {
                    records.iter().for_each(|it| read.note(it, &config, begins));
                    read.forget(&config, sessions_max);
                    read
                });
                *survey = noted.await.map_err(Error::Broken)?;
            }
        }
        Ok(())
    }

    /// The sessions to learn from by partition: the newest of every agent by turns, as many as there is room for.
    fn choose(&self) -> (Vec<Vec<Chosen>>, Basis) {
        let config = &self.shared.config;
        let mut from = Basis::default();
        let mut all: Vec<(usize, Chosen)> = Vec::new();
        for (partition, survey) in self.surveys.iter().enumerate() {
            let (chosen, left_out) = survey.over(config);
            from.left_out += left_out;
            all.extend(chosen.into_iter().map(|it| (partition, it)));
        }
        keep_agents(&mut all, Baselines::AGENTS_MAX);
        by_turns(&mut all, |(_, it)| (it.agent, it.last_at, it.session));
        let mut chosen = vec![Vec::new(); self.surveys.len()];
        let mut steps = 0;
        for (partition, it) in all.into_iter().take(config.sessions_max) {
            if steps + it.steps > config.steps_max {
                continue;
            }
            steps += it.steps;
            from.sessions += 1;
            from.audited += usize::from(it.is_audited);
            chosen[partition].push(it);
        }
        (chosen, from)
    }

    /// Reads the steps of the chosen sessions, partition by partition.
    async fn read<R: Reading>(&self, mut reading: R, chosen: &[Vec<Chosen>]) -> Result<R, Error> {
        for (partition, chosen) in (0..).map(Partition).zip(chosen) {
            reading = self.read_partition(reading, partition, chosen).await?;
        }
        Ok(reading)
    }

    /// What the log has removed meanwhile is not read, nor what came next to it.
    async fn read_partition<R: Reading>(
        &self,
        mut reading: R,
        partition: Partition,
        chosen: &[Chosen],
    ) -> Result<R, Error> {
        let ranges = ranges(chosen);
        let Some(survey) = self.surveys.get(partition.0 as usize) else { return Ok(reading) };
        let wanted: Arc<HashMap<u64, Offset>> = Arc::new(chosen.iter().map(|it| (it.session, it.last)).collect());
        let hasher = survey.hasher();
        for (first, last) in ranges {
            let mut next = first;
            while next <= last {
                let records = match self.shared.log.read(topics::STEPS, partition, next, PAGE).await {
                    // The rest of its sessions is not the whole of them.
                    Err(log::Error::Expired { .. }) => break,
                    read => read?,
                };
                let Some(read_to) = records.last().map(|it| it.offset) else { break };
                next = read_to.next();
                let (reader, rules) = (self.shared.reader.clone(), Arc::clone(&self.shared.rules));
                let (wanted, hasher) = (Arc::clone(&wanted), hasher.clone());
                // Learning is arithmetic, some microseconds a step: not among what answers.
                let read = tokio::task::spawn_blocking(move || {
                    let is_wanted = |id: &str| wanted.get(&hasher.hash_one(id)).copied();
                    for record in &records {
                        take(&mut reading, record, &reader, &rules, is_wanted);
                    }
                    reading
                });
                reading = read.await.map_err(Error::Broken)?;
            }
        }
        Ok(reading)
    }

    /// Puts it on the log and orders it everywhere.
    async fn publish(&self, id: BaselinesId, stored: Bytes, from: Basis) -> Result<(), Error> {
        let Shared { config, clock, log, .. } = &self.shared;
        const TOPIC: Topic = topics::BASELINES;
        let name = id.to_string();
        let held = blob::list(&**log, TOPIC).await?;
        let bytes = stored.len();
        if held.iter().all(|it| it.name != name) {
            blob::put(&**log, TOPIC, &name, &stored).await?;
        }
        let now = Timestamp::from_micros(clock.now_micros());
        let Basis { sessions, audited, left_out } = from;
        let order = Control {
            control_id: ControlId::from(ids::derive("c-", &[id.as_bytes(), &now.as_micros().to_le_bytes()])),
            action: ControlAction::UseBaselines { baselines_id: id },
            scope: Scope::Tenant,
            time: now,
            by: Some("learning".to_owned()),
            reason: Some(format!(
                "learnt from {sessions} sessions that were over, {audited} of them drawn from those that found something; \
                 {left_out} left out"
            )),
            state: ControlState::Requested,
        };
        let (key, value) = (Bytes::from(order.control_id.to_string()), json(&order));
        let copy = |it| Append::new(topics::CONTROLS, key.clone(), value.clone()).to_partition(Partition(it));
        log.append((0..log.partitions()).map(copy).collect()).await?;
        tracing::info!(baselines = %id, sessions, audited, left_out, bytes, "baselines were learnt and published");
        let others = held.iter().filter(|it| it.name != name);
        let too_many = (others.clone().count() + 1).saturating_sub(config.kept);
        for old in others.take(too_many) {
            blob::remove(&**log, TOPIC, old).await?;
        }
        Ok(())
    }
}

/// Of more agents than there is room for, those with the most sessions: made-up names have few each.
fn keep_agents(sessions: &mut Vec<(usize, Chosen)>, agents_max: usize) {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    sessions.iter().for_each(|(_, it)| *counts.entry(it.agent).or_default() += 1);
    if counts.len() <= agents_max {
        return;
    }
    let mut agents: Vec<(usize, u64)> = counts.into_iter().map(|(agent, count)| (count, agent)).collect();
    agents.sort_unstable_by(|a, b| b.cmp(a));
    tracing::warn!(
        agents = agents.len(),
        agents_max,
        "more agents than baselines have room for: those with few sessions get none"
    );
    let kept: HashSet<u64> = agents.into_iter().take(agents_max).map(|it| it.1).collect();
    sessions.retain(|(_, it)| kept.contains(&it.agent));
}

/// Where on the log the chosen sessions are: what lies between them is not read.
pub(super) fn ranges(chosen: &[Chosen]) -> Vec<(Offset, Offset)> {
    let mut all: Vec<(Offset, Offset)> = chosen.iter().map(|it| (it.first, it.last)).collect();
    all.sort_unstable();
    let mut ranges: Vec<(Offset, Offset)> = Vec::new();
    for (first, last) in all {
        match ranges.last_mut() {
            Some(range) if first <= range.1.next() => range.1 = range.1.max(last),
            _ => ranges.push((first, last)),
        }
    }
    ranges
}

/// One of the two readings of a round: what sessions do, and what they reach when judged by the others.
trait Reading: Send + 'static {
    fn observe(&mut self, step: &Step<'_>, rules: &Rules);
    fn end(&mut self, session: &SessionId<'_>);
}

impl Reading for Learner {
    fn observe(&mut self, step: &Step<'_>, rules: &Rules) {
        Learner::observe(self, step, rules);
    }

    fn end(&mut self, session: &SessionId<'_>) {
        Learner::end(self, session);
    }
}

impl Reading for Calibrator {
    fn observe(&mut self, step: &Step<'_>, rules: &Rules) {
        Calibrator::observe(self, step, rules);
    }

    fn end(&mut self, session: &SessionId<'_>) {
        Calibrator::end(self, session);
    }
}

/// Takes a step in if its session is wanted. One that is none has no verdict either.
fn take(
    reading: &mut impl Reading,
    record: &Record,
    reader: &StepReader,
    rules: &Rules,
    is_wanted: impl Fn(&str) -> Option<Offset>,
) {
    let Ok(step) = reader.read(&record.key, &record.value, Timestamp::from_micros(record.appended_at)) else { return };
    let Some(last) = is_wanted(step.session_id.as_str()) else { return };
    if record.offset > last {
        return;
    }
    reading.observe(&step, rules);
    if record.offset == last {
        reading.end(&step.session_id);
    }
}
