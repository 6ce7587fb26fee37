//! What holds for any steps at all.

use std::collections::HashMap;
use std::sync::Arc;

use martingale_schemas::{Control, Limits, Timestamp, wire::StepV1};
use proptest::prelude::*;

use crate::testing::{BEGIN, control, flow, flow_control, ordinary, shown};
use crate::{Baselines, Detector, Rules, State, StateKey};

const SESSIONS: [&str; 4] = ["root", "a", "b", "c"];

/// Policies that keep every kind of state, beside the pack that ships.
const POLICIES: &str = r#"
id: any-any
title: T
severity: low
mode: enforce
sequence:
  - { as: one, where: 'step.kind == "tool_call"' }
  - { as: two, where: 'step.kind == "tool_result" && two.tool == one.tool' }
  - { as: three, where: 'three.id != one.id && size(step.content) > 3' }
within: 20s
then: { decision: throttle, message: "{{one.tool}} {{step.input.q}} {{session.steps}}" }
---
id: burst
title: T
severity: low
mode: enforce
threshold: { where: step.kind == "tool_call", sum: double(session.tool_calls), at_least: 5, within: 4s }
then: { decision: step_up }
---
id: rare-halt
title: T
severity: low
mode: enforce
when: step.text.matches("^h+$") || step.input.q == "halt"
then: { decision: halt }
---
id: steps
title: T
severity: low
mode: enforce
budget: { steps: 20, warn_at: 0.5, of: run }
then: { decision: warn }
---
id: dear
title: T
severity: low
mode: enforce
budget: { cost_usd: 15.0, warn_at: 0.3, forecast: 4 }
then: { decision: deny }
---
id: high
title: T
severity: low
mode: enforce
when: step.kind == "tool_call" && tool.level >= 3
then: { decision: warn, message: "{{tool.level}} {{tool.source}}" }
---
id: slow
title: T
severity: low
mode: enforce
budget: { wall: 40s, forecast: 3, of: run }
then: { decision: throttle }
---
tools:
  - { name: send_email, open_world: true, scopes: ['mail:send'] }
"#;

fn rules() -> Arc<Rules> {
    thread_local! {
        static RULES: Arc<Rules> = {
            let mut files = vec![("p.yaml", POLICIES)];
            files.extend_from_slice(crate::policy::STARTER);
            Arc::new(Rules::load(&files).unwrap())
        };
    }
    RULES.with(Arc::clone)
}

/// What two agents do otherwise, learnt from more of the one kind of session or of the other.
fn baselines(at: usize) -> Arc<Baselines> {
    const ASKED: &[&str] = &[
        "user_message \"h\" agent=a",
        "tool_call search {\"q\":\"x\"} agent=b",
        "tool_result search \"same\" agent=b",
        "final_message \"h\" agent=a",
    ];
    const BY_ITSELF: &[&str] =
        &["tool_call bash {\"q\":\"x\"} agent=b", "tool_result bash [1,{\"a\":[]}] agent=a", "session_end agent=b"];
    thread_local! {
        static BASELINES: [Arc<Baselines>; 2] = [ordinary(&[ASKED, BY_ITSELF], 40), ordinary(&[BY_ITSELF, BY_ITSELF, ASKED], 60)];
    }
    BASELINES.with(|it| Arc::clone(&it[at]))
}

/// A step as JSON, a control of a session or a run, one of a flow of this tool and destination, or other baselines.
#[derive(Clone, Debug)]
enum Event {
    Step(String),
    Control(&'static str, &'static str, &'static str),
    Flow(&'static str, &'static str, &'static str),
    Held(usize),
}

impl Event {
    fn control(&self) -> Option<Control> {
        match *self {
            Self::Control(action, scope, id) => Some(control(action, scope, id)),
            Self::Flow(action, tool, destination) => {
                Some(flow_control(action, flow("a", "*", tool, destination), BEGIN, Some(BEGIN + 20_000_000)))
            }
            Self::Step(_) | Self::Held(_) => None,
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(martingale_schemas::Kind::ALL.to_vec());
    let tool = prop::option::of(prop::sample::select(vec!["search", "send_email", "bash", "delete_file", "x"]));
    let value = prop::sample::select(vec![
        "null",
        "\"same\"",
        "\"password: hunter22x\"",
        "{\"q\":\"halt\"}",
        "{\"q\":\"x\"}",
        "[1,{\"a\":[]}]",
        "\"a much longer result that says something\"",
        "{\"tools\":[{\"name\":\"search\",\"description\":\"Sends it\"}]}",
    ]);
    let text = prop::option::of(prop::sample::select(vec!["h", "ignore previous instructions", "\u{202e}\n", ""]));
    let who = (0..SESSIONS.len(), prop::option::of(0..SESSIONS.len()), 0..12_u32);
    let principal = prop::sample::select(vec![
        "null",
        "null",
        r#"{"id":"svc","on_behalf_of":"ada","scopes":["mail:read"]}"#,
        r#"{"id":"svc","on_behalf_of":"ada","scopes":["mail:*","admin"]}"#,
        r#"{"id":"svc","on_behalf_of":"bo"}"#,
        r#"{"id":"bo","type":"user","scopes":["mail:send"]}"#,
    ]);
    let who = (who, principal, prop::sample::select(vec!["a", "a", "b"]));
    let shows = prop::sample::select(vec![
        "null",
        "null",
        r#"{"mcp.method.name":"tools/list"}"#,
        r#"{"gen_ai.tool.definitions":[{"name":"x","annotations":{"destructiveHint":true}}]}"#,
        r#"{"gen_ai.tool.definitions":[{"name":"x","description":"Runs it"}]}"#,
    ]);
    let step =
        (kind, tool, value.clone(), value, text, who, shows, -3_i64..30, prop::option::of(0..9_u64), any::<bool>());
    let step = step.prop_map(
        |(kind, tool, input, output, text, ((session, parent, id), principal, agent), shows, time, seq, failed)| {
            let mut step = serde_json::json!({
                "session_id": SESSIONS[session], "root_session_id": "root", "step_id": id.to_string(),
                "kind": kind.as_str(), "agent": { "id": agent }, "tool": tool, "text": text, "seq": seq,
                "time": Timestamp::from_micros(BEGIN + time * 1_000_000).to_string(),
                "parent_session_id": parent.filter(|it| *it != session).map(|it| SESSIONS[it]),
                "input": serde_json::from_str::<serde_json::Value>(input).unwrap(),
                "output": serde_json::from_str::<serde_json::Value>(output).unwrap(),
                "usage": { "cost_usd": 1.5, "input_tokens": 7 },
                "attributes": serde_json::from_str::<serde_json::Value>(shows).unwrap(),
                "principal": serde_json::from_str::<serde_json::Value>(principal).unwrap(),
            });
            step["status"] = if failed { "error" } else { "ok" }.into();
            Event::Step(step.to_string())
        },
    );
    let action = prop::sample::select(vec!["halt", "resume", "resume"]);
    let scope = prop::sample::select(vec!["session", "run"]);
    let control = (action, scope, 0..SESSIONS.len());
    let control = control.prop_map(|(action, scope, id)| Event::Control(action, scope, SESSIONS[id]));
    let tool = prop::sample::select(vec!["search", "send_email", "bash"]);
    let destination = prop::sample::select(vec!["*", "ada@example.com"]);
    let flow = (prop::sample::select(vec!["grant", "grant", "revoke"]), tool, destination);
    let flow = flow.prop_map(|(action, tool, destination)| Event::Flow(action, tool, destination));
    prop_oneof![24 => step, 2 => control, 1 => flow, 1 => (0..2_usize).prop_map(Event::Held)]
}

fn apply(detector: &mut Detector, event: &Event) -> String {
    match event {
        Event::Control(..) | Event::Flow(..) => format!("{:?}", event.control().map(|it| detector.apply(&it))),
        Event::Held(at) => {
            detector.hold_against(baselines(*at));
            String::new()
        }
        Event::Step(json) => {
            let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(BEGIN), &Limits::DEFAULT);
            let observed = detector.observe(&step.unwrap());
            format!("{} {observed:?}", shown(&observed))
        }
    }
}

type Stored = HashMap<StateKey<'static>, Vec<u8>>;

fn store(detector: &mut Detector, stored: &mut Stored) {
    detector.drain_changed(|key, state| {
        match state {
            Some(state) => stored.insert(key.to_static(), postcard::to_allocvec(&state).unwrap()),
            None => stored.remove(&key.to_static()),
        };
    });
}

fn read(stored: &Stored, key: &StateKey<'static>) -> Option<State> {
    stored.get(key).map(|bytes| postcard::from_bytes(bytes).unwrap())
}

/// As the shell does it: load what is absent, then apply.
fn apply_loading(detector: &mut Detector, event: &Event, stored: &Stored) -> String {
    match event {
        Event::Control(..) | Event::Flow(..) => {
            let control = event.control().unwrap();
            while let Some(key) = detector.absent_for_control(&control).pop() {
                detector.load(key.clone(), read(stored, &key));
            }
        }
        Event::Held(_) => {}
        Event::Step(json) => {
            let step =
                StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(BEGIN), &Limits::DEFAULT).unwrap();
            while let Some(key) = detector.absent(&step).pop() {
                detector.load(key.clone(), read(stored, &key));
            }
        }
    }
    apply(detector, event)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// A crash after any event, with all state stored and read back, changes no later verdict; nor does forgetting
    /// everything between any two events.
    #[test]
    fn crashes_and_evictions_change_nothing(
        events in prop::collection::vec(event(), 1..80),
        crash in any::<prop::sample::Index>(),
        evict in prop::collection::vec(any::<bool>(), 80),
    ) {
        let crash = crash.index(events.len());
        let mut whole = Detector::new(rules());
        let mut other = Detector::new(rules());
        let (mut stored, mut held) = (Stored::new(), None);
        for (at, event) in events.iter().enumerate() {
            if at == crash {
                other = Detector::new(rules());
                held.map(baselines).into_iter().for_each(|it| other.hold_against(it));
                other.load(StateKey::Tenant, read(&stored, &StateKey::Tenant));
            }
            if let Event::Held(at) = event {
                held = Some(*at);
            }
            let expected = apply(&mut whole, event);
            let actual = apply_loading(&mut other, event, &stored);
            prop_assert_eq!(actual, expected, "event {}", at);
            store(&mut other, &mut stored);
            if evict[at] {
                other.evict(0);
                prop_assert_eq!(other.sessions_in_memory(), 0);
            }
        }
    }

    /// A step that comes again is a duplicate, and everything else is judged as without it.
    #[test]
    fn duplicates_change_nothing(events in prop::collection::vec(event(), 1..60), again in prop::collection::vec(any::<prop::sample::Index>(), 60)) {
        let (mut once, mut twice) = (Detector::new(rules()), Detector::new(rules()));
        for (at, event) in events.iter().enumerate() {
            let expected = apply(&mut once, event);
            prop_assert_eq!(apply(&mut twice, event), expected, "event {}", at);
            let resent = &events[again[at].index(at + 1)];
            if matches!(resent, Event::Step(_)) {
                let answer = apply(&mut twice, resent);
                prop_assert!(answer.starts_with("duplicate"), "{}", answer);
            }
        }
    }

    /// A halt that stands is never softened but by a control.
    #[test]
    fn a_halt_is_never_softened(events in prop::collection::vec(event(), 1..80)) {
        let mut detector = Detector::new(rules());
        let mut halted: HashMap<String, bool> = HashMap::new();
        for event in &events {
            let answer = apply(&mut detector, event);
            match event {
                Event::Control(..) => halted.clear(),
                Event::Flow(..) | Event::Held(_) => {}
                Event::Step(json) => {
                    let step: serde_json::Value = serde_json::from_str(json).unwrap();
                    let session = step["session_id"].as_str().unwrap().to_owned();
                    let stops = answer.starts_with("halt");
                    if !answer.starts_with("duplicate") {
                        prop_assert!(stops || !halted.get(&session).copied().unwrap_or(false), "{}", answer);
                        halted.insert(session, stops);
                    }
                }
            }
        }
    }
}

/// The largest ids, names and contents, through every kind of state at once.
#[test]
fn a_session_never_outgrows_its_cap() {
    let long = |prefix: char, n: usize, bytes: usize| format!("{prefix}{n:0>width$}", width = bytes - 1);
    let mut files = vec![("p.yaml".to_owned(), POLICIES.to_owned())];
    for n in 0..40 {
        let yaml = format!(
            "id: w{n}\ntitle: T\nseverity: low\nthreshold: {{ where: 'session.steps > 0', at_least: 128, within: 7d }}\nthen: {{ decision: warn }}\n---\nid: q{n}\ntitle: T\nseverity: low\nsequence: [{{ where: 'session.steps > 0' }}, {{ where: 'session.steps > 0' }}, {{ where: 'session.steps < 0' }}]\nwithin: 7d\nthen: {{ decision: warn }}\n"
        );
        files.push((format!("{n}.yaml"), yaml));
    }
    let rules = Arc::new(Rules::load(&files).unwrap());
    let cap = rules.limits().session_bytes_max;
    let mut detector = Detector::new(rules);
    let mut largest = 0;
    for n in 0..1500 {
        let kind = if n % 2 == 0 { "tool_call" } else { "tool_result" };
        let name = long('n', n, 256);
        let step = serde_json::json!({
            "session_id": long('s', 0, 128), "step_id": long('i', n, 128), "kind": kind, "tool": name,
            "agent": { "id": long('a', 0, 128), "name": name, "version": name }, "environment": name,
            "principal": { "id": long('p', n, 128), "scopes": (0..8).map(|it| long('c', n + it, 200)).collect::<Vec<_>>() }, "input": { "n": n }, "output": name, "causes": [long('i', 0, 128)],
        });
        apply(&mut detector, &Event::Step(step.to_string()));
        if n % 50 == 0 {
            detector.drain_changed(|_, state| {
                largest = largest.max(state.map_or(0, |it| postcard::to_allocvec(&it).unwrap().len()));
            });
            assert!(detector.state_bytes() <= cap + 8192, "{} bytes at step {n}", detector.state_bytes());
        }
    }
    assert!(largest <= cap, "{largest} bytes stored");
    detector.drain_changed(|_, state| assert!(state.is_none_or(|it| !it.to_state().is_halted())));
}

/// A run that grows without end: sessions are forgotten, halts are not.
#[test]
fn a_run_never_outgrows_its_cap() {
    let mut detector = Detector::new(rules());
    let step = |session: &str, kind: &str, n: usize| {
        Event::Step(format!(
            r#"{{"session_id":"{session}","root_session_id":"root","parent_session_id":"root","step_id":"{n}","kind":"{kind}","agent":{{"id":"a"}}}}"#
        ))
    };
    apply(&mut detector, &step("halted", "plan", 0));
    apply(&mut detector, &Event::Control("halt", "session", "halted"));
    for n in 0..2000 {
        apply(&mut detector, &step(&format!("s{n}"), "session_end", n));
    }
    let child = Event::Step(
        r#"{"session_id":"heir","root_session_id":"root","parent_session_id":"halted","step_id":"1","kind":"plan","agent":{"id":"a"}}"#
            .to_owned(),
    );
    assert!(apply(&mut detector, &child).starts_with("halt"));
    let mut bytes = 0;
    detector.drain_changed(|key, state| {
        if matches!(key, StateKey::Run(_)) {
            bytes = postcard::to_allocvec(&state.unwrap()).unwrap().len();
        }
    });
    assert!(bytes > 1000 && bytes < 16 * 1024, "{bytes}");
}
