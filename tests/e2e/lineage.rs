//! Nobody leaves a run that is halted, whatever it says of its root and parent, or leaves away.

use serde_json::{Value, json};

use crate::harness::{Server, step};

/// A folder of policies: a rule that halts.
fn policies(folder: &std::path::Path) -> String {
    let policies = folder.join("policies");
    std::fs::create_dir(&policies).expect("a folder");
    let rule = "id: no-wipe\ntitle: Something would be wiped\nseverity: critical\nmode: enforce\n\
        when: step.kind == \"tool_call\" && step.tool == \"wipe\"\nthen: { decision: halt, message: Stopped }\n";
    std::fs::write(policies.join("wipe.yaml"), rule).expect("writes");
    policies.to_str().expect("UTF-8").to_owned()
}

/// A child says whose it is on its first step alone. What it leaves away later is remembered, by another door and after the
/// process ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_halt_of_a_run_reaches_a_child_that_leaves_its_lineage_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let first = step("child", "1", "session_start", json!({ "root_session_id": "run", "parent_session_id": "mother" }));
    let (status, taken) = server.post("/v1/steps", first.to_string()).await;
    assert_eq!((status, &taken["accepted"]), (200, &json!(1)), "{taken}");
    let order = json!({ "action": "halt", "root_session_id": "run", "by": "ops" }).to_string();
    assert_eq!(server.post("/v1/controls", order).await.1["state"], "applied");
    let call = |id: &str, more: Value| step("child", id, "tool_call", more).to_string();
    let (_, gate) = server.post("/v1/gate", call("2", json!({ "tool": "pay" }))).await;
    assert_eq!(gate["decision"], "halt", "{gate}");
    server.kill_9();

    let server = Server::start(&data);
    let (_, gate) = server.post("/v1/gate", call("3", json!({ "tool": "pay" }))).await;
    assert_eq!(gate["decision"], "halt", "{gate}");
    // Nor does it get out of the run by saying that it is in another.
    let (status, refused) =
        server.post("/v1/gate", call("4", json!({ "tool": "pay", "root_session_id": "child" }))).await;
    assert_eq!((status, &refused["error"]["reason"]), (400, &json!("contradiction")), "{refused}");
    let steps = "SELECT root_session_id, parent_session_id FROM steps WHERE session_id = 'child' ORDER BY step_id";
    server.count_reaches("SELECT count(*) FROM steps WHERE session_id = 'child'", 3).await;
    assert_eq!(server.sql(steps).await, [["run", "mother"]; 3].map(|it| it.map(Value::from).to_vec()));
}

/// The halt of a rule is known in its run alone, and the session had told of none. Nor do those below it get away: what one
/// that it started says of its root, and what one says of its parent before that has said of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_rule_halted_stays_in_its_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let policies = policies(folder.path());
    let data = folder.path().join("data");
    let args = ["--policies", policies.as_str()];
    let server = Server::start_with(&data, &args);
    let call = |session: &str, id: &str, tool: &str, root: Option<&str>, parent: Option<&str>| {
        let mut more = json!({ "tool": tool });
        for (name, of) in [("root_session_id", root), ("parent_session_id", parent)] {
            if let Some(of) = of {
                more[name] = json!(of);
            }
        }
        step(session, id, "tool_call", more).to_string()
    };
    let ask = async |server: &Server, body: String| {
        let (status, answer) = server.post("/v1/gate", body).await;
        let reason = answer["error"]["reason"].as_str().or_else(|| answer["decision"].as_str());
        (status, reason.unwrap_or_default().to_owned())
    };
    let (allow, halt) = ((200, "allow".to_owned()), (200, "halt".to_owned()));
    let refused = (400, "contradiction".to_owned());

    // The grandchild comes before its mother has said whose child that is.
    assert_eq!(ask(&server, call("grandkid", "1", "ls", None, Some("kid"))).await, allow);
    assert_eq!(ask(&server, call("kid", "1", "ls", None, Some("s"))).await, allow);
    assert_eq!(ask(&server, call("s", "1", "wipe", None, None)).await, halt);
    for (session, n, root, parent, expected) in [
        ("s", 2, Some("elsewhere"), None, &refused),
        ("s", 3, Some("elsewhere"), Some("elsewhere"), &refused),
        ("s", 4, None, None, &halt),
        ("s", 5, Some("s"), None, &halt),
        ("kid", 6, None, None, &halt),
        ("kid", 7, Some("kid"), None, &refused),
        ("grandkid", 8, None, None, &halt),
        ("grandkid", 9, Some("kid"), Some("kid"), &refused),
        ("new", 10, Some("elsewhere"), Some("s"), &refused),
        ("new", 11, None, Some("s"), &halt),
        ("other", 12, Some("elsewhere"), Some("elsewhere"), &allow),
    ] {
        let found = ask(&server, call(session, &n.to_string(), "ls", root, parent)).await;
        assert_eq!(&found, expected, "{session} {n}");
    }
    let roots = "SELECT DISTINCT root_session_id FROM steps WHERE session_id = 's'";
    server.count_reaches("SELECT count(*) FROM steps WHERE session_id = 's'", 3).await;
    assert_eq!(server.sql(roots).await, [[json!("s")]].map(|it| it.to_vec()));
    server.kill_9();

    let server = Server::start_with(&data, &args);
    assert_eq!(ask(&server, call("s", "20", "ls", Some("elsewhere"), None)).await, refused);
    let order = json!({ "action": "resume", "session_id": "s", "by": "ops" }).to_string();
    assert_eq!(server.post("/v1/controls", order).await.1["state"], "applied");
    for session in ["s", "kid", "grandkid", "new"] {
        assert_eq!(ask(&server, call(session, "21", "ls", None, None)).await, allow, "{session}");
    }
}

/// One request has the step that a rule halts, the root that turns out to be a child, and who goes on below: all of it is taken in
/// before the halt is known, in a run that never hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_halt_of_a_rule_reaches_those_who_moved_on_before_it_was_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let policies = policies(folder.path());
    let args = ["--policies", policies.as_str()];
    let server = Server::start_with(&folder.path().join("data"), &args);
    // Where two runs share a partition there is nothing to show: so several.
    for n in 0..8 {
        let name = |of: &str| format!("{of}{n}");
        let call = |of: &str, id: &str, tool: &str, parent: Option<&str>| {
            let parent = parent.map(|it| json!(name(it)));
            step(&name(of), id, "tool_call", json!({ "tool": tool, "parent_session_id": parent }))
        };
        let steps = json!([
            call("c", "1", "wipe", Some("r")),
            call("z", "1", "ls", None),
            call("r", "1", "ls", Some("z")),
            call("c", "2", "ls", None),
            call("d", "1", "ls", Some("c")),
        ]);
        let (_, answer) = server.post("/v1/steps", steps.to_string()).await;
        assert_eq!(answer["accepted"], 5, "{answer}");
    }
    // Whoever is asked after the verdict of the rule is asked under its halt.
    server
        .count_reaches(
            "SELECT count(*) FROM verdicts WHERE decision = 'halt' AND step_id = '1' AND session_id LIKE 'c%'",
            8,
        )
        .await;
    for n in 0..8 {
        for (session, parent) in
            [(format!("d{n}"), None), (format!("new{n}"), Some(format!("d{n}"))), (format!("c{n}"), None)]
        {
            let ask = step(&session, "9", "tool_call", json!({ "tool": "ls", "parent_session_id": parent }));
            let (status, answer) = server.post("/v1/gate", ask.to_string()).await;
            let is_refused = status == 400 && answer["error"]["reason"] == "contradiction";
            assert!(is_refused || answer["decision"] == "halt", "{session}: {status} {answer}");
        }
    }
}

/// An order is for a run, and the session that it is named after is in it: before a step of it was refused as well.
#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_a_halted_run_stays_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    let gate = async |session: &str, id: &str, lineage: Value| {
        let mut all = lineage;
        all["tool"] = json!("ls");
        let (status, answer) = server.post("/v1/gate", step(session, id, "tool_call", all).to_string()).await;
        let said = answer["error"]["reason"].as_str().or_else(|| answer["decision"].as_str()).unwrap_or_default();
        format!("{status} {said}")
    };
    assert_eq!(gate("a", "1", json!({})).await, "200 allow");
    assert_eq!(gate("kid", "1", json!({ "parent_session_id": "a" })).await, "200 allow");
    // Named by a child alone, which says that it is the root.
    let child = json!({ "root_session_id": "b", "parent_session_id": "b" });
    assert_eq!(gate("kid-b", "1", child).await, "200 allow");
    for run in ["a", "b"] {
        let order = json!({ "action": "halt", "root_session_id": run, "by": "ops" }).to_string();
        let (_, control) = server.post("/v1/controls", order).await;
        assert_eq!((&control["state"], &control["known"]), (&json!("applied"), &json!(true)), "{control}");
    }
    for (session, id, lineage, expected) in [
        ("a", "2", json!({ "root_session_id": "new" }), "400 contradiction"),
        ("a", "3", json!({ "parent_session_id": "e" }), "400 contradiction"),
        ("a", "4", json!({}), "200 halt"),
        ("kid", "5", json!({}), "200 halt"),
        ("kid-2", "6", json!({ "parent_session_id": "a" }), "200 halt"),
        ("b", "7", json!({ "root_session_id": "new" }), "400 contradiction"),
        ("b", "8", json!({}), "200 halt"),
        ("new", "9", json!({}), "200 allow"),
    ] {
        assert_eq!(gate(session, id, lineage).await, expected, "{session} {id}");
    }
}

/// A session moves with its parent into another run, where nobody has said who is above that parent but what the door remembers.
#[tokio::test(flavor = "multi_thread")]
async fn a_halt_reaches_below_a_parent_that_has_not_spoken_since() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    let gate = async |session: &str, id: &str, lineage: Value| {
        let mut all = lineage;
        all["tool"] = json!("ls");
        let (_, answer) = server.post("/v1/gate", step(session, id, "tool_call", all).to_string()).await;
        answer["decision"].as_str().unwrap_or_default().to_owned()
    };
    let below = |parent: &str| json!({ "parent_session_id": parent });
    assert_eq!(gate("kid", "1", below("mother")).await, "allow");
    assert_eq!(gate("grandkid", "1", below("kid")).await, "allow");
    assert_eq!(gate("mother", "1", json!({ "root_session_id": "run", "parent_session_id": "run" })).await, "allow");
    assert_eq!(gate("sister", "1", json!({ "root_session_id": "run", "parent_session_id": "run" })).await, "allow");
    let order = json!({ "action": "halt", "session_id": "mother", "by": "ops" }).to_string();
    assert_eq!(server.post("/v1/controls", order).await.1["state"], "applied");
    for (session, lineage, expected) in [
        ("grandkid", json!({}), "halt"),
        ("new", below("grandkid"), "halt"),
        ("kid", json!({}), "halt"),
        ("mother", json!({}), "halt"),
        ("sister", json!({}), "allow"),
    ] {
        assert_eq!(gate(session, "2", lineage).await, expected, "{session}");
    }
    // Nor is what the door writes on a step something that a producer can say.
    let claimed = json!({ "parent_session_id": "sister", "ancestor_session_ids": ["mother"] });
    assert_eq!(gate("other", "1", claimed).await, "allow");
}

/// A gate that asks again is answered by what stands where its session is now.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_its_session_moved_is_answered_by_what_stands_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    let call = |session: &str, id: &str, parent: &str| {
        step(session, id, "tool_call", json!({ "tool": "rm", "parent_session_id": parent })).to_string()
    };
    let asked = call("kid", "1", "mother");
    assert_eq!(server.post("/v1/gate", asked.clone()).await.1["decision"], "allow");
    assert_eq!(server.post("/v1/gate", call("mother", "1", "grandmother")).await.1["decision"], "allow");
    let order = |action: &str| json!({ "action": action, "session_id": "mother", "by": "ops" }).to_string();
    assert_eq!(server.post("/v1/controls", order("halt")).await.1["state"], "applied");
    let (_, again) = server.post("/v1/gate", asked.clone()).await;
    assert_eq!((&again["decision"], &again["standing"]), (&json!("halt"), &json!("halt")), "{again}");
    assert_eq!(server.post("/v1/controls", order("resume")).await.1["state"], "applied");
    assert_eq!(server.post("/v1/gate", asked).await.1["decision"], "allow");
}
