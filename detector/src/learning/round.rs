//! One round: survey → choose → learn → calibrate → publish.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use martingale_detector_core::{Baselines, Calibrator, Learner, ReadFor, Rules};
use martingale_platform::clock::Clock;
use martingale_platform::log::{self, Append, Bounds, Log, Offset, Partition, ReadLimit, Record, Topic, blob};
use martingale_schemas::baselines::Stored;
use martingale_schemas::{
    BaselinesId, Control, ControlAction, ControlId, ControlState, Scope, SessionId, Step, StepReader, Timestamp, ids,
    topics,
};

use super::Learning;
use super::halts::Halts;
use super::survey::{Chosen, Rest, Survey};
use super::turns::by_turns;
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
    /// What gives the hashes by which sessions are named, in every partition.
    hasher: RandomState,
    surveys: Vec<Survey>,
    halts: Halts,
    /// Of the baselines on the log.
    index: blob::Index,
    /// The sessions that were learnt from last; nothing when this process has not learnt yet.
    learnt: Option<HashSet<u64>>,
    /// What was ordered last. Not known after a start: what is ordered twice changes nothing.
    ordered: Option<BaselinesId>,
    /// Why the last round put nothing on the log, as the server's log was told; nothing where it did.
    pub(super) idle: Option<(Idle, Basis)>,
}

/// Why a round puts nothing on the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// So many ended since the last one, and so many are needed.
    TooFew { new: usize, needed: usize },
    /// Sessions ended, and what they teach is what was ordered last.
    Same,
}

/// What a round read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) sessions: usize,
    pub(super) audited: usize,
    /// Not learnt from, and read for calibration.
    pub(super) calibrating: usize,
    pub(super) rest: Rest,
}

impl Round {
    pub(super) fn new(shared: Shared) -> Self {
        let (hasher, surveys, halts, index) = Default::default();
        Self { shared, hasher, surveys, halts, index, learnt: None, ordered: None, idle: None }
    }

    /// Answers what was published; `None` when there was too little that is new, or the same was learnt again.
    pub(super) async fn learn(&mut self) -> Result<Option<(BaselinesId, Basis)>, Error> {
        self.survey().await?;
        let (chosen, from) = self.choose().await?;
        let teaching = chosen.iter().flatten().filter(|it| it.read_for.learns());
        let new = match &self.learnt {
            Some(learnt) => teaching.filter(|it| !learnt.contains(&it.session)).count(),
            None => {
                let held = self.index.refresh(&*self.shared.log, topics::BASELINES).await?;
                let learnt_at = held.last().map_or(i64::MIN, |it| it.put_at);
                teaching.filter(|it| it.over_at > learnt_at).count()
            }
        };
        let needed = NEW_MIN.max(from.sessions / NEW_SHARE);
        if new < needed {
            self.tell(Idle::TooFew { new, needed }, from);
            return Ok(None);
        }
        let reading = self.read(Reading::First(Learner::default()), &chosen).await?;
        let reading = tokio::task::spawn_blocking(|| reading.again()).await.map_err(Error::Broken)?;
        let reading = self.read(reading, &chosen).await?;
        let stored = tokio::task::spawn_blocking(move || write_baselines(&reading.finish())).await;
        let stored = Bytes::from(stored.map_err(Error::Broken)?.map_err(Error::Unwritten)?);
        let id = Stored::read(&stored).map_err(|it| Error::Unwritten(it.into()))?.id;
        let is_new = self.ordered != Some(id);
        if is_new {
            self.publish(id, stored, from).await?;
            self.idle = None;
        } else {
            self.tell(Idle::Same, from);
        }
        self.learnt = Some(chosen.iter().flatten().map(|it| it.session).collect());
        self.ordered = Some(id);
        Ok(is_new.then_some((id, from)))
    }

    /// Says why nothing was learnt, once for as long as the causes are the same, however many there are of each: a server without
    /// agents says it after its first round alone, and a busy one not after each.
    fn tell(&mut self, why: Idle, from: Basis) {
        let before = self.idle.replace((why, from));
        if before.is_some_and(|(before, basis)| causes(before, basis) == causes(why, from)) {
            return;
        }
        let Basis { sessions, audited, calibrating, rest: Rest { under_way, unknown, left_out, no_room } } = from;
        let over = sessions + calibrating + unknown + left_out + no_room;
        let left_out = left_out + calibrating;
        match why {
            Idle::TooFew { new, needed } => tracing::info!(
                new,
                needed,
                over,
                left_out,
                audited,
                unknown,
                no_room,
                under_way,
                "no baselines were learnt: too few sessions that could be learnt from ended since the last ones"
            ),
            Idle::Same => {
                tracing::info!(
                    over,
                    left_out,
                    audited,
                    under_way,
                    "no baselines were learnt: the last ones say the same"
                );
            }
        }
    }

    /// Reads the orders and verdicts that came since the last round.
    async fn survey(&mut self) -> Result<(), Error> {
        let Shared { config, clock, log, .. } = &self.shared;
        self.halts.read(&**log, PAGE, &self.hasher).await?;
        let partitions = log.partitions();
        let begins = clock.now_micros().saturating_sub(config.window.as_micros());
        let sessions_max = config.sessions_max.div_ceil(partitions.max(1) as usize);
        for partition in (0..partitions).map(Partition) {
            let at = partition.0 as usize;
            if self.surveys.len() <= at {
                let bounds = log.bounds(topics::VERDICTS, partition).await?;
                self.surveys.push(Survey::new(bounds, self.hasher.clone()));
            }
            // Asked before: steps that come while verdicts are read are not judged yet.
            let (now, steps) = (clock.now_micros(), log.bounds(topics::STEPS, partition).await?);
            while let Some(survey) = self.surveys.get_mut(at) {
                let records = match log.read(topics::VERDICTS, partition, survey.next, PAGE).await {
                    Err(log::Error::Expired { .. }) => {
                        *survey = Survey::new(log.bounds(topics::VERDICTS, partition).await?, self.hasher.clone());
                        continue;
                    }
                    read => read?,
                };
                if records.is_empty() {
                    survey.caught_up(now, steps.end);
                    survey.forget(config, sessions_max);
                    break;
                }
                let bounds = Bounds { start: survey.next, end: survey.next };
                let mut read = std::mem::replace(survey, Survey::new(bounds, self.hasher.clone()));
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

    /// See [`choose`]. It sorts all sessions: not among what answers.
    async fn choose(&mut self) -> Result<(Vec<Vec<Chosen>>, Basis), Error> {
        let (surveys, halts) = (std::mem::take(&mut self.surveys), std::mem::take(&mut self.halts));
        let config = self.shared.config.clone();
        let choosing = tokio::task::spawn_blocking(move || {
            let chosen = choose(&surveys, &halts, &config);
            (surveys, halts, chosen)
        });
        let chosen;
        (self.surveys, self.halts, chosen) = choosing.await.map_err(Error::Broken)?;
        Ok(chosen)
    }

    /// Reads the steps of the chosen sessions, partition by partition.
    async fn read(&self, mut reading: Reading, chosen: &[Vec<Chosen>]) -> Result<Reading, Error> {
        for (partition, chosen) in (0..).map(Partition).zip(chosen) {
            reading = self.read_partition(reading, partition, chosen).await?;
        }
        Ok(reading)
    }

    /// What the log has removed meanwhile is not read, nor what came next to it.
    async fn read_partition(
        &self,
        mut reading: Reading,
        partition: Partition,
        chosen: &[Chosen],
    ) -> Result<Reading, Error> {
        let ranges = ranges(chosen);
        let wanted = chosen.iter().map(|it| (it.session, (it.last, it.read_for)));
        let wanted: Arc<HashMap<u64, (Offset, ReadFor)>> = Arc::new(wanted.collect());
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
                let (wanted, hasher) = (Arc::clone(&wanted), self.hasher.clone());
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
    async fn publish(&mut self, id: BaselinesId, stored: Bytes, from: Basis) -> Result<(), Error> {
        let Shared { config, clock, log, .. } = &self.shared;
        const TOPIC: Topic = topics::BASELINES;
        let name = id.to_string();
        let held = self.index.refresh(&**log, TOPIC).await?.to_vec();
        let bytes = stored.len();
        if held.iter().all(|it| it.name != name) {
            self.index.sweep(&**log, TOPIC, clock.now_micros()).await?;
            blob::put(&**log, TOPIC, &name, &stored).await?;
        }
        let now = Timestamp::from_micros(clock.now_micros());
        let Basis { sessions, audited, calibrating, rest } = from;
        let left_out = rest.left_out + calibrating;
        let order = Control {
            control_id: ControlId::from(ids::derive("c-", &[id.as_bytes(), &now.as_micros().to_le_bytes()])),
            action: ControlAction::UseBaselines { baselines_id: id },
            scope: Scope::Tenant,
            time: now,
            by: Some("learning".to_owned()),
            reason: Some(format!(
                "learnt from {sessions} sessions that were over, {audited} of them drawn from those that found something; \
                 {left_out} left out, {calibrating} of them read to calibrate"
            )),
            state: ControlState::Requested,
        };
        let (key, value) = (Bytes::from(order.control_id.to_string()), json(&order));
        let copy = |it| Append::new(topics::CONTROLS, key.clone(), value.clone()).to_partition(Partition(it));
        log.append((0..log.partitions()).map(copy).collect()).await?;
        tracing::info!(baselines = %id, sessions, audited, left_out, calibrating, bytes, "baselines were learnt and published");
        let others = held.iter().filter(|it| it.name != name);
        let too_many = (others.clone().count() + 1).saturating_sub(config.kept);
        for old in others.take(too_many) {
            blob::remove(&**log, TOPIC, old).await?;
        }
        Ok(())
    }
}

/// Why nothing was learnt, without the counts: these change with every session that ends. Sessions that are under way are no cause.
fn causes(why: Idle, from: Basis) -> [bool; 5] {
    let Rest { under_way: _, unknown, left_out, no_room } = from.rest;
    let (too_few, some) = match why {
        Idle::TooFew { new, .. } => (true, new > 0),
        Idle::Same => (false, true),
    };
    [too_few, some, unknown > 0, left_out + from.calibrating > 0, no_room > 0]
}

/// The sessions to read by partition: the newest of every agent by turns, as many as there is room for.
fn choose(surveys: &[Survey], halts: &Halts, config: &Learning) -> (Vec<Vec<Chosen>>, Basis) {
    let mut from = Basis::default();
    let mut all: Vec<(usize, Chosen)> = Vec::new();
    for (partition, survey) in surveys.iter().enumerate() {
        let (chosen, rest) = survey.over(config, halts);
        from.rest.under_way += rest.under_way;
        from.rest.unknown += rest.unknown;
        from.rest.left_out += rest.left_out;
        all.extend(chosen.into_iter().map(|it| (partition, it)));
    }
    let found = all.len();
    let all = by_turns(all, Baselines::AGENTS_MAX, |(_, it)| (it.agent, it.last_at, it.session));
    let mut chosen = vec![Vec::new(); surveys.len()];
    let mut steps = 0;
    for (partition, it) in all.into_iter().take(config.sessions_max) {
        if steps + it.steps > config.steps_max {
            continue;
        }
        steps += it.steps;
        from.sessions += usize::from(it.read_for.learns());
        from.calibrating += usize::from(!it.read_for.learns());
        from.audited += usize::from(it.is_audited);
        chosen[partition].push(it);
    }
    from.rest.no_room = found - from.sessions - from.calibrating;
    (chosen, from)
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
enum Reading {
    First(Learner),
    Second(Calibrator),
}

impl Reading {
    fn observe(&mut self, step: &Step<'_>, rules: &Rules, read_for: ReadFor) {
        match self {
            Self::First(it) => it.observe_for(step, rules, read_for),
            Self::Second(it) if read_for.calibrates() => it.observe(step, rules),
            Self::Second(_) => {}
        }
    }

    fn end(&mut self, session: &SessionId<'_>) {
        match self {
            Self::First(it) => it.end(session),
            Self::Second(it) => it.end(session),
        }
    }

    fn again(self) -> Self {
        match self {
            Self::First(it) => Self::Second(it.into_calibrator()),
            Self::Second(_) => self,
        }
    }

    fn finish(self) -> Baselines {
        match self {
            Self::First(it) => it.finish(),
            Self::Second(it) => it.finish(),
        }
    }
}

/// Takes a step in if its session is wanted. One that is none has no verdict either.
fn take(
    reading: &mut Reading,
    record: &Record,
    reader: &StepReader,
    rules: &Rules,
    is_wanted: impl Fn(&str) -> Option<(Offset, ReadFor)>,
) {
    let Ok(step) = reader.read(&record.key, &record.value, Timestamp::from_micros(record.appended_at)) else { return };
    let Some((last, read_for)) = is_wanted(step.session_id.as_str()) else { return };
    if record.offset > last {
        return;
    }
    reading.observe(&step, rules, read_for);
    if record.offset == last {
        reading.end(&step.session_id);
    }
}
