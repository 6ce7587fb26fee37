//! What became of each control, gathered from the records of all partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use martingale_platform::log::Partition;
use martingale_schemas::{
    Control, ControlAction, ControlId, ControlState, Position, Scope, SessionId, Step, Timestamp,
};
use serde::Serialize;
use tokio::sync::watch;

use super::granted::{Book, Grants};

/// A control and where it has been applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Given {
    pub control_id: ControlId<'static>,
    #[serde(flatten)]
    pub action: ControlAction,
    pub scope: Scope,
    pub time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `applied` once every partition has applied it.
    pub state: Progress,
    /// Whether any partition knows the session or run. A control of one that is not known yet holds when it comes. Of a grant,
    /// whether it is kept; of a revocation, whether there was any.
    pub known: bool,
    /// Whether it changed anything when it took force: a resume of a session that was not halted does not, nor a second halt.
    /// One of a run that was not halted does where it renews budgets. Absent until a partition has applied it, and for
    /// orders of before this was told. In the answer to an order that was given before it is `false`: nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
    /// For each partition that has applied it, the first step that was judged under it.
    pub applied_before: Vec<Position>,
    /// An order of this id was given before, and this request did nothing: what else is told is of that one, and what it
    /// changed is told by `GET /v1/controls/{id}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    #[serde(skip)]
    partitions: u32,
    #[serde(skip)]
    applied: BTreeMap<Partition, Position>,
    /// Partitions that hold it.
    #[serde(skip)]
    held: BTreeSet<Partition>,
}

/// How far a control has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    Requested,
    Applied,
}

impl Given {
    pub(crate) fn requested(control: &Control, partitions: u32) -> Self {
        Self {
            control_id: control.control_id.clone(),
            action: control.action,
            scope: control.scope.clone(),
            time: control.time,
            by: control.by.clone(),
            reason: control.reason.clone(),
            state: Progress::Requested,
            known: false,
            changed: None,
            applied_before: Vec::new(),
            repeated: false,
            partitions,
            applied: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    /// Whether a partition holds it already: there it need not be put again.
    pub(crate) fn is_held(&self, partition: Partition) -> bool {
        self.held.contains(&partition)
    }

    /// The same order, told to whoever gives it a second time.
    pub(crate) fn again(self) -> Self {
        let changed = if self.is_applied() { Some(false) } else { None };
        Self { changed, repeated: true, ..self }
    }

    pub(crate) fn is_applied(&self) -> bool {
        self.state == Progress::Applied
    }

    fn apply(&mut self, partition: Partition, before: Position, known: bool, changed: Option<bool>) {
        self.applied.insert(partition, before);
        self.applied_before = self.applied.values().copied().collect();
        // Every partition keeps a halt of what it does not know, so those that know it tell, if there are any. One that
        // changed nothing in a partition may have changed something in another; `None` is the least.
        if known && !self.known {
            self.changed = changed;
        } else if known == self.known {
            self.changed = self.changed.max(changed);
        }
        self.known |= known;
        if self.applied.len() >= self.partitions as usize {
            self.state = Progress::Applied;
        }
    }
}

/// The newest controls by the time they were given; history has them all.
///
/// Partitions are read one after another at start, so the same controls come once for each of them. What is kept follows
/// from the controls alone and not from the order they come in: one that is older than all of a full board is not taken,
/// so the second partition does not bring back what the first has seen leave.
#[derive(Clone, Debug)]
pub struct Board {
    table: Arc<Mutex<Table>>,
    changed: watch::Sender<u64>,
    partitions: u32,
    controls_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<ControlId<'static>, Given>,
    by_time: BTreeSet<(Timestamp, ControlId<'static>)>,
    /// The last order for each scope in the order of the log, of those that are kept: as detectors apply them, whatever
    /// their clocks said.
    in_force: HashMap<Scope, ControlId<'static>>,
    granted: Book,
}

impl Table {
    fn take(&mut self, control: &Control, partitions: u32) {
        self.by_time.insert((control.time, control.control_id.clone()));
        self.by_id.insert(control.control_id.clone(), Given::requested(control, partitions));
    }

    fn forget_oldest(&mut self) {
        let Some((_, oldest)) = self.by_time.pop_first() else { return };
        let Some(given) = self.by_id.remove(&oldest) else { return };
        // A later order for the scope stays in force.
        if self.in_force.get(&given.scope) == Some(&oldest) {
            self.in_force.remove(&given.scope);
        }
    }

    fn halt(&self, scope: &Scope) -> Option<&Given> {
        let id = self.in_force.get(scope)?;
        self.by_id.get(id).filter(|it| it.action == ControlAction::Halt)
    }
}

impl Board {
    #[must_use]
    pub fn new(partitions: u32, controls_max: usize) -> Self {
        Self { table: Arc::default(), changed: watch::channel(0).0, partitions, controls_max: controls_max.max(1) }
    }

    /// Changes whenever a control does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn note(&self, partition: Partition, control: &Control) {
        let mut table = self.lock();
        if !table.by_id.contains_key(&control.control_id) {
            table.take(control, self.partitions);
            if table.by_time.len() > self.controls_max {
                table.forget_oldest();
            }
        }
        if partition == Partition(0) {
            table.granted.note(control);
        }
        // Every order is on every partition, so one of them tells their order.
        if partition == Partition(0)
            && control.state == ControlState::Requested
            && table.by_id.contains_key(&control.control_id)
        {
            table.in_force.insert(control.scope.clone(), control.control_id.clone());
        }
        if let Some(standing) = table.by_id.get_mut(&control.control_id) {
            standing.held.insert(partition);
            if let ControlState::Applied { before, known, changed } = control.state {
                standing.apply(partition, before, known, changed);
            }
        }
        drop(table);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Given> {
        self.lock().by_id.get(id).cloned()
    }

    /// Tells that retention has removed the first controls of the first partition.
    pub(crate) fn lacks_beginning(&self) {
        self.lock().granted.lacks_beginning();
    }

    /// Whether it has every order of the tenant that there ever was.
    pub(crate) fn has_all(&self) -> bool {
        let table = self.lock();
        !table.granted.is_cut() && table.by_time.len() < self.controls_max
    }

    /// What an order of this id granted.
    pub(crate) fn granted(&self, id: &str) -> Option<Scope> {
        let table = self.lock();
        let of_order = table.by_id.get(id).filter(|it| matches!(it.action, ControlAction::Grant { .. }));
        of_order.map(|it| it.scope.clone()).or_else(|| table.granted.flow_of(id).map(Scope::Flow))
    }

    pub(crate) fn grants(&self, now: Timestamp) -> Grants {
        self.lock().granted.in_force(now)
    }

    /// A halt that stands over a step, given by a person: of its session, its parent or the root of its run, or of the run.
    /// Whether a rule gave one, or a person one of an ancestor in between, only the detector knows.
    pub(crate) fn halt_over(&self, step: &Step<'_>) -> Option<Given> {
        let table = self.lock();
        if table.in_force.is_empty() {
            return None;
        }
        let of = |id: &SessionId<'_>| table.halt(&Scope::Session { session_id: id.to_static() });
        of(&step.session_id)
            .or_else(|| step.parent_session_id.as_ref().and_then(of))
            .or_else(|| of(&step.root_session_id))
            .or_else(|| table.halt(&Scope::Run { root_session_id: step.root_session_id.to_static() }))
            .cloned()
    }

    /// The newest controls whose scope passes, newest first.
    pub(crate) fn newest(&self, limit: usize, mut passes: impl FnMut(&Scope) -> bool) -> Vec<Given> {
        let table = self.lock();
        let newest = table.by_time.iter().rev().filter_map(|(_, id)| table.by_id.get(id));
        newest.filter(|standing| passes(&standing.scope)).take(limit).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use martingale_platform::log::Partition;
    use martingale_schemas::{
        Control, ControlAction, ControlId, ControlState, Position, Scope, SessionId, Step, Timestamp,
    };

    use super::Board;

    fn control(id: &str, state: ControlState) -> Control {
        Control {
            control_id: ControlId::from(id.to_owned()),
            action: ControlAction::Halt,
            scope: Scope::Session { session_id: SessionId::from("s".to_owned()) },
            time: Timestamp::from_micros(1),
            by: None,
            reason: None,
            state,
        }
    }

    #[test]
    fn a_control_is_applied_when_every_partition_has_applied_it() {
        let board = Board::new(2, 8);
        let applied = |partition, known| {
            let before = Position { partition, offset: 7 };
            ControlState::Applied { before, known, changed: Some(known) }
        };
        let seen = || board.get("c").map(|it| (it.is_applied(), it.known, it.changed, it.applied_before.len()));
        assert_eq!(seen(), None);
        for (partition, state, expected) in [
            (0, ControlState::Requested, (false, false, None, 0)),
            (0, applied(0, false), (false, false, Some(false), 1)),
            (0, applied(0, false), (false, false, Some(false), 1)),
            (1, ControlState::Requested, (false, false, Some(false), 1)),
            (1, applied(1, true), (true, true, Some(true), 2)),
        ] {
            board.note(Partition(partition), &control("c", state));
            assert_eq!(seen(), Some(expected), "{partition} {state:?}");
        }
    }

    /// A rule's halt stands in the partition of its session alone, and a second one by hand is new to the others.
    #[test]
    fn whether_it_changed_anything_is_said_by_partitions_that_know_it() {
        for (answers, expected) in [
            ([(true, false), (false, true), (false, true)], (true, Some(false))),
            ([(false, true), (true, false), (false, true)], (true, Some(false))),
            ([(false, false), (false, false), (true, true)], (true, Some(true))),
            ([(true, false), (true, true), (false, false)], (true, Some(true))),
            ([(false, true), (false, true), (false, true)], (false, Some(true))),
            ([(false, false), (false, false), (false, false)], (false, Some(false))),
        ] {
            let board = Board::new(3, 8);
            for (partition, (known, changed)) in (0..).zip(answers) {
                board.note(Partition(partition), &control("c", ControlState::Requested));
                let before = Position { partition, offset: 7 };
                let state = ControlState::Applied { before, known, changed: Some(changed) };
                board.note(Partition(partition), &control("c", state));
            }
            assert_eq!(board.get("c").map(|it| (it.known, it.changed)), Some(expected), "{answers:?}");
        }
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_limit() {
        let board = Board::new(1, 2);
        for id in ["a", "b", "c"] {
            board.note(Partition(0), &control(id, ControlState::Requested));
        }
        let ids: Vec<String> = board.newest(9, |_| true).iter().map(|it| it.control_id.to_string()).collect();
        assert_eq!(ids, ["c", "b"]);
    }

    #[test]
    fn the_newest_order_for_a_scope_is_in_force() {
        let board = Board::new(2, 4);
        let session = |id: &str| Scope::Session { session_id: SessionId::from(id.to_owned()) };
        let run = |id: &str| Scope::Run { root_session_id: SessionId::from(id.to_owned()) };
        let json = br#"{"session_id":"kid","root_session_id":"root","parent_session_id":"mother","step_id":"1","kind":"plan","time":"2026-01-31T12:00:00Z","agent":{"id":"a"}}"#;
        let step = Step::from_log(json).expect("a step");
        let halted = || board.halt_over(&step).map(|it| it.control_id.as_str().trim_start_matches('0').to_owned());
        let (halt, resume) = (ControlAction::Halt, ControlAction::Resume);
        for (id, action, scope, expected) in [
            (1, halt, session("other"), None),
            (2, halt, run("kid"), None),
            (3, halt, session("mother"), Some("3")),
            (4, halt, run("root"), Some("3")),
            (5, resume, session("mother"), Some("4")),
            // Only that of its own scope is lifted.
            (6, resume, session("root"), Some("4")),
            (7, resume, run("root"), None),
            (8, halt, session("kid"), Some("8")),
            (9, resume, session("kid"), None),
            (10, halt, session("root"), Some("10")),
            // Four orders are kept: those that are pushed out are forgotten with what they said.
            (11, halt, session("a"), Some("10")),
            (12, halt, session("b"), Some("10")),
            (13, halt, session("c"), Some("10")),
            (14, halt, session("d"), None),
        ] {
            // All at one moment by the clock: the log alone tells their order.
            let control = Control { action, scope, ..control(&format!("{id:02}"), ControlState::Requested) };
            board.note(Partition(0), &control);
            // Another partition may be far behind, and tells nothing of it.
            board.note(Partition(1), &control);
            board.note(Partition(1), &Control { control_id: ControlId::from("01".to_owned()), ..control });
            assert_eq!(halted().as_deref(), expected, "at {id}");
        }
    }

    #[test]
    fn partitions_may_be_read_one_after_another() {
        let board = Board::new(3, 2);
        for partition in 0..3 {
            for (time, id) in (1..).zip(["a", "b", "c", "d"]) {
                let before = Position { partition, offset: 7 };
                for state in [ControlState::Requested, ControlState::Applied { before, known: false, changed: None }] {
                    let control = Control { time: Timestamp::from_micros(time), ..control(id, state) };
                    board.note(Partition(partition), &control);
                }
            }
        }
        let kept: Vec<(String, bool)> =
            board.newest(9, |_| true).iter().map(|it| (it.control_id.to_string(), it.is_applied())).collect();
        assert_eq!(kept, [("d".to_owned(), true), ("c".to_owned(), true)]);
    }
}
