//! What became of each control, gathered from the records of all partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use martingale_platform::log::Partition;
use martingale_schemas::{Control, ControlAction, ControlId, ControlState, Position, Scope, Timestamp};
use serde::Serialize;
use tokio::sync::watch;

/// A control and where it has been applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Given {
    pub control_id: ControlId<'static>,
    pub action: ControlAction,
    pub scope: Scope,
    pub time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `applied` once every partition has applied it.
    pub state: Progress,
    /// Whether any partition knows the session or run. A control of one that is not known yet holds when it comes.
    pub known: bool,
    /// For each partition that has applied it, the first step that was judged under it.
    pub applied_before: Vec<Position>,
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
            applied_before: Vec::new(),
            partitions,
            applied: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    /// Whether a partition holds it already: there it need not be put again.
    pub(crate) fn is_held(&self, partition: Partition) -> bool {
        self.held.contains(&partition)
    }

    pub(crate) fn is_applied(&self) -> bool {
        self.state == Progress::Applied
    }

    fn apply(&mut self, partition: Partition, before: Position, known: bool) {
        self.applied.insert(partition, before);
        self.applied_before = self.applied.values().copied().collect();
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
            table.by_time.insert((control.time, control.control_id.clone()));
            table.by_id.insert(control.control_id.clone(), Given::requested(control, self.partitions));
            if table.by_time.len() > self.controls_max
                && let Some((_, oldest)) = table.by_time.pop_first()
            {
                table.by_id.remove(&oldest);
            }
        }
        if let Some(standing) = table.by_id.get_mut(&control.control_id) {
            standing.held.insert(partition);
            if let ControlState::Applied { before, known } = control.state {
                standing.apply(partition, before, known);
            }
        }
        drop(table);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Given> {
        self.lock().by_id.get(id).cloned()
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
    use martingale_schemas::{Control, ControlAction, ControlId, ControlState, Position, Scope, SessionId, Timestamp};

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
        let applied = |partition, known| ControlState::Applied { before: Position { partition, offset: 7 }, known };
        let seen = || board.get("c").map(|it| (it.is_applied(), it.known, it.applied_before.len()));
        assert_eq!(seen(), None);
        for (partition, state, expected) in [
            (0, ControlState::Requested, (false, false, 0)),
            (0, applied(0, false), (false, false, 1)),
            (0, applied(0, false), (false, false, 1)),
            (1, ControlState::Requested, (false, false, 1)),
            (1, applied(1, true), (true, true, 2)),
        ] {
            board.note(Partition(partition), &control("c", state));
            assert_eq!(seen(), Some(expected), "{partition} {state:?}");
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
    fn partitions_may_be_read_one_after_another() {
        let board = Board::new(3, 2);
        for partition in 0..3 {
            for (time, id) in (1..).zip(["a", "b", "c", "d"]) {
                let before = Position { partition, offset: 7 };
                for state in [ControlState::Requested, ControlState::Applied { before, known: false }] {
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
