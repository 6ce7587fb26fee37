use martingale_schemas::Limits;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Otlp;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use serde_json::{Value, json};

use super::{View, json as to_json};

fn attributes(entries: &[(&str, Otlp)]) -> Vec<KeyValue> {
    let entry = |(key, value): &(&str, Otlp)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(value.clone()) }),
        ..KeyValue::default()
    };
    entries.iter().map(entry).collect()
}

fn text(it: &str) -> Otlp {
    Otlp::StringValue(it.to_owned())
}

#[test]
fn what_is_not_taken_stays() {
    let attributes = attributes(&[
        ("a", text("1")),
        ("b", Otlp::IntValue(-3)),
        ("c", Otlp::DoubleValue(f64::NAN)),
        ("d", Otlp::BytesValue(vec![0xff, 0xfe])),
        ("a", text("again")),
    ]);
    let mut view = View::new(&attributes);
    assert_eq!((view.count("b"), view.amount("c"), view.count("missing")), (None, None, None));
    assert_eq!(view.text(&["missing", "a", "b"]), Some("1".to_owned()));
    let rest = Value::Object(view.rest(&Limits::DEFAULT));
    assert_eq!(rest, json!({"b": -3, "c": "NaN", "d": "//4="}));
}

#[test]
fn counts_come_in_several_types() {
    for (value, count) in [
        (Otlp::IntValue(7), Some(7)),
        (Otlp::DoubleValue(7.0), Some(7)),
        (text("7"), Some(7)),
        (Otlp::DoubleValue(7.5), None),
        (Otlp::IntValue(-7), None),
        (Otlp::DoubleValue(1e300), None),
        (Otlp::IntValue(1_000_000_000_001), None),
        (text("18446744073709551615"), None),
        (Otlp::BoolValue(true), None),
    ] {
        let attributes = attributes(&[("n", value)]);
        let mut view = View::new(&attributes);
        assert_eq!(view.count("n"), count);
        assert_eq!(view.has("n"), count.is_none());
    }
}

#[test]
fn numbered_names_are_lists() {
    let attributes = attributes(&[
        ("m.10.role", text("c")),
        ("m.2.role", text("b")),
        ("m.0.role", text("a")),
        ("m.0.calls.0.id", text("x")),
        ("m.name", text("stays")),
        ("m.0", text("shadowed")),
        ("mm.0.role", text("stays too")),
    ]);
    let mut view = View::new(&attributes);
    assert_eq!(view.list("m"), Some(json!([{"role": "a", "calls": [{"id": "x"}]}, {"role": "b"}, {"role": "c"}])));
    assert!(view.has("m.name") && view.has("mm.0.role"));
    assert_eq!(view.list("m"), None);
    let many_dots = format!("m.0{}", ".a".repeat(1_000));
    let attributes = attributes_of(&many_dots);
    assert_eq!(View::new(&attributes).list("m"), None);
}

fn attributes_of(name: &str) -> Vec<KeyValue> {
    attributes(&[(name, text("x"))])
}

#[test]
fn nesting_is_followed_to_a_limit() {
    let mut value = Otlp::IntValue(1);
    for _ in 0..200 {
        value = Otlp::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
    }
    let shown = to_json(&value, 0).to_string();
    assert!(shown.contains("nested too deep") && shown.len() < 200, "{shown}");
}

#[test]
fn old_names_give_way_to_new_ones() {
    let attributes = attributes(&[("old", text("1")), ("other", text("2")), ("new", text("3"))]);
    let mut view = View::new(&attributes);
    view.rename("old", "new");
    view.rename("other", "fresh");
    assert_eq!((view.peek("new"), view.peek("old"), view.peek("fresh")), (Some("3"), Some("1"), Some("2")));
}
