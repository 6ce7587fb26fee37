//! What is normal, learnt once: a server that judges by the file says what a replay says that learns from the recordings.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{BINARY, Server, json_of, martingale};

/// Sessions that look things up and mail the result, one second a step; in a strange one everything takes half a minute
/// and fails.
fn write(folder: &Path, name: &str, sessions: std::ops::Range<usize>, strange: Option<usize>) -> String {
    let mut lines = String::new();
    for number in sessions {
        let (pace, status) = if strange == Some(number) { (30, "error") } else { (1, "ok") };
        let mut seq = 0;
        let mut step = |kind: &str, more: Value| {
            let at = seq * pace;
            let mut step = json!({
                "session_id": format!("{name}-{number}"), "step_id": seq.to_string(), "seq": seq, "kind": kind,
                "agent": { "id": "clerk" }, "environment": "production",
                "time": format!("2026-01-01T10:{:02}:{:02}Z", at / 60 % 60, at % 60),
            });
            step.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
            writeln!(lines, "{step}").expect("memory");
            seq += 1;
        };
        step(
            "user_message",
            json!({ "text": format!("look up invoice {} and mail it to ada@example.com", number % 7) }),
        );
        for page in 0..6 {
            step("tool_call", json!({ "tool": "list_invoices", "input": { "page": page } }));
            let output = format!("page {page} of {number}");
            step("tool_result", json!({ "tool": "list_invoices", "output": output, "status": status }));
        }
        step("tool_call", json!({ "tool": "send_mail", "input": { "to": "ada@example.com", "text": "found" } }));
        step("session_end", json!({}));
    }
    let path = folder.join(format!("{name}.jsonl"));
    std::fs::write(&path, lines).expect("writes");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_server_judges_by_what_was_learnt_as_a_replay_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let past = write(folder.path(), "past", 0..120, None);
    let today = write(folder.path(), "today", 200..212, Some(205));
    let normal = file("normal.baselines");

    let learnt = json_of(&martingale(&["baseline", "learn", &past, "--out", &normal, "--json"]));
    let shown = json_of(&martingale(&["baseline", "show", &normal, "--json"]));
    assert_eq!(learnt, shown);
    let agent = &shown["agents"][0];
    assert_eq!((&agent["agent_id"], &agent["environment"]), (&json!("clerk"), &json!("production")));
    assert_eq!((&agent["sessions"], &agent["requests"], &agent["tools"]), (&json!(120), &json!(7), &json!(2)));
    assert_eq!((&agent["drift"]["learnt"], &agent["drift"]["calibrating"]), (&json!(60), &json!(60)));
    assert_eq!(agent["drift"]["calibration"], "uncalibrated", "seven requests are too few to state a rate");
    let hijack = json!({ "calibrating": 120, "requests": 7, "warn": null, "ask": null, "calibration": "uncalibrated" });
    let totals = [("steps", 15.0), ("tool_calls", 7.0), ("tokens", 0.0), ("cost_usd", 0.0), ("wall_s", 14.0)];
    for (name, used) in totals {
        assert_eq!(agent["totals"]["used"][name], json!({ "median": used, "p95": used }), "{name}");
    }
    assert_eq!(agent["totals"]["sessions"], 120);
    let told = martingale(&["baseline", "show", &normal]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        ["for budgets with a forecast", "15 / 15", "7 / 7", "14 / 14"].iter().all(|it| told.contains(it)),
        "{told}"
    );
    assert_eq!((&agent["hijack"], &agent["sessions_per_day"]), (&hijack, &Value::Null), "all within one day");

    let server = Server::start_with(&folder.path().join("data"), &["--baselines", &normal]);
    let cold = Server::start(&folder.path().join("cold"));
    let (url, cold_url) = (format!("http://{}", server.http), format!("http://{}", cold.http));
    let verdicts = |name: &str, how: &[&str]| {
        let out = file(name);
        json_of(&martingale(&[&["replay", &today, "--verdicts", &out, "--json"], how].concat()));
        std::fs::read_to_string(out).expect("readable")
    };
    let live = verdicts("from-live", &["--server", &url]);
    assert_eq!(live, verdicts("from-file", &["--offline", "--baselines", &normal]));
    assert_eq!(live, verdicts("from-recordings", &["--offline", "--baselines", &past]));
    assert_ne!(live, verdicts("from-cold", &["--server", &cold_url]));

    let drifted: Vec<Value> = live
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).expect("JSON"))
        .filter(|it| it["findings"].as_array().is_some_and(|all| all.iter().any(|it| it["column"] == "drift")))
        .collect();
    assert!(!drifted.is_empty(), "nothing drifted in {live}");
    assert!(drifted.iter().all(|it| it["session_id"] == "today-205"), "{drifted:?}");
}

/// One that learns so often.
fn learning(data: &Path, every: &str) -> Server {
    let mut command = Command::new(BINARY);
    command.env("MARTINGALE__LEARNING__EVERY", every);
    Server::try_start(command, data, &[]).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_server_learns_from_sessions_that_are_over_and_goes_back_when_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let data = folder.path().join("data");
    let past = write(folder.path(), "past", 0..120, None);
    let today = write(folder.path(), "today", 200..212, Some(205));
    // All of it is there when the first round begins.
    let server = learning(&data, "1d");
    json_of(&server.martingale(&["replay", &past, "--json"]));
    server.terminate();
    let server = learning(&data, "50ms");
    let uses = "SELECT count(*) FROM controls WHERE action = 'use_baselines' AND state = 'applied'";
    server.count_reaches(uses, 1).await;

    let listed = || json_of(&server.martingale(&["baseline", "list", "--json"]))["baselines"].clone();
    let first = listed();
    let (id, used) = (first[0]["baselines_id"].as_str().expect("an id").to_owned(), &first[0]["used_by"]);
    assert_eq!((first.as_array().map(Vec::len), &used["by"]), (Some(1), &json!("learning")));
    assert!(used["reason"].as_str().is_some_and(|it| it.contains("from 120 sessions")), "{used}");
    // What it uses is what an offline replay of the file says.
    let fetched = file("fetched.baselines");
    assert!(server.martingale(&["baseline", "fetch", &id, "--out", &fetched]).status.success());
    assert_eq!(json_of(&martingale(&["baseline", "show", &fetched, "--json"]))["agents"][0]["sessions"], 120);
    let live = file("live");
    json_of(&server.martingale(&["replay", &today, "--verdicts", &live, "--json"]));
    let offline = file("offline");
    json_of(&martingale(&["replay", &today, "--offline", "--baselines", &fetched, "--verdicts", &offline, "--json"]));
    let live = std::fs::read_to_string(live).expect("readable");
    assert_eq!(live, std::fs::read_to_string(offline).expect("readable"));
    assert!(live.contains(r#""column":"drift""#), "nothing drifted");

    // Others by hand, and back.
    let other = file("other.baselines");
    json_of(&martingale(&["baseline", "learn", &today, "--out", &other, "--json"]));
    let published = json_of(&server.martingale(&["baseline", "publish", &other, "--reason", "a try", "--json"]));
    assert_eq!((&published["action"], &published["scope"]["type"]), (&json!("use_baselines"), &json!("tenant")));
    let second = listed();
    assert_eq!((&second[0]["baselines_id"], &second[1]["baselines_id"]), (&published["baselines_id"], &json!(id)));
    assert_eq!((&second[0]["used_by"]["reason"], &second[1]["used_by"]["by"]), (&json!("a try"), &json!("learning")));
    assert_eq!((&second[0]["in_use"], &second[1]["in_use"]), (&json!(true), &json!(false)));
    let said = |line: &[&str]| {
        let output = server.martingale(line);
        (output.status.success(), [output.stdout, output.stderr].concat())
    };
    for (line, succeeds, words) in [
        (["baseline", "use", id.as_str()], true, "used: baselines"),
        (["baseline", "use", id.as_str()], true, "used already"),
        (["baseline", "use", "00000000000000000000000000000001"], false, "no baselines"),
        (["baseline", "use", "mine"], false, "32 digits"),
        (["baseline", "publish", today.as_str()], false, "is not taken"),
        (["baseline", "list", "--json"], true, "in_use"),
    ] {
        let (success, text) = said(&line);
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(success == succeeds && text.contains(words), "{line:?}: {text}");
    }
    let third = listed();
    assert_eq!((&third[0]["in_use"], &third[1]["in_use"]), (&json!(false), &json!(true)));
    for (body, words) in [("{}", "holds no baselines"), ("martingale baselines\n\u{1}cut", "damaged")] {
        let (status, answer) = server.post("/v1/baselines", body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|it| it.contains(words)), "{answer}");
    }
    let (status, _) = server.get("/v1/baselines/00000000000000000000000000000001").await;
    assert_eq!(status, 404);
    let (first, second) = (third[0]["baselines_id"].as_str().expect("an id"), id.as_str());
    for (id, succeeds, words) in
        [(second, false, "order others"), (first, true, "removed"), (first, false, "no baselines")]
    {
        let (success, text) = said(&["baseline", "remove", id]);
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(success == succeeds && text.contains(words), "{id}: {text}");
    }
    assert_eq!(listed().as_array().map(Vec::len), Some(1));
}

#[test]
fn files_that_are_no_baselines_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let past = write(folder.path(), "past", 0..20, None);
    let (normal, empty, cut) = (file("normal"), file("empty"), file("cut"));
    json_of(&martingale(&["baseline", "learn", &past, "--out", &normal, "--json"]));
    let bytes = std::fs::read(&normal).expect("readable");
    std::fs::write(&empty, "").expect("writes");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("writes");
    let data = file("data");
    for (line, words) in [
        (vec!["baseline", "show", &past], ["past.jsonl is not taken", "martingale baseline learn"]),
        (vec!["baseline", "show", &cut], ["cut is not taken", "damaged: learn the baselines anew"]),
        (vec!["baseline", "show", "/nowhere"], ["/nowhere cannot be read", "No such file"]),
        (vec!["baseline", "learn", &empty, "--out", &normal], ["nothing was learnt", "normal holds what it held"]),
        (vec!["baseline", "learn", &past, "--out", &past], ["past.jsonl", "which is read"]),
        (
            vec!["replay", &past, "--offline", "--baselines", &normal, "--baselines", &past],
            ["normal holds baselines", "alone"],
        ),
        (
            vec!["up", "--data", &data, "--baselines", &past],
            ["baselines.file (--baselines)", "martingale baseline learn"],
        ),
    ] {
        let output = martingale(&line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.iter().all(|it| said.contains(it)), "{line:?}: {said}");
    }
    assert_eq!(std::fs::read(&normal).expect("readable"), bytes, "a refused command leaves the file alone");
}
