//! Two processes of each role and three brokers; any of them is killed, or paused until others have taken over.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use serde_json::json;

use super::brokers;
use super::fleet::{Fleet, Role, offline, signal};
use crate::harness::{Random, step, traces};

/// Longer than `session_timeout` of these tests.
const PAUSE: Duration = Duration::from_secs(5);

/// Recorded executions, sessions whole. `MARTINGALE_KAFKA_STEPS` says how many steps at most; all of them take some time.
fn recorded() -> Option<Vec<String>> {
    let steps_max: usize =
        std::env::var("MARTINGALE_KAFKA_STEPS").ok().map_or(6_000, |it| it.parse().expect("a number of steps"));
    let mut files: Vec<_> = std::fs::read_dir(traces()?)
        .expect("readable")
        .filter_map(|entry| Some(entry.ok()?.path().join("steps.jsonl.gz")))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    // Some of every file, so that each kind of recording is among them.
    let each = steps_max / files.len().max(1);
    let mut lines = Vec::new();
    for file in files {
        let of_file = BufReader::new(MultiGzDecoder::new(File::open(file).expect("opens"))).lines();
        lines.extend(of_file.map(|it| it.expect("reads")).take(each));
    }
    Some(lines)
}

/// Sessions that loop and come apart, where nothing is recorded.
fn made_up() -> Vec<String> {
    let mut random = Random::seeded_quietly(7);
    let mut lines = Vec::new();
    for seq in 0..60 {
        for session in 0..40 {
            let tool = ["search", "read_file", "send_email"][usize::try_from(random.below(3)).unwrap()];
            let time = format!("2026-01-01T00:{:02}:{:02}Z", seq / 60, seq % 60);
            let more = json!({ "seq": seq, "time": time, "tool": tool, "input": { "q": random.below(2) } });
            lines.push(step(&format!("made-{session}"), &seq.to_string(), "tool_call", more).to_string());
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_every_step_has_its_verdict_once() {
    let Some(cluster) = brokers().await else { return };
    let mut random = Random::seeded(20_261_128);
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = Fleet::start(&cluster, "kills.", &folder.path().join("data"));
    for server in fleet.detectors.iter().chain(&fleet.query_apis) {
        server.ready().await;
    }
    let lines = recorded().unwrap_or_else(made_up);
    let expected = offline(&lines, folder.path());
    let order = json!({ "action": "halt", "session_id": "held", "reason": "test" }).to_string();
    let (status, given) = fleet.query_apis[0].post("/v1/controls", order).await;
    assert_eq!((status, &given["state"]), (200, &json!("applied")), "{given}");

    // Ends when everything is acknowledged; blows fall meanwhile, and some after it.
    let sending = fleet.send(lines.clone());
    let blows = ["detector", "ingest", "query-api", "broker", "pause", "detector"];
    for blow in blows {
        tokio::time::sleep(Duration::from_millis(300 + random.below(1_500))).await;
        let at = usize::try_from(random.below(2)).unwrap();
        eprintln!("{blow} {at}");
        match blow {
            "detector" => replace(&mut fleet, Role::Detector, at),
            "ingest" => replace(&mut fleet, Role::Ingest, at),
            "query-api" => replace(&mut fleet, Role::QueryApi, at),
            "broker" => {
                let cluster = fleet.cluster.clone();
                let broker = usize::try_from(random.below(3)).unwrap();
                tokio::task::spawn_blocking(move || {
                    cluster.kill(broker);
                    cluster.restart(broker);
                })
                .await
                .expect("back again");
            }
            // Others take its partitions meanwhile; what it still believes to own it may not write to.
            _ => {
                let paused = &fleet.detectors[at];
                signal(paused, "-STOP");
                tokio::time::sleep(PAUSE).await;
                signal(paused, "-CONT");
            }
        }
    }
    sending.await.expect("everything is acknowledged");

    let steps = expected.len() as u64;
    fleet.all_count("SELECT count(*) FROM steps WHERE session_id <> 'held'", steps).await;
    fleet.all_count("SELECT count(*) FROM verdicts WHERE session_id <> 'held'", steps).await;
    fleet.all_count("SELECT count(DISTINCT verdict_id) FROM verdicts WHERE session_id <> 'held'", steps).await;
    fleet.all_count("SELECT sum(steps) FROM sessions WHERE session_id <> 'held'", steps).await;
    let verdicts = fleet.verdicts().await;
    assert_eq!(verdicts.len(), expected.len());
    for (step, line) in &expected {
        assert_eq!(verdicts.get(step), Some(line), "{step:?}");
    }
    for (number, query_api) in fleet.query_apis.iter().enumerate() {
        query_api.ready().await;
        let call = step("held", &number.to_string(), "tool_call", json!({ "tool": "search" })).to_string();
        let (status, answer) = query_api.post("/v1/gate", call).await;
        assert_eq!((status, &answer["decision"]), (200, &json!("halt")), "{answer}");
    }
}

fn replace(fleet: &mut Fleet, role: Role, at: usize) {
    fleet.kill(role, at);
    fleet.add(role);
}
