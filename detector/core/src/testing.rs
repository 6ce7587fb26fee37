//! Tests as scripts: one step a line, and at its end what is to be decided.
//!
//! ```text
//! tool_call search {"q":"x"}                  one second after the line before
//! +5m tool_result search "found" status=error
//! child<root: user_message "hello"            another session, with its parent
//! halt session root                           a control
//! grant a page send ada@example.com 7d        another one: agent, source, tool and destination; `*` for any
//! tool_call search {"q":"x"}                  // halt halted_by_control
//! ```
//!
//! After `//` stand the decision and the rules that found something, `shadow:` before those that only watch; a line
//! without is to be allowed by all. `duplicate` says that the step was seen before.

use std::sync::Arc;

use martingale_schemas::wire::StepV1;
use martingale_schemas::{
    AgentId, Control, ControlAction, ControlId, ControlState, Flow, Limits, Mode, Scope, SessionId, Step, Timestamp,
};
use serde_json::{Value, json};

use crate::{Baselines, Detector, Learner, Observed, Rules};

pub(crate) const BEGIN: i64 = 1_767_225_600_000_000;

/// Runs a script under the built-in rules and these policies.
#[track_caller]
pub(crate) fn check(policies: &str, script: &str) -> Detector {
    let rules = Rules::load(&[("policies.yaml", policies)]).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    });
    // Scripts of policies say nothing of who commanded a call.
    check_with(Arc::new(rules.with_hijack(None)), script)
}

#[track_caller]
pub(crate) fn check_with(rules: Arc<Rules>, script: &str) -> Detector {
    let mut detector = Detector::new(rules);
    let (mut now, mut wrong) = (BEGIN, Vec::new());
    for (number, line) in script.lines().map(str::trim).filter(|it| !it.is_empty()).enumerate() {
        let (step, expected) = line.split_once(" // ").unwrap_or((line, "allow"));
        let actual = run_line(&mut detector, step.trim(), number, &mut now);
        if actual != expected.trim() {
            wrong.push(format!("{step}\n    expected {}\n    got      {actual}", expected.trim()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    detector
}

fn run_line(detector: &mut Detector, line: &str, number: usize, now: &mut i64) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let [action @ ("halt" | "resume"), scope, id] = words.as_slice() {
        let known = detector.apply(&control(action, scope, id)).known;
        return if known { "allow".to_owned() } else { "unknown".to_owned() };
    }
    if let [action @ ("grant" | "revoke"), agent, source, tool, destination, rest @ ..] = words.as_slice() {
        let until = rest.first().map(|it| now.saturating_add(crate::yaml::span(it).unwrap()));
        let flow = flow(agent, source, tool, destination);
        let known = detector.apply(&flow_control(action, flow, *now, until)).known;
        return if known { "allow".to_owned() } else { "unknown".to_owned() };
    }
    *now += 1_000_000;
    let json = step_json(line, number, now);
    let step = Step::from_topic(json.as_bytes(), Timestamp::from_micros(*now), &Limits::DEFAULT).unwrap();
    shown(&detector.observe(&step))
}

pub(crate) fn shown(observed: &Observed) -> String {
    let Observed::Judged(it) = observed else { return "duplicate".to_owned() };
    let rules = it.findings.iter().map(|it| match it.mode {
        Mode::Shadow => format!(" shadow:{}", it.rule),
        _ => format!(" {}", it.rule),
    });
    format!("{}{}", it.decision, rules.collect::<String>())
}

/// What is learnt from so many runs of scripts, in turn; each run's sessions are its own.
pub(crate) fn ordinary(scripts: &[&[&str]], runs: usize) -> Arc<Baselines> {
    let (mut learner, rules) = (Learner::default(), Rules::starter());
    for run in 0..runs {
        let mut now = BEGIN;
        for (number, line) in scripts[run % scripts.len()].iter().enumerate() {
            now += 1_000_000;
            let json = step_json(line, number, &mut now).replace("session_id\":\"", &format!("session_id\":\"{run}-"));
            let step = StepV1::parse(json.as_bytes()).unwrap();
            learner.observe(&step.check(Timestamp::from_micros(now), &Limits::DEFAULT).unwrap(), &rules);
        }
    }
    Arc::new(learner.finish())
}

pub(crate) fn control(action: &str, scope: &str, id: &str) -> Control {
    let id = SessionId::from(id.to_owned());
    Control {
        control_id: ControlId::from("c-1".to_owned()),
        action: if action == "halt" { ControlAction::Halt } else { ControlAction::Resume },
        scope: match scope {
            "session" => Scope::Session { session_id: id },
            _ => Scope::Run { root_session_id: id },
        },
        time: Timestamp::from_micros(BEGIN),
        by: Some("ada".to_owned()),
        reason: Some("looking into it".to_owned()),
        state: ControlState::Requested,
    }
}

/// A flow of these; `*` for any source or destination.
pub(crate) fn flow(agent: &str, source: &str, tool: &str, destination: &str) -> Flow {
    let some = |it: &str| Some(it.to_owned()).filter(|it| it != "*");
    let (source, destination) = (some(source), some(destination));
    Flow { agent_id: AgentId::from(agent.to_owned()), environment: None, source, tool: tool.to_owned(), destination }
}

pub(crate) fn flow_control(action: &str, flow: Flow, now: i64, until: Option<i64>) -> Control {
    let until = Timestamp::from_micros(until.unwrap_or(now));
    Control {
        control_id: ControlId::from("c-1".to_owned()),
        action: if action == "grant" { ControlAction::Grant { until } } else { ControlAction::Revoke },
        scope: Scope::Flow(flow),
        time: Timestamp::from_micros(now),
        by: Some("ada".to_owned()),
        reason: None,
        state: ControlState::Requested,
    }
}

/// The step of a line as JSON, its time moved on by `+…`.
pub(crate) fn step_json(line: &str, number: usize, now: &mut i64) -> String {
    let mut rest = line;
    if let Some((span, after)) = rest.strip_prefix('+').and_then(|it| it.split_once(' ')) {
        *now += crate::yaml::span(span).unwrap() - 1_000_000;
        rest = after;
    }
    let mut step = json!({ "session_id": "s", "root_session_id": "s", "step_id": format!("{}", number + 1), "agent": { "id": "a" } });
    if let Some((who, after)) = rest.split_once(": ").filter(|(who, _)| !who.contains([' ', '"', '{'])) {
        let mut line = who.split('<');
        step["session_id"] = line.next().into();
        step["root_session_id"] = "root".into();
        if let Some(parent) = line.next() {
            step["parent_session_id"] = parent.into();
        }
        let ancestors: Vec<&str> = line.collect();
        if !ancestors.is_empty() {
            step["ancestor_session_ids"] = ancestors.into();
        }
        rest = after;
    }
    let (kind, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    step["kind"] = kind.into();
    step["time"] = Timestamp::from_micros(*now).to_string().into();
    if kind.starts_with("tool") || kind == "approval" {
        let (tool, after) = rest.split_once(' ').unwrap_or((rest, ""));
        step["tool"] = tool.into();
        rest = after;
    }
    rest = rest.trim();
    if rest.starts_with(['{', '[', '"']) {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = values.next().unwrap().unwrap();
        let field = match kind {
            "tool_call" => "input",
            "tool_result" => "output",
            _ => "text",
        };
        step[field] = value;
        rest = &rest[values.byte_offset()..];
    }
    for (name, value) in rest.split_whitespace().map(|it| it.split_once('=').unwrap()) {
        let parsed = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        match name {
            "id" => step["step_id"] = value.into(),
            "version" => step["agent"]["version"] = value.into(),
            "agent" => step["agent"]["id"] = value.into(),
            "causes" => step["causes"] = json!([value]),
            "cost" => step["usage"] = json!({ "cost_usd": parsed }),
            "tokens" => step["usage"] = json!({ "output_tokens": parsed }),
            name => step[name] = parsed,
        }
    }
    step.to_string()
}
