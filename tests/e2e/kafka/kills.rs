//! Two processes of each role and three brokers; any of them is killed, or paused until others have taken over.

use std::time::Duration;

use serde_json::json;

use super::brokers_alone;
use super::fleet::{Fleet, Role, offline, signal};
use super::input::lines;
use crate::harness::{Random, step};

/// Longer than `session_timeout` of these tests.
const PAUSE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_every_step_has_its_verdict_once() {
    let Some(cluster) = brokers_alone().await else { return };
    let mut random = Random::seeded(20_261_128);
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = Fleet::start(&cluster, "kills.", &folder.path().join("data"), 4);
    for server in fleet.detectors.iter().chain(&fleet.query_apis) {
        server.ready().await;
    }
    let lines = lines();
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

    fleet.agrees_with(&expected).await;
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
