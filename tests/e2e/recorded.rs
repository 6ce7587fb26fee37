//! Recorded executions go in, and SQL, verdicts and the offline run agree on every one of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use crate::harness::{Server, json_of, martingale, recorded_files};

/// Sessions and steps by `agent_id`, counted from the files alone.
fn counted(files: &[PathBuf]) -> (u64, u64, BTreeMap<String, u64>) {
    let (mut sessions, mut steps, mut agents) = (std::collections::HashSet::new(), 0, BTreeMap::new());
    for file in files {
        for line in BufReader::new(MultiGzDecoder::new(File::open(file).expect("opens"))).lines() {
            let step: serde_json::Value = serde_json::from_str(&line.expect("reads")).expect("JSON");
            sessions.insert(step["session_id"].as_str().expect("an id").to_owned());
            *agents.entry(step["agent"]["id"].as_str().expect("an id").to_owned()).or_default() += 1;
            steps += 1;
        }
    }
    (sessions.len() as u64, steps, agents)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_step_is_judged_once_and_queryable_once() {
    let Some(files) = recorded_files() else { return };
    let (sessions, steps, agents) = counted(&files);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    let url = format!("http://{}", server.http);
    let (live, again, offline) =
        (folder.path().join("live.jsonl"), folder.path().join("again.jsonl"), folder.path().join("offline.jsonl"));
    let replay = |mode: &[&str], out: &std::path::Path| {
        let files: Vec<&str> = files.iter().map(|it| it.to_str().expect("UTF-8")).collect();
        let out = out.to_str().expect("UTF-8");
        json_of(&martingale(&[&["replay"], &files[..], mode, &["--verdicts", out, "--json"]].concat()))
    };

    let first = replay(&["--server", &url], &live);
    assert_eq!((first["sessions"].as_u64(), first["steps"].as_u64()), (Some(sessions), Some(steps)), "{first}");
    assert_eq!(first["outcomes"]["accepted"].as_u64(), Some(steps), "{first}");
    let decided: u64 =
        first["decisions"].as_object().expect("by kind").values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(decided, steps, "{first}");

    let second = replay(&["--server", &url], &again);
    assert_eq!(second["outcomes"]["duplicate"].as_u64(), Some(steps), "{second}");

    replay(&["--offline"], &offline);
    let (live, again, offline) = (lines(&live), lines(&again), lines(&offline));
    assert_eq!(live.len() as u64, steps);
    for (number, (live, offline)) in live.iter().zip(&offline).enumerate() {
        assert_eq!(live, offline, "line {}", number + 1);
    }
    assert_eq!((live.len(), live == again), (offline.len(), true), "a second replay answers the same verdicts");

    server.count_reaches("SELECT count(*) FROM steps", steps).await;
    assert_eq!(server.count("SELECT count(*) FROM (SELECT DISTINCT session_id, step_id FROM steps)").await, steps);
    assert_eq!(server.count("SELECT count(*) FROM verdicts").await, steps);
    assert_eq!(server.count("SELECT count(DISTINCT verdict_id) FROM verdicts").await, steps);
    assert_eq!(server.count("SELECT count(*) FROM sessions").await, sessions);
    assert_eq!(server.count("SELECT sum(steps) FROM sessions").await, steps);
    let by_agent = server.sql("SELECT agent_id, count(*) FROM steps GROUP BY agent_id ORDER BY agent_id").await;
    let by_agent: BTreeMap<String, u64> =
        by_agent.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect();
    assert_eq!(by_agent, agents);

    // The same after a restart: from the tables and the log alone.
    server.terminate();
    let server = Server::start(&folder.path().join("data"));
    server.count_reaches("SELECT count(*) FROM steps", steps).await;
    assert_eq!(server.count("SELECT count(*) FROM sessions").await, sessions);
}

fn lines(file: &std::path::Path) -> Vec<String> {
    BufReader::new(File::open(file).expect("opens")).lines().map(|line| line.expect("reads")).collect()
}
