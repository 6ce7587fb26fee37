//! Rows against what the tables promise: required columns have values, and parts of a session add up in any grouping.

use arrow::array::{Array, RecordBatch};
use martingale_schemas::{Position, Step};
use serde_json::{Value, json};

use super::{Judged, Parts, Pending, Table};
use crate::sql::Answer;
use crate::world::{checked, step, verdict};

fn full() -> Value {
    step(
        "s",
        1,
        "tool_call",
        json!({
            "parent_session_id": "p", "principal": { "id": "u", "type": "user", "scopes": ["read"] }, "owner": "o",
            "agent": { "id": "a", "name": "actor", "version": "1" }, "tool": "danger", "model": "m", "causes": ["c"],
            "input": { "k": 1 }, "output": [1], "text": "t", "alternatives": [{ "action": "wait", "score": 0.5 }],
            "status": "error", "error": { "type": "E", "message": "broke" }, "duration_ms": 1.5,
            "seq": u64::MAX, "usage": { "input_tokens": 9, "output_tokens": 2, "cached_tokens": 3, "cost_usd": 0.1 },
            "attributes": { "x": { "y": "\"" } },
        }),
    )
}

fn with<T>(value: &Value, offset: u64, f: impl FnOnce(&Judged<'_>) -> T) -> T {
    let text = value.to_string();
    let step = Step { gated: Some(true), ..checked(&text) };
    let verdict = verdict(&step, Position { partition: 0, offset });
    f(&Judged { verdict: &verdict, step: Some(&step) })
}

#[test]
fn required_columns_have_values_and_sent_ones_too() {
    let least = json!({ "session_id": "s", "kind": "plan", "agent": { "id": "a" } });
    for (value, whole) in [(least, false), (full(), true)] {
        let mut pending = Pending::new();
        with(&value, 7, |judged| Table::ALL.into_iter().for_each(|table| pending.judged(table, judged)));
        let parts = pending.take_parts().batch().expect("rows");
        for table in [Table::Steps, Table::Verdicts, Table::Findings, Table::SessionParts] {
            let batch = if table == Table::SessionParts { parts.clone() } else { pending.take(table).expect("rows") };
            let Some(batch) = batch else { continue };
            for (column, values) in table.description().columns.iter().zip(batch.columns()) {
                let sent = whole
                    && !column.name.contains("_from")
                    && !["on_behalf_of", "title", "capture"].contains(&column.name);
                assert!(!values.is_null(0) || !(column.required || sent), "{}.{}", table.name(), column.name);
            }
        }
        assert!(pending.is_empty());
    }
}

#[test]
fn what_does_not_fit_and_what_is_nested_is_kept() {
    let mut pending = Pending::new();
    with(&full(), 7, |judged| pending.judged(Table::Steps, judged));
    let batch = pending.take(Table::Steps).expect("rows").expect("one");
    let answer = Answer::try_from(crate::sql::Table::of(batch)).expect("values");
    let get = |name: &str| &answer.rows[0][answer.columns.iter().position(|it| it.name == name).expect("a column")];
    assert_eq!(get("seq"), &json!(i64::MAX));
    assert_eq!(get("attributes"), &json!(r#"{"x":{"y":"\""}}"#));
    assert_eq!(get("alternatives"), &json!(r#"[{"action":"wait","score":0.5}]"#));
    assert_eq!(get("scopes"), &json!(["read"]));
}

#[test]
fn parts_add_up_in_any_grouping() {
    let steps: Vec<_> = (0..6)
        .map(|n| {
            let kind = ["user_message", "tool_call", "session_end"][n as usize % 3];
            step("s", n, kind, json!({ "text": format!("text {n}"), "usage": { "cost_usd": 0.1, "input_tokens": n } }))
        })
        .collect();
    let grouped = |size: usize| -> Option<RecordBatch> {
        let mut all = Parts::default();
        for (group, steps) in steps.chunks(size).enumerate() {
            let mut part = Parts::default();
            for (at, value) in steps.iter().enumerate() {
                with(value, (group * size + at) as u64, |judged| part.add(judged));
            }
            all.merge(part);
        }
        all.batch().expect("rows")
    };
    let whole = grouped(6);
    assert_eq!(whole.as_ref().map(RecordBatch::num_rows), Some(1));
    for size in 1..6 {
        assert_eq!(grouped(size), whole, "{size}");
    }
}
