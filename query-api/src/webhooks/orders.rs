//! Halts by hand on their way through the partitions: pure.
//!
//! Every partition answers an order for itself, and only the one a session lives in knows it. So a halt is told when a
//! partition that knows its session or run has applied it, and one that nobody knows when all partitions have: before
//! that it might not hold where the session is. One that changed nothing there is not told: what stood was told when it came.

use std::collections::{BTreeMap, BTreeSet};

use martingale_platform::log::{Offset, Partition};
use martingale_schemas::{Control, ControlAction, ControlId, ControlState, Timestamp};

use super::message::Message;

/// Halts that may be under way at once. One more, and the oldest is told as far as it is known and given up: a partition
/// that answers nothing must not make the others' halts pile up.
const OPEN_MAX: usize = 1_024;

/// Halts that some partition has not applied yet.
#[derive(Debug)]
pub(super) struct Orders {
    partitions: usize,
    open: BTreeMap<ControlId<'static>, Open>,
}

#[derive(Debug)]
struct Open {
    control: Control,
    /// Its first record in each partition.
    begun: BTreeMap<Partition, Offset>,
    applied: BTreeSet<Partition>,
    /// A partition knows its session or run.
    known: bool,
    /// It made a difference in a partition.
    changed: bool,
    told: bool,
}

impl Open {
    fn new(control: Control) -> Self {
        let (known, changed, told) = Default::default();
        Self { control, begun: BTreeMap::new(), applied: BTreeSet::new(), known, changed, told }
    }
}

impl Orders {
    pub(super) const fn new(partitions: usize) -> Self {
        Self { partitions, open: BTreeMap::new() }
    }

    /// Takes in a record of `controls`; answers what is to be told. Every record may come again after a restart, and
    /// then the same is told under the same id.
    pub(super) fn note(&mut self, at: (Partition, Offset), control: Control, published: Timestamp) -> Option<Message> {
        let (partition, offset) = at;
        if control.action != ControlAction::Halt {
            return None;
        }
        match control.state {
            ControlState::Requested => {
                let id = control.control_id.clone();
                self.open.entry(id).or_insert_with(|| Open::new(control)).begun.entry(partition).or_insert(offset);
                self.give_up(published)
            }
            ControlState::Applied { before, known, changed } => {
                // Orders of before it was told count as a difference.
                let changed = changed != Some(false);
                let here = (known && changed).then(|| Message::of_halt(&control, Some(before), published));
                let Some(open) = self.open.get_mut(&control.control_id) else { return here };
                open.applied.insert(partition);
                open.known |= known;
                open.changed |= changed;
                let everywhere = open.applied.len() >= self.partitions;
                let is_ahead = everywhere && !open.known && open.changed;
                let nowhere = || is_ahead.then(|| Message::of_halt(&control, None, published));
                let message = if open.told { None } else { here.or_else(nowhere) };
                open.told |= message.is_some();
                if everywhere {
                    self.open.remove(&control.control_id);
                }
                message
            }
        }
    }

    /// Up to where a partition need not be read again after a restart, when it was read up to `next`.
    pub(super) fn done(&self, partition: Partition, next: Offset) -> Offset {
        self.open.values().filter_map(|it| it.begun.get(&partition).copied()).min().map_or(next, |it| it.min(next))
    }

    fn give_up(&mut self, published: Timestamp) -> Option<Message> {
        if self.open.len() <= OPEN_MAX {
            return None;
        }
        let oldest = self.open.values().min_by_key(|it| it.control.time)?.control.control_id.clone();
        let open = self.open.remove(&oldest)?;
        tracing::warn!(control = %oldest, applied = open.applied.len(), "a halt is not applied everywhere, no longer waited for");
        // Where it is known and changed nothing, what stands was told when it came.
        let is_news = !open.told && (open.changed || !open.known);
        is_news.then(|| Message::of_halt(&open.control, None, published))
    }
}

#[cfg(test)]
mod tests {
    use martingale_platform::log::{Offset, Partition};
    use martingale_schemas::{Control, ControlAction, ControlId, ControlState, Position, Scope, SessionId, Timestamp};
    use serde_json::{Value, json};

    use super::{OPEN_MAX, Orders};

    const AT: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn control(id: &str, action: ControlAction, state: ControlState) -> Control {
        Control {
            control_id: ControlId::from(id.to_owned()),
            action,
            scope: Scope::Session { session_id: SessionId::from("s".to_owned()) },
            time: AT,
            by: None,
            reason: None,
            state,
        }
    }

    /// What a partition answered: whether it knows the session, and whether it made a difference.
    type Answer = (bool, Option<bool>);
    /// One record: partition, and its answer; `None` is the request.
    type Record = (u32, Option<Answer>);

    /// What each record makes known: nothing, or `known` and the partition of `before`.
    fn told(action: ControlAction, records: &[Record]) -> Vec<Option<(bool, Value)>> {
        let mut orders = Orders::new(3);
        let mut next = [0; 3];
        let mut out = Vec::new();
        for (partition, answer) in records {
            let offset = &mut next[*partition as usize];
            let before = Position { partition: *partition, offset: 7 };
            let applied = |(known, changed)| ControlState::Applied { before, known, changed };
            let state = answer.map_or(ControlState::Requested, applied);
            let message = orders.note((Partition(*partition), Offset(*offset)), control("c", action, state), AT);
            *offset += 1;
            out.push(message.map(|it| {
                let payload: Value = serde_json::from_str(&it.payload).expect("JSON");
                let data = &payload["data"];
                (data["known"].as_bool().expect("known"), data["before"]["partition"].clone())
            }));
        }
        out
    }

    #[test]
    fn a_halt_is_told_once_by_who_knows_it_or_when_it_holds_everywhere() {
        use ControlAction::{Halt, Resume};
        let (yes, no) = (Some((true, Some(true))), Some((false, Some(true))));
        let (still, still_ahead) = (Some((true, Some(false))), Some((false, Some(false))));
        let requested: [Record; 3] = [(0, None), (1, None), (2, None)];
        let all = |applied: [Record; 3]| [requested, applied].concat();
        for (action, records, expected) in [
            // Of the partition it lives in, whichever answers first.
            (Halt, all([(0, no), (1, yes), (2, no)]), [None, Some((true, json!(1))), None]),
            (Halt, all([(2, yes), (0, no), (1, no)]), [Some((true, json!(2))), None, None]),
            (Halt, all([(0, yes), (1, yes), (2, no)]), [Some((true, json!(0))), None, None]),
            // Known to nobody: when all hold it, and of no partition.
            (Halt, all([(1, no), (2, no), (0, no)]), [None, None, Some((false, Value::Null))]),
            // It stood where it is known: partitions that do not know it cannot say.
            (Halt, all([(0, no), (1, still), (2, no)]), [None, None, None]),
            (Halt, all([(1, still), (0, yes), (2, no)]), [None, Some((true, json!(0))), None]),
            // It was given ahead before.
            (Halt, all([(0, still_ahead), (1, still_ahead), (2, still_ahead)]), [None, None, None]),
            (Halt, all([(0, still_ahead), (1, no), (2, still_ahead)]), [None, None, Some((false, Value::Null))]),
            // An answer of before it was told whether it made a difference.
            (Halt, all([(0, Some((true, None))), (1, no), (2, no)]), [Some((true, json!(0))), None, None]),
            // Said twice by one partition is not said by two.
            (Halt, all([(1, no), (1, no), (0, no)]), [None, None, None]),
            (Resume, all([(0, yes), (1, yes), (2, yes)]), [None, None, None]),
        ] {
            let told = told(action, &records);
            assert_eq!(told[3..], expected, "{records:?}");
            assert!(told[..3].iter().all(Option::is_none));
        }
        // Read from the middle: what it knows for sure is told.
        assert_eq!(told(Halt, &[(0, no), (1, yes)]), [None, Some((true, json!(1)))]);
    }

    #[test]
    fn a_partition_is_read_again_from_where_an_open_halt_began() {
        let mut orders = Orders::new(2);
        let halt = |id: &str, state| control(id, ControlAction::Halt, state);
        let applied = |partition| ControlState::Applied {
            before: Position { partition, offset: 0 },
            known: false,
            changed: None,
        };
        orders.note((Partition(0), Offset(5)), halt("a", ControlState::Requested), AT);
        orders.note((Partition(0), Offset(6)), halt("b", ControlState::Requested), AT);
        orders.note((Partition(0), Offset(7)), halt("a", applied(0)), AT);
        assert_eq!(
            (orders.done(Partition(0), Offset(8)), orders.done(Partition(1), Offset(3))),
            (Offset(5), Offset(3))
        );
        orders.note((Partition(1), Offset(3)), halt("a", applied(1)), AT);
        assert_eq!(orders.done(Partition(0), Offset(8)), Offset(6));
        orders.note((Partition(0), Offset(8)), halt("b", applied(0)), AT);
        orders.note((Partition(1), Offset(4)), halt("b", applied(1)), AT);
        assert_eq!(orders.done(Partition(0), Offset(9)), Offset(9));
    }

    #[test]
    fn halts_that_are_never_applied_do_not_pile_up() {
        // What one partition answered to the first: each is told once, but where it is known to have changed nothing.
        for (answer, expected) in [(None, 1), (Some((true, Some(true))), 1), (Some((true, Some(false))), 0)] {
            let mut orders = Orders::new(2);
            let mut told = Vec::new();
            for id in 0..=OPEN_MAX {
                let mut requested = control(&id.to_string(), ControlAction::Halt, ControlState::Requested);
                requested.time = AT.plus_micros(i64::try_from(id).expect("small"));
                told.extend(orders.note((Partition(0), Offset(id as u64)), requested, AT));
                if let (0, Some((known, changed))) = (id, answer) {
                    let before = Position { partition: 0, offset: 7 };
                    let applied = ControlState::Applied { before, known, changed };
                    let at = (Partition(0), Offset(OPEN_MAX as u64 + 1));
                    told.extend(orders.note(at, control("0", ControlAction::Halt, applied), AT));
                }
            }
            assert_eq!((told.len(), orders.open.len()), (expected, OPEN_MAX), "{answer:?}");
            assert!(told.iter().all(|it| it.payload.contains("\"control_id\":\"0\"")), "{answer:?}");
        }
    }
}
