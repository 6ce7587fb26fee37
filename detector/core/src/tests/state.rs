//! The stored form of state: old files stay readable, and small sessions stay small.

use std::path::Path;
use std::sync::Arc;

use martingale_schemas::{Limits, Timestamp, wire::StepV1};

use crate::testing::{BEGIN, check, control, step_json};
use crate::{Detector, Rules, State, Tally};

/// A session of every kind of state: calls, partial matches, windows, a halt, children.
const SCRIPT: [&str; 12] = [
    "root: user_message \"hi\" seq=0",
    "root: tool_call read_file {\"path\":\".env\"} seq=1",
    "root: tool_result read_file \"DB_PASSWORD=hunter22x\" seq=3",
    "root: model_call cost=6.0",
    "root: tool_result f \"x\" status=error",
    "root: tool_call f {\"n\":1}",
    "root: approval delete_user status=error",
    "root: spawn",
    "root: model_call cost=6.0 principal={\"id\":\"ada\"}",
    "kid<root: plan \"x\"",
    "kid<root: tool_call g {}",
    "kid<root: session_end",
];

fn states() -> Vec<(String, State)> {
    let mut detector = Detector::new(Arc::new(Rules::starter()));
    let mut now = BEGIN;
    for (number, line) in SCRIPT.into_iter().enumerate() {
        let json = step_json(line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        detector.observe(&step);
    }
    detector.apply(&control("halt", "session", "root"));
    let mut out = Vec::new();
    detector.drain_changed(|key, state| {
        out.push((String::from_utf8(key.to_bytes()).unwrap(), state.unwrap().clone()));
    });
    out
}

fn read(version: u32) -> (String, Vec<(String, State)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/state/v{version}.json"));
    let text = std::fs::read_to_string(path).unwrap();
    let states = serde_json::from_str(&text).unwrap();
    (text, states)
}

/// Every version that was ever written. If the form of state changes, add a file and keep these readable, or raise the
/// version that the shell writes before it.
#[test]
fn every_version_is_still_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state/v3.json");
    if std::env::var_os("UPDATE_EXPECT").is_some() && !path.exists() {
        std::fs::write(&path, serde_json::to_string(&states()).unwrap() + "\n").unwrap();
    }
    for version in [1, 2, 3] {
        let (_, read) = read(version);
        // Positions of a policy's steps are void once the policy changes, so the policies' keys are not compared.
        let shape = |states: &[(String, State)]| states.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(shape(&read), ["s/root", "s/kid", "r/root"]);
        assert!(read.iter().filter(|(_, state)| state.is_halted()).count() == 2, "its halt still stands");
        for (key, state) in &read {
            let binary = postcard::to_allocvec(state).unwrap();
            assert_eq!(&postcard::from_bytes::<State>(&binary).unwrap(), state, "{key}");
        }
    }
    let (text, latest) = read(3);
    assert_eq!(serde_json::to_string(&latest).unwrap() + "\n", text, "reading and writing changes nothing");
}

/// Bytes in the positional form the shell stores: reordering fields changes them even where JSON stays readable.
#[test]
fn the_binary_form_is_fixed() {
    let digest = |state: &State| {
        let bytes = postcard::to_allocvec(state).unwrap();
        martingale_schemas::ids::derive("", &[&bytes])
    };
    let digests: Vec<String> =
        [1, 2, 3].into_iter().flat_map(|it| read(it).1).map(|(_, state)| digest(&state)).collect();
    expect_test::expect![[r#"
        [
            "d095e53613ecad1c4fa61aea2c0a5025",
            "2fd90fee2df23c30930309e277d905b5",
            "295ad2da86e85389fdb9d424a979338a",
            "315f7a060fcaef0e1734d10ac5e9be99",
            "2fd90fee2df23c30930309e277d905b5",
            "5f1b451c081745f6d78bd35e41bcd83a",
            "b4889b84949bc2e3f543f2383f08bce9",
            "2fd90fee2df23c30930309e277d905b5",
            "5f1b451c081745f6d78bd35e41bcd83a",
        ]
    "#]]
    .assert_debug_eq(&digests);
}

/// What the first version wrote ends where the fields that came later begin: one more byte, none of them, and it is whole.
#[test]
fn the_first_binary_form_is_read_with_one_more_byte() {
    let (_, read) = read(1);
    for (key, state) in &read {
        let binary = postcard::to_allocvec(state).unwrap();
        assert_eq!(binary.last(), Some(&0), "{key}: nothing was read yet");
    }
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
