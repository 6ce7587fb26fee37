//! `martingale eval`: labelled sessions in, figures out.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{json_of, martingale};

const NORMAL: usize = 40;
const LOOPING: usize = 8;

/// Sessions that look things up, and some that call the same tool until the same answer came six times.
fn write(folder: &Path) -> [String; 2] {
    let (mut steps, mut labels) = (String::new(), String::new());
    for number in 0..NORMAL + LOOPING {
        let (id, is_looping) = (format!("s{number}"), number >= NORMAL);
        let mut seq = 0;
        let mut step = |kind: &str, tool: Option<&str>, input: Value, output: Value| {
            let step = json!({
                "session_id": id, "step_id": seq.to_string(), "seq": seq, "kind": kind, "agent": { "id": "clerk" },
                "tool": tool, "input": input, "output": output, "text": "look up the open invoices",
                "time": format!("2026-01-01T10:00:{seq:02}Z"),
            });
            writeln!(steps, "{step}").expect("memory");
            seq += 1;
        };
        step("user_message", None, Value::Null, Value::Null);
        for call in 0..if is_looping { 7 } else { 3 } {
            let page = if is_looping { 1 } else { call };
            step("tool_call", Some("list_invoices"), json!({ "page": page }), Value::Null);
            step("tool_result", Some("list_invoices"), Value::Null, json!(format!("page {page} of {number}")));
        }
        // The third call with the same answer is where somebody should have looked.
        let first_bad = if is_looping { json!(5) } else { Value::Null };
        let month = ["may", "june"][number % 2];
        let label = json!({
            "session_id": id, "label": { "first_bad_step": first_bad, "failed": is_looping },
            "info": { "task": format!("t{}", number / 2), "month": month },
        });
        writeln!(labels, "{label}").expect("memory");
    }
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writes");
        path.to_str().expect("UTF-8").to_owned()
    };
    [file("steps.jsonl", &steps), file("labels.jsonl", &labels)]
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn labelled_sessions_are_measured_and_every_number_adds_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let [steps, labels] = write(folder.path());
    let verdicts = folder.path().join("verdicts.jsonl");
    let given = ["eval", "--labels", &labels, &steps, "--alarms", "0.1,0.01"];
    let more = ["--split", "info.task", "--verdicts", verdicts.to_str().expect("UTF-8"), "--json"];
    let output = martingale(&[&given[..], &more].concat());
    let report = json_of(&output);
    assert_eq!((&report["sessions"]["normal"], &report["sessions"]["bad"]), (&json!(NORMAL), &json!(LOOPING)));
    assert_eq!((&report["clusters"], &report["split"]), (&json!((NORMAL + LOOPING) / 2), &json!("info.task")));
    let folds = report["folds"].as_array().expect("folds");
    let judged: u64 = folds.iter().filter_map(|it| it["judged"].as_u64()).sum();
    assert_eq!((folds.len(), judged), (5, (NORMAL + LOOPING) as u64));
    for fold in folds {
        // Eight tasks of two sessions each teach, as many calibrate, four are judged and their looping ones with them.
        let number = |name: &str| fold[name].as_u64().expect("a number");
        assert_eq!((number("learnt"), number("calibrating"), number("calibrating_clusters")), (16, 16, 8), "{fold}");
    }

    let [all] = &report["groups"].as_array().expect("groups")[..] else { panic!("{report}") };
    let halted = &all["decisions"][2];
    assert_eq!((&halted["decided"], &halted["normal"]["alarmed"]), (&json!("halted"), &json!(0)), "{halted}");
    assert_eq!((&halted["bad"]["after"], &halted["bad"]["sessions"]), (&json!(LOOPING), &json!(LOOPING)), "{halted}");
    let rule = all["rules"].as_array().expect("rules").iter().find(|it| it["rule"] == "repeat").expect("found");
    let caught = ["before", "at", "after", "never"].map(|it| rule["bad"][it].as_u64().expect("a number"));
    assert_eq!((caught.iter().sum::<u64>(), caught[3]), (LOOPING as u64, 0), "{rule}");
    let column = all["columns"].as_array().expect("columns").iter().find(|it| it["column"] == "loop").expect("scored");
    assert_eq!(column["auc_whole"], 1.0, "{column}");
    let [some, none] = &column["rates"].as_array().expect("rates")[..] else { panic!("{column}") };
    assert_eq!((&some["wanted"], &none["clusters_needed"]), (&json!(0.1), &json!(99)));
    // Eight clusters are too few for one in ten; nine would do.
    assert_eq!((&some["calibrated"], &some["clusters_needed"]), (&Value::Null, &json!(9)));
    assert_eq!(some["afterwards"]["bad"]["never"], 0, "{some}");
    let lines = std::fs::read_to_string(&verdicts).expect("reads").lines().count();
    assert_eq!(lines, NORMAL * 7 + LOOPING * 15, "each step of each session once");

    let report = json_of(&martingale(&[&given[..], &["--json"]].concat()));
    let calibrated =
        &report["groups"][0]["columns"].as_array().expect("columns").iter().find(|it| it["column"] == "loop");
    let calibrated = &calibrated.expect("scored")["rates"][0]["calibrated"];
    assert_eq!((&calibrated["normal"]["alarmed"], &calibrated["bad"]["never"]), (&json!(0), &json!(0)), "{calibrated}");
    assert_eq!(report, json_of(&martingale(&[&given[..], &["--json"]].concat())), "the same every time");

    let shown = said(&martingale(&[&given[..], &["--by", "info.month", "--leave-one-out"]].concat()));
    for words in ["all: 40 normal", "info.month june: 20 normal, 0 resisted, 4 bad", "rule repeat", "exchangeable"] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
}

#[test]
fn what_cannot_be_measured_is_said_with_its_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let [steps, labels] = write(folder.path());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.to_str().expect("UTF-8").to_owned()
    };
    let wrong = file(
        "wrong.jsonl",
        "{\"session_id\":\"s0\",\"label\":{}}\n\n{\"session_id\":\"s1\",\"label\":{\"failed\":3}}\n",
    );
    let foreign = file("foreign.jsonl", "{\"session_id\":\"other\",\"label\":{}}\n");
    let broken = file("broken.jsonl", &(std::fs::read_to_string(&steps).expect("reads") + "nonsense\n"));
    let kept = file("kept.jsonl", "verdicts of before");
    for (args, good, words) in [
        (vec!["--labels", &wrong, &steps], false, vec!["wrong.jsonl:3", "`label.failed` is 3", "true, false or null"]),
        (
            vec!["--labels", &labels, &steps, "--split", "info.nothing"],
            false,
            vec!["labels.jsonl:1", "info.nothing", "--split"],
        ),
        (
            vec!["--labels", &foreign, &steps, "--verdicts", &kept],
            false,
            vec!["0 labelled sessions", "are these the files"],
        ),
        (vec!["--labels", &labels, &steps, "--verdicts", &labels], false, vec!["labels.jsonl, which is read"]),
        (vec!["--labels", &labels, "-"], false, vec!["standard input", "write it to a file"]),
        (vec!["--labels", "/nowhere.jsonl", &steps], false, vec!["/nowhere.jsonl"]),
        (vec!["--labels", &labels, "--labels", &foreign, &steps], true, vec!["1 labelled session without a step"]),
        (vec!["--labels", &labels, &broken], false, vec!["broken.jsonl:401", "1 line rejected", "all: 40 normal"]),
    ] {
        let output = martingale(&[&["eval"], &args[..]].concat());
        let said = said(&output);
        assert_eq!(output.status.success(), good, "{args:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains("panicked"), "{args:?}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(&kept).expect("reads"),
        "verdicts of before",
        "a refused command empties nothing"
    );
}
