//! The doors over a log in memory, without a socket.

mod bad_input;
mod capture;
mod dead_letters;
mod doors;
mod lineages;
mod otlp;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use futures::StreamExt as _;
use martingale_platform::clock::Clock;
use martingale_platform::log::{Cleanup, Log as _, MemoryLog, Offset, Partition, ReadLimit, Topic, TopicSpec};
use martingale_schemas::{Redact, topics};
use prometheus::Registry;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{Config, Ingest};

const PARTITIONS: u32 = 4;
/// 2026-01-31T12:00:00Z.
const NOW_MICROS: i64 = 1_769_860_800_000_000;

/// The doors, and what is behind them.
struct Bench {
    ingest: Ingest,
    log: Arc<MemoryLog>,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let specs = [topics::STEPS, topics::DEAD_LETTER, topics::LINEAGES]
            .map(|topic| TopicSpec { topic, cleanup: Cleanup::of(topics::is_compacted(topic)) });
        let log = MemoryLog::new(PARTITIONS, &specs, Clock::manual(NOW_MICROS));
        Self::over(log, config)
    }

    fn over(log: Arc<MemoryLog>, config: Config) -> Self {
        Self::redacting(log, config, None)
    }

    fn redacting(log: Arc<MemoryLog>, config: Config, redact: Option<Arc<dyn Redact>>) -> Self {
        let registry = Registry::new();
        let ingest =
            Ingest::new(config, log.clone(), Clock::manual(NOW_MICROS), &registry, redact).expect("a valid config");
        Self { ingest, log, registry }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let router = if request.uri().path().starts_with("/v1/steps") || request.uri().path().starts_with("/v1/dead") {
            self.ingest.http_router()
        } else {
            self.ingest.otlp_http_router()
        };
        Reply::of(router, request).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn steps(&self, body: impl Into<Body>) -> Reply {
        self.post("/v1/steps", &[("content-type", "application/json")], body).await
    }

    /// All records of a topic, partition by partition.
    async fn records(&self, topic: Topic) -> Vec<Value> {
        let mut out = Vec::new();
        for partition in (0..PARTITIONS).map(Partition) {
            let all = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };
            let records = self.log.read(topic, partition, Offset::START, all).await.expect("readable");
            out.extend(records.iter().map(|it| serde_json::from_slice::<Value>(&it.value).expect("JSON")));
        }
        out
    }

    /// A counter's value; 0 when it has not been touched.
    fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|it| it.name() == name).flat_map(|it| it.get_metric());
        let matching = metrics.filter(|it| {
            labels.iter().all(|(name, value)| it.get_label().iter().any(|l| l.name() == *name && l.value() == *value))
        });
        matching.map(|it| it.get_counter().get_value() as u64).sum()
    }

    fn outcomes(&self, door: &str) -> [u64; 5] {
        ["accepted", "duplicate", "rejected", "shed", "ignored"]
            .map(|outcome| self.count("martingale_ingest_steps_total", &[("door", door), ("outcome", outcome)]))
    }
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    async fn of(router: Router, request: Request<Body>) -> Self {
        let response: Response<Body> = router.oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let mut bytes = Vec::new();
        let mut stream = body.into_data_stream();
        while let Some(frame) = stream.next().await {
            bytes.extend_from_slice(&frame.expect("a frame"));
        }
        Self { status: head.status, headers: head.headers, body: bytes.into() }
    }

    fn retry_after(&self) -> Option<&str> {
        self.headers.get("retry-after").map(|it| it.to_str().expect("text"))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Status, accepted, duplicate, and `index reason field` of what was rejected.
    fn summary(&self) -> (u16, u64, u64, Vec<String>) {
        let json = self.json();
        let rejected = json["rejected"].as_array().unwrap_or_else(|| panic!("{json}"));
        let shown = |it: &Value| {
            let field = it["field"].as_str().map(|it| format!(" {it}")).unwrap_or_default();
            format!("{} {}{field}", it["index"], it["reason"].as_str().expect("a reason"))
        };
        let count = |name: &str| json[name].as_u64().expect("a count");
        (self.status.as_u16(), count("accepted"), count("duplicate"), rejected.iter().map(shown).collect())
    }
}

fn step(id: &str) -> String {
    format!(r#"{{"session_id":"s-1","step_id":"{id}","kind":"plan","agent":{{"id":"a"}}}}"#)
}
