use std::collections::BTreeSet;
use std::path::PathBuf;

use expect_test::expect_file;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::record::DeadLetter;
use crate::wire::tests::{ARRIVAL, REJECTED, step_with};
use crate::wire::{AgentV1, AlternativeV1, ErrorV1, PrincipalV1, StepFieldsV1, StepV1, UsageV1};
use crate::{Control, Decision, Limits, Step, Verdict, json_schema};

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn fixture(path: &str) -> String {
    let path = here("fixtures").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn validator(name: &str) -> jsonschema::Validator {
    let (_, schema) = json_schema::all().into_iter().find(|(it, _)| *it == name).expect(name);
    jsonschema::validator_for(schema.as_value()).expect("a schema")
}

#[test]
fn the_checked_in_schemas_are_these() {
    for (name, schema) in json_schema::all() {
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        expect_file![here(&format!("generated/{name}.schema.json"))].assert_eq(&text);
    }
}

#[test]
fn the_step_schema_names_the_fields_the_parser_knows() {
    let schema = json_schema::step();
    let names = |pointer: &str| -> BTreeSet<String> {
        let object = schema.as_value().pointer(&format!("{pointer}/properties")).and_then(Value::as_object);
        object.unwrap_or_else(|| panic!("no properties at {pointer}")).keys().cloned().collect()
    };
    for (pointer, known) in [
        ("", StepFieldsV1::FIELDS),
        ("/$defs/Agent", AgentV1::FIELDS),
        ("/$defs/Principal", PrincipalV1::FIELDS),
        ("/$defs/Alternative", AlternativeV1::FIELDS),
        ("/$defs/Error", ErrorV1::FIELDS),
        ("/$defs/Usage", UsageV1::FIELDS),
    ] {
        assert_eq!(names(pointer), known.iter().map(|&it| it.to_owned()).collect(), "{pointer}");
    }
}

#[test]
fn the_step_schema_takes_and_refuses_what_the_parser_does() {
    let validator = validator("step");
    let sent = fixture("step/v1.jsonl");
    for line in sent.lines() {
        let json: Value = serde_json::from_str(line).expect(line);
        let errors: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
    }
    for row in REJECTED {
        let text = step_with(row.more);
        // A duplicate field is gone once it is a value: nothing for a schema to see.
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        if json.is_object() {
            assert_eq!(validator.is_valid(&json), !row.in_schema, "{text}");
        }
    }
    for json in [
        "{}",
        "[]",
        "null",
        r#"{"session_id":"s","kind":"plan"}"#,
        r#"{"session_id":"s","kind":"x","agent":{"id":"a"}}"#,
    ] {
        assert!(!validator.is_valid(&serde_json::from_str(json).expect(json)), "{json}");
    }
}

/// Every step ever taken stays readable: as it was sent, and as an earlier version wrote it to the log.
#[test]
fn steps_of_v1_are_read_as_ever() {
    let sent = fixture("step/v1.jsonl");
    let logged: Vec<String> = sent
        .lines()
        .map(|line| {
            let step = StepV1::parse(line.as_bytes()).and_then(|it| it.check(ARRIVAL, &Limits::DEFAULT)).expect(line);
            String::from_utf8(step.to_json()).expect("UTF-8")
        })
        .collect();
    expect_file![here("fixtures/step/v1.logged.jsonl")].assert_eq(&(logged.join("\n") + "\n"));
    for line in fixture("step/v1.logged.jsonl").lines() {
        assert_eq!(String::from_utf8(Step::from_log(line.as_bytes()).expect(line).to_json()).expect("UTF-8"), line);
    }
}

/// Whether a step was gated and who is above its parent is said by the door it came through: a producer's word for it is an
/// attribute.
#[test]
fn no_producer_speaks_for_the_door() {
    let line = r#"{"session_id":"s","step_id":"1","kind":"plan","agent":{"id":"a"},"gated":true,"ancestor_session_ids":["r"]}"#;
    let step = StepV1::parse(line.as_bytes()).and_then(|it| it.check(ARRIVAL, &Limits::DEFAULT)).expect(line);
    assert_eq!((step.gated, step.ancestors.len()), (None, 0));
    let logged = Step { gated: Some(false), ancestors: vec!["b".into()], ..step }.to_json();
    let again = Step::from_log(&logged).expect("as it was written");
    let names: Vec<&str> = again.attributes.iter().map(|it| &*it.0).collect();
    assert_eq!(
        (again.gated, &*again.ancestors, &*names),
        (Some(false), &["b".into()][..], &["gated", "ancestor_session_ids"][..])
    );

    let lines = fixture("step/v1.ancestors.logged.jsonl");
    let read: Vec<Step<'_>> = lines.lines().map(|it| Step::from_log(it.as_bytes()).expect(it)).collect();
    assert_eq!(read[0].ancestors, ["triage-4".into(), "plan-2".into()]);
    assert_eq!(String::from_utf8(read[0].to_json()).expect("UTF-8"), lines.trim_end());

    let lines = fixture("step/v1.gated.logged.jsonl");
    let read: Vec<Step<'_>> = lines.lines().map(|it| Step::from_log(it.as_bytes()).expect(it)).collect();
    assert_eq!(read.iter().map(|it| it.gated).collect::<Vec<_>>(), [Some(true), Some(false)]);
    for (line, step) in lines.lines().zip(&read) {
        assert_eq!(String::from_utf8(step.to_json()).expect("UTF-8"), line);
    }
}

/// Lines of an earlier version mean what they meant: read, written again, they hold the same JSON.
fn stays_readable<T: DeserializeOwned + Serialize>(name: &str, file: &str) {
    let validator = validator(name);
    let lines = fixture(&format!("{name}/{file}"));
    assert!(!lines.is_empty(), "{name}");
    for line in lines.lines() {
        let json: Value = serde_json::from_str(line).expect(line);
        let errors: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
        let read: T = serde_json::from_str(line).expect(line);
        assert_eq!(serde_json::to_value(&read).expect("JSON"), json, "{name}");
    }
}

#[test]
fn verdicts_of_v1_are_read_as_ever() {
    stays_readable::<Verdict<'static>>("verdict", "v1.jsonl");
    // Since arguments have edges.
    stays_readable::<Verdict<'static>>("verdict", "v1.edges.jsonl");
    // Since what is conformal has a bound.
    stays_readable::<Verdict<'static>>("verdict", "v1.bounds.jsonl");
}

/// A sum beyond all numbers was once written as `null`; the decision beside it still holds.
#[test]
fn a_verdict_whose_score_is_null_is_read() {
    for line in fixture("verdict/v1.null-score.jsonl").lines() {
        let verdict: Verdict<'static> = serde_json::from_str(line).expect(line);
        assert_eq!((verdict.standing, verdict.findings[0].score, verdict.scores["policy"]), (Decision::Halt, 0.0, 0.0));
    }
}

#[test]
fn a_verdict_is_never_written_so_that_it_cannot_be_read() {
    let line = fixture("verdict/v1.null-score.jsonl");
    let mut verdict: Verdict<'static> = serde_json::from_str(&line).expect("a verdict");
    for (score, expected) in
        [(f64::INFINITY, f64::MAX), (f64::NEG_INFINITY, f64::MIN), (f64::NAN, 0.0), (f64::MAX, f64::MAX), (2.5, 2.5)]
    {
        verdict.findings[0].score = score;
        verdict.scores.insert("policy".into(), score);
        let written = serde_json::to_string(&verdict).expect("JSON");
        assert!(!written.contains("null"), "{written}");
        let read: Verdict<'static> = serde_json::from_str(&written).expect("readable");
        assert_eq!((read.findings[0].score, read.scores["policy"]), (expected, expected), "{score}");
    }
}

#[test]
fn controls_of_v1_are_read_as_ever() {
    stays_readable::<Control>("control", "v1.jsonl");
}

#[test]
fn dead_letters_of_v1_are_read_as_ever() {
    stays_readable::<DeadLetter>("dead_letter", "v1.jsonl");
}

#[test]
fn replays_of_dead_letters_of_v1_are_read_as_ever() {
    for (line, settled) in fixture("dead_letter/replay.v1.jsonl").lines().zip([true, false]) {
        let read: crate::record::LetterReplay = serde_json::from_str(line).expect(line);
        assert_eq!((serde_json::to_string(&read).expect("JSON").as_str(), read.is_settled()), (line, settled));
        assert!(serde_json::from_str::<DeadLetter>(line).is_err(), "none is taken for a letter");
    }
}

/// Ids that others hold (in alerts, in their own records) never change.
#[test]
fn derived_ids_are_what_they_were() {
    use crate::{FindingId, SessionId, StepId, VerdictId};

    let verdict = VerdictId::of(&SessionId::from("s"), &StepId::from("1"));
    let finding = FindingId::of(&verdict, "policy", "p");
    let json = step_with("");
    let step = StepV1::parse(json.as_bytes()).and_then(|it| it.check(ARRIVAL, &Limits::DEFAULT)).expect("a step");
    let ids = format!("{verdict}\n{finding}\n{}\n", step.step_id);
    expect_file![here("fixtures/ids.v1.txt")].assert_eq(&ids);
}
