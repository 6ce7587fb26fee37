//! Cases beside a policy: steps in short form, and what the policy is to decide at each.
//!
//! ```yaml
//! tests:
//!   - name: a key that is read and mailed
//!     steps:
//!       - { tool_result: read_file, output: "password: hunter22x" }
//!       - { tool_call: send_email, input: { to: a@example.com }, after: 5s, expect: halt }
//! ```
//!
//! A step begins with its kind; the value is the tool of a tool step and the text of any other. `after` is the time since
//! the step before (default 1s), `session` (default `test`, the root of the run) and `parent` name sessions of the run, `expect` is
//! `allow` by default. Every other member is a field of the step as on the wire.

use std::sync::Arc;

use martingale_schemas::wire::{StepFieldsV1, StepV1};
use martingale_schemas::{Decision, Kind, Limits, Mode, Timestamp};
use serde_json::{Value as Json, json};

use super::load::Loaded;
use super::report::TestResult;
use super::rule::{Policies, Policy};
use crate::detector::Detector;
use crate::rules::{Rules, Values};
use crate::tools::Catalogue;
use crate::yaml::{Faults, Key, Node, Object, Value, closest, span};

#[derive(Debug)]
pub(super) struct Case {
    name: String,
    steps: Vec<CaseStep>,
}

#[derive(Debug)]
struct CaseStep {
    /// The step as sent.
    json: String,
    shown: String,
    at: Timestamp,
    expect: Decision,
}

/// What a step of a case has beside the fields of a step.
const MEMBERS: [&str; 4] = ["expect", "after", "session", "parent"];

/// When the first step of a case happens: 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000_000;

pub(super) fn read(policy: &mut Object<'_>, faults: &mut Faults<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, node) in policy.list("tests", faults).into_iter().enumerate() {
        let path = format!("tests[{at}]");
        let Some(mut case) = Object::of(node, &path, faults) else { continue };
        let name = case.required_text("name", faults).unwrap_or_default().to_owned();
        let mut now = BEGIN;
        let nodes = case.list("steps", faults);
        if nodes.is_empty() {
            case.fault("", "`steps` is missing or empty", faults);
        }
        let steps = nodes.into_iter().enumerate();
        let steps = steps.filter_map(|(n, it)| step(it, n, &format!("{path}.steps[{n}]"), &mut now, faults)).collect();
        case.finish(faults);
        cases.push(Case { name, steps });
    }
    cases
}

fn step(node: &Node, number: usize, path: &str, now: &mut i64, faults: &mut Faults<'_>) -> Option<CaseStep> {
    let Value::Map(members) = &node.value else {
        faults.error(path, (node.line, node.column), "a step is an object such as `{ tool_call: send_email }`", None);
        return None;
    };
    let mut sent = json!({
        "session_id": "test", "root_session_id": "test", "step_id": (number + 1).to_string(), "agent": { "id": "test" }
    });
    let (mut expect, mut shown, mut after) = (Decision::Allow, String::new(), 1_000_000);
    let mut unknown = Vec::new();
    for (key, value) in members {
        let fault = |faults: &mut Faults<'_>, message: String, suggestion: Option<String>| {
            faults.error(&format!("{path}.{}", key.name), (value.line, value.column), message, suggestion);
        };
        let text = if let Value::Text(text) = &value.value { Some(text.as_str()) } else { None };
        match (key.name.as_str(), text) {
            ("expect", text) => match text.unwrap_or_default().parse() {
                Ok(decision) => expect = decision,
                Err(message) => {
                    let suggestion = text.and_then(|it| closest(it, Decision::ALL.map(Decision::as_str)));
                    fault(faults, message, suggestion);
                }
            },
            ("after", text) => match text.and_then(span) {
                Some(micros) => after = micros,
                None => fault(faults, "is no span of time: write e.g. `10s`".to_owned(), None),
            },
            ("session", Some(text)) => sent["session_id"] = text.into(),
            ("parent", Some(text)) => sent["parent_session_id"] = text.into(),
            ("agent", Some(text)) => sent["agent"] = json!({ "id": text }),
            (name @ ("session" | "parent" | "agent"), None)
                if name != "agent" || !matches!(value.value, Value::Map(_)) =>
            {
                fault(
                    faults,
                    format!("is {}: write a text, in quotes where it is a number", value.value.type_name()),
                    None,
                );
            }
            (name, _) if Kind::from_name(name).is_some() && shown.is_empty() => {
                shown = kind(&mut sent, key, value);
            }
            (name, _) if StepFieldsV1::FIELDS.contains(&name) && name != "kind" => sent[name] = value.to_json(),
            _ => unknown.push(key),
        }
    }
    let kinds = Kind::ALL.map(Kind::as_str);
    for key in unknown {
        let name = key.name.as_str();
        if shown.is_empty() && closest(name, kinds).is_some() {
            continue;
        }
        let message = match Kind::from_name(name) {
            Some(_) => format!("`{name}` is a second kind: write it as a step of its own"),
            None => format!("unknown name `{name}`: no field of a step; an attribute goes under `attributes`"),
        };
        let suggestion = closest(name, StepFieldsV1::FIELDS.iter().chain(&MEMBERS).copied());
        faults.error(&format!("{path}.{name}"), (key.line, key.column), message, suggestion);
    }
    if shown.is_empty() {
        let meant = members.iter().find_map(|(key, _)| closest(&key.name, kinds));
        let message = "the step has no kind: begin with one, as `tool_call: send_email` or `user_message: hello`";
        faults.error(path, (node.line, node.column), message, meant);
        return None;
    }
    if number > 0 {
        *now = now.saturating_add(after);
    }
    let at = Timestamp::from_micros(*now);
    sent["time"] = at.to_string().into();
    let json = sent.to_string();
    if let Err(rejection) = StepV1::parse(json.as_bytes()).and_then(|it| it.check(at, &Limits::DEFAULT)) {
        faults.error(path, (node.line, node.column), format!("is no valid step: {}", rejection.message), None);
        return None;
    }
    Some(CaseStep { json, shown, at, expect })
}

/// Fills in the kind and what its value stands for, and answers both in words.
fn kind(sent: &mut Json, key: &Key, value: &Node) -> String {
    sent["kind"] = key.name.as_str().into();
    let Value::Text(text) = &value.value else { return key.name.clone() };
    let of_tool = matches!(key.name.as_str(), "tool_call" | "tool_result" | "retrieval" | "approval" | "guardrail");
    sent[if of_tool { "tool" } else { "text" }] = text.as_str().into();
    format!("{} {}", key.name, crate::quote::quoted(text, 40))
}

/// Runs the cases of each policy on a detector that knows nothing else.
pub(super) fn run(loaded: Loaded) -> Vec<TestResult> {
    let mut out = Vec::new();
    for mut policy in loaded.policies.all {
        policy.mode = Mode::Enforce;
        let (cases, file, id) = (std::mem::take(&mut policy.tests), policy.file.clone(), policy.id.clone());
        let rules = Arc::new(alone(policy, loaded.catalogue.clone()));
        for case in cases {
            let failures = run_case(&case, &rules);
            out.push(TestResult { file: file.clone(), policy: id.clone(), name: case.name, failures });
        }
    }
    out
}

fn alone(policy: Policy, catalogue: Catalogue) -> Rules {
    Rules::of(Policies::new(vec![policy]), catalogue).with_values(Values::Follow)
}

fn run_case(case: &Case, rules: &Arc<Rules>) -> Vec<String> {
    let mut detector = Detector::new(Arc::clone(rules));
    let mut failures = Vec::new();
    for (number, step) in case.steps.iter().enumerate() {
        let checked = StepV1::parse(step.json.as_bytes()).and_then(|it| it.check(step.at, &Limits::DEFAULT));
        let Ok(checked) = checked else { continue };
        let decision = detector.observe(&checked).judgement().map_or(Decision::Allow, |it| it.decision);
        if decision != step.expect {
            failures.push(format!("step {} ({}): expected {}, got {decision}", number + 1, step.shown, step.expect));
        }
    }
    failures
}
