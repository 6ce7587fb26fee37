//! What is normal, learnt once: a server that judges by the file says what a replay says that learns from the recordings.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Server, json_of, martingale};

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
