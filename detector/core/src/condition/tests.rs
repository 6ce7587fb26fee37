use std::sync::Arc;

use martingale_schemas::{Kind, Limits, Timestamp, wire::StepV1};
use proptest::prelude::*;

use super::{Condition, Facts, Names, RunFacts, Scope, SessionFacts, Trigger, Want, base_context};
use crate::flow::Sources;
use crate::limits::StateLimits;
use crate::tools::Tool;
use crate::yaml::{Faults, Node, Value};

fn compile(source: &str, want: Want) -> Option<Condition> {
    let node = Node { value: Value::Null, line: 1, column: 1 };
    let mut errors = Vec::new();
    let mut faults = Faults::new("f", source, &mut errors);
    let names = Names { current: Some("send"), earlier: &["read".to_owned()], amounts: true };
    Condition::compile(source, &node, "when", (want, names), &mut faults)
}

/// Kinds by number of letters would do as well; what matters is which, how many tools, and whether CEL is needed.
fn shown(trigger: &Trigger) -> String {
    let kinds: Vec<&str> = Kind::ALL.into_iter().filter(|it| trigger.kinds.has(*it)).map(Kind::as_str).collect();
    let kinds = if kinds.len() == Kind::ALL.len() { "any".to_owned() } else { kinds.join("|") };
    let tools = trigger.tools.as_ref().map_or_else(|| "any".to_owned(), |it| it.join("|"));
    let exact = if trigger.exact { " exact" } else { "" };
    format!("{kinds} of {tools} flags {}{exact}", trigger.flags.0)
}

#[test]
fn what_the_index_reads_off_a_condition() {
    for (source, expected) in [
        (r#"step.kind == "plan""#, "plan of any flags 0 exact"),
        (r#""plan" == send.kind"#, "plan of any flags 0 exact"),
        (r#"read.kind == "plan""#, "any of any flags 0"),
        (r#"step.kind in ["plan", "spawn"] && tool.open_world"#, "plan|spawn of any flags 8 exact"),
        (r#"step.kind == "tool_call" && step.tool == "f""#, "tool_call of f flags 0 exact"),
        (r#"step.kind == "tool_call" && tool.name in ["f", "g"]"#, "tool_call of f|g flags 0 exact"),
        (r#"step.tool in ["g", "f", "g"]"#, "any of f|g flags 0 exact"),
        (r#"step.kind == "plan" || step.kind == "spawn""#, "plan|spawn of any flags 0 exact"),
        (r#"step.tool == "f" || step.tool == "g""#, "any of f|g flags 0 exact"),
        (r#"step.tool == "f" || step.kind == "plan""#, "any of any flags 0"),
        (
            r#"(step.kind == "plan" && step.tool == "f") || (step.kind == "spawn" && step.tool == "g")"#,
            "plan|spawn of f|g flags 0",
        ),
        (r#"tool.open_world || tool.destructive"#, "any of any flags 0"),
        (r#"tool.open_world && !tool.read_only"#, "any of any flags 8"),
        (r#"step.kind == "plan" && step.text == "x""#, "plan of any flags 0"),
        (r#"step.kind != "plan""#, "any of any flags 0"),
        (r#"step.kind == "plan" && step.kind == "spawn""#, " of any flags 0 exact"),
        ("true", "any of any flags 0 exact"),
        ("false", "any of any flags 0"),
        ("flows(read, send)", "any of any flags 0"),
        ("flows(send, read)", "any of any flags 0"),
    ] {
        let condition = compile(source, Want::Truth).unwrap_or_else(|| panic!("{source}"));
        assert_eq!(shown(&condition.trigger), expected, "{source}");
    }
}

const STEP: &str = r#"{"session_id":"s","kind":"tool_call","agent":{"id":"a"},"tool":"f","text":"aé","seq":3,
    "input":{"to":["x@y.z"],"n":1.5,"deep":{"a":null}},"output":"o","attributes":{"k":[1]}}"#;

fn evaluate(source: &str, want: Want) {
    let Some(condition) = compile(source, want) else { return };
    let step = StepV1::parse(STEP.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
    let (tool, limits) = (Tool::none(), StateLimits::DEFAULT);
    let facts = Facts::new(&step, &tool, SessionFacts::default(), RunFacts::default(), Sources::default(), &limits);
    let (base, scope) = (Arc::new(base_context()), Scope::new(&facts));
    // Whatever the answer: it is one.
    let _ = (condition.holds(&base, &scope), condition.number(&base, &scope), condition.words(&base, &scope, 9));
}

/// The members of an object come in the order of their names, whatever hash map holds them.
#[test]
fn loops_over_objects_have_an_order() {
    for (source, expected) in [
        (r#"step.input.map(k, k)[0] == "deep""#, true),
        (r#"step.input.map(k, k) == ["deep", "n", "to"]"#, true),
        (r#"step.input.filter(k, k != "deep")[1] == "to""#, true),
        (r#"{"b": 1, "a": 2, "c": 3}.map(k, k) == ["a", "b", "c"]"#, true),
        (r#"{3: "x", 20: "y", 100u: "z"}.map(k, k)[1] == 20"#, true),
        (r#"step.input.to.map(it, it)[0] == "x@y.z""#, true),
        (r#"["n", "to"].all(k, k in step.input)"#, true),
    ] {
        let condition = compile(source, Want::Truth).unwrap_or_else(|| panic!("{source}"));
        // Every evaluation builds its objects anew, each with hash keys of its own.
        for _ in 0..64 {
            let step = StepV1::parse(STEP.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT);
            let (step, tool, limits) = (step.unwrap(), Tool::none(), StateLimits::DEFAULT);
            let facts =
                Facts::new(&step, &tool, SessionFacts::default(), RunFacts::default(), Sources::default(), &limits);
            assert_eq!(condition.holds(&base_context(), &Scope::new(&facts)), Ok(expected), "{source}");
        }
    }
}

fn words() -> impl Strategy<Value = String> {
    let atoms = vec![
        "step.kind",
        "step.input",
        "step.input.to",
        "step.text",
        "step.seq",
        "read.tool",
        "send.id",
        "tool.labels",
        "labels.secret",
        "session.cost_usd",
        "value",
        "1",
        "2.5",
        "-3",
        "\"x\"",
        "'(a'",
        "b\"\\xff\"",
        "null",
        "true",
        "[1, 2]",
        "{\"a\": 1}",
        "x",
        "size",
        "has(step.tool)",
        "step.attributes[\"k\"]",
        "step.input.to.exists(x, x == \"x@y.z\")",
        "step.text.matches(\"a+\")",
        "9223372036854775807",
        "step.input.to.map(i, i + \"!\")",
        "duration(\"1s\")",
    ];
    let operators = vec![
        " && ",
        " || ",
        " == ",
        " != ",
        " < ",
        " in ",
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " ? ",
        " : ",
        ".",
        "(",
        ")",
        "[",
        "]",
        ", ",
        "!",
        "{",
        "}",
        ".contains(",
        ".size()",
        ".all(y, ",
        "flows(",
        " ",
        "\n",
    ];
    let word = prop_oneof![prop::sample::select(atoms), prop::sample::select(operators)];
    prop::collection::vec(word, 1..14).prop_map(|it| it.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any expression either has a fault or an answer.
    #[test]
    fn expressions_never_panic(source in words(), want in prop::sample::select(vec![Want::Truth, Want::Number, Want::Anything])) {
        evaluate(&source, want);
    }

    #[test]
    fn any_text_never_panics(source in "\\PC{0,40}") {
        evaluate(&source, Want::Truth);
    }
}

#[test]
fn arithmetic_that_overflows_is_no_match() {
    for source in [
        "step.seq + 9223372036854775807 > 0",
        "step.seq / 0 == 1",
        "step.seq % 0 == 1",
        "-(-9223372036854775807 - 1) > 0",
        "int(step.text) == 1",
        "step.input.to[7] == \"\"",
        "step.input.deep.a.b.c == 1",
    ] {
        evaluate(source, Want::Truth);
    }
}

#[test]
fn a_deep_expression_is_refused() {
    assert!(compile(&format!("{}true{}", "(".repeat(5000), ")".repeat(5000)), Want::Truth).is_none());
    assert!(compile(&"!".repeat(1000), Want::Truth).is_none());
    assert!(compile(&format!("true{}", " && true".repeat(400)), Want::Truth).is_some());
}

/// A condition asked as comparisons gives the answer the language gives.
#[test]
fn comparisons_agree_with_the_language() {
    let atoms = [
        "has(step.tool)",
        "has(step.model)",
        "!has(step.usage.cost_usd)",
        "step.truncated",
        "!step.truncated",
        "labels.secret",
        "step.seq == 3",
        "3 == step.seq",
        "step.seq != 3",
        "step.seq < 4",
        "4 > step.seq",
        "step.seq <= 2",
        "2 >= step.seq",
        "step.seq >= 3.0",
        "step.seq > 3.5",
        "step.duration_ms == 0.0",
        "step.duration_ms < 1",
        "step.usage.cost_usd >= 0.0",
        "send.text == \"aé\"",
        "\"aé\" != step.text",
        "step.text.contains(\"é\")",
        "step.text.startsWith(\"a\")",
        "step.text.endsWith(\"a\")",
        "!step.text.endsWith(\"a\")",
        "step.model == \"\"",
        "step.status == \"ok\"",
        "step.status != \"ok\"",
        "session.steps == 0",
        "run.depth < 1",
        "tool.level > 0",
        "tool.source == \"heuristic\"",
    ];
    let step = StepV1::parse(STEP.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
    let (tool, limits) = (Tool::none(), StateLimits::DEFAULT);
    let facts = Facts::new(&step, &tool, SessionFacts::default(), RunFacts::default(), Sources::default(), &limits);
    let base = base_context();
    let mut scope = Scope::new(&facts);
    scope.current = "send";
    for one in atoms {
        for other in atoms {
            let source = format!("{one} && {other}");
            let divided = compile(&source, Want::Truth).unwrap_or_else(|| panic!("{source}"));
            assert!(divided.rest.is_none(), "{source}");
            let whole = compile(&source, Want::Anything).unwrap().words(&base, &scope, 9).unwrap();
            assert_eq!(divided.holds(&base, &scope).unwrap().to_string(), whole, "{source}");
        }
    }
}

#[test]
fn what_is_no_comparison_is_left_to_the_language() {
    for (source, atoms, rest) in [
        ("step.kind == \"plan\" && step.tool == \"f\"", 0, false),
        ("step.kind == \"plan\" && step.seq > 1", 1, false),
        ("step.seq > 1 && step.input.a == 1 && step.text != \"\"", 2, true),
        ("step.seq > 1 || step.text == \"\"", 0, true),
        ("read.tool == step.tool", 0, true),
        ("step.seq > session.steps", 0, true),
        ("step.text.matches(\"a\")", 0, true),
    ] {
        let condition = compile(source, Want::Truth).unwrap();
        assert_eq!((condition.atoms.len(), condition.rest.is_some()), (atoms, rest), "{source}");
    }
}
