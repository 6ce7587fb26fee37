//! `kill -9` at seeded moments of a replay: nothing acknowledged is lost, nothing is doubled, a halt still stands.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{BINARY, Random, Server, json_of, martingale, step};

/// Sessions that loop, spawn, repeat and come out of order, so that state matters.
fn workload(random: &mut Random) -> Vec<Value> {
    let mut open: Vec<(String, u64)> = (0..60).map(|n| (format!("crash-{n}"), 0)).collect();
    let mut steps = Vec::new();
    while !open.is_empty() {
        let at = usize::try_from(random.below(open.len() as u64)).unwrap();
        let (session, seq) = &mut open[at];
        let time = format!("2026-01-01T00:{:02}:{:02}Z", *seq / 60, *seq % 60);
        let tool = ["search", "read_file", "send_email"][usize::try_from(random.below(3)).unwrap()];
        let more = json!({ "seq": *seq, "time": time, "tool": tool, "input": { "q": random.below(2) } });
        steps.push(step(session, &seq.to_string(), "tool_call", more));
        let more =
            json!({ "seq": *seq + 1, "time": time, "tool": tool, "causes": [seq.to_string()], "output": "same" });
        steps.push(step(session, &(*seq + 1).to_string(), "tool_result", more));
        *seq += 2;
        if *seq >= 40 {
            open.swap_remove(at);
        }
    }
    steps
}

const BATCH_STEPS: usize = 40;

async fn send(server: &Server, batch: &[Value]) -> Result<Value, reqwest::Error> {
    let body: String = batch.iter().map(|it| format!("{it}\n")).collect();
    let request = server.client.post(server.url("/v1/steps")).header("content-type", "application/x-ndjson").body(body);
    request.send().await?.error_for_status()?.json().await
}

/// One that moves its rows to the tables every few batches, and compacts them every few commits, so that a blow falls there
/// as well.
fn start(data: &Path) -> Server {
    let mut command = Command::new(BINARY);
    command.env("MARTINGALE__HISTORY__FLUSH_STEPS", "50").env("MARTINGALE__HISTORY__COMPACT_EVERY", "3");
    Server::try_start(command, data, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Commits to the table of steps.
fn commits(data: &Path) -> usize {
    let Ok(files) = std::fs::read_dir(data.join("history/steps/_delta_log")) else { return 0 };
    files.flatten().filter(|it| it.path().extension().is_some_and(|it| it == "json")).count()
}

async fn commits_are_more_than(data: &Path, before: usize) {
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while commits(data) <= before {
        assert!(tokio::time::Instant::now() < until, "no rows were moved to the table");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn one_life(data: &Path, steps: &[Value], random: &mut Random, acknowledged: &mut usize) {
    let before = commits(data);
    let server = start(data);
    let batches = 2 + random.below(12);
    for _ in 0..batches {
        let batch = &steps[*acknowledged..(*acknowledged + BATCH_STEPS).min(steps.len())];
        if batch.is_empty() {
            break;
        }
        send(&server, batch).await.expect("acknowledged");
        *acknowledged += batch.len();
    }
    // Half of the blows fall around a flush of what this life was sent, the others before it.
    if random.below(2) == 0 {
        commits_are_more_than(data, before).await;
    }
    // The blow falls while a batch is under way: its fate is open, and it will be sent again.
    let next = &steps[*acknowledged..(*acknowledged + BATCH_STEPS).min(steps.len())];
    let blow = tokio::time::sleep(Duration::from_micros(random.below(20_000)));
    tokio::select! {
        _ = send(&server, next) => {}
        () = blow => {}
    }
    server.kill_9();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled() {
    let mut random = Random::seeded(20_260_101);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let steps = workload(&mut random);
    let mut acknowledged = 0;

    let server = Server::start(&data);
    let (status, control) = server
        .post("/v1/controls", json!({ "action": "halt", "session_id": "held", "reason": "test" }).to_string())
        .await;
    assert_eq!((status, control["state"].as_str()), (200, Some("applied")), "{control}");
    server.kill_9();

    for _ in 0..8 {
        one_life(&data, &steps, &mut random, &mut acknowledged).await;
    }

    let server = start(&data);
    let ids: HashSet<(String, String)> =
        steps[..acknowledged].iter().map(|it| (it["session_id"].to_string(), it["step_id"].to_string())).collect();
    let mut outcomes: HashMap<&str, u64> = HashMap::new();
    for batch in steps.chunks(BATCH_STEPS) {
        let answer = send(&server, batch).await.expect("acknowledged");
        for outcome in ["accepted", "duplicate"] {
            *outcomes.entry(outcome).or_default() += answer[outcome].as_u64().unwrap();
        }
    }
    assert_eq!(outcomes.values().sum::<u64>(), steps.len() as u64);
    assert!(outcomes["duplicate"] >= ids.len() as u64, "what was acknowledged must be known: {outcomes:?}");

    let total = steps.len() as u64;
    server.count_reaches("SELECT count(*) FROM steps", total).await;
    for (query, expected) in [
        ("SELECT count(*) FROM (SELECT DISTINCT session_id, step_id FROM steps)", total),
        ("SELECT count(*) FROM verdicts", total),
        ("SELECT count(DISTINCT verdict_id) FROM verdicts", total),
        ("SELECT count(DISTINCT finding_id) - count(*) FROM findings", 0),
        ("SELECT count(*) FROM sessions WHERE session_id LIKE 'crash-%'", 60),
    ] {
        assert_eq!(server.count(query).await, expected, "{query}");
    }
    let (status, gate) =
        server.post("/v1/gate", step("held", "after", "tool_call", json!({ "tool": "x" })).to_string()).await;
    assert_eq!((status, gate["decision"].as_str()), (200, Some("halt")), "a standing halt stands: {gate}");

    // What was decided across nine lives is what one uninterrupted run decides.
    let file = folder.path().join("steps.jsonl");
    std::fs::write(&file, steps.iter().map(|it| format!("{it}\n")).collect::<String>()).expect("writes");
    let out = folder.path().join("offline.jsonl");
    json_of(&martingale(&[
        "replay",
        file.to_str().unwrap(),
        "--offline",
        "--json",
        "--verdicts",
        out.to_str().unwrap(),
    ]));
    let offline: HashMap<(String, String), String> = std::fs::read_to_string(&out)
        .expect("reads")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|v| ((v["session_id"].to_string(), v["step_id"].to_string()), v["decision"].to_string()))
        .collect();
    let live = server.sql("SELECT session_id, step_id, decision FROM verdicts WHERE session_id LIKE 'crash-%'").await;
    assert_eq!(live.len(), offline.len());
    for row in live {
        let key = (row[0].to_string(), row[1].to_string());
        assert_eq!(offline.get(&key), Some(&row[2].to_string()), "{key:?}");
    }
}

/// A data folder belongs to one process, and to this version or an older one.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_is_not_shared() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = Server::start(folder.path());
    let second = Server::try_start(Command::new(BINARY), folder.path(), &[]).err().expect("refused");
    assert!(second.contains("in use"), "{second}");
}
