//! Which verdict a step was given, for the newest verdicts: what a log that knows no duplicates cannot say.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use martingale_platform::log::{Offset, Record};

use super::event::step_key;

/// The newest verdicts of one partition.
#[derive(Debug)]
pub(crate) struct Remembered {
    inner: Mutex<Inner>,
    max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    by_step: HashMap<[u8; 16], Offset>,
    order: VecDeque<[u8; 16]>,
}

impl Remembered {
    pub(crate) fn new(max: usize) -> Self {
        Self { inner: Mutex::default(), max: max.max(1) }
    }

    /// Takes in verdicts; beyond the limit the oldest are forgotten.
    pub(crate) fn note(&self, records: &[Record]) {
        let mut inner = self.lock();
        for record in records {
            let Some(step) = step_key(&record.value) else { continue };
            // A verdict that was published again says what the first said.
            if inner.by_step.contains_key(&step) {
                continue;
            }
            inner.by_step.insert(step, record.offset);
            inner.order.push_back(step);
            if inner.order.len() > self.max
                && let Some(oldest) = inner.order.pop_front()
            {
                inner.by_step.remove(&oldest);
            }
        }
    }

    /// Where the verdict of a step is.
    pub(crate) fn get(&self, step: &[u8; 16]) -> Option<Offset> {
        self.lock().by_step.get(step).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use martingale_platform::log::{Offset, Record};
    use martingale_schemas::{SessionId, StepId, VerdictId, ids};

    use super::Remembered;

    #[test]
    fn the_newest_are_kept_each_where_it_was_first() {
        let remembered = Remembered::new(2);
        let note = |step: &str, offset| {
            let id = VerdictId::of(&SessionId::from("s"), &StepId::from(step.to_owned()));
            let value = format!("{{\"verdict_id\":\"{id}\"}}").into_bytes().into();
            remembered.note(&[Record { offset: Offset(offset), appended_at: 0, key: bytes::Bytes::new(), value }]);
        };
        let get = |step: &str| remembered.get(&ids::step_key(&SessionId::from("s"), &StepId::from(step.to_owned())));
        note("1", 5);
        note("2", 6);
        note("1", 9);
        assert_eq!((get("1"), get("2"), get("3")), (Some(Offset(5)), Some(Offset(6)), None));
        note("3", 10);
        assert_eq!((get("1"), get("2"), get("3")), (None, Some(Offset(6)), Some(Offset(10))));
    }
}
