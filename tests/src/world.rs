//! Agents at work and their operators, drawn from a seed.

use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::log::{Append, Partition};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{
    AgentId, BaselinesId, Control, ControlAction, ControlId, ControlState, Flow, Limits, Scope, SessionId, Timestamp,
    topics,
};
use serde_json::{Value, json};

use crate::random::Random;

/// The policies the simulated agents run into.
pub const POLICIES: &str = include_str!("policies.yaml");

const TOOLS: [&str; 5] = ["search", "read_secret", "send_mail", "poll", "wipe"];
const DEPTH_MAX: u32 = 3;

/// A step as a producer holds it until its outcome is known.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub id: [u8; 16],
    root: Bytes,
    json: Bytes,
}

impl Envelope {
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    #[must_use]
    pub fn append(&self) -> Append {
        Append::new(topics::STEPS, self.root.clone(), self.json.clone()).with_id(self.id)
    }
}

#[derive(Clone, Debug)]
struct Session {
    id: String,
    root: String,
    /// Whether its steps name the root; a step that does not takes the parent for it.
    names_root: bool,
    parent: Option<String>,
    depth: u32,
    seq: u64,
    last_call: Option<(String, &'static str)>,
    ended: bool,
}

pub struct World {
    random: Random,
    clock: Clock,
    sessions: Vec<Session>,
    held: Vec<Envelope>,
    sent: Vec<Envelope>,
    orders: u64,
    /// What an operator may have used.
    baselines: Vec<BaselinesId>,
}

impl World {
    #[must_use]
    pub const fn new(random: Random, clock: Clock, baselines: Vec<BaselinesId>) -> Self {
        Self { random, clock, sessions: Vec::new(), held: Vec::new(), sent: Vec::new(), orders: 0, baselines }
    }

    /// New steps, about `n`: some are held back and come later, out of order.
    pub fn steps(&mut self, n: u64) -> Vec<Envelope> {
        let mut out = Vec::new();
        for _ in 0..n {
            let step = self.step();
            if self.random.per_mille(80) {
                self.held.push(step);
            } else {
                out.push(step);
            }
            if !self.held.is_empty() && self.random.per_mille(100) {
                let late = self.random.index(self.held.len());
                out.push(self.held.swap_remove(late));
            }
        }
        self.sent.extend(out.iter().cloned());
        out
    }

    /// Everything that is still held back.
    pub fn rest(&mut self) -> Vec<Envelope> {
        let rest = std::mem::take(&mut self.held);
        self.sent.extend(rest.iter().cloned());
        rest
    }

    /// Steps that were sent before, as by a producer that never saw the answer.
    pub fn resent(&mut self, n: u64) -> Vec<Envelope> {
        if self.sent.is_empty() {
            return Vec::new();
        }
        (0..n).map(|_| self.random.pick(&self.sent).clone()).collect()
    }

    /// An order for a session or run, half of the time for one that matters.
    pub fn order(&mut self) -> Control {
        self.orders += 1;
        let uses = self.random.per_mille(200).then(|| self.random.index(self.baselines.len()));
        let uses = uses.and_then(|it| self.baselines.get(it)).copied();
        let session = (!self.sessions.is_empty()).then(|| self.random.pick(&self.sessions).clone());
        let scope = match session {
            Some(it) if self.random.per_mille(300) => Scope::Run { root_session_id: SessionId::from(it.root) },
            Some(it) => Scope::Session { session_id: SessionId::from(it.id) },
            None => Scope::Session { session_id: SessionId::from("nobody") },
        };
        let (action, scope) = match uses {
            _ if self.random.per_mille(150) => self.of_flow(),
            Some(baselines_id) => (ControlAction::UseBaselines { baselines_id }, Scope::Tenant),
            None if self.random.per_mille(450) => (ControlAction::Resume, scope),
            None => (ControlAction::Halt, scope),
        };
        Control {
            control_id: ControlId::from(format!("c-{}", self.orders)),
            action,
            scope,
            time: Timestamp::from_micros(self.clock.now_micros()),
            by: Some("operator".to_owned()),
            reason: None,
            state: ControlState::Requested,
        }
    }

    /// A grant of what a search brings, or its end.
    fn of_flow(&mut self) -> (ControlAction, Scope) {
        let flow = Flow {
            agent_id: AgentId::from("*"),
            environment: None,
            source: Some("search".to_owned()),
            tool: TOOLS[self.random.index(TOOLS.len())].to_owned(),
            destination: None,
        };
        let span = i64::try_from(1 + self.random.below(3_600_000_000)).unwrap_or(1);
        let until = Timestamp::from_micros(self.clock.now_micros() + span);
        let action = if self.random.per_mille(300) { ControlAction::Revoke } else { ControlAction::Grant { until } };
        (action, Scope::Flow(flow))
    }

    /// A record that is no step.
    pub fn garbage(&mut self) -> Append {
        let values: [&'static [u8]; 4] = [b"", b"{", b"{\"kind\":\"plan\"}", b"\xff\xfe"];
        let key = format!("garbage-{}", self.random.draw());
        Append::new(topics::STEPS, key.into(), Bytes::from_static(values[self.random.index(values.len())]))
    }

    fn step(&mut self) -> Envelope {
        let at = self.actor();
        let now = self.clock.now_micros() - i64::try_from(self.random.below(2_000_000)).unwrap_or(0);
        let (kind, rest) = self.content(at);
        let session = &mut self.sessions[at];
        let mut json = json!({
            "session_id": session.id,
            "root_session_id": session.names_root.then_some(&session.root),
            "parent_session_id": session.parent,
            "step_id": format!("s{}", session.seq),
            "seq": session.seq,
            "time": Timestamp::from_micros(now).to_string(),
            "kind": kind,
            "agent": { "id": "agent", "version": "1" },
        });
        session.seq += 1;
        session.ended |= kind == "session_end";
        if let (Value::Object(json), Value::Object(rest)) = (&mut json, rest) {
            json.extend(rest);
        }
        let sent = json.to_string();
        let arrival = Timestamp::from_micros(self.clock.now_micros());
        let step = StepV1::parse(sent.as_bytes()).and_then(|it| it.check(arrival, &Limits::DEFAULT));
        let step = step.unwrap_or_else(|rejection| panic!("the world sends good steps: {rejection}"));
        let root = Bytes::from(step.root_session_id.as_str().to_owned());
        Envelope { id: step.key(), root, json: step.to_json().into() }
    }

    /// Who acts next: mostly a session that is under way, sometimes a new one, a child, or one that had ended.
    fn actor(&mut self) -> usize {
        let n = self.sessions.len();
        if n == 0 || self.random.per_mille(40) {
            let id = format!("r{n}");
            return self.begin(id.clone(), id, None, 0, true);
        }
        let at = self.random.index(n);
        if self.random.per_mille(30) && self.sessions[at].depth < DEPTH_MAX {
            let parent = self.sessions[at].clone();
            let names_root = !self.random.per_mille(200);
            let root = if names_root { parent.root } else { parent.id.clone() };
            return self.begin(format!("{}.{n}", parent.id), root, Some(parent.id), parent.depth + 1, names_root);
        }
        if self.sessions[at].ended && !self.random.per_mille(50) {
            return (at..n).chain(0..at).find(|it| !self.sessions[*it].ended).unwrap_or(at);
        }
        at
    }

    fn begin(&mut self, id: String, root: String, parent: Option<String>, depth: u32, names_root: bool) -> usize {
        self.sessions.push(Session { id, root, names_root, parent, depth, seq: 0, last_call: None, ended: false });
        self.sessions.len() - 1
    }

    fn content(&mut self, at: usize) -> (&'static str, Value) {
        let session = &mut self.sessions[at];
        if session.seq == 0 {
            return ("session_start", json!({}));
        }
        if let Some((call, tool)) = session.last_call.take() {
            let output = self.random.below(3);
            return ("tool_result", json!({ "tool": tool, "causes": [call], "output": { "found": output } }));
        }
        match self.random.below(100) {
            0..50 => {
                // The last of them ends a session: rarely.
                let known = if self.random.per_mille(30) { TOOLS.len() } else { TOOLS.len() - 1 };
                let tool = TOOLS[self.random.index(known)];
                let input = self.random.below(2);
                session.last_call = Some((format!("s{}", session.seq), tool));
                ("tool_call", json!({ "tool": tool, "input": { "page": input } }))
            }
            50..70 => ("reasoning", json!({ "text": format!("thought {}", self.random.below(4)) })),
            70..80 => ("assistant_message", json!({ "text": "done with it" })),
            80..90 => (
                "model_call",
                json!({ "model": "m", "usage": { "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.01 } }),
            ),
            90..94 => ("error", json!({ "status": "error", "error": { "type": "timeout", "message": "too late" } })),
            94..98 => ("user_message", json!({ "text": "go on" })),
            _ => ("session_end", json!({})),
        }
    }
}

/// The copies of an order, one for each partition.
#[must_use]
pub fn copies(order: &Control, partitions: u32) -> Vec<Append> {
    let value = Bytes::from(serde_json::to_vec(order).unwrap_or_default());
    let key = Bytes::from(order.scope.key().to_owned());
    let copy = |partition| Append::new(topics::CONTROLS, key.clone(), value.clone()).to_partition(Partition(partition));
    (0..partitions).map(copy).collect()
}
