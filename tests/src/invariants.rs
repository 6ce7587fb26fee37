//! What must hold whatever happened, by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use martingale_detector_core::Rules;
use martingale_platform::log::{Error, Log, Offset, Partition, Record};
use martingale_schemas::{
    Control, ControlAction, ControlId, ControlState, Decision, Lineage, Scope, SessionId, Step, Verdict, VerdictId,
    topics,
};

use crate::reference::{self, Expected, records};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Each accepted step changes state exactly once.
    D1,
    /// Live verdicts equal those of a fresh replay of the log, byte for byte; one that is published again is the same.
    D2,
    /// No verdict precedes the acceptance of its step.
    D3,
    /// After a halt a session, or one that descends from it, gets nothing less until somebody resumes.
    D4,
    /// No more sessions in memory than allowed.
    D5,
    /// An order is in force for every step that came to the log after it, and answered once in each partition.
    D6,
    /// Everything sent ends in exactly one outcome: on the log once, duplicate, or dead letter.
    I1,
    /// When faults stop, lag reaches zero.
    L1,
    /// A process ends only when it is told to.
    L2,
}

/// An invariant that did not hold.
#[derive(Debug, thiserror::Error)]
#[error("{invariant:?} does not hold: {message}")]
pub struct Violation {
    pub invariant: Invariant,
    pub message: String,
}

impl Invariant {
    /// # Errors
    /// The violation, when it does not hold.
    pub fn check(self, holds: bool, message: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds { Ok(()) } else { Err(self.violated(message())) }
    }

    pub fn violated(self, message: impl fmt::Display) -> Violation {
        Violation { invariant: self, message: message.to_string() }
    }
}

/// What the simulation knows beside the log.
#[derive(Debug, Default)]
pub struct Witness {
    /// Identities of all steps that were sent.
    pub sent: BTreeSet<[u8; 16]>,
    /// Whether the log drops records it holds already.
    pub identities: bool,
    /// For each order, how far the steps of each partition reached when it was on the log.
    pub ordered: HashMap<ControlId<'static>, Vec<Offset>>,
    pub garbage: usize,
    pub idle_micros: i64,
}

/// Numbers of a run, to see that it did something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub verdicts: usize,
    pub republished: usize,
    pub halts: usize,
    pub orders: usize,
    pub states: usize,
}

/// Compares the log with what should be on it.
///
/// # Errors
/// The first invariant that does not hold.
pub async fn check(log: &dyn Log, rules: &Arc<Rules>, witness: &Witness) -> Result<Tally, Violation> {
    let mut tally = Tally::default();
    let mut accepted = BTreeMap::new();
    let mut dead = BTreeSet::new();
    for partition in (0..log.partitions()).map(Partition) {
        let unreadable = |error: Error| Invariant::L1.violated(error);
        let expected = reference::replay(log, partition, rules, witness.idle_micros).await.map_err(unreadable)?;
        let steps = records(log, topics::STEPS, partition).await.map_err(unreadable)?;
        let verdicts = records(log, topics::VERDICTS, partition).await.map_err(unreadable)?;
        let controls = records(log, topics::CONTROLS, partition).await.map_err(unreadable)?;
        let letters = records(log, topics::DEAD_LETTER, partition).await.map_err(unreadable)?;
        let mut state = BTreeMap::new();
        let mut after = None;
        loop {
            let page = log.scan(martingale_detector::STORE, partition, after, 100).await.map_err(unreadable)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            state.extend(page);
        }

        for step in steps.iter().filter_map(|it| Step::from_log(&it.value).ok()) {
            *accepted.entry(step.key()).or_insert(0) += 1;
        }
        let letters: BTreeSet<_> = letters.iter().filter_map(|it| id_of(&it.value)).collect();
        Invariant::I1.check(letters.len() == expected.dead_letters, || {
            format!("partition {partition}: {} dead letters, {} expected", letters.len(), expected.dead_letters)
        })?;
        dead.extend(letters);
        let live = published(&verdicts, &mut tally)?;
        same_verdicts(partition, &expected, &live)?;
        let mut remembered = BTreeSet::new();
        for it in expected.over.values() {
            let told = log.newest(topics::LINEAGES, it.session.as_str().as_bytes()).await.map_err(unreadable)?;
            let told = told.and_then(|it| Lineage::from_log(&it));
            // Of one whose run is not settled the doors are asked first.
            let stays = told.is_some_and(|told| it.is_held || !told.basis.is_settled());
            remembered.extend(stays.then(|| it.session.clone()));
        }
        same_state(partition, &expected, &state, &remembered)?;
        halts_stand(&live, &steps, &controls, witness.idle_micros, &mut tally)?;
        orders_are_in_force(partition, &controls, witness, &mut tally)?;
        tally.states += state.len();
    }
    everything_has_an_outcome(&accepted, witness)?;
    Invariant::I1.check(dead.len() == witness.garbage, || {
        format!("{} of {} bad records are dead letters", dead.len(), witness.garbage)
    })?;
    Ok(tally)
}

fn id_of(json: &[u8]) -> Option<String> {
    serde_json::from_slice::<serde_json::Value>(json).ok()?.get("id")?.as_str().map(str::to_owned)
}

type Live<'r> = Vec<(Verdict<'static>, &'r Record)>;

/// The verdicts as a consumer sees them that passes over what it has had.
fn published<'r>(records: &'r [Record], tally: &mut Tally) -> Result<Live<'r>, Violation> {
    let mut first: HashMap<VerdictId<'static>, &Bytes> = HashMap::new();
    let mut live: Live<'r> = Vec::new();
    for record in records {
        let verdict: Verdict<'static> =
            serde_json::from_slice(&record.value).map_err(|it| Invariant::D2.violated(format!("no verdict: {it}")))?;
        if let Some(before) = first.get(&verdict.verdict_id) {
            tally.republished += 1;
            Invariant::D2.check(**before == record.value, || {
                format!("{} was published again as {}", text(before), text(&record.value))
            })?;
            continue;
        }
        let watermark = live.last().map(|(it, _)| it.position);
        Invariant::D2.check(watermark.is_none_or(|it| it < verdict.position), || {
            format!(
                "the first verdict of {} at {:?} comes after that at {watermark:?}",
                verdict.step_id, verdict.position
            )
        })?;
        first.insert(verdict.verdict_id.clone(), &record.value);
        live.push((verdict, record));
    }
    tally.verdicts += live.len();
    Ok(live)
}

fn same_verdicts(partition: Partition, expected: &Expected, live: &Live<'_>) -> Result<(), Violation> {
    for ((id, json), (verdict, record)) in expected.verdicts.iter().zip(live) {
        Invariant::D1.check(*id == verdict.verdict_id, || {
            format!("partition {partition}: expected {}, got {}", text(json), text(&record.value))
        })?;
        Invariant::D2.check(*json == record.value, || {
            format!("partition {partition}: replay says {}, live was {}", text(json), text(&record.value))
        })?;
    }
    Invariant::D1.check(expected.verdicts.len() == live.len(), || {
        format!("partition {partition}: {} verdicts, {} expected", live.len(), expected.verdicts.len())
    })
}

/// Of a session that is over there is nothing, or what there was, if it is among those of which something is `remembered`.
fn same_state(
    partition: Partition,
    expected: &Expected,
    state: &BTreeMap<Bytes, Bytes>,
    remembered: &BTreeSet<SessionId<'static>>,
) -> Result<(), Violation> {
    let may_stay = |key: &Bytes| {
        let over = expected.over.get(key).filter(|it| remembered.contains(&it.session));
        over.map(|it| &it.value).filter(|it| Some(*it) == state.get(key))
    };
    let keys: BTreeSet<_> = expected.state.keys().chain(state.keys()).collect();
    for key in keys {
        let (replayed, stored) = (expected.state.get(key).or_else(|| may_stay(key)), state.get(key));
        Invariant::D1.check(replayed == stored, || {
            format!("partition {partition}: state of {} is {stored:?}, by replay {replayed:?}", text(key))
        })?;
    }
    Ok(())
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn halts_stand(
    live: &Live<'_>,
    steps: &[Record],
    controls: &[Record],
    idle_micros: i64,
    tally: &mut Tally,
) -> Result<(), Violation> {
    let mut family = Family { idle_micros, ..Family::default() };
    let mut steps = steps.iter().filter_map(|it| Some((it, Step::from_log(&it.value).ok()?))).peekable();
    let applied = controls.iter().filter_map(|it| serde_json::from_slice::<Control>(&it.value).ok());
    let mut orders: Vec<(u64, Control)> = applied
        .filter_map(|it| match it.state {
            ControlState::Applied { before, .. } => Some((before.offset, it)),
            ControlState::Requested => None,
        })
        .collect();
    orders.sort_by_key(|(before, _)| *before);
    let mut orders = orders.into_iter().peekable();
    let mut halted: Halted<'_> = BTreeMap::new();
    for (verdict, _) in live {
        while let Some((_, order)) = orders.next_if(|(before, _)| *before <= verdict.position.offset) {
            let Some(id) = order.scope.id() else { continue };
            match (order.action, &order.scope) {
                // Whatever it lifted: what still stands shows again.
                (ControlAction::Resume, _) => halted.retain(|_, (family, _)| *family != family_of(id)),
                // Also one that says nothing: it is judged by those below it.
                (_, Scope::Session { .. }) => {
                    let root = family.roots.get(id.as_str()).cloned().unwrap_or_else(|| id.to_string());
                    halted.insert(id.clone(), (family_of(id), root));
                }
                (_, Scope::Run { .. } | Scope::Tenant | Scope::Flow(_)) => {}
            }
        }
        while let Some((record, step)) = steps.next_if(|(it, _)| it.offset.0 <= verdict.position.offset) {
            family.meet(record.appended_at, &step, &halted);
        }
        let ancestor = family.line(&verdict.session_id).find(|it| halted.contains_key(it.as_str()));
        Invariant::D4.check(ancestor.is_none() || verdict.decision == Decision::Halt, || {
            format!("{ancestor:?} was halted, {} of {} got {}", verdict.step_id, verdict.session_id, verdict.decision)
        })?;
        if verdict.decision == Decision::Halt {
            tally.halts += 1;
            let root = &verdict.root_session_id;
            halted.insert(verdict.session_id.as_ref(), (family_of(root), root.to_string()));
        }
    }
    Ok(())
}

/// Names are paths: everything of a family begins with its first session, whatever a step took for its root.
fn family_of(id: &SessionId<'_>) -> String {
    id.as_str().split('.').next().unwrap_or_default().to_owned()
}

/// Halted sessions, each with its family and the root of its run.
type Halted<'v> = BTreeMap<SessionId<'v>, (String, String)>;

/// Who descends from whom, as far as the steps so far have said it and the detector may not have forgotten it.
#[derive(Default)]
struct Family {
    idle_micros: i64,
    /// Session, its parent and its root.
    parents: BTreeMap<String, (String, String)>,
    /// Root of each session seen.
    roots: BTreeMap<String, String>,
    last: BTreeMap<String, i64>,
}

impl Family {
    fn meet(&mut self, appended_at: i64, step: &Step<'_>, halted: &Halted<'_>) {
        let root = step.root_session_id.to_string();
        let last = self.last.insert(root.clone(), appended_at).unwrap_or(appended_at);
        if appended_at - last > self.idle_micros && !halted.values().any(|(_, it)| *it == root) {
            self.parents.retain(|_, (_, it)| *it != root);
        }
        self.roots.insert(step.session_id.to_string(), root.clone());
        if let Some(parent) = &step.parent_session_id {
            self.parents.insert(step.session_id.to_string(), (parent.to_string(), root));
        }
    }

    /// The session and its ancestors in its run: a session that named no root is not in that of its parent.
    fn line(&self, session: &SessionId<'_>) -> impl Iterator<Item = String> {
        let parent = |it: &String| {
            let (parent, root) = self.parents.get(it)?;
            (self.roots.get(parent) == Some(root)).then(|| parent.clone())
        };
        std::iter::successors(Some(session.to_string()), parent)
    }
}

fn orders_are_in_force(
    partition: Partition,
    controls: &[Record],
    witness: &Witness,
    tally: &mut Tally,
) -> Result<(), Violation> {
    let mut answers: HashMap<ControlId<'static>, Offset> = HashMap::new();
    for control in controls.iter().filter_map(|it| serde_json::from_slice::<Control>(&it.value).ok()) {
        if let ControlState::Applied { before, .. } = control.state {
            let again = answers.insert(control.control_id.clone(), Offset(before.offset));
            Invariant::D6
                .check(again.is_none(), || format!("partition {partition}: {} answered twice", control.control_id))?;
        }
    }
    for (order, ends) in &witness.ordered {
        let before = answers.get(order).copied();
        let end = ends[partition.0 as usize];
        Invariant::D6.check(before.is_some_and(|it| it <= end), || {
            format!("partition {partition}: {order} came when steps reached {end}, and is in force from {before:?}")
        })?;
    }
    tally.orders += answers.len();
    Ok(())
}

fn everything_has_an_outcome(accepted: &BTreeMap<[u8; 16], usize>, witness: &Witness) -> Result<(), Violation> {
    let on_log: BTreeSet<_> = accepted.keys().copied().collect();
    Invariant::I1.check(on_log == witness.sent, || {
        format!("{} distinct steps were sent, {} are on the log", witness.sent.len(), on_log.len())
    })?;
    let twice = accepted.values().filter(|n| **n > 1).count();
    Invariant::I1.check(!witness.identities || twice == 0, || format!("{twice} steps are on the log more than once"))
}
