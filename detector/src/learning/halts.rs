//! Halts by hand, from the orders on the log: a session that was halted and sends nothing more has no verdict that says so.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use martingale_platform::log::{self, Log, Offset, Partition, ReadLimit, Record};
use martingale_schemas::{Control, ControlAction, topics};

use crate::Error;

/// Halts that are remembered. Beyond it the older half is forgotten: of sessions that were silent by then nobody can say whether
/// a person halted them, and none of them is learnt from.
const HALTS_MAX: usize = 1 << 16;

/// Every order is on every partition, so those of the first one are all.
const PARTITION: Partition = Partition(0);

/// Sessions, and roots of runs, that were halted, by the hash of their ids, and when that was told last.
#[derive(Debug)]
pub(super) struct Halts {
    pub(super) next: Option<Offset>,
    pub(super) times: HashMap<u64, i64>,
    /// All that were told later are remembered.
    pub(super) forgotten_to: i64,
}

impl Default for Halts {
    fn default() -> Self {
        Self { next: None, times: HashMap::new(), forgotten_to: i64::MIN }
    }
}

impl Halts {
    /// Takes in the orders that came since the last time.
    pub(super) async fn read(&mut self, log: &dyn Log, page: ReadLimit, hasher: &RandomState) -> Result<(), Error> {
        let mut next = match self.next {
            Some(it) => it,
            None => log.bounds(topics::CONTROLS, PARTITION).await?.start,
        };
        loop {
            let orders = match log.read(topics::CONTROLS, PARTITION, next, page).await {
                Err(log::Error::Expired { start, .. }) => {
                    next = start;
                    continue;
                }
                read => read?,
            };
            let Some(last) = orders.last() else { return Ok(()) };
            next = last.offset.next();
            orders.iter().for_each(|it| self.note(it, hasher));
            self.next = Some(next);
        }
    }

    pub(super) fn note(&mut self, record: &Record, hasher: &RandomState) {
        let Ok(control) = serde_json::from_slice::<Control>(&record.value) else { return };
        let (ControlAction::Halt, Some(id)) = (control.action, control.scope.id()) else { return };
        let at = self.times.entry(hasher.hash_one(id.as_str())).or_insert(record.appended_at);
        *at = record.appended_at.max(*at);
        if self.times.len() > HALTS_MAX {
            let mut times: Vec<i64> = self.times.values().copied().collect();
            let (_, median, _) = times.select_nth_unstable(HALTS_MAX / 2);
            self.forgotten_to = self.forgotten_to.max(*median);
            self.times.retain(|_, at| *at > self.forgotten_to);
        }
    }

    /// Whether this session was halted, or the run.
    pub(super) fn has(&self, id: u64) -> bool {
        self.times.contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn of_too_many_the_older_half_is_forgotten_and_that_is_known() {
        let (mut halts, hasher) = (Halts::default(), RandomState::new());
        let mut note = |action: &str, n: usize| {
            let value = format!(
                r#"{{"control_id":"{n}","action":"{action}","scope":{{"type":"session","session_id":"s{n}"}},
                "time":"2026-01-01T00:00:00Z","state":"requested"}}"#
            );
            let appended_at = i64::try_from(n).expect("small");
            let record = Record { offset: Offset(n as u64), appended_at, key: Bytes::new(), value: value.into() };
            halts.note(&record, &hasher);
            (halts.times.len(), halts.forgotten_to)
        };
        for (action, from, to, held) in [
            ("halt", 0, HALTS_MAX, (HALTS_MAX, i64::MIN)),
            ("resume", HALTS_MAX, 2 * HALTS_MAX, (HALTS_MAX, i64::MIN)),
            // Told again: the same, and not forgotten as one of the oldest.
            ("halt", 0, 1, (HALTS_MAX, i64::MIN)),
            ("halt", HALTS_MAX, HALTS_MAX + 1, (HALTS_MAX / 2, (HALTS_MAX / 2) as i64)),
            ("halt", HALTS_MAX, HALTS_MAX + 1, (HALTS_MAX / 2, (HALTS_MAX / 2) as i64)),
        ] {
            let last = (from..to).map(|n| note(action, n)).last();
            assert_eq!(last, Some(held), "{action} {from}");
        }
        let has = |n: usize| halts.has(hasher.hash_one(format!("s{n}")));
        let half = HALTS_MAX / 2;
        assert_eq!([0, half, half + 1, HALTS_MAX].map(has), [false, false, true, true]);
    }
}
