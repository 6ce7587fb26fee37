//! What definitions that a session shows say of its tools.

use martingale_schemas::{Limits, Step, Timestamp};
use serde_json::{Value, json};

use super::shown;
use crate::tools::{Catalogue, Defined, Tools, heuristic};
use crate::yaml::{self, Faults};

fn step(json: &Value) -> Step<'static> {
    let mut whole = json!({"session_id": "s", "root_session_id": "s", "step_id": "1", "agent": {"id": "a"}});
    whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
    let text = whole.to_string().leak();
    Step::from_topic(text.as_bytes(), Timestamp::from_micros(0), &Limits::DEFAULT).unwrap()
}

/// A call of a model that was given these.
fn given(definitions: &Value) -> Step<'static> {
    step(&json!({"kind": "model_call", "attributes": {"gen_ai.tool.definitions": definitions}}))
}

/// An answer of a server to `tools/list`.
fn listed(tools: &Value) -> Step<'static> {
    step(
        &json!({"kind": "state", "output": {"tools": tools, "nextCursor": "2"}, "attributes": {"mcp.method.name": "tools/list"}}),
    )
}

/// The tool of that name after these steps, to which a call of it adds annotations.
fn known(catalogue: &str, steps: &[Step<'_>], name: &str, annotations: &Value) -> String {
    let mut errors = Vec::new();
    let mut described = Catalogue::default();
    let mut faults = Faults::new("tools.yaml", catalogue, &mut errors);
    for document in yaml::documents(catalogue, &mut faults) {
        crate::tools::read_catalogue(&document, &mut described, &mut faults);
    }
    let mut defined = Defined::default();
    steps.iter().for_each(|it| assert_eq!(defined.take_in(it), 0));
    let call = step(&json!({"kind": "tool_call", "tool": name, "attributes": {"mcp.tool.annotations": annotations}}));
    let mut tools = Tools::default();
    let it = tools.of(&call, &described, &defined, 4);
    let source = if it.annotated { "annotated" } else { "heuristic" };
    format!("{} level {} {:?} {source}, reaches {}", shown(it.flags), it.level, it.level_by, it.reach)
}

/// One definition, the same by whichever way it comes.
#[test]
fn definitions_raise_caution_and_never_lower_it() {
    let reader = "read_only idempotent level 1 Name heuristic, reaches 1";
    let cases = [
        (
            "get_x",
            json!({"annotations": {"readOnlyHint": false}}),
            "idempotent level 2 Definition annotated, reaches 1",
        ),
        (
            "get_x",
            json!({"annotations": {"destructiveHint": true}}),
            "destructive idempotent level 3 Definition annotated, reaches 1",
        ),
        (
            "get_x",
            json!({"annotations": {"openWorldHint": true, "idempotentHint": false}}),
            "read_only open_world level 1 Name annotated, reaches 1",
        ),
        (
            "frob",
            json!({"annotations": {"destructiveHint": true}}),
            "destructive level 3 Definition annotated, reaches 0",
        ),
        // Reaches out and does more than read.
        ("frob", json!({"annotations": {"openWorldHint": true}}), "open_world level 3 Definition annotated, reaches 0"),
        (
            "send_email",
            json!({"annotations": {"openWorldHint": true}}),
            "open_world level 3 Definition annotated, reaches 3",
        ),
        (
            "get_x",
            json!({"annotations": {"openWorldHint": true, "readOnlyHint": false}}),
            "idempotent open_world level 3 Definition annotated, reaches 1",
        ),
        (
            "frob",
            json!({"annotations": {"openWorldHint": true, "readOnlyHint": true}}),
            "open_world level 0 Name annotated, reaches 0",
        ),
        // The protocol takes it to be true where nobody says so: that warns of nothing.
        ("frob", json!({"annotations": {"title": "Frob"}}), " level 0 Name heuristic, reaches 0"),
        // Nobody becomes harmless, nor described, by saying so.
        ("get_x", json!({"annotations": {"readOnlyHint": true, "destructiveHint": true}}), reader),
        (
            "send_email",
            json!({"annotations": {"readOnlyHint": true, "openWorldHint": false}, "description": "Reads"}),
            "open_world level 3 Name heuristic, reaches 3",
        ),
        (
            "delete_x",
            json!({"annotations": {"destructiveHint": true}}),
            "destructive level 3 Definition annotated, reaches 3",
        ),
        // Words of the description, as those of a name.
        ("frob", json!({"description": "Sends a mail."}), "open_world level 3 Description heuristic, reaches 0"),
        (
            "get_x",
            json!({"description": "Runs what it gets."}),
            "destructive open_world level 4 Description heuristic, reaches 1",
        ),
        (
            "bash",
            json!({"description": "Runs what it gets."}),
            "destructive open_world level 4 Name heuristic, reaches 4",
        ),
        ("get_x", json!({"description": "Gets the zip code that a message was sent to"}), reader),
        // Both: the annotations say more, or less, than the words.
        (
            "frob",
            json!({"description": "Updates x", "annotations": {"destructiveHint": true}}),
            "destructive level 3 Definition annotated, reaches 0",
        ),
        (
            "frob",
            json!({"description": "Runs x", "annotations": {"readOnlyHint": false}}),
            "destructive open_world level 4 Description annotated, reaches 0",
        ),
        // Other shapes say nothing.
        ("get_x", json!({"annotations": {"destructiveHint": "true"}}), reader),
        ("get_x", json!({"annotations": [true], "description": 7}), reader),
        ("get_x", json!({"annotations": null, "description": null}), reader),
        ("get_x", json!({}), reader),
    ];
    for (name, mut definition, expected) in cases {
        definition["name"] = name.into();
        let list = json!([{"name": 7}, null, {"type": "function"}, definition]);
        let of_provider = json!([{"type": "function", "function": definition}]);
        let as_text = Value::from(list.to_string());
        for shows in [given(&list), given(&as_text), given(&of_provider), listed(&list)] {
            assert_eq!(known("", &[shows], name, &Value::Null), expected, "{definition}");
        }
        let other =
            step(&json!({"kind": "state", "output": {"tools": list}, "attributes": {"mcp.method.name": "tools/call"}}));
        let result = step(&json!({"kind": "tool_result", "tool": name, "output": {"tools": list}}));
        let named = step(&json!({"kind": "state", "attributes": {"tool.definitions": list}}));
        let unknown = known("", &[], name, &Value::Null);
        assert_eq!(
            known("", &[other, result, named], name, &Value::Null),
            unknown,
            "what is no definition says nothing"
        );
    }
}

/// The operator, then the server on the very step, then definitions, then names; what warned stays.
#[test]
fn who_is_believed() {
    let destroys = |name: &str| json!([{"name": name, "annotations": {"destructiveHint": true}}]);
    let writes = json!([{"name": "get_x", "annotations": {"readOnlyHint": false}}]);
    let reads = json!([{"name": "get_x", "annotations": {"readOnlyHint": true, "destructiveHint": false}}]);
    let reads_out = json!([{"name": "get_x", "annotations": {"readOnlyHint": true, "openWorldHint": true}}]);
    let open = json!([{"name": "get_x", "annotations": {"openWorldHint": true}}]);
    let catalogue = "tools: [{ name: get_x, read_only: true }]\n";
    for (catalogue, steps, annotations, expected) in [
        (catalogue, vec![given(&destroys("get_x"))], Value::Null, "read_only level 1 Catalogue annotated, reaches 1"),
        (
            catalogue,
            vec![given(&destroys("get_x"))],
            json!({"readOnlyHint": false}),
            "level 2 Annotations annotated, reaches 1",
        ),
        (
            "",
            vec![given(&writes)],
            json!({"destructiveHint": true}),
            "destructive idempotent level 3 Annotations annotated, reaches 1",
        ),
        (
            "",
            vec![given(&destroys("get_x"))],
            json!({"readOnlyHint": false}),
            "destructive idempotent level 3 Definition annotated, reaches 1",
        ),
        // A change between two steps, for the better and for the worse.
        (
            "",
            vec![given(&destroys("get_x")), given(&reads), listed(&reads)],
            Value::Null,
            "destructive idempotent level 3 Definition annotated, reaches 1",
        ),
        (
            "",
            vec![given(&reads), given(&reads), listed(&writes)],
            Value::Null,
            "idempotent level 2 Definition annotated, reaches 1",
        ),
        // Two that say half of it each: together they say that it writes out there.
        (
            "",
            vec![given(&reads_out), listed(&writes)],
            Value::Null,
            "idempotent open_world level 3 Definition annotated, reaches 1",
        ),
        (
            "",
            vec![given(&writes), listed(&reads_out)],
            Value::Null,
            "idempotent open_world level 3 Definition annotated, reaches 1",
        ),
        // The same where one half stands on the step: what its definition says, the step need not say again.
        (
            "",
            vec![given(&reads_out)],
            json!({"readOnlyHint": false}),
            "idempotent open_world level 3 Definition annotated, reaches 1",
        ),
        (
            "",
            vec![given(&writes)],
            json!({"readOnlyHint": true, "openWorldHint": true}),
            "idempotent open_world level 3 Definition annotated, reaches 1",
        ),
        (
            "",
            vec![given(&writes)],
            json!({"openWorldHint": true}),
            "idempotent open_world level 3 Annotations annotated, reaches 1",
        ),
        (
            "",
            vec![given(&open)],
            json!({"idempotentHint": false}),
            "read_only open_world level 1 Name annotated, reaches 1",
        ),
        // Where the operator says how high it is, the step says alone what it says.
        (
            "tools: [{ name: get_x, open_world: true, level: 2 }]\n",
            vec![given(&reads_out)],
            json!({"readOnlyHint": false}),
            "open_world level 2 Catalogue annotated, reaches 2",
        ),
        ("", vec![given(&destroys("get_y"))], Value::Null, "read_only idempotent level 1 Name heuristic, reaches 1"),
    ] {
        assert_eq!(known(catalogue, &steps, "get_x", &annotations).trim(), expected, "{steps:?}");
    }
}

/// A flood takes nothing away that was there, and makes nothing look harmless that came after it; names that say as much take no place.
#[test]
fn a_full_table_keeps_what_it_has() {
    let hint = json!({"destructiveHint": true});
    let many = |prefix: &str, count: usize| -> Value {
        (0..count).map(|it| json!({"name": format!("{prefix}{it}"), "annotations": hint})).collect()
    };
    let readers: Value = (0..200).map(|it| json!({"name": format!("get_{it}"), "description": "Gets it"})).collect();
    let mut defined = Defined::default();
    assert_eq!(defined.take_in(&given(&readers)), 0);
    assert_eq!(defined.take_in(&given(&json!([{"name": "first", "annotations": hint}]))), 0);
    assert_eq!(defined.take_in(&given(&many("flood", 255))), 0);
    for (name, is_known) in [("first", true), ("flood0", true), ("flood254", true), ("get_1", false), ("late0", false)]
    {
        assert_eq!(defined.of(name).is_some(), is_known, "{name}");
    }
    // From here on nobody knows what a tool that is not kept was defined as.
    assert_eq!(defined.take_in(&given(&many("late", 1))), 1);
    assert_eq!(defined.take_in(&given(&many("late", 1))), 0, "the list of before is not read again");
    assert_eq!(defined.take_in(&given(&many("late", 2000))), 2000, "no more of a list is read");
    assert!(defined.of("late0").is_some() && defined.of("get_1").is_some());
    assert!(defined.bytes() < 4096, "{}", defined.bytes());
    assert_eq!(defined.take_in(&given(&json!([{"name": "first", "annotations": {"openWorldHint": true}}]))), 0);
    let stored = postcard::to_allocvec(&defined).unwrap();
    assert!(stored.len() < 1600, "{}", stored.len());
    assert_eq!(postcard::from_bytes::<Defined>(&stored).unwrap(), defined);
    assert_eq!(serde_json::from_str::<Defined>(&serde_json::to_string(&defined).unwrap()).unwrap(), defined);
}

#[test]
fn a_description_suggests_by_the_verb_it_begins_with() {
    for (text, expected) in [
        ("Sends an email", "open_world 3"),
        ("Send", "open_world 3"),
        ("This tool can be used to read", " 0"),
        ("Use this tool to delete a file.", "destructive 3"),
        ("A tool that lets you run commands", "destructive open_world 4"),
        ("Creates, updates or deletes a record", "destructive 3"),
        ("Read and forward", "open_world 3"),
        ("Fetches a page and the code of it", "read_only idempotent 1"),
        ("Get the zip code", "read_only idempotent 1"),
        ("The mail of a user", " 0"),
        ("Pays: at once", "open_world 3"),
        ("Modifies it", " 2"),
        ("Get/delete a thing", "destructive 3"),
        ("Weather of a city", " 0"),
        ("", " 0"),
        ("use to the that", " 0"),
        ("and or then", " 0"),
        ("Löscht alles", " 0"),
    ] {
        let (flags, level) = heuristic::of_description(text);
        assert_eq!(format!("{} {level}", shown(flags)), expected, "{text}");
    }
}
