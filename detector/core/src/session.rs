//! What is remembered of one session.

use martingale_schemas::{Kind, SessionId, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::baseline;
use crate::columns::Calls;
use crate::drift;
use crate::escalation::Entitled;
use crate::halt::Halt;
use crate::hijack::Memory;
use crate::pace::Pace;
use crate::policy::Progress;
use crate::provenance::{At, Index};
use crate::recent::{Fingerprints, Recent};
use crate::run::{Place, parent_of};
use crate::state::{Part, PartRef, PartState};
use crate::tally::Tally;
use crate::tools::Defined;

/// Runs beside its own that a session is remembered to stand in. Steps of one session that tell different roots are refused, so
/// there are more only where many sessions name it as their parent before it begins, each with another root.
const RUNS_MAX: usize = 32;

/// Sums over steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub steps: u64,
    pub tool_calls: u64,
    /// Steps that failed.
    pub errors: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
}

/// What budgets are about, and baselines count of sessions. Their order is part of the stored form of baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Steps,
    ToolCalls,
    Tokens,
    /// Millionths of a US dollar.
    MicroUsd,
    /// Microseconds between the first and the latest step.
    Micros,
}

impl Measure {
    /// An amount in the unit a person reads.
    #[expect(clippy::cast_precision_loss, reason = "amounts of one session are far below 2^52")]
    pub(crate) fn shown(self, amount: u64) -> f64 {
        match self {
            Self::MicroUsd | Self::Micros => amount as f64 / 1e6,
            _ => amount as f64,
        }
    }
}

impl Counts {
    /// Takes in a step, and answers what it counts for alone.
    pub(crate) fn add(&mut self, step: &Step<'_>) -> Self {
        let one = Self {
            steps: 1,
            tool_calls: u64::from(step.kind == Kind::ToolCall),
            errors: u64::from(step.failed()),
            tokens: step.usage.map_or(0, |it| it.tokens()),
            micro_usd: step.usage.map_or(0, |it| it.micro_usd()),
        };
        self.steps += one.steps;
        self.tool_calls += one.tool_calls;
        self.errors += one.errors;
        self.tokens = self.tokens.saturating_add(one.tokens);
        self.micro_usd = self.micro_usd.saturating_add(one.micro_usd);
        one
    }
}

/// From one time to a later one, in microseconds.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.micros_since(from)).unwrap_or(0)
}

/// State of one session: everything about it that a later verdict may depend on. Serialised is its head: what is written
/// with every step, and says which parts there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    /// Root of its run, once a step named it.
    pub(crate) root: Option<SessionId<'static>>,
    /// Where it stands in that run.
    pub(crate) place: Place,
    /// Sessions that named it as their parent, and `spawn` steps of its own: whichever is more is its fan-out.
    pub(crate) children: u32,
    pub(crate) spawns: u32,
    pub(crate) counts: Counts,
    /// Largest `seq` seen.
    pub(crate) last_seq: Option<u64>,
    /// Event time of the first step, and the latest so far.
    pub(crate) started: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) ended: bool,
    pub(crate) halt: Option<Box<Halt>>,
    pub(crate) recent: Recent,
    pub(crate) calls: Calls,
    pub(crate) progress: Progress,
    /// What it has read, once it read something.
    pub(crate) provenance: Option<Box<Index>>,
    /// What it read and was asked, as hijack scoring needs it, once there is something.
    #[serde(default)]
    pub(crate) memory: Option<Box<Memory>>,
    /// How far it departs from its agent's baseline, once there is one.
    #[serde(default)]
    pub(crate) drift: Option<Box<drift::Memory>>,
    /// Other runs in which it stands as well: it was there before, or sessions of them named it. A halt of it counts in each.
    #[serde(default)]
    pub(crate) also_in: Vec<SessionId<'static>>,
    /// What it was granted, once something was declared or approved. Outlives its end: to end is not to be granted anew.
    #[serde(default)]
    pub(crate) entitled: Option<Box<Entitled>>,
    /// How fast it uses what budgets are about, since it was last resumed.
    #[serde(default)]
    pub(crate) pace: Pace,
    /// What the definitions of tools that its steps have shown warn of.
    #[serde(default)]
    pub(crate) defined: Defined,
    /// Key of the baseline it is held against: that of the agent of its first step, also for steps of other agents, since so
    /// baselines are learnt. `None` where the first step was judged before this was kept.
    #[serde(default)]
    pub(crate) agent: Option<u64>,
    /// Pages of what was let go since the last hand-over.
    #[serde(skip)]
    pub(crate) gone: Vec<At>,
}

impl SessionState {
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halt.is_some()
    }

    /// Whether a step of the session, or of a child that names it, was seen.
    pub(crate) fn is_known(&self) -> bool {
        self.counts.steps > 0 || self.root.is_some()
    }

    /// Whether a step of it was seen in the run of `root`.
    pub(crate) fn is_in(&self, root: &SessionId<'_>) -> bool {
        self.counts.steps > 0 && self.belongs_to(root)
    }

    /// Whether the run knows it where this step says it is. One that told its root alone may tell its parent later, and what
    /// is above that may be known later.
    pub(crate) fn is_placed(&self, step: &Step<'_>) -> bool {
        let learns_parent = || parent_of(step).is_some_and(|it| it.as_str() != step.root_session_id.as_str());
        let learns = self.place.is_below_the_root() && learns_parent() || self.place.is_short_of(&step.ancestors);
        self.is_in(&step.root_session_id) && !learns
    }

    /// Whether a step of it was seen in the run of `root`, or named it there.
    pub(crate) fn belongs_to(&self, root: &SessionId<'_>) -> bool {
        self.root.as_ref().is_some_and(|it| it.as_str() == root.as_str())
    }

    /// Whether a halt of it counts in the run of `root`.
    pub(crate) fn is_found_in(&self, root: &SessionId<'_>) -> bool {
        self.belongs_to(root) || self.also_in.iter().any(|it| it.as_str() == root.as_str())
    }

    /// Remembers that it stands in the run of `root` as well, the latest [`RUNS_MAX`] of them. Whether that is new.
    pub(crate) fn stands_in(&mut self, root: &SessionId<'_>) -> bool {
        if self.is_found_in(root) {
            return false;
        }
        if self.also_in.len() >= RUNS_MAX {
            self.also_in.remove(0);
        }
        self.also_in.push(root.to_static());
        true
    }

    /// Puts it into the run of `root`.
    pub(crate) fn enter(&mut self, root: &SessionId<'_>) {
        if self.belongs_to(root) {
            return;
        }
        self.also_in.retain(|it| it.as_str() != root.as_str());
        if let Some(before) = self.root.replace(root.to_static()) {
            self.stands_in(&before);
        }
    }

    /// Most children it is known to have started, since it was last resumed.
    pub(crate) fn fan_out(&self) -> u32 {
        self.children.max(self.spawns)
    }

    /// Pages of what it read, once all that changed is stored.
    fn held(&self) -> impl Iterator<Item = At> {
        self.provenance.iter().flat_map(|it| it.held()).chain(self.memory.iter().flat_map(|it| it.held()))
    }

    /// Parts that are stored beside it, once all that changed is.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        let parts = parts_at(self.recent.parts().places(), self.calls.parts().places()).chain(self.held().map(page));
        parts.collect::<Vec<_>>().into_iter()
    }

    /// Parts to load before a step of it can be judged.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Part> + use<> {
        let values = self.provenance.iter().flat_map(|it| it.missing());
        let pages = values.chain(self.memory.iter().flat_map(|it| it.missing())).map(page);
        let parts = parts_at(self.recent.parts().missing(), self.calls.parts().missing()).chain(pages);
        parts.collect::<Vec<_>>().into_iter()
    }

    pub(crate) fn is_whole(&self) -> bool {
        let is_read = self.provenance.as_ref().is_none_or(|it| it.is_whole())
            && self.memory.as_ref().is_none_or(|it| it.is_whole());
        !self.recent.parts().is_missing() && !self.calls.parts().is_missing() && is_read
    }

    /// Takes in a part that was missing; `None` when there was none.
    pub(crate) fn attach(&mut self, part: Part, stored: Option<PartState>) {
        match (part, stored) {
            (Part::Recent(place), Some(PartState::Recent(it))) => self.recent.attach(place.into(), &it),
            (Part::Recent(place), _) => self.recent.attach(place.into(), &Fingerprints::default()),
            (Part::Calls(place), Some(PartState::Calls(it))) => self.calls.attach(place.into(), it),
            (Part::Calls(place), _) => self.calls.attach(place.into(), Vec::new()),
            (Part::Values(shelf, place), stored) => {
                let stored = stored.and_then(PartState::into_page);
                match (&mut self.memory, &mut self.provenance) {
                    (Some(memory), _) if shelf.is_of_memory() => memory.attach((shelf, place), stored),
                    (_, Some(index)) => index.attach((shelf, place), stored),
                    _ => {}
                }
            }
        }
    }

    /// Hands out the parts that changed since the last call; `None` where there is none any more.
    pub(crate) fn drain_parts(&mut self, mut f: impl FnMut(Part, Option<PartRef<'_>>)) {
        for (place, held) in self.recent.drain_changed() {
            f(Part::Recent(small(place)), held.then(|| PartRef::Recent(self.recent.part(place))));
        }
        for (place, held) in self.calls.drain_changed() {
            f(Part::Calls(small(place)), held.then(|| PartRef::Calls(self.calls.part(place))));
        }
        if !self.gone.is_empty() {
            let held: Vec<At> = self.held().collect();
            let gone = std::mem::take(&mut self.gone).into_iter().filter(|it| !held.contains(it));
            gone.for_each(|(shelf, place)| f(Part::Values(shelf, place), None));
        }
        if let Some(index) = &mut self.provenance {
            index.drain(&mut |(shelf, place), page| f(Part::Values(shelf, place), page.map(PartRef::Values)));
        }
        if let Some(memory) = &mut self.memory {
            memory.drain(&mut |(shelf, place), page| f(Part::Values(shelf, place), page.map(PartRef::Values)));
        }
    }

    /// Nothing worth storing.
    pub(crate) fn is_blank(&self) -> bool {
        !self.is_known() && self.halt.is_none()
    }

    /// Counts the step and moves time on. Time never goes back: a late step is judged at the time already reached.
    pub(crate) fn advance(&mut self, step: &Step<'_>, tally: &mut Tally) {
        if self.counts.steps == 0 {
            self.started = step.time;
            self.now = step.time;
            self.agent = Some(baseline::agent(step));
        }
        let before = self.now;
        self.now = self.now.max(step.time);
        self.pace.add(self.counts.add(step), span(before, self.now));
        self.spawns = self.spawns.saturating_add(u32::from(step.kind == Kind::Spawn));
        if let Some(seq) = step.seq {
            self.last_seq = Some(tally.number(self.last_seq, seq));
        }
    }

    /// After the session's end only what must outlive it is kept: its halt, its counts, and the ids of its steps, so that
    /// a resend is still a duplicate. A step that comes later is judged on fresh loop and policy state, and knows nothing of
    /// what was read; what its run shares of it stays.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.drift = None;
        self.defined = Defined::default();
        self.calls.clear();
        self.progress.end();
        self.pace = Pace::default();
        // What was never stored is removed with what was: that changes nothing.
        if let Some(mut index) = self.provenance.take() {
            self.gone.extend(index.held());
            index.drain(&mut |at, _| self.gone.push(at));
        }
        if let Some(mut memory) = self.memory.take() {
            self.gone.extend(memory.held());
            memory.drain(&mut |at, _| self.gone.push(at));
        }
        self.gone.sort_unstable();
        self.gone.dedup();
    }

    /// A person lifted the halt: what led to it is forgotten, and budgets and the fan-out count from here, or the next
    /// step would bring the halt back.
    pub(crate) fn resume(&mut self) {
        self.halt = None;
        (self.children, self.spawns) = (0, 0);
        self.calls.clear();
        self.progress = Progress::resumed(self.counts, self.now);
        self.pace = Pace::default();
        if self.is_blank() {
            // It is not stored, and must not be remembered in memory alone.
            *self = Self::default();
        }
    }

    /// Estimated memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.root.as_ref().map_or(0, |it| it.as_str().len())
            + self.place.bytes()
            + self.halt.as_ref().map_or(0, |it| it.bytes())
            + self.recent.bytes()
            + self.calls.bytes()
            + self.progress.bytes()
            + self.provenance.as_ref().map_or(0, |it| size_of::<Index>() + it.bytes())
            + self.memory.as_ref().map_or(0, |it| size_of::<Memory>() + it.bytes())
            + self.also_in.iter().map(|it| size_of::<SessionId<'_>>() + it.as_str().len()).sum::<usize>()
            + self.entitled.as_ref().map_or(0, |it| size_of::<Entitled>() + it.bytes())
            + self.defined.bytes()
            + self.drift.as_ref().map_or(0, |it| size_of::<drift::Memory>() + it.bytes())
    }
}

fn page((shelf, place): At) -> Part {
    Part::Values(shelf, place)
}

fn parts_at(recent: impl Iterator<Item = usize>, calls: impl Iterator<Item = usize>) -> impl Iterator<Item = Part> {
    recent.map(|it| Part::Recent(small(it))).chain(calls.map(|it| Part::Calls(small(it))))
}

/// A place, of which no history has more than a few.
fn small(place: usize) -> u8 {
    u8::try_from(place).unwrap_or(u8::MAX)
}
