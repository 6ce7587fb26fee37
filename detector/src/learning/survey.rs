//! Which sessions are over, and which of them are normal: from their verdicts, and from halts by hand.
//!
//! Left out is a session with a fact against it (a secret leaving, a scope exceeded, a loop), one that was halted, and one with
//! a call that the default rule for hijack would ask about. Not left out is one of which drift was told, nor one
//! beyond a threshold that was itself learnt: learning again and again from what a learnt threshold let pass moves it inwards
//! with each round (`docs/detection.md`). For the same reason one in twenty of those left out is learnt from, drawn by a key
//! that nobody knows: an attacker cannot choose to be among them.
//!
//! Who is left out for nothing but a score calibrates all the same: a sample from which the highest scores are gone says nothing
//! of how many sessions reach them. To weigh those drawn by twenty would be as right on average, and needs twenty times the
//! sessions for the same bound.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};

use martingale_detector_core::{HijackRules, ReadFor};
use martingale_platform::log::{Bounds, Offset, Record};
use martingale_schemas::{Calibration, Decision, Kind, Position};
use serde::Deserialize;

use super::Learning;
use super::halts::Halts;
use super::turns::by_turns;

/// Of so many sessions that are left out, one is learnt from.
const AUDITED: u64 = 20;

/// Of agents the hash need not be secret, and is to be the same in every partition.
const AGENTS: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

/// What the verdicts of a partition say of its sessions.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) next: Offset,
    hasher: RandomState,
    sessions: HashMap<u64, Seen>,
    /// When the first verdict that is read was published, if there were earlier ones: sessions of that time may lack their
    /// beginnings.
    cut_at: Option<i64>,
    is_cut: bool,
    /// The latest time that is known of the partition: its log's, or the clock's once all of its steps are judged.
    now: i64,
    /// Behind the latest step that was judged.
    judged_to: Offset,
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
    is_found: bool,
    is_suspect: bool,
    is_whole: bool,
}

/// A session to read, by the hash of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) session: u64,
    pub(super) agent: u64,
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) last_at: i64,
    /// Since when it is known to be over.
    pub(super) over_at: i64,
    pub(super) steps: usize,
    pub(super) read_for: ReadFor,
    /// It was left out of learning, and drawn.
    pub(super) is_audited: bool,
}

/// Sessions that are not read, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) under_way: usize,
    /// Over, and either their beginning may be gone or nobody can say whether a person halted them.
    pub(super) unknown: usize,
    /// Over, and there is a fact against them, or they were halted.
    pub(super) left_out: usize,
    /// Over, to be read, and more than a round has room for.
    pub(super) no_room: usize,
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
    /// `hasher`: what gives the hashes by which sessions are named.
    pub(super) fn new(bounds: Bounds, hasher: RandomState) -> Self {
        Self {
            next: bounds.start,
            hasher,
            sessions: HashMap::new(),
            cut_at: None,
            is_cut: bounds.start > Offset::START,
            now: i64::MIN,
            judged_to: Offset::START,
        }
    }

    /// All verdicts there are were taken in, at `now`, when the steps of the partition ended at `steps_end`. Where detectors are
    /// behind, sessions seem silent that are not, so that time stands still there.
    pub(super) fn caught_up(&mut self, now: i64, steps_end: Offset) {
        if self.judged_to >= steps_end {
            self.now = self.now.max(now);
        }
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
        self.judged_to = self.judged_to.max(at.next());
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
            is_found: false,
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
        seen.is_found |= head.is_found();
        seen.is_suspect |= head.is_suspect();
    }

    /// Forgets what is too old to be learnt from, and of more than twice `sessions_max` all but the newest of every agent.
    pub(super) fn forget(&mut self, config: &Learning, sessions_max: usize) {
        let from = self.now.saturating_sub(config.window.as_micros());
        self.sessions.retain(|_, it| it.last_at >= from);
        if self.sessions.len() > 2 * sessions_max {
            let all = std::mem::take(&mut self.sessions);
            let all = by_turns(all, usize::MAX, |(session, it)| (it.agent, it.last_at, *session));
            // One that goes on would be taken for a new one: those that come next are looked at as if the log began here.
            (self.is_cut, self.cut_at) = (true, Some(self.now));
            self.sessions.extend(all.into_iter().take(sessions_max));
        }
    }

    /// The sessions that are over and that are read for anything; and what of the rest.
    pub(super) fn over(&self, config: &Learning, halts: &Halts) -> (Vec<Chosen>, Rest) {
        let silent = config.silent.as_micros();
        let silent_since = self.now.saturating_sub(silent);
        // One that sends something under a halt has a verdict that says so; one that was silent when a halt was told that is
        // forgotten may be of those that it was for.
        let is_known = |it: &Seen| it.last_at > halts.forgotten_to.saturating_add(silent);
        let is_over = |it: &Seen| it.ended || it.last_at < silent_since;
        let (mut chosen, mut rest) = (Vec::new(), Rest::default());
        for (session, it) in &self.sessions {
            if !is_over(it) {
                rest.under_way += 1;
                continue;
            }
            if !it.is_whole || !is_known(it) {
                rest.unknown += 1;
                continue;
            }
            let is_found = it.is_found || halts.has(*session) || halts.has(it.root);
            // The hash is keyed; its low bits place it in the map.
            let is_audited = (is_found || it.is_suspect) && (session >> 32) % AUDITED == 0;
            let read_for = match (is_found, it.is_suspect, is_audited) {
                (true, _, true) => ReadFor::Learning,
                (true, _, false) => {
                    rest.left_out += 1;
                    continue;
                }
                (false, true, false) => ReadFor::Calibration,
                (false, ..) => ReadFor::Both,
            };
            let (session, Seen { agent, first, last, last_at, steps, ended, .. }) = (*session, *it);
            let over_at = if ended { last_at } else { last_at.saturating_add(silent) };
            chosen.push(Chosen { session, agent, first, last, last_at, over_at, steps, read_for, is_audited });
        }
        (chosen, rest)
    }
}

impl Head<'_> {
    fn is_found(&self) -> bool {
        self.decision == Decision::Halt
            || self.findings.iter().any(|it| it.calibration == Calibration::Fact && it.decision >= Decision::StepUp)
    }

    fn is_suspect(&self) -> bool {
        let asks = f64::from(HijackRules::DEFAULT.ask) / 1000.0;
        self.scores.hijack.is_some_and(|it| it >= asks)
    }
}
