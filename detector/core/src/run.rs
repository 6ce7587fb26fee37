//! What is remembered of one run: the tree of sessions that grew from one root.

use martingale_schemas::{SessionId, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::halt::Halt;
use crate::hash::hash_text;
use crate::session::Counts;

/// State of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    pub(crate) counts: Counts,
    /// Counts and time when it was last resumed: budgets of the run count from there.
    pub(crate) base: Counts,
    pub(crate) base_time: Option<Timestamp>,
    pub(crate) started: Timestamp,
    pub(crate) now: Timestamp,
    /// Sessions seen, also those no longer kept.
    pub(crate) sessions_total: u32,
    /// Deepest session seen.
    pub(crate) depth: u32,
    pub(crate) halt: Option<Box<Halt>>,
    /// How many of `members` are halted: while none is, nobody looks for ancestors.
    halted: u32,
    members: Vec<Member>,
}

/// One session of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Member {
    /// Hash of the session's id; a collision would only share a halt.
    id: u64,
    /// 0 for the root.
    parent: u64,
    depth: u32,
    /// Child sessions seen, and `spawn` steps of its own: whichever is more is its fan-out.
    children: u32,
    spawns: u32,
    /// Named by a descendant and not seen itself: its parent and depth are guesses.
    placed: bool,
    ended: bool,
    halt: Option<Box<Halt>>,
}

/// The session this one was started by: the one it names, else the root.
pub(crate) fn parent_of<'s>(step: &'s Step<'_>) -> Option<&'s SessionId<'s>> {
    let declared = step.parent_session_id.as_ref().filter(|it| it.as_str() != step.session_id.as_str());
    declared.or(Some(&step.root_session_id)).filter(|it| it.as_str() != step.session_id.as_str())
}

/// Sessions that a new one may inherit from and that must be in the tree before it: its root and its parent.
pub(crate) fn ancestors_of<'s>(step: &'s Step<'_>) -> impl Iterator<Item = &'s SessionId<'s>> {
    let parent = parent_of(step);
    let root = parent.is_some_and(|it| it.as_str() != step.root_session_id.as_str()).then_some(&step.root_session_id);
    root.filter(|it| it.as_str() != step.session_id.as_str()).into_iter().chain(parent)
}

impl RunState {
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the run as a whole, or any session of it, is halted.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halt.is_some() || self.halted > 0
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.counts.steps == 0 && !self.is_halted() && self.members.is_empty()
    }

    pub(crate) fn advance(&mut self, step: &Step<'_>) {
        if self.counts.steps == 0 {
            self.started = step.time;
            self.now = step.time;
        }
        self.now = self.now.max(step.time);
        self.counts.add(step);
    }

    pub(crate) fn resume(&mut self) {
        self.halt = None;
        self.base = self.counts;
        self.base_time = Some(self.now);
        if self.is_blank() {
            // It is not stored, and must not be remembered in memory alone.
            *self = Self::default();
        }
    }

    fn find(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|it| it.id == id)
    }

    fn find_mut(&mut self, id: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|it| it.id == id)
    }

    pub(crate) fn has(&self, session: &SessionId<'_>) -> bool {
        self.find(hash_text(session.as_str())).is_some()
    }

    /// Takes in an ancestor that was named but not seen, with what stands against it. Its own parent is unknown; the root
    /// is the best guess.
    pub(crate) fn place(&mut self, id: &SessionId<'_>, root: &SessionId<'_>, halt: Option<Box<Halt>>, max: usize) {
        let is_root = id.as_str() == root.as_str();
        let (parent, depth) = if is_root { (0, 0) } else { (hash_text(root.as_str()), 1) };
        self.sessions_total = self.sessions_total.saturating_add(1);
        self.depth = self.depth.max(depth);
        self.keep(Member { id: hash_text(id.as_str()), parent, depth, halt, placed: true, ..Member::default() }, max);
    }

    /// Takes the session of `step` into the tree, its ancestors having been placed, and answers its depth.
    pub(crate) fn join(&mut self, step: &Step<'_>, sessions_max: usize) -> u32 {
        let id = hash_text(step.session_id.as_str());
        let known = self.members.iter().position(|it| it.id == id);
        if let Some(known) = known.and_then(|at| self.members.get(at)).filter(|it| !it.placed) {
            return known.depth;
        }
        let parent = parent_of(step).map_or(0, |it| hash_text(it.as_str()));
        let depth = match self.find_mut(parent) {
            Some(parent) => {
                parent.children = parent.children.saturating_add(1);
                parent.depth.saturating_add(1)
            }
            None => u32::from(parent != 0),
        };
        self.depth = self.depth.max(depth);
        if let Some(member) = known.and_then(|at| self.members.get_mut(at)) {
            (member.parent, member.depth, member.placed) = (parent, depth, false);
        } else {
            self.sessions_total = self.sessions_total.saturating_add(1);
            self.keep(Member { id, parent, depth, ..Member::default() }, sessions_max);
        }
        depth
    }

    fn keep(&mut self, member: Member, sessions_max: usize) {
        let halted = u32::from(member.halt.is_some());
        if self.members.len() < sessions_max {
            self.members.push(member);
        } else if let Some(at) = self.spare() {
            let gone = std::mem::replace(&mut self.members[at], member);
            // Its children go on from its parent, whose halts reached them through it.
            let children = self.members.iter_mut().filter(|it| it.parent == gone.id);
            children.for_each(|it| it.parent = gone.parent);
        } else {
            return;
        }
        self.halted += halted;
    }

    /// A member that can make room: it has ended, and no halt stands against it or is passed on by it.
    fn spare(&self) -> Option<usize> {
        let free = |it: &Member| it.ended && it.halt.is_none() && self.above(it.parent).is_none();
        self.members.iter().position(free)
    }

    pub(crate) fn spawned(&mut self, session: &SessionId<'_>) {
        if let Some(it) = self.find_mut(hash_text(session.as_str())) {
            it.spawns = it.spawns.saturating_add(1);
        }
    }

    /// Most children this session is known to have started.
    pub(crate) fn fan_out(&self, session: &SessionId<'_>) -> u32 {
        self.find(hash_text(session.as_str())).map_or(0, |it| it.children.max(it.spawns))
    }

    pub(crate) fn end(&mut self, session: &SessionId<'_>) {
        if let Some(it) = self.find_mut(hash_text(session.as_str())) {
            it.ended = true;
        }
    }

    /// Mirrors a halt of one session, or that it was lifted, for its descendants to inherit.
    pub(crate) fn set_halt(&mut self, session: &SessionId<'_>, halt: Option<&Halt>) {
        let Some(it) = self.find_mut(hash_text(session.as_str())) else { return };
        let was = u32::from(it.halt.is_some());
        it.halt = halt.map(|it| Box::new(it.clone()));
        let is = u32::from(it.halt.is_some());
        self.halted = self.halted + is - was;
    }

    /// The halt of the nearest ancestor that has one.
    pub(crate) fn of_ancestor(&self, step: &Step<'_>) -> Option<&Halt> {
        if self.halted == 0 {
            return None;
        }
        let own = self.find(hash_text(step.session_id.as_str()));
        let declared = || parent_of(step).map_or(0, |it| hash_text(it.as_str()));
        let above = self.above(own.map_or_else(declared, |it| it.parent));
        // Whatever the parents claim, every session of a run descends from its root.
        let root = || self.find(hash_text(step.root_session_id.as_str()))?.halt.as_deref();
        above.or_else(root)
    }

    /// The first halt from `id` upwards.
    fn above(&self, id: u64) -> Option<&Halt> {
        if self.halted == 0 {
            return None;
        }
        let mut at = id;
        // Bounded, because declared parents may form a circle.
        for _ in 0..=self.members.len() {
            let member = self.find(at)?;
            if let Some(halt) = &member.halt {
                return Some(halt);
            }
            at = member.parent;
        }
        None
    }

    /// Estimated memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let halts: usize = self.members.iter().filter_map(|it| it.halt.as_ref()).map(|it| it.bytes()).sum();
        size_of::<Self>()
            + self.members.capacity() * size_of::<Member>()
            + halts
            + self.halt.as_ref().map_or(0, |it| it.bytes())
    }
}
