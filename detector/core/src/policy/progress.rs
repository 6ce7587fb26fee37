//! How far a session has come in the policies that span several steps. Everything is bounded ([`crate::StateLimits`]).

use std::collections::VecDeque;

use martingale_schemas::{StepId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::condition::Bound;
use crate::limits::StateLimits;
use crate::session::Counts;

/// A sequence that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Partial {
    /// [`super::Policy::key`].
    pub(super) policy: u64,
    pub(super) began: Timestamp,
    /// The steps that matched its first parts.
    pub(super) steps: Vec<Bound>,
}

impl Partial {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.steps.iter().map(Bound::bytes).sum::<usize>()
    }
}

/// The matching steps of a threshold within its window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) policy: u64,
    touched: Timestamp,
    /// Times and amounts, the oldest first.
    events: VecDeque<(Timestamp, f64)>,
    /// The latest of them, for evidence.
    pub(super) steps: VecDeque<StepId<'static>>,
}

/// Steps that a window keeps for evidence.
const WINDOW_STEPS_MAX: usize = 8;
/// One-time warnings remembered in one session; the oldest is forgotten and may be given again.
const SAID_MAX: usize = 32;

/// Parts of its length into which a window divides its amounts once they are more than it can keep one by one. Amounts of
/// one part leave together, when the latest of them does: a sum then reaches too far back by less than one part, and
/// never misses anything.
const WINDOW_PARTS: i64 = 120;

/// A sum that only grows and is always a number: a negative amount buys no room under the limit, and what is beyond all
/// numbers stays the largest of them.
fn plus(sum: f64, amount: f64) -> f64 {
    // `max` answers the number where the other is none.
    (sum.max(0.0) + amount.max(0.0)).min(f64::MAX)
}

impl Window {
    /// Takes a step in and answers the count or sum of the window. `sums`: amounts may be put together.
    fn add(
        &mut self,
        (at, amount, step): (Timestamp, f64, StepId<'static>),
        (within, sums): (i64, bool),
        events_max: usize,
    ) -> f64 {
        self.touched = at;
        let before = self.events.len();
        while self.events.front().is_some_and(|(then, _)| at.micros_since(*then) > within) {
            self.events.pop_front();
        }
        if self.events.len() < before {
            // As many as there are amounts, so that none is older than the window.
            self.steps.drain(..self.steps.len().saturating_sub(self.events.len()));
        }
        if self.events.len() >= events_max && sums {
            self.put_together(within);
        }
        if self.events.len() >= events_max {
            self.events.pop_front();
        }
        self.events.push_back((at, amount));
        self.steps.push_back(step);
        if self.steps.len() > WINDOW_STEPS_MAX {
            self.steps.pop_front();
        }
        self.events.iter().fold(0.0, |sum, (_, amount)| plus(sum, *amount))
    }

    /// Leaves one amount for each part of the window.
    fn put_together(&mut self, within: i64) {
        let part = |at: Timestamp| at.as_micros().div_euclid((within + WINDOW_PARTS - 1) / WINDOW_PARTS);
        let mut parts: VecDeque<(Timestamp, f64)> = VecDeque::with_capacity(self.events.capacity());
        for (at, amount) in self.events.drain(..) {
            match parts.back_mut().filter(|(then, _)| part(*then) == part(at)) {
                Some(last) => *last = (at, plus(last.1, amount)),
                None => parts.push_back((at, amount)),
            }
        }
        self.events = parts;
    }

    fn bytes(&self) -> usize {
        let ids: usize = self.steps.iter().map(|it| it.as_str().len()).sum();
        size_of::<Self>()
            + self.events.capacity() * size_of::<(Timestamp, f64)>()
            + self.steps.capacity() * size_of::<StepId<'static>>()
            + ids
    }
}

/// What one session remembers for policies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(super) partials: Vec<Partial>,
    windows: Vec<Window>,
    /// Keys of policies that gave their one-time warning or finding.
    said: VecDeque<u64>,
    /// Counts and time when the session was last resumed: budgets count from there.
    pub(super) base: Counts,
    pub(super) base_time: Option<Timestamp>,
}

impl Progress {
    pub(crate) fn resumed(base: Counts, now: Timestamp) -> Self {
        Self { base, base_time: Some(now), ..Self::default() }
    }

    /// What outlives the session's end: where budgets count from.
    pub(crate) fn end(&mut self) {
        *self = Self { base: self.base, base_time: self.base_time, ..Self::default() };
    }

    /// Remembers a partial match, and answers how many had to be dropped for it.
    pub(super) fn push(&mut self, partial: Partial, limits: &StateLimits) -> u64 {
        let same = |it: &Partial| it.policy == partial.policy && it.steps.len() == partial.steps.len();
        if self.partials.iter().filter(|it| same(it)).count() >= limits.partials_per_part_max
            && let Some(at) = self.partials.iter().position(same)
        {
            self.partials.remove(at);
        }
        self.partials.push(partial);
        let mut bytes: usize = self.partials.iter().map(Partial::bytes).sum();
        let mut dropped = 0;
        while self.partials.len() > limits.partials_max || bytes > limits.partials_bytes_max {
            bytes -= self.partials.remove(0).bytes();
            dropped += 1;
        }
        dropped
    }

    /// Takes a matching step into the window of a threshold, given its length and whether it sums. Answers the total and
    /// how many windows had to be dropped for it.
    pub(super) fn window(
        &mut self,
        policy: u64,
        event: (Timestamp, f64, StepId<'static>),
        span: (i64, bool),
        limits: &StateLimits,
    ) -> (f64, &Window, u64) {
        let mut dropped = 0;
        let found = self.windows.iter().position(|it| it.policy == policy);
        let index = found.unwrap_or_else(|| {
            if self.windows.len() >= limits.windows_max
                && let Some((oldest, _)) = self.windows.iter().enumerate().min_by_key(|(_, it)| it.touched)
            {
                self.windows.remove(oldest);
                dropped = 1;
            }
            let (events, steps) = Default::default();
            self.windows.push(Window { policy, touched: event.0, events, steps });
            self.windows.len() - 1
        });
        let window = &mut self.windows[index];
        let total = window.add(event, span, limits.window_events_max);
        (total, window, dropped)
    }

    /// `true` the first time it is asked about `key`.
    pub(super) fn say_once(&mut self, key: u64) -> bool {
        if self.said.contains(&key) {
            return false;
        }
        if self.said.len() >= SAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back(key);
        true
    }

    pub(crate) fn bytes(&self) -> usize {
        self.partials.iter().map(Partial::bytes).sum::<usize>()
            + self.windows.iter().map(Window::bytes).sum::<usize>()
            + self.said.capacity() * size_of::<u64>()
    }
}
