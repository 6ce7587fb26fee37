//! What holds for any step and any bytes.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::tests::ARRIVAL;
use crate::wire::{AgentV1, AlternativeV1, ErrorV1, PrincipalV1, StepFieldsV1, StepV1, UsageV1};
use crate::{Kind, Limits, Step};

/// Small limits, so that generated content is cut often.
const LIMITS: Limits =
    Limits { content_bytes_max: 300, depth_max: 8, attributes_max: 12, list_max: 6, ..Limits::DEFAULT };

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("\\PC{0,6}", inner, 0..4).prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    })
}

fn known_name() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = [StepFieldsV1::FIELDS, AgentV1::FIELDS, PrincipalV1::FIELDS, UsageV1::FIELDS]
        .into_iter()
        .chain([ErrorV1::FIELDS, AlternativeV1::FIELDS])
        .flatten()
        .copied()
        .collect();
    prop::sample::select(names).prop_map(str::to_owned)
}

/// Objects whose names the parser knows and whose values it does not expect.
fn hostile() -> impl Strategy<Value = Value> {
    let nested = prop::collection::hash_map(known_name(), any_json(), 0..5)
        .prop_map(|it| Value::Object(it.into_iter().collect()));
    let value = prop_oneof![any_json(), nested];
    prop::collection::hash_map(known_name(), value, 0..10).prop_map(|it| {
        let mut map: Map<String, Value> = it.into_iter().collect();
        map.entry("session_id").or_insert_with(|| json!("s"));
        map.entry("kind").or_insert_with(|| json!("plan"));
        map.entry("agent").or_insert_with(|| json!({ "id": "a" }));
        Value::Object(map)
    })
}

prop_compose! {
    /// Steps that are mostly in order.
    fn plausible()(
        kind in prop::sample::select(&Kind::ALL[..]),
        ids in prop::collection::vec("[a-z]{1,3}", 4),
        text in prop::option::of("(\\PC|[\\x00-\\x1f]){0,80}"),
        input in prop::option::of(any_json()),
        output in prop::option::of(any_json()),
        seconds in -3_000_000_000_i64..9_000_000_000,
        nanos in 0_i64..1_000_000_000,
        tokens in prop::option::of(0..=crate::limits::TOKENS_MAX),
        cost in prop::option::of(0.0_f64..crate::limits::COST_USD_MAX),
        has_parent in any::<bool>(),
        causes in prop::collection::vec("[a-z]{1,3}", 0..4),
        unknown in prop::collection::hash_map("[a-z]{6,8}", any_json(), 0..4),
        attributes in prop::option::of(prop::collection::hash_map("[A-Z.]{1,8}", any_json(), 0..4)),
    ) -> Value {
        let mut map: Map<String, Value> = unknown.into_iter().collect();
        let time = jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)).map(|it| it.to_string());
        for (name, value) in [
            ("session_id", json!(ids[0])),
            ("parent_session_id", if has_parent { json!(ids[1]) } else { Value::Null }),
            ("kind", json!(kind.as_str())),
            ("agent", json!({ "id": ids[2], "name": ids[3], "flavour": input })),
            ("text", json!(text)),
            ("input", json!(input)),
            ("output", json!(output)),
            ("time", json!(time.ok())),
            ("usage", json!({ "input_tokens": tokens, "cost_usd": cost })),
            ("causes", json!(causes)),
            ("attributes", json!(attributes)),
            ("alternatives", json!([{ "action": text.unwrap_or_default(), "score": cost, "extra": output }])),
        ] {
            map.insert(name.to_owned(), value);
        }
        Value::Object(map)
    }
}

/// Whether it was taken; what was taken reads back from the log as it was written.
fn round_trip(json: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(step) = StepV1::parse(json).and_then(|it| it.check(ARRIVAL, &LIMITS)) else { return Ok(false) };
    let logged = step.to_json();
    let again = Step::from_log(&logged).map_err(|rejection| TestCaseError::fail(format!("{rejection:?}")))?;
    prop_assert_eq!(again.key(), step.key());
    prop_assert_eq!(again.time, step.time);
    prop_assert_eq!(String::from_utf8(again.to_json()), String::from_utf8(logged.clone()));
    for later in [0, 1, 3_600_000_000] {
        let again = Step::from_topic(&logged, ARRIVAL.plus_micros(later), &LIMITS)
            .map_err(|rejection| TestCaseError::fail(format!("checked twice: {rejection:?}")))?;
        prop_assert_eq!(String::from_utf8(again.to_json()), String::from_utf8(logged.clone()), "checked twice");
    }
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!round_trip(&bytes)?);
    }

    #[test]
    fn no_json_panics(json in any_json()) {
        round_trip(&serde_json::to_vec(&json).expect("JSON"))?;
    }

    #[test]
    fn known_names_with_any_value_round_trip_or_are_refused(json in hostile()) {
        round_trip(&serde_json::to_vec(&json).expect("JSON"))?;
    }

    #[test]
    fn damaged_steps_round_trip_or_are_refused(json in plausible(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = serde_json::to_vec(&json).expect("JSON");
        let at = at.index(json.len());
        json[at] = byte;
        round_trip(&json)?;
    }

    #[test]
    fn plausible_steps_round_trip(json in plausible()) {
        // Refused here only for a session that is its own parent, for depth or for content that is no step's.
        round_trip(&serde_json::to_vec(&json).expect("JSON"))?;
    }
}

/// The properties above would hold of a parser that refuses everything.
#[test]
fn most_plausible_steps_are_taken() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let taken = (0..200)
        .filter(|_| {
            let json = plausible().new_tree(&mut runner).expect("a step").current();
            round_trip(&serde_json::to_vec(&json).expect("JSON")).expect("it round trips")
        })
        .count();
    assert!(taken > 100, "{taken} of 200");
}
