//! Orders on their way from the log to the core.

use std::collections::{HashMap, VecDeque};

use martingale_platform::log::{Offset, Record};
use martingale_schemas::{Control, ControlId, ControlState};

use crate::published::Published;

/// Orders that were read and are not in force yet, in the order of the log. Bounded by what one turn takes in: another
/// does only when the queue is empty.
#[derive(Debug)]
pub(crate) struct Orders {
    queue: VecDeque<Order>,
    /// First offset of the controls topic that was not read.
    next: Offset,
    /// The position each order got that was answered before a restart. Emptied as they are met.
    answered: HashMap<ControlId<'static>, Offset>,
    /// No new order may hold for steps below: their verdicts are published.
    floor: Offset,
}

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) control: Control,
    /// Steps from here on are judged under it.
    pub(crate) before: Offset,
    /// The answer is on the log already.
    pub(crate) answered: bool,
    offset: Offset,
}

impl Orders {
    pub(crate) fn new(next: Offset, published: Published) -> Self {
        Self { queue: VecDeque::new(), next, answered: published.answered, floor: published.judged_to }
    }

    pub(crate) const fn next(&self) -> Offset {
        self.next
    }

    /// Steps below have had their verdict published.
    pub(crate) const fn floor(&self) -> Offset {
        self.floor
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Where the last order that was read takes force. None that is read later does so earlier.
    pub(crate) fn last(&self) -> Option<Offset> {
        self.queue.back().map(|it| it.before)
    }

    /// Everything below has been applied.
    pub(crate) fn progress(&self) -> Offset {
        self.queue.front().map_or(self.next, |it| it.offset)
    }

    /// Takes a record in, to hold from the step at `next_step` on. Answers, its own and those of a former owner, are
    /// passed over.
    pub(crate) fn take_in(&mut self, record: &Record, next_step: Offset) -> Result<(), serde_json::Error> {
        if self.next.advance(record.offset).is_err() {
            return Ok(());
        }
        let control: Control = serde_json::from_slice(&record.value)?;
        if control.state != ControlState::Requested {
            return Ok(());
        }
        let answered = self.answered.remove(&control.control_id);
        let before = answered.unwrap_or_else(|| self.floor.max(next_step));
        // Orders take force in the order of the log, whatever was recorded of one.
        let before = self.queue.back().map_or(before, |last| before.max(last.before));
        self.queue.push_back(Order { control, before, answered: answered.is_some(), offset: record.offset });
        Ok(())
    }

    /// The next order that holds for the step at `offset`.
    pub(crate) fn due(&mut self, offset: Offset) -> Option<Order> {
        self.queue.pop_front_if(|it| it.before <= offset)
    }

    pub(crate) fn is_due(&self, offset: Offset) -> bool {
        self.queue.front().is_some_and(|it| it.before <= offset)
    }

    /// Orders that take force at or before the step at `offset`.
    pub(crate) fn due_by(&self, offset: Offset) -> impl Iterator<Item = &Control> {
        self.queue.iter().take_while(move |it| it.before <= offset).map(|it| &it.control)
    }
}
