//! Halts and resuming.

use std::sync::Arc;

use martingale_schemas::{Limits, SessionId, Timestamp, wire::StepV1};

use crate::testing::{BEGIN, check, control, step_json};
use crate::{Detector, Observed, Part, Rules, State, StateKey};

#[test]
fn a_halt_stands_until_resumed() {
    check(
        "",
        r#"
        user_message "hi"
        halt session s
        tool_call f {}          // halt halted_by_control
        halt session s
        plan                    // halt halted_by_control
        resume session s
        tool_call f {}
        resume session s
        plan
        "#,
    );
}

#[test]
fn a_run_is_halted_as_a_whole() {
    check(
        "",
        r#"
        root: plan
        a<root: plan
        halt run root
        a<root: plan            // halt halted_by_control
        root: plan              // halt halted_by_control
        new<a: plan             // halt halted_by_control
        resume session root
        root: plan              // halt halted_by_control
        resume run root
        root: plan
        new<a: plan
        "#,
    );
}

#[test]
fn a_halt_may_come_before_the_session() {
    check(
        "",
        r#"
        halt session s          // unknown
        plan                    // halt halted_by_control
        halt run root           // unknown
        root: plan              // halt halted_by_control
        resume run root
        root: plan
        halt session parent     // unknown
        kid<parent: plan        // halt halted_by_control
        parent<root: plan       // halt halted_by_control
        resume session parent
        kid<parent: plan
        parent<root: plan
        "#,
    );
}

/// Whatever halted, a person can lift it: the next step does not bring it back.
#[test]
fn every_halt_can_be_lifted() {
    let policy =
        |rule: &str| format!("id: p\ntitle: T\nseverity: high\nmode: enforce\n{rule}\nthen: {{ decision: halt }}\n");
    let of_run = policy("budget: { steps: 3, of: run }");
    check(
        &of_run,
        r#"
        root: plan
        a<root: plan
        a<root: plan
        a<root: plan                // halt p
        a<root: plan                // halt halted_by_rule p
        resume session a
        a<root: plan
        root: plan
        a<root: plan
        a<root: plan                // halt p
        "#,
    );
    check(
        &of_run,
        r#"
        root: plan
        a<root: plan
        root: plan
        a<root: plan                // halt p
        resume run root
        root: plan
        a<root: plan                // halt halted_by_rule
        resume session a
        a<root: plan
        "#,
    );
    // An order that is lifted grants nothing: no budget had led to it.
    check(
        &of_run,
        r#"
        root: plan
        root: plan
        halt session root
        resume session root
        root: plan
        root: plan                  // halt p
        "#,
    );
    check(
        &policy("delegation: { depth_max: 1 }"),
        r#"
        root: plan
        a<root: plan
        b<a: plan                   // halt p
        b<a: plan                   // halt halted_by_rule
        resume session b
        b<a: plan
        b<a: spawn                  // halt p
        "#,
    );
    check(
        &policy("delegation: { fan_out_max: 2 }"),
        r#"
        root: spawn
        root: spawn
        root: spawn                 // halt p
        resume session root
        root: plan
        root: spawn
        root: spawn
        root: spawn                 // halt p
        "#,
    );
    check(&policy("budget: { steps: 2 }"), "plan\nplan\nplan // halt p\nresume session s\nplan\nplan\nplan // halt p");
}

#[test]
fn the_end_keeps_halts_and_duplicates() {
    check(
        "",
        r#"
        plan id=one
        halt session s
        session_end             // halt halted_by_control
        plan id=one             // duplicate
        plan                    // halt halted_by_control
        "#,
    );
}

/// What an order says of itself: whether it was for something that is known, and whether it changed anything.
#[test]
fn an_order_says_what_it_changed() {
    let mut detector = Detector::new(Arc::new(Rules::load::<&str, &str>(&[]).unwrap()));
    let mut now = BEGIN;
    let script: [(&str, Option<(bool, bool)>); 17] = [
        ("halt session s", Some((false, true))),
        ("halt session s", Some((false, false))),
        ("resume session s", Some((false, true))),
        ("resume run s", Some((false, false))),
        ("plan", None),
        ("halt session s", Some((true, true))),
        ("halt session s", Some((true, false))),
        ("resume session s", Some((true, true))),
        ("resume session s", Some((true, false))),
        // No halt stands, but its budgets have counted a step.
        ("resume run s", Some((true, true))),
        ("resume run s", Some((true, false))),
        ("plan", None),
        ("resume run s", Some((true, true))),
        ("halt run s", Some((true, true))),
        ("halt run s", Some((true, false))),
        ("resume run s", Some((true, true))),
        ("resume run s", Some((true, false))),
    ];
    for (number, (line, expected)) in script.into_iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let applied = match words.as_slice() {
            [action @ ("halt" | "resume"), scope, id] => Some(detector.apply(&control(action, scope, id))),
            _ => {
                let json = step_json(line, number, &mut now);
                let step = StepV1::parse(json.as_bytes()).unwrap();
                detector.observe(&step.check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap());
                None
            }
        };
        let mut stored = 0;
        detector.drain_changed(|_, _| stored += 1);
        assert_eq!(applied.map(|it| (it.known, it.changed)), expected, "{number}: {line}");
        // What says that nothing changed has nothing to store.
        assert_eq!(stored > 0, applied.is_none_or(|it| it.changed), "{number}: {line}");
    }
}

#[test]
fn it_says_who_when_and_why() {
    let mut detector = Detector::new(Arc::new(Rules::load::<&str, &str>(&[]).unwrap()));
    let mut now = BEGIN;
    let mut observe = |detector: &mut Detector, line: &str, number: usize| {
        let json = step_json(line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        detector.observe(&step).judgement().unwrap()
    };
    observe(&mut detector, "root: plan", 0);
    detector.apply(&control("halt", "session", "root"));
    let judgement = observe(&mut detector, "a<root: plan", 1);
    assert_eq!(
        judgement.findings[0].message,
        "Session root, from which this one descends, was halted by ada at 2026-01-01T00:00:00Z: looking into it \
         (control c-1); a person must resume it."
    );
}

/// The shell's loop: everything is loaded before it is needed, whatever was evicted.
#[test]
fn what_is_asked_for_suffices() {
    let mut stored = std::collections::HashMap::<StateKey<'static>, State>::new();
    let mut detector = Detector::new(Arc::new(Rules::load::<&str, &str>(&[]).unwrap()));
    let mut now = BEGIN;
    let script = [
        "halt session parent",
        "kid<parent: plan",
        "grand<kid: plan",
        "resume session parent",
        "grand<kid: plan",
        "halt run root",
        "kid<parent: plan",
        "resume run root",
        "halt session root",
        "grand<kid: plan",
    ];
    let mut decisions = Vec::new();
    for (number, line) in script.into_iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [action @ ("halt" | "resume"), scope, id] = words.as_slice() {
            let control = control(action, scope, id);
            while let Some(key) = detector.absent_for_control(&control).pop() {
                detector.load(key.clone(), stored.get(&key).cloned());
            }
            detector.apply(&control);
        } else {
            let json = step_json(line, number, &mut now);
            let step =
                StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
            while let Some(key) = detector.absent(&step).pop() {
                detector.load(key.clone(), stored.get(&key).cloned());
            }
            let Observed::Judged(judgement) = detector.observe(&step) else { panic!("no duplicate") };
            decisions.push(judgement.decision.as_str());
        }
        detector.drain_changed(|key, state| {
            match state {
                Some(state) => stored.insert(key.to_static(), state.to_state()),
                None => stored.remove(&key.to_static()),
            };
        });
        detector.evict(0);
        assert_eq!(detector.sessions_in_memory(), 0);
    }
    assert_eq!(decisions, ["halt", "halt", "allow", "halt", "halt"]);
    let halted = |key| stored.get(&key).is_some_and(State::is_halted);
    assert!(halted(StateKey::Session(SessionId::from("root"))), "a halt of a session never seen is stored");
    assert!(!halted(StateKey::Session(SessionId::from("parent"))));
}

#[test]
fn keys_survive_their_bytes() {
    for key in [
        StateKey::Session(SessionId::from("a/b")),
        StateKey::Run(SessionId::from("ü")),
        StateKey::Part(SessionId::from("a"), Part::Recent(7)),
        StateKey::Part(SessionId::from("a/r07"), Part::Calls(12)),
    ] {
        assert_eq!(StateKey::from_bytes(&key.to_bytes()), Some(key));
    }
    for bytes in
        [&b"x/a"[..], b"s", b"", b"s/\xff", "sü".as_bytes(), b"p/", b"p/a", b"p/a/x00", b"p/a/r+1", "p/aü00".as_bytes()]
    {
        assert_eq!(StateKey::from_bytes(bytes), None, "{bytes:?}");
    }
}
