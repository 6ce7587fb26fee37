//! What is remembered of one run: the tree of sessions that grew from one root.
//!
//! Each session carries its own [`Place`]: its depth and its ancestors, as they were known when it joined. So the tree may
//! be full, and forget who has ended, without a session losing a halt that stands above it. What the tree adds is what
//! came too late for that: who the parent of a parent is, when its steps come after those of its children.

use martingale_schemas::{SessionId, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::escalation::Authority;
use crate::halt::Halt;
use crate::hash::hash_text;
use crate::pace::Pace;
use crate::provenance::Shared;
use crate::session::{Counts, SessionState, span};
use crate::state::{Part, PartRef, PartState};

/// Ancestors that a session carries. One that is deeper cannot say who else is above it, and takes any halt of its run
/// for one that stands against it.
const LINE_MAX: usize = 31;

/// Where a session stands in its run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Steps down from the root.
    pub(crate) depth: u32,
    /// Hashes of the ids of the sessions between it and the root, the nearest first, at most [`LINE_MAX`].
    line: Vec<u64>,
}

impl Place {
    /// Whether the user speaks to it, and no other agent.
    pub(crate) const fn is_root(&self) -> bool {
        self.depth == 0
    }

    /// Of a session that nothing is known of: right below the root, unless it is the root.
    fn unknown(is_root: bool) -> Self {
        Self { depth: u32::from(!is_root), line: Vec::new() }
    }

    /// Of a child of `parent`, which stands here.
    pub(crate) fn child(&self, parent: &SessionId<'_>) -> Self {
        // The root is above everybody, and not in the line.
        let own = (self.depth > 0).then(|| hash_text(parent.as_str()));
        let line = own.into_iter().chain(self.line.iter().copied()).take(LINE_MAX).collect();
        Self { depth: self.depth.saturating_add(1), line }
    }

    /// Whether it stands right below the root, as a session does whose parent nobody has told.
    pub(crate) fn is_below_the_root(&self) -> bool {
        self.depth == 1 && self.line.is_empty()
    }

    /// Whether fewer stand above the parent than are said to.
    pub(crate) fn is_short_of(&self, above_parent: &[SessionId<'_>]) -> bool {
        !above_parent.is_empty() && self.line.len() <= above_parent.len()
    }

    /// Whether more stand above it than it can name.
    pub(crate) fn is_cut(&self) -> bool {
        self.line.len() >= LINE_MAX
    }

    /// Whether it stands right below `parent`.
    pub(crate) fn is_below(&self, parent: &SessionId<'_>) -> bool {
        self.line.first() == Some(&hash_text(parent.as_str()))
    }

    /// Hashes of the sessions between it and the root, the nearest first.
    pub(crate) fn above(&self) -> impl Iterator<Item = u64> {
        self.line.iter().copied()
    }

    fn parent(&self, root: u64) -> u64 {
        if self.is_root() { 0 } else { self.line.first().copied().unwrap_or(root) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.line.capacity() * size_of::<u64>()
    }
}

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
    pub(crate) halted: u32,
    /// Ascending by id, so that one is found in a few comparisons however many there are.
    pub(crate) members: Vec<Member>,
    /// What its sessions share of what they read.
    pub(crate) shared: Option<Box<Shared>>,
    /// What they were granted and how high their tools have reached, once there is something.
    #[serde(default)]
    pub(crate) authority: Option<Box<Authority>>,
    /// How fast its sessions together use what budgets are about, since it was last resumed.
    #[serde(default)]
    pub(crate) pace: Pace,
}

/// One session of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Hash of the session's id; a collision would only share a halt.
    id: u64,
    /// 0 for the root.
    parent: u64,
    depth: u32,
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

/// Sessions that a new one may inherit from and that must be in the tree before it: its root, those that the door knew of
/// above its parent, each the child of the one before, and its parent.
pub(crate) fn ancestors_of<'s>(step: &'s Step<'_>) -> impl Iterator<Item = &'s SessionId<'s>> {
    let parent = parent_of(step);
    let root = parent.is_some_and(|it| it.as_str() != step.root_session_id.as_str()).then_some(&step.root_session_id);
    let between = step.ancestors.iter().rev().filter(move |_| root.is_some());
    root.into_iter().chain(between).filter(|it| it.as_str() != step.session_id.as_str()).chain(parent)
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

    /// Parts that are stored beside it, once all that changed is.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        self.shared.iter().flat_map(|it| it.held()).map(|(shelf, place)| Part::Values(shelf, place))
    }

    /// Parts to load before a step in it can be judged.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Part> {
        self.shared.iter().flat_map(|it| it.missing()).map(|(shelf, place)| Part::Values(shelf, place))
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.shared.as_ref().is_none_or(|it| it.is_whole())
    }

    /// Takes in a part that was missing; `None` when there was none.
    pub(crate) fn attach(&mut self, part: Part, stored: Option<PartState>) {
        if let (Part::Values(shelf, place), Some(shared)) = (part, &mut self.shared) {
            shared.attach((shelf, place), stored.and_then(PartState::into_page));
        }
    }

    /// Hands out the parts that changed since the last call; `None` where there is none any more.
    pub(crate) fn drain_parts(&mut self, mut f: impl FnMut(Part, Option<PartRef<'_>>)) {
        if let Some(shared) = &mut self.shared {
            shared.drain(&mut |(shelf, place), page| f(Part::Values(shelf, place), page.map(PartRef::Values)));
        }
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.counts.steps == 0 && !self.is_halted() && self.members.is_empty()
    }

    pub(crate) fn advance(&mut self, step: &Step<'_>) {
        if self.counts.steps == 0 {
            self.started = step.time;
            self.now = step.time;
        }
        let before = self.now;
        self.now = self.now.max(step.time);
        self.pace.add(self.counts.add(step), span(before, self.now));
    }

    /// Lifts its halt, and answers whether its budgets had anything to renew.
    pub(crate) fn resume(&mut self) -> bool {
        self.halt = None;
        let renewed = self.grant();
        if self.is_blank() {
            // It is not stored, and must not be remembered in memory alone.
            *self = Self::default();
        }
        renewed
    }

    /// Budgets of the run count from here. Whether they had counted anything.
    pub(crate) fn grant(&mut self) -> bool {
        let (counts, time) = (self.counts, Some(self.now));
        let renewed = (self.base, self.base_time) != (counts, time);
        (self.base, self.base_time) = (counts, time);
        self.pace = Pace::default();
        renewed
    }

    fn at(&self, id: u64) -> Result<usize, usize> {
        self.members.binary_search_by_key(&id, |it| it.id)
    }

    fn find(&self, id: u64) -> Option<&Member> {
        self.members.get(self.at(id).ok()?)
    }

    fn find_mut(&mut self, id: u64) -> Option<&mut Member> {
        let at = self.at(id).ok()?;
        self.members.get_mut(at)
    }

    pub(crate) fn has(&self, session: &SessionId<'_>) -> bool {
        self.at(hash_text(session.as_str())).is_ok()
    }

    /// Whether a step of the session was seen here, and it is still in the tree.
    pub(crate) fn has_seen(&self, session: &SessionId<'_>) -> bool {
        self.find(hash_text(session.as_str())).is_some_and(|it| !it.placed)
    }

    /// Where the tree has a session whose own state says nothing: it was never seen, or forgotten.
    pub(crate) fn place_of(&self, id: &SessionId<'_>, root: &SessionId<'_>) -> Place {
        let (id, root) = (hash_text(id.as_str()), hash_text(root.as_str()));
        let Some(member) = self.find(id).filter(|_| id != root) else { return Place::unknown(id == root) };
        let mut line = Vec::new();
        let mut at = member.parent;
        // Declared parents may form a circle.
        while at != root && line.len() < LINE_MAX && !line.contains(&at) {
            line.push(at);
            match self.find(at) {
                Some(above) => at = above.parent,
                None => break,
            }
        }
        Place { depth: member.depth, line }
    }

    /// Takes in an ancestor that a step named, which stands there, with what stands against it. `is_new` when nobody has named
    /// it before.
    pub(crate) fn name(
        &mut self,
        id: &SessionId<'_>,
        root: &SessionId<'_>,
        (session, place): (&SessionState, &Place),
        is_new: bool,
        max: usize,
    ) {
        self.depth = self.depth.max(place.depth);
        let named = Member { placed: !session.is_in(root), ..member(id, root, place, session) };
        if let Some(it) = self.find_mut(named.id) {
            if it.placed {
                (it.parent, it.depth) = (named.parent, named.depth);
            }
            return;
        }
        let of_other_run = !session.belongs_to(root);
        self.sessions_total = self.sessions_total.saturating_add(u32::from(is_new || of_other_run));
        self.keep(named, root, max);
    }

    /// Takes in the session of a step, its ancestors having been named. `is_new` when nobody has named it before.
    pub(crate) fn join(
        &mut self,
        id: &SessionId<'_>,
        root: &SessionId<'_>,
        session: &SessionState,
        is_new: bool,
        max: usize,
    ) {
        let joined = member(id, root, &session.place, session);
        self.depth = self.depth.max(joined.depth);
        if let Some(it) = self.find_mut(joined.id) {
            (it.parent, it.depth, it.placed) = (joined.parent, joined.depth, false);
            return;
        }
        self.sessions_total = self.sessions_total.saturating_add(u32::from(is_new));
        self.keep(joined, root, max);
    }

    /// Keeps a member if there is room or somebody makes room, and answers whether it did.
    fn keep(&mut self, member: Member, root: &SessionId<'_>, max: usize) -> bool {
        if self.members.len() >= max {
            let Some(at) = self.spare(hash_text(root.as_str()), member.halt.is_some()) else { return false };
            let gone = self.members.remove(at);
            // Its children go on from its parent, whose halts reached them through it.
            let children = self.members.iter_mut().filter(|it| it.parent == gone.id);
            children.for_each(|it| it.parent = gone.parent);
        }
        let Err(at) = self.at(member.id) else { return true };
        self.halted += u32::from(member.halt.is_some());
        if self.members.is_empty() {
            // Most runs are of one session.
            self.members.reserve_exact(1);
        }
        self.members.insert(at, member);
        true
    }

    /// A member that can make room: one that has ended, or for a halt the deepest that carries none. Never the root:
    /// everybody descends from it.
    fn spare(&self, root: u64, for_halt: bool) -> Option<usize> {
        let free = |it: &Member| it.halt.is_none() && it.id != root;
        let ended = self.members.iter().position(|it| free(it) && it.ended);
        let deepest = || {
            let all = self.members.iter().enumerate().filter(|(_, it)| for_halt && free(it));
            all.max_by_key(|(_, it)| it.depth).map(|(at, _)| at)
        };
        ended.or_else(deepest)
    }

    pub(crate) fn end(&mut self, session: &SessionId<'_>) {
        if let Some(it) = self.find_mut(hash_text(session.as_str())) {
            it.ended = true;
        }
    }

    /// Mirrors the halt of one session, or that it was lifted, for its descendants to inherit.
    pub(crate) fn mirror(&mut self, id: &SessionId<'_>, root: &SessionId<'_>, session: &SessionState, max: usize) {
        if let Some(it) = self.find_mut(hash_text(id.as_str())) {
            let was = u32::from(it.halt.is_some());
            it.halt.clone_from(&session.halt);
            let is = u32::from(it.halt.is_some());
            self.halted = self.halted + is - was;
            return;
        }
        let Some(halt) = &session.halt else { return };
        let placed = !session.is_in(root);
        let kept = self.keep(Member { placed, ..member(id, root, &session.place, session) }, root, max);
        if !kept && self.halt.is_none() {
            // Everybody who is kept is halted, so that there is no place for another halt: then the run is halted.
            self.halt = Some(Box::new(Halt { of: root.to_static(), ..halt.as_ref().clone() }));
        }
    }

    /// The halt of the nearest ancestor that has one.
    pub(crate) fn of_ancestor(&self, step: &Step<'_>, place: &Place) -> Option<&Halt> {
        if self.halted == 0 {
            return None;
        }
        let root = hash_text(step.root_session_id.as_str());
        let halt_of = |id: u64| self.find(id)?.halt.as_deref();
        let own = self.find(hash_text(step.session_id.as_str())).map(|it| it.parent);
        let kept_above = || place.line.iter().copied().find(|it| self.at(*it).is_ok());
        // Whatever the parents claim, every session of a run descends from its root.
        let in_tree = own.or_else(kept_above).and_then(|it| self.above(it));
        let in_line = || place.line.iter().find_map(|it| halt_of(*it));
        let any = || self.members.iter().find_map(|it| it.halt.as_deref());
        let found = in_tree.or_else(in_line).or_else(|| halt_of(root));
        found.or_else(|| if place.is_cut() { any() } else { None })
    }

    /// The first halt from `id` upwards. Bounded, because declared parents may form a circle.
    fn above(&self, id: u64) -> Option<&Halt> {
        let mut at = id;
        for _ in 0..=LINE_MAX {
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
            + self.shared.as_ref().map_or(0, |it| size_of::<Shared>() + it.bytes())
            + self.authority.as_ref().map_or(0, |it| size_of::<Authority>() + it.bytes())
            + self.halt.as_ref().map_or(0, |it| it.bytes())
    }
}

fn member(id: &SessionId<'_>, root: &SessionId<'_>, place: &Place, session: &SessionState) -> Member {
    let parent = place.parent(hash_text(root.as_str()));
    let (ended, halt) = (session.ended, session.halt.clone());
    Member { id: hash_text(id.as_str()), parent, depth: place.depth, placed: false, ended, halt }
}
