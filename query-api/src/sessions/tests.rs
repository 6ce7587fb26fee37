//! The routes of sessions over a small history.

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use martingale_platform::log::{Append, Log};
use martingale_schemas::{
    Control, ControlAction, ControlId, ControlState, Decision, Position, Scope, SessionId, Timestamp, topics,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::router;
use crate::openapi;
use crate::world::{Process, World, checked, step, verdict};

async fn get(process: &Process, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = router(process.engine.clone()).oneshot(request).await.expect("answers");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

async fn small() -> (World, Process) {
    let world = World::new(2);
    let process = world.start().await;
    let child = json!({ "root_session_id": "p", "parent_session_id": "p" });
    let with = |more: Value| {
        let mut all = child.clone();
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        all
    };
    world
        .judge(&[
            step("p", 1, "user_message", json!({ "text": "Do the Books", "agent": { "id": "boss" } })),
            step("p", 2, "spawn", json!({ "agent": { "id": "boss" } })),
            step("c", 3, "user_message", with(json!({ "text": "add them up" }))),
            step("c", 4, "model_call", child.clone()),
            step("c", 5, "tool_call", with(json!({ "tool": "danger", "input": { "n": [1, 2] } }))),
            step("c", 6, "tool_result", with(json!({ "tool": "danger", "output": 3, "causes": ["s5", "gone"] }))),
            step("x'; DROP TABLE steps; --", 9, "plan", json!({ "agent": { "id": "bot" } })),
        ])
        .await;
    process.until("SELECT count(*) FROM steps", 7).await;
    (world, process)
}

fn ids(list: &Value, field: &str) -> String {
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|it| it[field].as_str().unwrap_or("?")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn sessions_are_found() {
    let (_world, process) = small().await;
    for (path, found) in [
        ("/v1/sessions", "x'; DROP TABLE steps; -- c p"),
        ("/v1/sessions?agent=bot", "x'; DROP TABLE steps; -- c"),
        ("/v1/sessions?agent=bot'%20OR%20'1'='1", ""),
        ("/v1/sessions?decision=halt", "c"),
        ("/v1/sessions?environment=production&q=BOOKS", "p"),
        ("/v1/sessions?q=drop%20table", "x'; DROP TABLE steps; --"),
        ("/v1/sessions?environment=staging", ""),
        ("/v1/sessions?limit=1", "x'; DROP TABLE steps; --"),
    ] {
        let (status, answer) = get(&process, path).await;
        assert_eq!((status, ids(&answer["sessions"], "session_id").as_str()), (200, found), "{path}");
    }
    let (mut after, mut pages) = (String::new(), Vec::new());
    loop {
        let (_, page) = get(&process, &format!("/v1/sessions?limit=1{after}")).await;
        pages.push(ids(&page["sessions"], "session_id"));
        let Some(next) = page["next"].as_str() else { break };
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        after = format!("&after={next}");
    }
    assert_eq!(pages, ["x'; DROP TABLE steps; --", "c", "p"]);
    for path in ["limit=-1", "limit=0", "limit=9999", "decision=maybe", "after=x", "color=red", "agent=a&agent=b"] {
        let (status, answer) = get(&process, &format!("/v1/sessions?{path}")).await;
        assert_eq!(status, 400, "{path}: {answer}");
    }
    let (status, answer) = get(&process, "/v1/sessions/c").await;
    let shown = ["title", "parent_session_id", "decision", "steps"].map(|it| answer["session"][it].clone());
    assert_eq!((status, shown), (200, [json!("add them up"), json!("p"), json!("halt"), json!(4)]));
    process.stop().await;
}

/// Each order comes with the page of the step that it came before; another run's and another partition's do not.
#[tokio::test]
async fn a_timeline_tells_of_orders_at_their_place() {
    let (world, process) = small().await;
    let (_, whole) = get(&process, "/v1/sessions/c/timeline").await;
    let offset = |step: usize| whole["steps"][step]["offset"].as_u64().expect("a number");
    let partition = u32::try_from(whole["steps"][0]["partition"].as_u64().expect("a number")).expect("small");
    let session = |id: &str| Scope::Session { session_id: SessionId::from(id.to_owned()) };
    let run = |id: &str| Scope::Run { root_session_id: SessionId::from(id.to_owned()) };
    let (halt, resume) = (ControlAction::Halt, ControlAction::Resume);
    let last = offset(3) + 1;
    for (n, (action, scope, before, of)) in (0..).zip([
        (halt, session("c"), offset(0), partition),
        (resume, session("c"), offset(2), partition),
        (halt, session("p"), offset(3), partition),
        (halt, run("p"), last, partition),
        (halt, run("c"), last, partition),
        (halt, session("x"), offset(2), partition),
        (halt, session("c"), offset(2), 1 - partition),
    ]) {
        let before = Position { partition: of, offset: before };
        let control = Control {
            control_id: ControlId::from(format!("c{n}")),
            action,
            scope,
            time: Timestamp::from_micros(n),
            by: Some("eve".to_owned()),
            reason: None,
            state: ControlState::Applied { before, known: true, changed: Some(true) },
        };
        // A detector that died between its answer and its commit answers again.
        for _ in 0..2 {
            world.control(&control, of).await;
        }
    }
    process.until("SELECT count(*) FROM controls", 7).await;
    for (page, ids_of_orders) in [
        ("", "c0 c1 c2 c3"),
        ("?limit=2", "c0"),
        (&format!("?limit=1&after={}", offset(1)), "c1"),
        (&format!("?limit=2&after={}", offset(1)), "c1 c2 c3"),
        (&format!("?limit=2&after={}", offset(3)), ""),
    ] {
        let (_, answer) = get(&process, &format!("/v1/sessions/c/timeline{page}")).await;
        assert_eq!(ids(&answer["orders"], "control_id"), ids_of_orders, "{page}: {answer}");
    }
    let (_, answer) = get(&process, "/v1/sessions/c/timeline?limit=2").await;
    let order = &answer["orders"][0];
    assert_eq!(
        (&order["before_offset"], &order["given_by"], &order["changed"]),
        (&json!(offset(0)), &json!("eve"), &json!(true))
    );
    process.stop().await;
}

/// A root in the partition asked for, of four names' worth of chance and more.
fn root_in(world: &World, partition: u32) -> String {
    let in_it = |it: &String| world.log.partition_of(it.as_bytes()).0 == partition;
    (0..64).map(|n| format!("root{n}")).find(in_it).expect("some name is of that partition")
}

/// A session that tells its root late was judged in two partitions, of which either may have the larger offsets: its steps
/// and the orders for it are told in the order they came, on whatever pages, and it is halted as its next step would be.
#[tokio::test]
async fn a_root_that_is_told_late_makes_one_session_of_two_partitions() {
    for (ahead_of_own, ahead_of_root) in [(0, 9), (9, 0), (0, 0)] {
        let world = World::new(2);
        let process = world.start().await;
        let own = world.log.partition_of(b"kid").0;
        let root = root_in(&world, 1 - own);
        let told = |n, kind, more: Value| {
            let mut all = json!({ "root_session_id": root, "parent_session_id": root });
            all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            step("kid", n, kind, all)
        };
        let ahead = |of: &str, n: u64| (100..100 + n).map(|it| step(of, it, "plan", json!({}))).collect::<Vec<_>>();
        let beside = root_in(&world, own);
        world.judge(&[ahead(&beside, ahead_of_own), ahead(&root, ahead_of_root)].concat()).await;
        world
            .judge(&[
                step("kid", 1, "user_message", json!({ "text": "add them up" })),
                step("kid", 2, "tool_call", json!({ "tool": "danger", "causes": ["s1"] })),
                told(3, "plan", json!({ "causes": ["s2"] })),
                told(4, "tool_call", json!({ "tool": "odd", "causes": ["s3"] })),
                told(5, "plan", json!({ "causes": ["s4"] })),
            ])
            .await;
        process.until("SELECT count(*) FROM steps", 5 + ahead_of_own + ahead_of_root).await;
        let row =
            "SELECT root_session_id, parent_session_id, title, standing, halted FROM sessions WHERE session_id = 'kid'";
        // What a rule found before the root was told does not hold in the run of that.
        let moved = json!([[root, root, "add them up", "allow", false]]);
        assert_eq!(json!(process.rows(row).await), moved, "{ahead_of_own} {ahead_of_root}");

        let session = |id: &str| Scope::Session { session_id: SessionId::from(id.to_owned()) };
        let run = |id: &str| Scope::Run { root_session_id: SessionId::from(id.to_owned()) };
        let (halt, resume) = (ControlAction::Halt, ControlAction::Resume);
        let mut given = 0;
        // The steps of its own partition and of that of its root which had been judged when it was given.
        for (action, scope, of_own, of_root, halted) in [
            (halt, session("kid"), 1, 0, true),
            (resume, session("kid"), 2, 1, false),
            (halt, run("kid"), 2, 1, false),
            (halt, run(&root), 2, 2, true),
            (resume, run(&root), 2, 3, false),
        ] {
            for (partition, before) in [(own, ahead_of_own + of_own), (1 - own, ahead_of_root + of_root)] {
                let before = Position { partition, offset: before };
                let control = Control {
                    control_id: ControlId::from(format!("c{given}")),
                    action,
                    scope: scope.clone(),
                    time: Timestamp::from_micros(given),
                    by: None,
                    reason: None,
                    state: ControlState::Applied { before, known: true, changed: Some(true) },
                };
                world.control(&control, partition).await;
            }
            given += 1;
            let heard = format!("SELECT applied_partitions FROM controls WHERE control_id = 'c{}'", given - 1);
            process.until(&heard, 2).await;
            assert_eq!(
                process.rows(row).await[0][4],
                json!(halted),
                "{ahead_of_own} {ahead_of_root} {action:?} {scope:?}"
            );
        }

        // As `step` and, before the first one judged under it, `order`.
        let expected = "s1 c0 s2 s3 c1 s4 c3 s5 c4";
        for limit in 1..=6 {
            let (mut after, mut seen) = (String::new(), Vec::new());
            loop {
                let (status, page) = get(&process, &format!("/v1/sessions/kid/timeline?limit={limit}{after}")).await;
                assert_eq!(status, 200, "{page}");
                seen.extend(in_line(&page));
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            assert_eq!(seen.join(" "), expected, "{ahead_of_own} {ahead_of_root}, {limit} a page");
        }
        let (status, answer) = get(&process, "/v1/sessions/kid/timeline?after=3").await;
        assert_eq!((status, &answer["error"]["field"]), (400, &json!("after")), "{answer}");
        let (_, answer) = get(&process, "/v1/sessions/kid/timeline").await;
        assert_eq!(ids(&answer["steps"][1]["findings"], "rule"), "no-danger");
        for (asked, led) in [("s5", "s1 s2 s3 s4 s5"), ("s3", "s1 s2 s3"), ("s2", "s1 s2")] {
            let (_, answer) = get(&process, &format!("/v1/sessions/kid/steps/{asked}/why")).await;
            assert_eq!(ids(&answer["steps"], "step_id"), led, "{ahead_of_own} {ahead_of_root}: {answer}");
        }
        process.stop().await;
    }
}

/// Steps and orders of a page as they stand to each other.
fn in_line(page: &Value) -> Vec<String> {
    let (steps, orders) = (page["steps"].as_array().expect("steps"), page["orders"].as_array().expect("orders"));
    let mut orders = orders.iter().peekable();
    let mut line = Vec::new();
    let name = |it: &Value, field: &str| it[field].as_str().unwrap_or("?").to_owned();
    for step in steps {
        let holds = |it: &&Value| {
            it["partition"] == step["partition"] && it["before_offset"].as_i64() <= step["offset"].as_i64()
        };
        while let Some(order) = orders.next_if(holds) {
            line.push(name(order, "control_id"));
        }
        line.push(name(step, "step_id"));
    }
    line.extend(orders.map(|it| name(it, "control_id")));
    line
}

#[tokio::test]
async fn a_timeline_is_whole_and_in_order() {
    let (_world, process) = small().await;
    let (status, answer) = get(&process, "/v1/sessions/c/timeline").await;
    assert_eq!((status, ids(&answer["steps"], "step_id").as_str()), (200, "s3 s4 s5 s6"));
    assert_eq!(answer["steps"][2]["input"], json!({ "n": [1, 2] }));
    assert_eq!(answer["steps"][2]["decision"], json!("halt"));
    assert_eq!(ids(&answer["steps"][2]["findings"], "rule"), "no-danger");
    assert_eq!(answer["steps"][3]["findings"], json!([]));

    let (_, first) = get(&process, "/v1/sessions/c/timeline?limit=3").await;
    assert_eq!((&first["truncated"], ids(&first["steps"], "step_id").as_str()), (&json!(true), "s3 s4 s5"));
    let (_, rest) =
        get(&process, &format!("/v1/sessions/c/timeline?limit=3&after={}", first["next"].as_str().unwrap_or("?")))
            .await;
    assert_eq!((&rest["truncated"], ids(&rest["steps"], "step_id").as_str()), (&json!(false), "s6"));

    let (status, answer) = get(&process, "/v1/sessions/x'%3B%20DROP%20TABLE%20steps%3B%20--/timeline").await;
    assert_eq!((status, ids(&answer["steps"], "step_id").as_str()), (200, "s9"));
    for (path, wanted) in
        [("nobody/timeline", 404), ("nobody", 404), ("c/timeline?limit=x", 400), ("c/timeline?from=1", 400)]
    {
        let (status, answer) = get(&process, &format!("/v1/sessions/{path}")).await;
        assert_eq!(status, wanted, "{path}: {answer}");
    }
    process.stop().await;
}

/// An object of an answer has the fields that the document requires of it, and none that the document does not know.
fn fits(document: &Value, schema: &str, answer: &Value) {
    let schema = &document["components"]["schemas"][schema];
    let (fields, properties) =
        (answer.as_object().expect("an object"), schema["properties"].as_object().expect("named"));
    let required = schema["required"].as_array().expect("a list").iter().filter_map(Value::as_str);
    required.for_each(|it| assert!(fields.contains_key(it), "{it} is missing: {answer}"));
    for (name, value) in fields {
        let property = properties.get(name).unwrap_or_else(|| panic!("{name} is not described: {answer}"));
        let of = |it: &Value| it["$ref"].as_str().and_then(|it| it.rsplit('/').next()).map(str::to_owned);
        match (of(property), of(&property["items"])) {
            (Some(schema), _) => fits(document, &schema, value),
            (_, Some(schema)) => value.as_array().expect("a list").iter().for_each(|it| fits(document, &schema, it)),
            _ => match property["type"].as_str() {
                Some("string") => assert!(value.is_string(), "{name}: {value}"),
                Some("integer") => assert!(value.is_i64(), "{name}: {value}"),
                Some("number") => assert!(value.is_number(), "{name}: {value}"),
                Some("boolean") => assert!(value.is_boolean(), "{name}: {value}"),
                Some("array") => assert!(value.is_array(), "{name}: {value}"),
                _ => {}
            },
        }
    }
}

#[tokio::test]
async fn why_leads_back_to_the_parent() {
    let (world, process) = small().await;
    process.stop().await;
    // Once more from disk: the answer does not depend on where the rows are.
    let process = world.start().await;
    let (status, answer) = get(&process, "/v1/sessions/c/steps/s6/why").await;
    assert_eq!(status, 200, "{answer}");
    let edges: Vec<_> = answer["edges"].as_array().expect("edges").iter().collect();
    let shown: Vec<_> = edges
        .iter()
        .map(|it| {
            format!(
                "{}>{} {}",
                it["from"].as_str().unwrap_or("?"),
                it["to"].as_str().unwrap_or("?"),
                it["kind"].as_str().unwrap_or("?")
            )
        })
        .collect();
    assert_eq!(
        shown,
        ["s5>s6 declared", "gone>s6 declared", "s4>s5 structural", "s3>s4 structural", "s2>s3 structural"]
    );
    assert!(edges.iter().all(|it| it["because"].is_string()));
    assert_eq!((&edges[4]["from_session"], &answer["decision"]), (&json!("p"), &json!("allow")));
    assert_eq!(ids(&answer["steps"], "step_id"), "s2 s3 s4 s5 s6");

    let document = openapi::document();
    fits(&document, "Why", &answer);
    let (_, near) = get(&process, "/v1/sessions/c/steps/s6/why?depth=1").await;
    assert_eq!(near["truncated"], json!(true));
    let (_, halted) = get(&process, "/v1/sessions/c/steps/s5/why").await;
    assert_eq!((ids(&halted["findings"], "rule").as_str(), &halted["step"]["tool"]), ("no-danger", &json!("danger")));
    fits(&document, "Why", &halted);
    for (path, wanted) in [("c/steps/none/why", 404), ("none/steps/s1/why", 404), ("c/steps/s6/why?depth=0", 400)] {
        let (status, answer) = get(&process, &format!("/v1/sessions/{path}")).await;
        assert_eq!(status, wanted, "{path}: {answer}");
    }
    process.stop().await;
}

/// A row does not name those between a session and its root, so what stood at its last step counts until a resume lifts it.
#[tokio::test]
async fn a_resume_that_changed_nothing_lifts_nothing() {
    let world = World::new(1);
    let process = world.start().await;
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    let text = step("g", 2, "plan", json!({ "root_session_id": "r", "parent_session_id": "c" })).to_string();
    let step = checked(&text);
    let append = Append::new(topics::STEPS, Bytes::from_static(b"r"), step.to_json().into());
    world.log.append(vec![append]).await.expect("appends");
    let mut verdict = verdict(&step, Position { partition: 0, offset: 1 });
    verdict.standing = Decision::Halt;
    world.publish(&verdict).await;
    process.until("SELECT count(*) FROM steps", 2).await;
    for (id, changed, halted) in [("nobody", false, json!("g")), ("p", true, json!(null))] {
        let control = Control {
            control_id: ControlId::from(format!("c-{id}")),
            action: ControlAction::Resume,
            scope: Scope::Session { session_id: SessionId::from(id.to_owned()) },
            time: Timestamp::from_micros(1),
            by: None,
            reason: None,
            state: ControlState::Applied {
                before: Position { partition: 0, offset: 2 },
                known: changed,
                changed: Some(changed),
            },
        };
        world.control(&control, 0).await;
        process.until(&format!("SELECT count(*) FROM controls WHERE scope_id = '{id}'"), 1).await;
        let names = "SELECT string_agg(session_id, ' ') FROM sessions WHERE halted";
        assert_eq!(process.one(names).await, halted, "{id}");
    }
    process.stop().await;
}

/// As over two partitions, where one holds both runs.
#[tokio::test]
async fn a_root_that_is_told_late_is_that_of_the_session() {
    let world = World::new(1);
    let process = world.start().await;
    let told = json!({ "root_session_id": "r", "parent_session_id": "r" });
    world.judge(&[step("kid", 1, "plan", json!({})), step("kid", 2, "plan", told)]).await;
    process.until("SELECT count(*) FROM steps", 2).await;
    let control = Control {
        control_id: ControlId::from("c1"),
        action: ControlAction::Halt,
        scope: Scope::Run { root_session_id: SessionId::from("r") },
        time: Timestamp::from_micros(1),
        by: None,
        reason: None,
        state: ControlState::Applied { before: Position { partition: 0, offset: 2 }, known: true, changed: Some(true) },
    };
    world.control(&control, 0).await;
    process.until("SELECT count(*) FROM controls", 1).await;
    let row = "SELECT root_session_id, parent_session_id, halted FROM sessions WHERE session_id = 'kid'";
    assert_eq!(json!(process.rows(row).await), json!([["r", "r", true]]));
    process.stop().await;
}

#[tokio::test]
async fn a_session_is_halted_from_the_order_on_and_not_from_its_next_step_on() {
    let world = World::new(1);
    let process = world.start().await;
    let of = |root: &str, parent: &str| json!({ "root_session_id": root, "parent_session_id": parent });
    world
        .judge(&[
            step("p", 1, "plan", json!({})),
            step("c", 2, "plan", of("p", "p")),
            step("q", 3, "tool_call", json!({ "tool": "danger" })),
            step("r", 4, "plan", json!({})),
        ])
        .await;
    process.until("SELECT count(*) FROM steps", 4).await;
    let halted = "SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM sessions WHERE halted";
    assert_eq!(process.one(halted).await, json!("q"));
    let mut given = 0;
    for (action, scope, id, expected) in [
        (ControlAction::Halt, "session", "p", json!("c p q")),
        (ControlAction::Halt, "run", "r", json!("c p q r")),
        (ControlAction::Resume, "session", "p", json!("q r")),
        (ControlAction::Resume, "run", "q", json!("q r")),
        (ControlAction::Resume, "session", "q", json!("r")),
        (ControlAction::Resume, "run", "r", json!(null)),
    ] {
        let id = SessionId::from(id.to_owned());
        let scope = match scope {
            "run" => Scope::Run { root_session_id: id },
            _ => Scope::Session { session_id: id },
        };
        given += 1;
        let control = Control {
            control_id: ControlId::from(format!("c{given}")),
            action,
            scope,
            time: Timestamp::from_micros(1),
            by: None,
            reason: None,
            state: ControlState::Applied { before: Position { partition: 0, offset: 4 }, known: true, changed: None },
        };
        world.control(&control, 0).await;
        process.until("SELECT count(*) FROM controls", given).await;
        assert_eq!(process.one(halted).await, expected, "{control:?}");
    }
    process.stop().await;
}
