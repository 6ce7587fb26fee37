//! Escalation in recordings of real agents.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use martingale_schemas::{Column, Kind, Limits, Timestamp, wire::StepV1};
use serde_json::Value;

use super::recorded::lines;
use crate::testing::BEGIN;
use crate::{Detector, Observed, Rules, StateKey};

/// Sessions of a kind, those that each rule found, and of these the ones found no later than the first bad step.
#[derive(Debug, Default)]
struct Found {
    sessions: u32,
    by_rule: BTreeMap<String, (u32, u32)>,
    stopped: u32,
    tools: BTreeMap<String, u32>,
}

fn measure(name: &str, catalogue: &str) -> Option<BTreeMap<String, Found>> {
    let rules = Arc::new(Rules::load(&[("tools.yaml", catalogue)]).unwrap());
    let mut labels: HashMap<String, (String, Option<u64>)> = HashMap::new();
    for line in lines(name, "sessions.jsonl.gz")? {
        let it: Value = serde_json::from_str(&line).unwrap();
        let kind = it["info"]["variant"].as_str().unwrap_or("all").to_owned();
        labels.insert(it["session_id"].as_str().unwrap().to_owned(), (kind, it["label"]["first_bad_step"].as_u64()));
    }
    let mut detector = Detector::new(rules);
    let mut out: BTreeMap<String, Found> = BTreeMap::new();
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    let (mut session, mut stopped) = (String::new(), false);
    let mut close = |session: &str, first: &mut BTreeMap<String, u64>, stopped: bool| {
        let Some((kind, bad)) = labels.get(session) else { return };
        let found = out.entry(kind.clone()).or_default();
        found.sessions += 1;
        found.stopped += u32::from(stopped);
        for (rule, seq) in std::mem::take(first) {
            let it = found.by_rule.entry(rule).or_default();
            it.0 += 1;
            it.1 += u32::from(bad.is_some_and(|bad| seq <= bad));
        }
    };
    let mut tools: BTreeMap<String, u32> = BTreeMap::new();
    for line in lines(name, "steps.jsonl.gz")? {
        let step =
            StepV1::parse(line.as_bytes()).unwrap().check(Timestamp::from_micros(BEGIN), &Limits::DEFAULT).unwrap();
        if step.session_id.as_str() != session {
            close(&session, &mut first, stopped);
            session = step.session_id.to_string();
            stopped = false;
            detector.drain_changed(|_: &StateKey<'_>, _| {});
            detector.evict(0);
        }
        let Observed::Judged(judged) = detector.observe(&step) else { continue };
        for it in judged.findings.iter().filter(|it| it.column == Column::Escalation) {
            stopped |= it.effective().stops();
            if !first.contains_key(it.rule.as_ref()) {
                *tools.entry(step.tool.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
                if std::env::var_os("SHOW").is_some() { println!("{}", it.message); }
            }
            first.entry(it.rule.to_string()).or_insert(step.seq.unwrap_or(0));
        }
        let _ = Kind::ToolCall;
    }
    close(&session, &mut first, stopped);
    println!("{name}: {tools:?}");
    for (kind, it) in &out {
        println!("{name}, {kind}: {} sessions, {} stopped, {:?}", it.sessions, it.stopped, it.by_rule);
    }
    Some(out)
}

#[test]
fn privilege_of_recorded_agents() {
    for name in ["taubench_airline", "swebench_gemini3", "sentinel", "whowhen", "agentrx_tau_retail", "agentrx_magentic", "agentdojo_official"] {
        measure(name, "tools: []\n");
    }
    let outside = "tools:\n  - { name: 'read_*', read_only: true, open_world: true, level: 1 }\n  - { name: 'get_*', read_only: true, open_world: true, level: 1 }\n  - { name: 'search_*', read_only: true, open_world: true, level: 1 }\n  - { name: 'list_*', read_only: true, open_world: true, level: 1 }\n";
    for name in ["taubench_airline", "agentdojo_official"] {
        measure(name, outside);
    }
}
