use std::collections::BTreeSet;
use std::path::PathBuf;

use expect_test::expect_file;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::record::DeadLetter;
use crate::wire::tests::{ARRIVAL, REJECTED, step_with};
use crate::wire::{AgentV1, AlternativeV1, ErrorV1, PrincipalV1, StepFieldsV1, StepV1, UsageV1};
use crate::{Control, Limits, Step, Verdict, json_schema};

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
}

#[test]
fn controls_of_v1_are_read_as_ever() {
    stays_readable::<Control>("control", "v1.jsonl");
}

#[test]
fn dead_letters_of_v1_are_read_as_ever() {
    stays_readable::<DeadLetter>("dead_letter", "v1.jsonl");
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
