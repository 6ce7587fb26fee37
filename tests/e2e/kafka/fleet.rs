//! Processes of every role over one Kafka, two of each, and what is to come out of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::binary;
use crate::harness::{PATIENCE, Server, martingale};
use crate::services::KafkaCluster;

/// How many processes of each role.
const OF_EACH: usize = 2;
/// Steps of one request.
const BATCH: usize = 100;

/// The processes. The folder outlives them.
pub(super) struct Fleet {
    pub(super) cluster: Arc<KafkaCluster>,
    prefix: String,
    partitions: u32,
    data: PathBuf,
    pub(super) ingests: Vec<Server>,
    pub(super) detectors: Vec<Server>,
    pub(super) query_apis: Vec<Server>,
    /// Where steps can be sent just now.
    doors: Arc<RwLock<Vec<String>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ingest,
    Detector,
    QueryApi,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Detector => "detector",
            Self::QueryApi => "query-api",
        }
    }
}

impl Fleet {
    /// Two processes of each role.
    pub(super) fn start(cluster: &Arc<KafkaCluster>, prefix: &str, data: &Path, partitions: u32) -> Self {
        let mut fleet = Self::empty(cluster, prefix, data, partitions);
        // The first makes the topics, and the tables.
        for role in [Role::QueryApi, Role::Detector, Role::Ingest] {
            for _ in 0..OF_EACH {
                fleet.add(role);
            }
        }
        fleet
    }

    pub(super) fn empty(cluster: &Arc<KafkaCluster>, prefix: &str, data: &Path, partitions: u32) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            prefix: prefix.to_owned(),
            partitions,
            data: data.to_owned(),
            ingests: Vec::new(),
            detectors: Vec::new(),
            query_apis: Vec::new(),
            doors: Arc::default(),
        }
    }

    fn of(&mut self, role: Role) -> &mut Vec<Server> {
        match role {
            Role::Ingest => &mut self.ingests,
            Role::Detector => &mut self.detectors,
            Role::QueryApi => &mut self.query_apis,
        }
    }

    pub(super) fn add(&mut self, role: Role) {
        let mut command = binary();
        command.env("MARTINGALE__HISTORY__FLUSH_AGE", "3s");
        command.env("MARTINGALE__KAFKA__PARTITIONS", self.partitions.to_string());
        let brokers = self.cluster.brokers();
        let args = ["--kafka", &brokers, "--topic-prefix", &self.prefix, "--role", role.name()];
        let server = Server::try_start(command, &self.data, &args).unwrap_or_else(|error| panic!("{error}"));
        self.of(role).push(server);
        self.tell_doors();
    }

    pub(super) fn kill(&mut self, role: Role, at: usize) {
        let server = self.of(role).remove(at);
        self.tell_doors();
        server.kill_9();
    }

    fn tell_doors(&self) {
        *self.doors.write().expect("not poisoned") = self.ingests.iter().map(|it| it.url("/v1/steps")).collect();
    }

    /// Sends lines in their order, from a task of its own, each until it is acknowledged by some process.
    pub(super) fn send(&self, lines: Vec<String>) -> tokio::task::JoinHandle<()> {
        let doors = Arc::clone(&self.doors);
        tokio::spawn(async move {
            let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("client");
            for (number, batch) in lines.chunks(BATCH).enumerate() {
                let until = tokio::time::Instant::now() + PATIENCE;
                let body: String = batch.iter().map(|it| format!("{it}\n")).collect();
                for attempt in number.. {
                    let door = {
                        let doors = doors.read().expect("not poisoned");
                        doors.get(attempt % doors.len().max(1)).cloned()
                    };
                    assert!(tokio::time::Instant::now() < until, "batch {number} is not taken");
                    let Some(door) = door else {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let request = client.post(&door).header("content-type", "application/x-ndjson").body(body.clone());
                    match request.send().await {
                        Ok(answer) if answer.status().is_success() => break,
                        // What it did with the batch is open: another one gets all of it again.
                        Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            }
        })
    }

    /// Every process of the role query-api answers with this count.
    pub(super) async fn all_count(&self, query: &str, expected: u64) {
        for query_api in &self.query_apis {
            query_api.count_reaches(query, expected).await;
        }
    }

    /// Every process that answers has each of these steps and its verdict once, and the verdicts are these. Nothing is asked of
    /// the session `held`.
    pub(super) async fn agrees_with(&self, expected: &BTreeMap<(String, String), Value>) {
        let steps = expected.len() as u64;
        for counted in [
            "count(*) FROM steps",
            "count(*) FROM verdicts",
            "count(DISTINCT verdict_id) FROM verdicts",
            "sum(steps) FROM sessions",
        ] {
            self.all_count(&format!("SELECT {counted} WHERE session_id <> 'held'"), steps).await;
        }
        let verdicts = self.verdicts().await;
        assert_eq!(verdicts.len(), expected.len());
        for (step, line) in expected {
            assert_eq!(verdicts.get(step), Some(line), "{step:?}");
        }
    }

    /// The verdicts on the log, by step, as lines. Those that were published twice have to be the same.
    pub(super) async fn verdicts(&self) -> BTreeMap<(String, String), Value> {
        let mut verdicts = BTreeMap::new();
        let server = &self.query_apis[0];
        let mut after = "start".to_owned();
        loop {
            let url = server.url(&format!("/v1/verdicts?limit=10000&after={after}"));
            let answer = server.client.get(url).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let cursor = answer.headers()["martingale-cursor"].to_str().expect("text").to_owned();
            let text = answer.text().await.expect("lines");
            for line in text.lines() {
                let verdict: Value = serde_json::from_str(line).expect("JSON");
                let (key, line) = as_line(&verdict);
                if let Some(before) = verdicts.insert(key, line.clone()) {
                    assert_eq!(before, line, "two verdicts of one step");
                }
            }
            if text.is_empty() {
                return verdicts;
            }
            after = cursor;
        }
    }
}

/// What a line of `replay --verdicts` says, and whose it is.
fn as_line(verdict: &Value) -> ((String, String), Value) {
    let text = |name: &str| verdict[name].as_str().expect("an id").to_owned();
    let list = |name: &str, otherwise: Value| verdict.get(name).cloned().unwrap_or(otherwise);
    let line = json!({
        "seq": verdict["seq"], "decision": verdict["decision"],
        "scores": list("scores", json!({})), "findings": list("findings", json!([])),
    });
    ((text("session_id"), text("step_id")), line)
}

/// The verdicts of a run without a server.
pub(super) fn offline(lines: &[String], folder: &Path) -> BTreeMap<(String, String), Value> {
    let (steps, verdicts) = (folder.join("steps.jsonl"), folder.join("verdicts.jsonl"));
    std::fs::write(&steps, lines.join("\n") + "\n").expect("written");
    let (steps, out) = (steps.to_str().expect("UTF-8"), verdicts.to_str().expect("UTF-8"));
    let done = martingale(&["replay", steps, "--offline", "--verdicts", out, "--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(&verdicts).expect("lines");
    text.lines().map(|line| as_line(&serde_json::from_str(line).expect("JSON"))).collect()
}

/// Stops a process where it is, and lets it go on.
pub(super) fn signal(server: &Server, name: &str) {
    let sent = Command::new("kill").args([name, &server.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}
