//! The stored form of state: old files stay readable, and small sessions stay small.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use martingale_schemas::{Limits, Step, Timestamp, bench_steps, wire::StepV1};
use serde_json::{Value, json};

use crate::testing::{BEGIN, check, control, ordinary, shown, step_json};
use crate::{Detector, Observed, Rules, State, StateKey, StateRef, StateV1, Tally};

/// A session of every kind of state: calls, partial matches, windows, a halt, children.
const SCRIPT: [&str; 12] = [
    "root: user_message \"hi\" seq=0",
    "root: tool_call read_file {\"path\":\".env\"} seq=1",
    "root: tool_result read_file \"DB_PASSWORD=hunter22x\" seq=3",
    "root: model_call cost=6.0",
    "root: tool_result f \"x\" status=error",
    "root: tool_call f {\"n\":1}",
    "root: approval delete_user status=error",
    "root: spawn principal={\"id\":\"agent\",\"on_behalf_of\":\"ada\",\"scopes\":[\"a:read\",\"b:*\"]}",
    "root: model_call cost=6.0 principal={\"id\":\"ada\"}",
    "kid<root: plan \"x\" principal={\"id\":\"ada\",\"scopes\":[\"a:read\"]}",
    "kid<root: tool_call g {}",
    "kid<root: session_end",
];

fn states() -> Vec<(String, State)> {
    let rules = Rules::starter().with_baselines(ordinary(&[&SCRIPT], 16));
    let mut detector = Detector::new(Arc::new(rules));
    let mut now = BEGIN;
    for (number, line) in SCRIPT.into_iter().enumerate() {
        let json = step_json(line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        detector.observe(&step);
    }
    detector.apply(&control("halt", "session", "root"));
    let mut out = Vec::new();
    detector.drain_changed(|key, state| {
        // Without a state: a page that went before it was stored.
        let name = String::from_utf8(key.to_bytes()).unwrap().replace('/', "_");
        out.extend(state.map(|it| (name, it.to_state())));
    });
    out
}

fn fixture(version: u8) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/state/v{version}.json"))
}

fn read<T: serde::de::DeserializeOwned>(version: u8) -> Vec<(String, T)> {
    serde_json::from_str(&std::fs::read_to_string(fixture(version)).unwrap()).unwrap()
}

/// If the form of state changes, add a file and keep the others readable: the shell writes its version before it.
#[test]
fn every_version_is_still_read() {
    let path = fixture(10);
    let written = serde_json::to_string_pretty(&states()).unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() && !path.exists() {
        std::fs::write(&path, &written).unwrap();
    }
    // The ninth says the same in the members of the eighth.
    let earlier = [2, 3, 4, 5, 6, 7, 8].map(read::<State>);
    let now: Vec<(String, State)> = read(10);
    assert_eq!(serde_json::to_string_pretty(&now).unwrap() + "\n", std::fs::read_to_string(path).unwrap());
    for read in [&first(), &now].into_iter().chain(&earlier) {
        // Positions of a policy's steps are void once the policy changes, so the policies' keys are not compared.
        let heads = read.iter().map(|(key, _)| key.replace('/', "_")).filter(|key| !key.starts_with("p_"));
        assert_eq!(heads.collect::<Vec<_>>(), ["s_root", "s_kid", "r_root"]);
        assert!(read.iter().filter(|(_, state)| state.is_halted()).count() == 2, "its halt still stands");
        for (key, state) in read {
            let binary = postcard::to_allocvec(state).unwrap();
            assert_eq!(&postcard::from_bytes::<State>(&binary).unwrap(), state, "{key}");
        }
    }
}

fn first() -> Vec<(String, State)> {
    read::<StateV1>(1).into_iter().map(|(key, StateV1(state))| (key, state)).collect()
}

/// Whatever the first version wrote is read as what it was: every member of a head, in the form that is written now.
#[test]
fn the_first_version_is_read_member_by_member() {
    let written: Vec<(String, Value)> = read(1);
    let read = first();
    assert_eq!(written.len(), read.len());
    for ((key, mut old), (_, state)) in written.into_iter().zip(read) {
        let new = serde_json::to_value(&state).unwrap();
        let kind = if key.starts_with("s/") { "Session" } else { "Run" };
        let old = old[kind].as_object_mut().unwrap();
        // What that version did not know is absent.
        for member in if kind == "Session" {
            &["provenance", "memory", "drift", "entitled", "defined", "agent"][..]
        } else {
            &["shared", "authority"]
        } {
            old.insert((*member).to_owned(), Value::Null);
        }
        let pace = json!({"steps": 0, "tool_calls": 0, "tokens": 0, "micro_usd": 0, "micros": 0});
        old.insert("pace".to_owned(), pace);
        if kind == "Session" {
            old.insert("also_in".to_owned(), json!([]));
            old["recent"] = recent_of(&old["recent"]);
            old["calls"] = calls_of(&old["calls"]);
        }
        let new = new[kind].as_object().unwrap();
        assert_eq!(new.keys().collect::<Vec<_>>().len(), old.len(), "{key}: {new:?}");
        for (member, expected) in old {
            assert_eq!(new.get(member), Some(&*expected), "{key}: {member}");
        }
    }
}

/// Two halves of fingerprints, as how many there were and each in one piece.
fn recent_of(old: &Value) -> Value {
    assert_eq!(old["next"], 0, "the ring has not come round");
    let half = |name: &str| old[name].as_array().unwrap().chunks(4).map(<[Value]>::to_vec).collect::<Vec<_>>();
    let (low, high) = (half("low"), half("high"));
    let bytes: Vec<Value> =
        low.iter().zip(&high).flat_map(|(low, high)| [low.clone(), high.clone()].concat()).collect();
    json!([low.len(), bytes])
}

/// Calls with names, as how many there were, what was stale, and each as its hashes and its step.
fn calls_of(old: &Value) -> Value {
    let call = |it: &Value| {
        let hashes = ["key", "tool", "result", "simhash"].map(|name| it[name].as_u64().unwrap().to_le_bytes());
        json!([hashes.concat(), it["step"]])
    };
    let ring: Vec<Value> = old["ring"].as_array().unwrap().iter().map(call).collect();
    json!([ring.len(), old["stale"], ring])
}

/// What follows from it: every step of then is known, and the halt that stood stands for whoever descends from it.
#[test]
fn what_the_first_version_stored_goes_on() {
    let mut detector = Detector::new(Arc::new(Rules::starter()));
    for (key, state) in first() {
        detector.load(StateKey::from_bytes(key.as_bytes()).unwrap(), Some(state));
    }
    let mut now = BEGIN;
    let mut observe = |line: &str, number: usize| {
        let json = step_json(line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        assert_eq!(detector.absent(&step), []);
        shown(&detector.observe(&step))
    };
    for (number, line) in SCRIPT.into_iter().enumerate() {
        assert_eq!(observe(line, number), "duplicate", "{line}");
    }
    for (number, line) in ["root: plan \"x\"", "kid<root: plan \"x\""].into_iter().enumerate() {
        assert_eq!(observe(line, SCRIPT.len() + number), "halt halted_by_control", "{line}");
    }
}

/// Bytes in the positional form the shell stores: reordering fields changes them even where JSON stays readable.
#[test]
fn the_binary_form_is_fixed() {
    let digest = |(_, state): &(String, State)| {
        let bytes = postcard::to_allocvec(state).unwrap();
        martingale_schemas::ids::derive("", &[&bytes])
    };
    let digests: Vec<String> = read(7).iter().map(digest).collect();
    expect_test::expect![[r#"
        [
            "8f85c8dd733b579dc1a175be715f5bc7",
            "2cef2cb3357f6dcbe1dee25e31a111b0",
            "abf13c8f9a874c8609dac3731ba8bcef",
            "db7906391e240ae5c91bd9490d7ed1f9",
            "6bb08b6599fb96d3b7c02b802410a6b5",
            "7f402f64f9f330b4f9c68191fdbee69e",
            "fea2ba3a33538eab3043cc705aff4f3c",
            "f49a833272277447ef229986511ee3f7",
            "9057aa86ba903b61edf3580813fb8db2",
            "8624331ad1e0f5e844213e9a454c310b",
            "2c6bc0bc849eb56002f28395ab572586",
            "873b8682ca525049fa2f245412847ea9",
            "7d6e9211e25b092570a3e25c3440ec7a",
            "23115ffa77ffec70cdfef59f21f5f866",
        ]
    "#]]
    .assert_debug_eq(&digests);
}

/// A step writes the head of its session, which does not grow, and a part of it every few steps.
#[test]
fn what_a_step_writes_does_not_grow() {
    let mut detector = Detector::new(Arc::new(Rules::starter()));
    let mut now = BEGIN;
    let mut written = Vec::new();
    for number in 0..3000 {
        let line = match number % 3 {
            0 => format!("plan \"{number}\""),
            1 => format!("tool_call f {{\"n\":{number}}}"),
            _ => format!("tool_result f \"the result of {number} is long enough\""),
        };
        let json = step_json(&line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        detector.observe(&step);
        let (mut head, mut parts) = (0, 0);
        detector.drain_changed(|_, state| {
            let Some(state) = state else { return };
            let bytes = postcard::to_allocvec(&state).unwrap().len();
            assert_eq!(postcard::to_allocvec(&state.to_state()).unwrap().len(), bytes);
            *if matches!(state, StateRef::Part(_)) { &mut parts } else { &mut head } += bytes;
        });
        written.push((head, parts));
    }
    let heads = written.iter().map(|it| it.0);
    assert!(heads.clone().max().unwrap() <= 1024, "{:?}", heads.max());
    let mean = |range: std::ops::Range<usize>| {
        let range = &written[range];
        range.iter().map(|(head, parts)| head + parts).sum::<usize>() / range.len()
    };
    assert!(mean(2000..3000) <= mean(100..1100) * 11 / 10, "{} {}", mean(100..1100), mean(2000..3000));
}

/// A session far longer than its histories, stored and forgotten after every step and read back in parts before the next
/// one, is judged like one that stays in memory: resends, late results of calls that are in a part, a halt lifted, its end.
#[test]
fn a_long_session_is_the_same_in_parts() {
    let rules = Arc::new(Rules::starter());
    let (mut whole, mut other) = (Detector::new(Arc::clone(&rules)), Detector::new(rules));
    let mut stored: HashMap<StateKey<'static>, Vec<u8>> = HashMap::new();
    let (mut now, mut duplicates, mut found, mut most) = (BEGIN, 0, 0, 0);
    for number in 0..1500_usize {
        let line = match number % 7 {
            0 => format!("plan id=p{number}"),
            1..=3 => format!("tool_call f {{\"n\":{}}} id=c{number}", number % 7 + number / 200),
            4 => format!(
                "tool_result f \"a result that is long enough\" causes=c{}",
                (number - number % 7 + 1).saturating_sub(14)
            ),
            5 => format!("tool_result f \"a result that is long enough\" causes=c{}", number - number % 7 + 2),
            _ => format!("plan id=p{}", number - number % 7 - [0, 70, 350][number / 7 % 3].min(number - number % 7)),
        };
        let line = if number == 1200 { "session_end" } else { line.as_str() };
        let json = step_json(line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        while let Some(key) = other.absent(&step).pop() {
            let state = stored.get(&key).map(|it| postcard::from_bytes(it).unwrap());
            assert!(state.is_some() || !matches!(key, StateKey::Part(..)), "{key:?}: the head says that it is there");
            other.load(key, state);
        }
        if number % 100 == 99 {
            let resume = control("resume", "session", "s");
            assert_eq!(whole.apply(&resume), other.apply(&resume));
        }
        let (expected, actual) = (whole.observe(&step), other.observe(&step));
        assert_eq!(format!("{actual:?}"), format!("{expected:?}"), "step {number}: {line}");
        match expected {
            Observed::Judged(it) => found += it.findings.len(),
            Observed::Duplicate => duplicates += 1,
        }
        other.drain_changed(|key, state| {
            match state {
                Some(state) => stored.insert(key.to_static(), postcard::to_allocvec(&state).unwrap()),
                None => stored.remove(&key.to_static()),
            };
        });
        other.evict(0);
        most = most.max(stored.len());
        assert_eq!(parts_of(&stored), stored.len() - 2, "after step {number}: its parts and no others are stored");
    }
    assert!(duplicates > 100 && found > 100, "{duplicates} {found}");
    assert!(most >= 2 + 8 + 4 + 3, "{most}");
}

/// Parts that the heads of a session `s` and its run say are there.
fn parts_of(stored: &HashMap<StateKey<'static>, Vec<u8>>) -> usize {
    let heads = [StateKey::Session("s".into()), StateKey::Run("s".into())];
    let parts = |key: &StateKey<'static>| postcard::from_bytes::<State>(&stored[key]).unwrap().parts().count();
    heads.iter().map(parts).sum()
}

#[test]
fn a_session_of_twelve_steps_takes_little() {
    for (key, state) in states() {
        let bytes = postcard::to_allocvec(&state).unwrap().len();
        assert!(bytes <= 2048, "{key} takes {bytes} bytes");
    }
}

#[test]
fn order_of_arrival_is_measured() {
    let detector = check("", "plan seq=0\nplan seq=4\nplan seq=2\nplan\nplan seq=5");
    assert_eq!(detector.tally(), Tally { late: 1, skipped: 3, ..Tally::default() });
}

/// What a full session forgets is counted.
#[test]
fn what_is_dropped_is_counted() {
    let window = |n: usize| {
        format!(
            "id: w{n}\ntitle: T\nseverity: low\nthreshold: {{ where: step.kind == \"plan\", at_least: 9, within: 7d }}\nthen: {{ decision: warn }}\n"
        )
    };
    let policies: Vec<String> = (0..9).map(window).collect();
    assert_eq!(check(&policies.join("---\n"), "plan").tally().dropped, 1);
}

#[test]
fn a_late_step_does_not_turn_time_back() {
    let policy = "id: p\ntitle: T\nseverity: low\nmode: enforce\nthreshold: { where: step.kind == \"plan\", at_least: 2, within: 10s }\nthen: { decision: warn }\n";
    check(
        policy,
        r#"
        plan time="2026-01-01T00:00:00Z"
        plan time="2026-01-01T00:01:00Z"
        plan time="2026-01-01T00:00:05Z"    // warn p
        plan time="2026-01-01T00:01:05Z"    // warn p
        plan time="2026-01-01T00:01:20Z"
        "#,
    );
}

/// What operators plan with: the sessions of `martingale bench detect`, of fifty steps each.
#[test]
fn a_session_of_fifty_steps_takes_8_kilobytes() {
    let mut detector = Detector::new(Arc::new(Rules::starter()));
    for session in 0..20 {
        for step in 0..50 {
            let mut line = Vec::new();
            bench_steps::write(&mut line, &format!("bench-{session:06}"), step);
            detector.observe(&Step::from_log(&line).unwrap());
        }
    }
    detector.drain_changed(|_, _| {});
    let bytes = detector.state_bytes() / 20;
    assert!((4096..=8192).contains(&bytes), "{bytes}");
}
