//! The column end to end, what its bets may know, and the traps that void a bound.

mod simulation;

use std::collections::HashMap;
use std::sync::Arc;

use martingale_schemas::wire::StepV1;
use martingale_schemas::{Calibration, Decision, Finding, Limits, Mode, Step, StepId, Timestamp};
use proptest::prelude::*;

use super::layout::{Layout, Sign};
use super::learn::{Past, Sessions};
use super::memory::{Memory, STEPS_MAX};
use super::model::{ACTS, BEGINNING, Model};
use super::reading::{BINS, bin};
use super::{Heard, Reading, Standard, Stream, bits};
use crate::hash::mix;
use crate::testing::{BEGIN, control, ordinary, step_json};
use crate::{Baselines, Detector, Judgement, Rules, State, StateKey};

/// Sessions of 40 requests: search, open what was found once or twice, answer.
fn baselines() -> Arc<Baselines> {
    baselines_of(120)
}

fn baselines_of(sessions: usize) -> Arc<Baselines> {
    let scripts: Vec<Vec<String>> = (0..40).map(|it| healthy(it, 1 + it % 2)).collect();
    let scripts: Vec<Vec<&str>> = scripts.iter().map(|it| it.iter().map(String::as_str).collect()).collect();
    ordinary(&scripts.iter().map(Vec::as_slice).collect::<Vec<_>>(), sessions)
}

fn healthy(request: usize, opens: usize) -> Vec<String> {
    let mut script = vec![format!("user_message \"find number {request} for me\"")];
    script.push(format!("tool_call search {{\"query\":\"number {request}\"}}"));
    script.push("tool_result search [\"one\",\"two\"]".to_owned());
    for page in 0..opens {
        script.push(format!("tool_call open {{\"page\":{page}}}"));
        script.push(format!("tool_result open \"what stands on page {page}\""));
    }
    script.push("final_message \"it is done\" duration_ms=800".to_owned());
    script
}

fn step_of(line: &str, number: usize, now: &mut i64, f: impl FnOnce(&Step<'_>)) {
    *now += 1_000_000;
    let json = step_json(line, number, now);
    f(&StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(*now), &Limits::DEFAULT).unwrap());
}

fn judge(rules: Rules, script: &[String]) -> Vec<Judgement> {
    let (mut detector, mut now, mut out) = (Detector::new(Arc::new(rules)), BEGIN, Vec::new());
    for (number, line) in script.iter().enumerate() {
        step_of(line, number, &mut now, |step| out.extend(detector.observe(step).judgement()));
    }
    out
}

fn found(said: &[Judgement]) -> Vec<(usize, &Finding)> {
    let findings = said.iter().enumerate().flat_map(|(at, it)| it.findings.iter().map(move |it| (at, it)));
    findings.filter(|it| it.1.rule == "drift").collect()
}

/// A session that leaves its way after so many steps of it.
fn astray(steps: usize) -> Vec<String> {
    let mut script: Vec<String> = healthy(3, 2)[..steps].to_vec();
    for number in 0..6 {
        script.push(format!("tool_call delete {{\"page\":{number},\"force\":true}}"));
        script.push("tool_result delete \"gone\"".to_owned());
    }
    script
}

#[test]
fn a_session_that_leaves_its_way_is_told_once_with_where_it_began() {
    let rules = Rules::starter().with_baselines(baselines());
    let said = judge(rules, &astray(5));
    let found = found(&said);
    let (at, finding) = found[0];
    assert!((5..=9).contains(&at), "found at {at}");
    assert_eq!(finding.began_at.as_str(), "6", "{}", finding.message);
    assert_eq!(finding.evidence.last().unwrap().as_str(), (at + 1).to_string());
    assert_eq!(
        (finding.mode, finding.decision, finding.calibration),
        (Mode::Shadow, Decision::Warn, Calibration::Conformal)
    );
    assert!(finding.message.contains("At most 5 in 100 sessions"), "{}", finding.message);
    assert!(finding.message.contains("the order of what it does"), "{}", finding.message);
    assert_eq!(found.len(), 1, "a level is told once: {found:?}");
    assert!(said.iter().all(|it| it.decision == Decision::Allow && it.scores.contains_key("drift")));
    assert!(said.last().unwrap().scores["drift"] > said[4].scores["drift"]);
}

/// A call that cannot be taken back is asked about while the session was slowed down in one of the five steps before it.
#[test]
fn what_is_final_is_asked_about_soon_after_a_session_is_slowed_down() {
    let baselines = baselines_of(240);
    let described = "id: drift\nmode: enforce\n---\ntools:\n  - { name: delete, destructive: true }\n  - { name: mail, open_world: true }\n";
    let named = "id: drift\nmode: enforce\n";
    for (rules, tool, is_asked) in [
        (described, "delete", Some((Mode::Enforce, "delete destroys something, 5 steps"))),
        (described, "mail", Some((Mode::Enforce, "mail sends something out, 5 steps"))),
        (described, "look", None),
        (named, "delete", Some((Mode::Shadow, "delete, by its name, destroys something, 5 steps"))),
    ] {
        let rules = Rules::load(&[("p.yaml", rules)]).unwrap().with_baselines(Arc::clone(&baselines));
        let mut script = healthy(3, 2)[..5].to_vec();
        script.push("tool_call look {\"page\":1,\"force\":true}".to_owned());
        script.push("tool_result look \"gone\"".to_owned());
        for number in 0..4 {
            script.push(format!("tool_call {tool} {{\"page\":{number},\"force\":true}}"));
            script.push(format!("tool_result {tool} \"gone\""));
        }
        let said = judge(rules, &script);
        let found = found(&said);
        let slowed =
            found.iter().find(|it| it.1.decision == Decision::Throttle).unwrap_or_else(|| panic!("{found:?}")).0;
        let asked: Vec<_> = found.iter().filter(|it| it.1.decision == Decision::StepUp).collect();
        let within = (slowed..=slowed + 5).filter(|it| script[*it].starts_with(&format!("tool_call {tool}")));
        let expected: Vec<usize> = within.filter(|_| is_asked.is_some()).collect();
        assert_eq!(asked.iter().map(|it| it.0).collect::<Vec<_>>(), expected, "{tool}: slowed at {slowed}, {found:?}");
        let Some((mode, begins)) = is_asked else { continue };
        assert!(!asked.is_empty() && expected.len() < 4, "{tool}: slowed at {slowed}");
        for (at, finding) in asked {
            assert!(finding.message.starts_with(begins), "{}", finding.message);
            assert_eq!(finding.mode, mode, "{tool}");
            let expected = if mode == Mode::Enforce { Decision::StepUp } else { Decision::Allow };
            assert!(said[*at].decision == expected || *at == slowed, "{tool}");
            assert!(finding.bound.as_ref().is_some_and(|it| it.at_most <= 0.01), "{finding:?}");
        }
    }
}

#[test]
fn ordinary_sessions_and_agents_without_a_baseline_are_not_spoken_of() {
    let baselines = baselines();
    let told = (0..40).filter(|request| {
        let rules = Rules::starter().with_baselines(Arc::clone(&baselines));
        !found(&judge(rules, &healthy(*request, 1 + request % 2))).is_empty()
    });
    assert!(told.count() <= 2, "of 40, at 5 %");
    let few = ordinary(&[&["tool_call search {}", "tool_result search \"x\""]], 7);
    let other: Vec<String> = astray(5).iter().map(|it| format!("{it} agent=other")).collect();
    for (baselines, script) in [(None, astray(5)), (Some(few), astray(5)), (Some(baselines), other)] {
        let rules = Rules::starter();
        let rules = if let Some(it) = baselines { rules.with_baselines(it) } else { rules };
        let said = judge(rules, &script);
        assert!(said.iter().all(|it| !it.scores.contains_key("drift")) && found(&said).is_empty());
    }
}

#[test]
fn a_mode_silences_or_enforces() {
    let baselines = baselines();
    for (mode, decision) in [("off", Decision::Allow), ("shadow", Decision::Allow), ("enforce", Decision::Warn)] {
        let rules = Rules::load(&[("p.yaml", format!("id: drift\nmode: {mode}\n"))]).unwrap();
        let said = judge(rules.with_baselines(Arc::clone(&baselines)), &astray(5));
        assert_eq!(said.iter().map(|it| it.decision).max(), Some(decision), "{mode}");
        assert_eq!(found(&said).is_empty(), mode == "off");
        assert!(said[0].scores.contains_key("drift"));
    }
}

/// What the badge says: how many sessions and requests stand behind the level.
#[test]
fn few_sessions_or_requests_are_told() {
    let reached = |n: usize| (0..n).map(|it| it as f64).collect::<Vec<_>>();
    for (sessions, requests, beyond, expected) in [
        (0, 0, 9.0, None),
        (10, 10, 8.5, None),
        (10, 10, 10.5, None),
        (10, 10, 11.0, Some((Decision::Warn, Calibration::Uncalibrated))),
        (50, 29, 48.5, Some((Decision::Warn, Calibration::Uncalibrated))),
        (50, 30, 48.5, Some((Decision::Warn, Calibration::Conformal))),
        (50, 30, 47.5, None),
        (98, 98, 97.5, Some((Decision::Warn, Calibration::Conformal))),
        (99, 98, 98.5, Some((Decision::Throttle, Calibration::Conformal))),
        (99, 9, 98.5, Some((Decision::Throttle, Calibration::Uncalibrated))),
    ] {
        let standard = Standard { reached: reached(sessions), requests, ..Standard::default() };
        let level = standard.level(beyond).map(|it| {
            let is_stated = standard.bound(&it, None).is_some();
            (it.decision, if is_stated { Calibration::Conformal } else { Calibration::Uncalibrated })
        });
        assert_eq!(level, expected, "{sessions} sessions of {requests} requests, {beyond}");
    }
}

/// Alpha is spent once: a halt that a person lifts, or the end of the session, does not let a session begin anew.
#[test]
fn a_session_is_not_watched_anew() {
    let rules = Rules::starter().with_baselines(baselines());
    let (mut detector, mut now) = (Detector::new(Arc::new(rules)), BEGIN);
    let mut score = 0.0;
    let mut told = 0;
    for (number, line) in astray(5).iter().chain(&astray(5)[5..]).enumerate() {
        if number == 12 {
            detector.apply(&control("halt", "session", "s"));
            detector.apply(&control("resume", "session", "s"));
        }
        step_of(line, number, &mut now, |step| {
            let said = detector.observe(step).judgement().unwrap();
            assert!(number < 12 || said.scores["drift"] > score / 2.0, "{} {score}", said.scores["drift"]);
            score = said.scores["drift"];
            told += found(&[said]).len();
        });
    }
    assert_eq!(told, 1);
    for (line, expected) in [("session_end", true), ("tool_call delete {}", false)] {
        step_of(line, if expected { 90 } else { 91 }, &mut now, |step| {
            let said = detector.observe(step).judgement().unwrap();
            assert!(!said.scores.contains_key("drift") && said.findings.is_empty());
        });
    }
}

/// A session that is stored and forgotten after every step is judged like one that stays in memory.
#[test]
fn stored_state_is_all_that_counts() {
    let rules = Arc::new(Rules::starter().with_baselines(baselines()));
    let (mut whole, mut other) = (Detector::new(Arc::clone(&rules)), Detector::new(rules));
    let (mut stored, mut now) = (HashMap::<StateKey<'static>, Vec<u8>>::new(), BEGIN);
    for (number, line) in astray(5).iter().enumerate() {
        step_of(line, number, &mut now, |step| {
            while let Some(key) = other.absent(step).pop() {
                let state = stored.get(&key).map(|it| postcard::from_bytes::<State>(it).unwrap());
                other.load(key, state);
            }
            assert_eq!(whole.observe(step), other.observe(step), "step {number}");
        });
        other.drain_changed(|key, state| {
            stored.insert(key.to_static(), postcard::to_allocvec(&state.unwrap()).unwrap());
        });
        other.evict(0);
    }
}

fn reading(act: u64, at: u64) -> Reading {
    Reading {
        act,
        is_chosen: act % 3 != 2,
        shape: Some(mix(act, at % 3)),
        latency: Some(u8::try_from(20 + at % 7).unwrap()),
        tokens: at.is_multiple_of(2).then(|| u8::try_from(10 + at % 5).unwrap()),
        cost: None,
        failed: (act % 3 == 2).then_some(at.is_multiple_of(11)),
        subject: act.is_multiple_of(3).then(|| u8::try_from(at % 5).unwrap()),
        layout: (act % 3 == 2).then(Layout::default),
        novelty: act.is_multiple_of(3).then(|| u8::try_from(at % 4).unwrap()),
    }
}

fn past(acts: &[u64]) -> Past {
    let mut past = Past::default();
    acts.iter().zip(0..).for_each(|(act, at)| past.extend(Some(reading(*act, at))));
    past
}

fn standard() -> Standard {
    let mut sessions = Sessions::default();
    for session in 0..64_u64 {
        let acts: Vec<u64> = (0..10 + session % 9).map(|it| mix(session, it) % 4 + it % 3).collect();
        sessions.push(past(&acts));
    }
    sessions.learn().unwrap()
}

proptest! {
    /// Whatever happened before, no rival and no baseline gives all that may come next more than everything: so no bet pays
    /// on average, and the bet is made before what comes is counted.
    #[test]
    fn a_bet_is_fair(seen in proptest::collection::vec(0_u8..255, ACTS)) {
        let model = standard().model;
        let seen: [u8; ACTS] = seen.try_into().unwrap();
        for stream in Stream::ALL {
            for choices in model.contexts(stream) {
                let bets: Vec<_> = choices.iter().map(|it| model.bet(*it, &seen)).collect();
                let sum = |f: &dyn Fn(&super::model::Bet) -> f64| bets.iter().map(f).sum::<f64>();
                prop_assert!((sum(&|it| it.baseline) - 1.0).abs() < 1e-5, "{stream:?}: {}", sum(&|it| it.baseline));
                for rival in 0..4 {
                    prop_assert!(sum(&|it| it.rivals[rival]) < 1.0 + 1e-5, "{stream:?} {rival}");
                }
                prop_assert!(bets.iter().all(|it| it.baseline >= 0.02 / 97.0 / 3.0));
            }
        }
    }

    /// Any steps at all: evidence stays finite and positive, state within its bounds, and stored it is the same.
    #[test]
    fn memory_survives_anything(acts in proptest::collection::vec((any::<u64>(), any::<u8>(), any::<bool>()), 0..200)) {
        let model = standard().model;
        let mut memory = Memory::default();
        for (number, (act, bin, flag)) in acts.into_iter().enumerate() {
            let act = if flag { act } else { act % 5 };
            let number_of = Some(bin % 96);
            let reading = Reading { act, is_chosen: flag, shape: Some(act % 9), latency: number_of, tokens: number_of, cost: number_of, failed: Some(flag), subject: Some(bin % 5), layout: Some(Layout::default()), novelty: Some(bin % 5) };
            memory.take(&model, &reading, &StepId::from(format!("step-{number}")));
            for stream in Stream::ALL {
                let evidence = memory.evidence(stream);
                prop_assert!(evidence > 0.0 && evidence < 1e31, "{evidence}");
                prop_assert!(bits(evidence).is_finite());
            }
        }
        let binary = postcard::to_allocvec(&memory).unwrap();
        prop_assert!(binary.len() <= 940 + 10 * 12, "{}", binary.len());
        prop_assert_eq!(&postcard::from_bytes::<Memory>(&binary).unwrap(), &memory);
        prop_assert_eq!(&serde_json::from_str::<Memory>(&serde_json::to_string(&memory).unwrap()).unwrap(), &memory);
        for length in 0..binary.len() {
            prop_assert!(postcard::from_bytes::<Memory>(&binary[..length]).is_err());
        }
    }

    #[test]
    fn bits_never_decrease(a in 1e-30..1e30, b in 1e-30..1e30) {
        let (a, b): (f64, f64) = (a, b);
        prop_assert_eq!(a < b, bits(a) < bits(b));
        prop_assert!((bits(a) - a.log2()).abs() < 0.09);
    }
}

#[test]
fn numbers_have_their_place() {
    for (number, place) in
        [(0, 0), (1, 0), (2, 2), (3, 3), (4, 4), (6, 5), (7, 5), (1024, 20), (1536, 21), (u64::MAX, 95)]
    {
        assert_eq!(bin(number), place, "{number}");
    }
    assert!(usize::from(bin(u64::MAX)) < BINS);
}

/// Millions of distinct acts and shapes, sessions without end: what is learnt and remembered stays within its bounds.
#[test]
fn what_is_learnt_is_bounded() {
    let mut sessions = Sessions::default();
    for session in 0..300_u64 {
        let mut past = Past::default();
        for at in 0..400 {
            let act = if at % 2 == 0 { mix(session, at) % 200 } else { mix(session, at) };
            let ends = [Sign::Word; 6].map(|it| if mix(act, at).is_multiple_of(3) { Sign::Number } else { it });
            let layout = Some(Layout { ends, form: mix(session, at) % 500 });
            past.extend(Some(Reading { act, is_chosen: true, shape: Some(act), layout, ..reading(act, at) }));
        }
        sessions.push(past);
    }
    let standard = sessions.learn().unwrap();
    assert!(standard.model.bytes() <= 448 * 1024, "{}", standard.model.bytes());
    let (mut memory, id) = (Memory::default(), StepId::from("x"));
    for at in 0..u64::from(STEPS_MAX) {
        assert!(memory.take(&standard.model, &reading(at, at), &id));
    }
    let full = memory.clone();
    assert!(
        !memory.take(&standard.model, &reading(1, 1), &id),
        "what is past the steps that were learnt is not judged"
    );
    assert_eq!(memory, full);
}

/// What a version before remembered is read: seven streams, and nothing of which words were met.
#[test]
fn what_was_remembered_before_stands() {
    let (model, mut memory) = (standard().model, Memory::default());
    for at in 0..20 {
        memory.take(&model, &reading(40 + at, at), &StepId::from(format!("step-{at}")));
    }
    let (bytes, starts): (Vec<u8>, Vec<Option<String>>) =
        serde_json::from_value(serde_json::to_value(&memory).unwrap()).unwrap();
    let (tracks, rest) = bytes.split_at(10 * 20);
    let earlier: Vec<u8> = tracks
        .chunks(20)
        .take(7)
        .flat_map(|it| [&[9_u8; 8][..], it].concat())
        .chain(rest[..rest.len() - 513].to_vec())
        .collect();
    let seventh: Memory = serde_json::from_value(serde_json::json!([bytes[..bytes.len() - 1], starts])).unwrap();
    assert_eq!(seventh, memory, "which did not say that calls are asked about");
    let read: Memory = serde_json::from_value(serde_json::json!([earlier, starts[..7]])).unwrap();
    for stream in &Stream::ALL[..7] {
        assert_eq!((read.evidence(*stream), read.start(*stream)), (memory.evidence(*stream), memory.start(*stream)));
    }
    assert!(read.evidence(Stream::Order) > 1e6);
    let mut heard = read.heard;
    step_of("final_message \"quite another thing\"", 1, &mut { BEGIN }, |step| {
        assert_eq!(Reading::next(step, &mut heard).unwrap().novelty, Some(0), "nothing counts as new");
    });
}

/// Another baseline under a session: its symbols mean something else, what was found stands.
#[test]
fn a_new_baseline_keeps_the_evidence() {
    let (one, id) = (standard().model, StepId::from("x"));
    let other = Model::fit([&[reading(7, 0)][..]].into_iter());
    let mut memory = Memory::default();
    for at in 0..20 {
        memory.take(&one, &reading(40 + at, at), &id);
    }
    let evidence = memory.evidence(Stream::Order);
    assert!(evidence > 1e6, "{evidence}");
    memory.take(&other, &Reading { is_chosen: false, ..reading(7, 0) }, &id);
    assert!(memory.evidence(Stream::Order) >= evidence);
    let (mut last, mut samples) = ([BEGINNING; 2], 0);
    other.each_sample(&reading(7, 0), &mut last, |_| samples += 1);
    assert!(samples > 0);
}

/// Words that stood somewhere before, in what was asked, read or called, are not new.
#[test]
fn what_stood_nowhere_before_is_new() {
    let script = [
        ("system_prompt \"Answer as a hotel desk\"", None),
        ("user_message \"Book room-7 in Lisbon for 120.50\"", None),
        ("tool_call book {\"city\":\"lisbon\",\"room\":7,\"price\":120.5}", Some(1)),
        ("tool_call book {\"city\":\"Cusco\",\"price\":120.5}", Some(2)),
        ("tool_result book {\"note\":\"in Osaka\",\"rooms\":[31]}", None),
        ("tool_call book {\"city\":\"Osaka\",\"room\":31}", Some(0)),
        ("tool_call book {\"city\":\"Bergen\"}", Some(4)),
        ("tool_call book {\"city\":\"Bergen\"}", Some(0)),
        ("tool_call book {\"is\":true}", None),
        ("final_message \"Hotel Bergen, room 32\"", Some(1)),
        ("tool_call book {\"city\":\"hotel\",\"room\":\"Bergen\"}", Some(0)),
    ];
    let (mut now, mut heard) = (BEGIN, Heard::default());
    for (number, (line, expected)) in script.into_iter().enumerate() {
        step_of(line, number, &mut now, |step| {
            let read = Reading::next(step, &mut heard);
            assert_eq!(read.and_then(|it| it.novelty), expected, "{line}");
        });
    }
}

/// What is looked at of which step: latency, tokens, cost, failure, share of the user's words.
#[test]
fn a_step_is_read_for_what_it_shows() {
    let script = [
        ("user_message \"Book a hotel in Lisbon\"", Some((true, None, None, None, None, None))),
        (
            "+2s tool_call book {\"city\":\"Lisbon\"} tokens=9",
            Some((true, Some(2_000_000), Some(9), None, None, Some(4))),
        ),
        ("+4s tool_result book \"Hotel Lisbon\"", Some((false, Some(4_000_000), None, None, Some(false), None))),
        ("tool_call book {\"city\":\"Cusco\"} duration_ms=7", Some((true, Some(7000), None, None, None, Some(0)))),
        ("tool_result book \"none\" status=error", Some((false, Some(1_000_000), None, None, Some(true), None))),
        ("tool_call book {\"n\":1}", Some((true, Some(1_000_000), None, None, None, None))),
        ("model_call cost=0.5", Some((true, Some(1_000_000), None, Some(500_000), Some(false), None))),
        ("approval book", Some((true, None, None, None, None, None))),
        (
            "final_message \"The hotel costs 80 in all\"",
            Some((true, Some(1_000_000), None, None, Some(false), Some(1))),
        ),
        ("state", None),
        ("session_end", None),
    ];
    let (mut now, mut heard) = (BEGIN, Heard::default());
    for (number, (line, expected)) in script.into_iter().enumerate() {
        step_of(line, number, &mut now, |step| {
            let read = Reading::next(step, &mut heard);
            let read = read.map(|it| (it.is_chosen, it.latency, it.tokens, it.cost, it.failed, it.subject));
            let expected = expected.map(|(chosen, latency, tokens, cost, failed, subject)| {
                (chosen, latency.map(bin), tokens.map(bin), cost.map(bin), failed, subject)
            });
            assert_eq!(read, expected, "{line}");
        });
    }
}

/// Content chooses neither how long a reading takes nor how much is kept.
#[test]
fn long_content_is_read_in_part() {
    let words: Vec<String> = (0..20_000).map(|it| format!("word{it}")).collect();
    let text = words.join(" ");
    let script = [
        format!("user_message \"{text}\u{e9}\""),
        format!("tool_call f {{\"q\":\"{text}\"}}"),
        format!("final_message \"{}{text}\"", "\u{e9}".repeat(4095)),
    ];
    let (mut now, mut heard) = (BEGIN, Heard::default());
    for (number, (line, subject)) in script.iter().zip([false, false, true]).enumerate() {
        step_of(line, number, &mut now, |step| {
            assert_eq!(Reading::next(step, &mut heard).unwrap().subject.is_some(), subject, "{number}");
        });
    }
}
