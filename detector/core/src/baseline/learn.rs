//! Learning from sessions that are taken as normal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use martingale_schemas::{Kind, SessionId, Step, Timestamp};

use super::finals::{Drawn, Used};
use super::open::Open;
use super::{
    AGENTS_MAX, Baselines, COUNTS_MAX, Calibrator, Profile, REQUEST_COUNTS_MAX, REQUESTS_MAX, ReadFor, Request,
    TOOLS_MAX, What, Who, agent, bin, half, key,
};
use crate::Rules;
use crate::drift::learn::{Past, READINGS_MAX, Sessions};
use crate::drift::{Heard, Reading};
use crate::hijack::embed::{self, NOWHERE, Vector};
use crate::hijack::{self, Call, Meanings, Memory, Origin};
use crate::tools::{Defined, Tools};

/// Sentences of one session that are learnt.
const SENTENCES_MAX: usize = 4096;

/// Learns baselines: sessions are followed to their end, then counted once each.
#[derive(Debug, Default)]
pub struct Learner {
    baselines: Baselines,
    /// The same of one half of the runs, and of the other.
    halves: [Baselines; 2],
    tools: Tools,
    meanings: Meanings,
    pub(super) open: Open<Session>,
    /// Closed sessions as drift sees them, and how many steps they have.
    sessions: HashMap<u64, Sessions>,
    readings: usize,
    /// What closed sessions used in all.
    finals: HashMap<u64, Drawn>,
}

/// What counts of one session: each thing once.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) agent: u64,
    who: Who,
    half: usize,
    read_for: ReadFor,
    began: Timestamp,
    ended: bool,
    memory: Memory,
    defined: Defined,
    used: Used,
    seen: BTreeSet<u64>,
    sentences: BTreeSet<u64>,
    /// Values by argument, for how far sessions agree.
    values: BTreeSet<(u64, u64)>,
    tools: BTreeMap<u64, Tool>,
    pub(super) past: Past,
    heard: Heard,
}

#[derive(Debug, Default)]
struct Tool {
    calls: u32,
    user_to_tool: i32,
    command: i32,
}

impl Learner {
    /// Takes the next step of its session; one that is sent again changes nothing.
    pub fn observe(&mut self, step: &Step<'_>, rules: &Rules) {
        self.observe_for(step, rules, ReadFor::Both);
    }

    /// The same, of a session that is not read for everything: what its first step is read for holds.
    pub fn observe_for(&mut self, step: &Step<'_>, rules: &Rules, read_for: ReadFor) {
        let begin = || {
            let (agent, half, began, used) = (agent(step), half(step), step.time, Used::begin(step));
            Session { agent, who: Who::of(step), half, read_for, began, used, ..Session::default() }
        };
        let Some((session, closed)) = self.open.of(step, begin) else { return };
        session.used.add(step);
        // As it is watched: not after its end.
        if !session.ended {
            session.past.extend(Reading::next(step, &mut session.heard));
        }
        session.ended |= step.kind == Kind::SessionEnd;
        session.defined.take_in(step);
        let tool = self.tools.of(step, &rules.catalogue, &session.defined, rules.limits.tools_max);
        let Session { memory, sentences, .. } = &mut *session;
        let call = hijack::call(step, &tool, (memory, &mut self.meanings), &mut |sentence| {
            if sentences.len() < SENTENCES_MAX {
                sentences.insert(key(What::Sentence, &[sentence]));
            }
        });
        call.iter().for_each(|it| session.called(it));
        closed.into_iter().for_each(|it| self.close(it));
    }

    /// Counts a session that is known to be over.
    pub fn end(&mut self, session: &SessionId<'_>) {
        if let Some(session) = self.open.end(session) {
            self.close(session);
        }
    }

    /// Whoever cannot read the steps again: without what [`Calibrator`] adds.
    #[must_use]
    pub fn finish(mut self) -> Baselines {
        self.close_all();
        self.baselines
    }

    /// Whoever reads the steps again.
    #[must_use]
    pub fn into_calibrator(mut self) -> Calibrator {
        self.close_all();
        Calibrator::new(self.baselines, self.halves)
    }
}

impl Learner {
    /// Counts the sessions that are still open, in the order in which they began.
    fn close_all(&mut self) {
        self.open.finish().for_each(|it| self.close(it));
        for (agent, sessions) in &self.sessions {
            if let Some(profile) = self.baselines.agents.get_mut(agent) {
                profile.drift = sessions.learn().map(Box::new);
            }
        }
        for (agent, drawn) in &self.finals {
            if let Some(profile) = self.baselines.agents.get_mut(agent) {
                profile.finals = drawn.learn();
            }
        }
    }

    fn close(&mut self, mut session: Session) {
        if session.read_for.learns() {
            self.halves[session.half].count(&session);
            if !self.baselines.count(&session) {
                return;
            }
            self.finals.entry(session.agent).or_default().push(&session.used);
        } else if self.sessions.len() >= AGENTS_MAX && !self.sessions.contains_key(&session.agent) {
            return;
        }
        if self.readings + session.past.len() > READINGS_MAX {
            return;
        }
        session.past.request = session.memory.request_print();
        session.past.read_for = session.read_for;
        self.readings += session.past.len();
        let let_go = self.sessions.entry(session.agent).or_default().push(session.past);
        self.readings -= let_go.map_or(0, |it| it.len());
    }
}

impl Session {
    fn called(&mut self, call: &Call) {
        let tool = self.tools.entry(call.tool).or_default();
        tool.calls += 1;
        tool.user_to_tool = tool.user_to_tool.max(call.user_to_tool);
        tool.command = tool.command.max(call.command());
        self.seen.insert(key(What::Tool, &[call.tool]));
        for part in &call.parts {
            let argument = [call.tool, part.argument];
            self.seen.insert(key(What::Argument, &argument));
            self.seen.insert(key(What::Origin, &[argument[0], argument[1], part.origin as u64]));
            self.seen.insert(key(What::Value, &[argument[0], argument[1], part.value]));
            self.values
                .insert((key(What::Argument, &argument), key(What::Value, &[argument[0], argument[1], part.value])));
            // Authority does not pass from one session to the next: a value that the user named is familiar to nobody.
            if part.origin != Origin::User {
                self.seen.insert(key(What::Anywhere, &[part.value]));
            }
            if !part.is_authored() {
                for source in part.sources() {
                    self.seen.insert(key(What::Source, &[argument[0], argument[1], *source]));
                }
            }
        }
    }
}

impl Baselines {
    /// Answers whether there was room for its agent.
    fn count(&mut self, session: &Session) -> bool {
        let has_room = self.agents.len() < AGENTS_MAX || self.agents.contains_key(&session.agent);
        if has_room {
            let new = || Profile { who: session.who.clone(), ..Profile::default() };
            self.agents.entry(session.agent).or_insert_with(new).count(session);
        }
        has_room
    }
}

impl Profile {
    fn count(&mut self, session: &Session) {
        self.all.sessions = self.all.sessions.saturating_add(1);
        let (first, last) = self.began.unwrap_or((session.began, session.began));
        self.began = Some((first.min(session.began), last.max(session.began)));
        for key in session.seen.iter().chain(&session.sentences) {
            self.all.add(*key, COUNTS_MAX);
        }
        let mut strongest = 0;
        for (tool, it) in &session.tools {
            strongest = strongest.max(it.command);
            if self.usage.len() >= TOOLS_MAX && !self.usage.contains_key(tool) {
                continue;
            }
            let usage = self.usage.entry(*tool).or_default();
            usage.sessions = usage.sessions.saturating_add(1);
            usage.user_to_tool = usage.user_to_tool.saturating_add(i64::from(it.user_to_tool));
            usage.commands[bin(it.command)] += 1;
        }
        self.commands[bin(strongest)] += 1;
        let vector = session.memory.request().unwrap_or(NOWHERE);
        let at = self.request(session.memory.request_print(), &vector);
        let Some(request) = self.requests.get_mut(at) else { return };
        let counts = &mut request.counts;
        counts.sessions = counts.sessions.saturating_add(1);
        for key in &session.seen {
            counts.add(*key, REQUEST_COUNTS_MAX);
        }
        for (argument, value) in &session.values {
            let agreed = counts.of(*value);
            counts.at_least(*argument, agreed, REQUEST_COUNTS_MAX);
        }
        for (tool, it) in &session.tools {
            counts.at_least(key(What::Tool, &[*tool]), it.calls, REQUEST_COUNTS_MAX);
        }
    }

    fn request(&mut self, print: u64, vector: &Vector) -> usize {
        if let Some(at) = self.by_print.get(&print) {
            return *at;
        }
        if self.requests.len() >= REQUESTS_MAX {
            let nearest = self.requests.iter().enumerate().max_by_key(|it| embed::likeness(&it.1.vector, vector));
            return nearest.map_or(0, |it| it.0);
        }
        self.requests.push(Request { vector: *vector, counts: super::Counts::default() });
        self.by_print.insert(print, self.requests.len() - 1);
        self.requests.len() - 1
    }
}
