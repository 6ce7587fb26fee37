//! Which sessions are over, and which of them are normal: from their verdicts, and from halts by hand.
//!
//! Left out is a session with a fact against it (a secret leaving, a scope exceeded, a loop), one that was halted, and one with
//! a call that the default rule for hijack would ask about. Not left out is one of which drift was told, nor one
//! beyond a threshold that was itself learnt: learning again and again from what a learnt threshold let pass moves it inwards
//! with each round (`docs/detection.md`). For the same reason one in twenty of those left out is learnt from, drawn by a key
//! that nobody knows: an attacker cannot choose to be among them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};

use martingale_detector_core::HijackRules;
use martingale_platform::log::{Bounds, Offset, Record};
use martingale_schemas::{Calibration, Control, ControlAction, Decision, Kind, Position};
use serde::Deserialize;

use super::Learning;

/// Of so many sessions that are left out, one is learnt from.
const AUDITED: u64 = 20;

/// Of agents the hash need not be secret, and is to be the same in every partition.
const AGENTS: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

/// What the verdicts of a partition say of its sessions.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) next: Offset,
    /// Of `controls`.
    pub(super) next_order: Offset,
    hasher: RandomState,
    sessions: HashMap<u64, Seen>,
    /// Sessions, and roots of runs, that a person halted.
    halted: HashSet<u64>,
    /// When the first verdict that is read was published, if there were earlier ones: sessions of that time may lack their
    /// beginnings.
    cut_at: Option<i64>,
    is_cut: bool,
    /// The latest time that the log gave.
    now: i64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    agent: u64,
    root: u64,
    first: Offset,
    last: Offset,
    last_at: i64,
    steps: usize,
    ended: bool,
    is_suspect: bool,
    is_whole: bool,
}

/// A session to learn from, by the hash of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) session: u64,
    pub(super) agent: u64,
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) last_at: i64,
    pub(super) steps: usize,
    /// It was left out, and drawn.
    pub(super) is_audited: bool,
}

/// What is read of a verdict.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    root_session_id: Cow<'a, str>,
    #[serde(borrow)]
    agent_id: Cow<'a, str>,
    #[serde(borrow)]
    environment: Option<Cow<'a, str>>,
    kind: Kind,
    decision: Decision,
    position: Position,
    #[serde(default)]
    scores: Scores,
    #[serde(default)]
    findings: Vec<Told>,
}

#[derive(Default, Deserialize)]
struct Scores {
    hijack: Option<f64>,
}

#[derive(Deserialize)]
struct Told {
    calibration: Calibration,
    decision: Decision,
}

impl Survey {
    /// `orders`: where those that are there begin.
    pub(super) fn new(bounds: Bounds, orders: Offset) -> Self {
        let (hasher, sessions, halted) = Default::default();
        Self {
            next: bounds.start,
            next_order: orders,
            hasher,
            sessions,
            halted,
            cut_at: None,
            is_cut: bounds.start > Offset::START,
            now: i64::MIN,
        }
    }

    /// What gives the hashes by which sessions are named.
    pub(super) const fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Takes in a record of `verdicts`, unless it is of before the window `begins`. What is none is passed over: detectors alone
    /// write there.
    pub(super) fn note(&mut self, record: &Record, config: &Learning, begins: i64) {
        self.next = record.offset.next();
        self.now = record.appended_at.max(self.now);
        if record.appended_at < begins {
            self.is_cut = true;
            return;
        }
        if self.is_cut {
            self.cut_at.get_or_insert(record.appended_at);
        }
        let Ok(head) = serde_json::from_slice::<Head<'_>>(&record.value) else { return };
        let at = Offset(head.position.offset);
        let cut_off = self.cut_at.map(|it| it.saturating_add(config.silent.as_micros()));
        let root = self.hasher.hash_one(&*head.root_session_id);
        let agent = AGENTS.hash_one((&*head.agent_id, &head.environment));
        let seen = self.sessions.entry(self.hasher.hash_one(&*head.session_id)).or_insert_with(|| Seen {
            agent,
            root,
            first: at,
            last: at,
            last_at: record.appended_at,
            steps: 0,
            ended: false,
            is_suspect: false,
            is_whole: cut_off.is_none_or(|it| record.appended_at >= it),
        });
        // Published again after a crash.
        if seen.steps > 0 && at <= seen.last {
            return;
        }
        seen.last = at;
        seen.last_at = record.appended_at;
        seen.steps += 1;
        seen.ended |= head.kind == Kind::SessionEnd;
        seen.is_suspect |= head.is_suspect();
    }

    /// Takes in a record of `controls`. A halt by hand is no verdict of a session that sends nothing more.
    pub(super) fn note_order(&mut self, record: &Record) {
        self.next_order = record.offset.next();
        let Ok(control) = serde_json::from_slice::<Control>(&record.value) else { return };
        if let (ControlAction::Halt, Some(id)) = (control.action, control.scope.id()) {
            self.halted.insert(self.hasher.hash_one(id.as_str()));
        }
    }

    /// Forgets what is too old to be learnt from, and of more than twice `sessions_max` all but the newest of every agent.
    pub(super) fn forget(&mut self, config: &Learning, sessions_max: usize) {
        let from = self.now.saturating_sub(config.window.as_micros());
        self.sessions.retain(|_, it| it.last_at >= from);
        if self.sessions.len() > 2 * sessions_max {
            let mut all: Vec<(u64, Seen)> = self.sessions.drain().collect();
            by_turns(&mut all, |(session, it)| (it.agent, it.last_at, *session));
            // One that goes on would be taken for a new one: those that come next are looked at as if the log began here.
            (self.is_cut, self.cut_at) = (true, Some(self.now));
            self.sessions.extend(all.into_iter().take(sessions_max));
        }
    }

    /// The sessions that are over and normal, and those of the others that are drawn; and how many are left out.
    pub(super) fn over(&self, config: &Learning) -> (Vec<Chosen>, usize) {
        let silent_since = self.now.saturating_sub(config.silent.as_micros());
        let is_over = |it: &Seen| it.is_whole && (it.ended || it.last_at < silent_since);
        let mut left_out = 0;
        let mut chosen = Vec::new();
        for (session, it) in self.sessions.iter().filter(|it| is_over(it.1)) {
            let is_suspect = it.is_suspect || self.halted.contains(session) || self.halted.contains(&it.root);
            // The hash is keyed; its low bits place it in the map.
            let is_audited = is_suspect && (session >> 32) % AUDITED == 0;
            if is_suspect && !is_audited {
                left_out += 1;
                continue;
            }
            let (session, Seen { agent, first, last, last_at, steps, .. }) = (*session, *it);
            chosen.push(Chosen { session, agent, first, last, last_at, steps, is_audited });
        }
        (chosen, left_out)
    }
}

/// Orders sessions so that the newest of every agent come first, then the second of every one, and so on: whoever takes the first
/// of them takes from all alike. `of`: the agent, when it ended, and what tells it from another.
pub(super) fn by_turns<T>(sessions: &mut Vec<T>, of: impl Fn(&T) -> (u64, i64, u64)) {
    sessions.sort_by_key(|it| {
        let (agent, ended, which) = of(it);
        (agent, Reverse(ended), which)
    });
    let mut turn = (0, 0);
    let mut turns: Vec<(u64, T)> = Vec::with_capacity(sessions.len());
    for it in sessions.drain(..) {
        let agent = of(&it).0;
        let first = turns.is_empty() || turn.0 != agent;
        turn = (agent, if first { 0 } else { turn.1 + 1 });
        turns.push((turn.1, it));
    }
    turns.sort_by_key(|(turn, it)| (*turn, Reverse(of(it).1), of(it).2));
    sessions.extend(turns.into_iter().map(|it| it.1));
}

impl Head<'_> {
    fn is_suspect(&self) -> bool {
        let asks = f64::from(HijackRules::DEFAULT.ask) / 1000.0;
        self.decision == Decision::Halt
            || self.scores.hijack.is_some_and(|it| it >= asks)
            || self.findings.iter().any(|it| it.calibration == Calibration::Fact && it.decision >= Decision::StepUp)
    }
}
