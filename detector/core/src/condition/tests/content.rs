//! What conditions see of content that an agent controls.

use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Step, Timestamp};

use super::compile;
use crate::condition::{Facts, RunFacts, Scope, SessionFacts, Want, base_context, json};
use crate::flow::Sources;
use crate::limits::StateLimits;
use crate::tools::Tool;

fn holds(step: &Step<'_>, source: &str) -> bool {
    let condition = compile(source, Want::Truth).unwrap_or_else(|| panic!("{source}"));
    let (tool, limits) = (Tool::none(), StateLimits::DEFAULT);
    let facts = Facts::new(step, &tool, SessionFacts::default(), RunFacts::default(), Sources::default(), &limits);
    condition.holds(&base_context(), &Scope::new(&facts)).unwrap_or_else(|_| panic!("{source}: not evaluated"))
}

fn step_of(more: &str) -> String {
    format!(
        r#"{{"session_id":"s","step_id":"1","kind":"tool_call","agent":{{"id":"a"}},"time":"2026-01-01T00:00:00Z",{more}}}"#
    )
}

/// As ingest takes it and as the log gives it back: the same answer, whether judged live or replayed.
#[track_caller]
fn check(more: &str, conditions: &[&str], truncated: bool) {
    let json = step_of(more);
    let shown = &json[..json.len().min(300)];
    let sent = StepV1::parse(json.as_bytes()).and_then(|it| it.check(Timestamp::from_micros(0), &Limits::DEFAULT));
    let sent = sent.unwrap_or_else(|rejection| panic!("{shown}: {rejection}"));
    let logged = sent.to_json();
    for step in [&sent, &Step::from_log(&logged).expect("from the log")] {
        for source in conditions {
            assert!(holds(step, source), "{shown}: {source}");
        }
        assert_eq!(holds(step, "step.truncated"), truncated, "{shown}");
    }
}

/// What no value of the language stands for does not hide the rest of its object.
#[test]
fn a_value_that_is_none_hides_nothing() {
    let rm = r#"step.input.command == "rm -rf /""#;
    check(r#""input":{"command":"rm -rf /","x":"y"}"#, &[rm, r#"step.input.x == "y""#], false);
    check(r#""input":{"command":"rm -rf /","x":"\ud800"}"#, &[rm, "step.input.x == \"\u{fffd}\""], true);
    check(r#""input":{"\udfff":1,"command":"rm -rf /"}"#, &[rm, "step.input[\"\u{fffd}\"] == 1"], true);
    check(r#""input":{"command":"rm -rf /","x":1e999}"#, &[rm, "step.input.x > 1e300"], true);
    check(r#""input":{"command":"rm -rf /","x":-1e999}"#, &[rm, "step.input.x < -1e300"], true);
    check(r#""output":["\ud800",2]"#, &["step.output[1] == 2"], true);
    check(r#""attributes":{"a":{"x":1e999,"y":1}}"#, &["step.attributes.a.y == 1"], true);
    check(r#""input":{"command":"\ud83d\ude00 rm"}"#, &["step.input.command == \"😀 rm\""], false);
}

/// Ingest refuses it; a log of before may hold it, and then a rule can say so.
#[test]
fn a_name_that_comes_twice_on_an_older_log_is_said() {
    let json = step_of(r#""input":{"command":"rm -rf /","command":"ls"}"#);
    let step = Step::from_log(json.as_bytes()).expect("from the log");
    assert!(holds(&step, "step.truncated"));
    assert!(holds(&step, r#"step.content.contains("rm -rf /")"#));
}

#[test]
fn whatever_conditions_do_not_see_is_said() {
    let long = |field: &str, bytes: usize| format!(r#""{field}":"{}""#, "x".repeat(bytes));
    // Two of the bytes are the quotes.
    check(&long("input", 16 * 1024 - 2), &["step.content.size() == 16384"], false);
    check(&long("input", 16 * 1024 - 1), &["step.content.size() == 16384", "step.input.size() == 16383"], true);
    check(&long("output", 20_000), &["step.output.size() == 20000"], true);
    check(&long("text", 16 * 1024), &["step.text.size() == 16384"], false);
    check(&long("text", 16 * 1024 + 1), &["step.text.size() == 16384"], true);
    check(&long("input", 200_000), &[], true);
    check(r#""input":1,"input_truncated_from":90"#, &["step.input == 1"], true);
    check(r#""attributes":{"note":"a","note_truncated_from":90000}"#, &[r#"step.attributes.note == "a""#], true);
    check(r#""attributes":{"otel.dropped_attributes_count":3}"#, &[], true);
    let message = |bytes: usize| format!(r#""error":{{"message":"{}"}}"#, "x".repeat(bytes));
    check(&message(128 * 1024), &["step.error.size() == 131072"], false);
    check(&message(128 * 1024 + 1), &[], true);
    check(&long("owner", 9), &[], false);
    let nested = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    check(&format!(r#""input":{nested}"#), &["step.input[0][0].size() == 1"], false);
}

/// Another limit of nesting may have held once: what lies deeper is left out, not everything.
#[test]
fn what_is_nested_too_deep_hides_nothing() {
    let nested = format!("{}\"]\"{}", "[".repeat(5000), "]".repeat(5000));
    let json = step_of(&format!(r#""input":{{"x":{nested},"command":"rm"}}"#));
    let step = Step::from_log(json.as_bytes()).expect("from the log");
    assert!(holds(&step, r#"step.input.command == "rm" && step.truncated"#));
}

#[test]
fn content_is_what_somebody_would_read() {
    for (more, part) in [
        (r#""input":{"command":"rm \u002drf /"}"#, "rm -rf"),
        (r#""input":{"c\u006fmmand":"ls"}"#, "{\\\"command\\\":\\\"ls\\\"}"),
        (r#""output":"say \"hi\"""#, "say \\\"hi\\\""),
        (r#""text":"a \u0062","input":"\u0063","output":"d""#, "a b\\n\\\"c\\\"\\n\\\"d\\\""),
        (r#""input":"größer \/""#, "größer /"),
    ] {
        check(more, &[&format!(r#"step.content.contains("{part}")"#)], false);
    }
}

#[test]
fn escapes_hide_no_secret() {
    check(r#""output":{"\u0070assword":"hunter22x"}"#, &["labels.secret"], false);
    check(r#""input":"key AK\u0049AQ7RT2ZPLMNB45XYW here""#, &["labels.secret"], false);
    check(r#""input":{"a":"\u00e9"}"#, &["!labels.secret"], false);
}

#[test]
fn json_becomes_the_values_of_the_language() {
    for (value, source) in [
        ("{}", "step.input == {}"),
        ("[ ]", "step.input == []"),
        (r#" { "a" : [ 1 , 2.5 , "x" ] , "b" : { } } "#, r#"step.input == {"a": [1, 2.5, "x"], "b": {}}"#),
        ("[true,false,[[]]]", "step.input == [true, false, [[]]]"),
        ("[null]", "step.input[0] == null"),
        ("0", "step.input == 0"),
        ("-7", "step.input == -7"),
        ("9223372036854775807", "step.input == 9223372036854775807"),
        ("9223372036854775808", "step.input == 9223372036854775808u"),
        ("-9223372036854775809", "step.input < -9.2e18"),
        ("18446744073709551616", "step.input > 1.8e19"),
        ("1E2", "step.input == 100.0"),
        ("-0", "step.input == 0.0"),
        ("1e-999", "step.input == 0.0"),
        (r#""a\"]}\\""#, r#"step.input == "a\"]}\\""#),
        (r#"{"":{"":"\n"}}"#, r#"step.input[""][""] == "\n""#),
    ] {
        check(&format!(r#""input":{value}"#), &[source], false);
    }
}

proptest::proptest! {
    /// Any text at all: an answer, and no endless loop; and of what JSON is, all of it is seen unless something is said.
    #[test]
    fn any_text_is_read(text in "[\\[\\]{}:,\" \\\\a1u0dtrue.eE+-\u{e9}]{0,60}") {
        let seen = json::value(Some(&text), 1000);
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text)
            && !text.contains('"')
        {
            proptest::prop_assert!(seen.whole, "{}", value);
        }
    }
}
