//! What tests of enforcement share: a rig over a log in memory, a detector with three rules, readers of answers.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use martingale_platform::clock::Clock;
use martingale_platform::log::MemoryLog;
use martingale_platform::log::{Append, Cleanup, Commit, Log, Offset, Partition, ReadLimit, TopicSpec};
use martingale_platform::shutdown::{self, Trigger};
use martingale_schemas::record::Standing;
use martingale_schemas::{
    Calibration, Column, Control, ControlAction, ControlState, Decision, Finding, Limits, Mode, Position, Scores,
    Severity, Step, StepReader, Verdict, VerdictId, topics,
};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::metrics::Metrics;
use crate::{Config, baselines, controls, feed, gate, stream, verdicts};

const ALL: ReadLimit = ReadLimit { records_max: 100_000, bytes_max: usize::MAX };

pub(crate) const START_MICROS: i64 = 1_800_000_000_000_000;

pub(crate) fn memory_log(partitions: u32) -> Arc<MemoryLog> {
    let specs = topics::ALL.map(|topic| TopicSpec { topic, cleanup: Cleanup::of(topics::is_compacted(topic)) });
    MemoryLog::new(partitions, &specs, Clock::manual(START_MICROS))
}

/// One of each kind: a log that knows its duplicates, and one that does not, as Kafka.
pub(crate) fn memory_logs(partitions: u32) -> [Arc<MemoryLog>; 2] {
    let open = memory_log(partitions);
    open.faults(|it| it.duplicate_appends = true);
    [memory_log(partitions), open]
}

/// Gate, controls, stream and export over a log, without history.
pub(crate) struct Rig {
    pub(crate) router: Router,
    pub(crate) metrics: Metrics,
    pub(crate) trigger: Trigger,
    pub(crate) tasks: JoinSet<()>,
}

impl Rig {
    pub(crate) async fn start(log: &Arc<MemoryLog>, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(log, &Clock::manual(START_MICROS), adjust).await
    }

    async fn start_at(log: &Arc<MemoryLog>, clock: &Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        adjust(&mut config);
        let (trigger, shutdown) = shutdown::channel();
        let mut tasks = JoinSet::new();
        let metrics = Metrics::new(&Registry::new()).expect("metrics");
        let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
        let board = controls::Board::new(log.partitions(), config.controls.controls_max);
        let feed = feed::Feed::start(Arc::clone(&shared), board, &config.gate, metrics.clone(), &shutdown, &mut tasks)
            .await
            .expect("feed");
        let gate = gate::Gate {
            config: config.gate,
            log: Arc::clone(&shared),
            feed: Arc::clone(&feed),
            clock: clock.clone(),
            limits: Limits::DEFAULT,
            reader: StepReader::new(log.is_open(), &Limits::DEFAULT),
            redact: None,
            metrics: metrics.clone(),
        };
        let baselines = Arc::new(baselines::Baselines::new(Arc::clone(&shared), Arc::clone(&feed), clock.clone()));
        let controls = controls::Controls {
            baselines: Arc::clone(&baselines),
            config: config.controls,
            log: Arc::clone(&shared),
            feed: Arc::clone(&feed),
            clock: clock.clone(),
            id_bytes_max: 128,
        };
        let streams = stream::Streams::new(config.stream, Arc::clone(&shared), feed, shutdown, metrics.clone());
        let verdicts = verdicts::Verdicts { config: config.verdicts, log: shared };
        let router = Router::new()
            .merge(gate::router(Arc::new(gate)))
            .merge(controls::router(Arc::new(controls)))
            .merge(stream::router(Arc::new(streams)))
            .merge(verdicts::router(Arc::new(verdicts)))
            .merge(baselines::router(baselines, &config.requests));
        Self { router, metrics, trigger, tasks }
    }

    /// The same with a detector on every partition.
    pub(crate) async fn judged(log: &Arc<MemoryLog>, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::judged_at(log, &Clock::manual(START_MICROS), adjust).await
    }

    pub(crate) async fn judged_at(log: &Arc<MemoryLog>, clock: &Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut rig = Self::start_at(log, clock, adjust).await;
        spawn_detector(log, &mut rig.tasks);
        rig
    }

    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        call(&self.router, "POST", path, &[], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        call(&self.router, "GET", path, &[], "").await
    }

    pub(crate) async fn events(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        Events::open(&self.router, path, headers).await
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    pub(crate) fn reason(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"]["reason"].as_str().unwrap_or_default().to_owned())
    }
}

pub(crate) async fn call(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.as_ref().to_vec())).expect("request");
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("body");
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Server-sent events as they come.
pub(crate) struct Events {
    body: axum::body::BodyDataStream,
    text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sse {
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Sse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON")
    }
}

impl Events {
    async fn open(router: &Router, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router.clone().oneshot(request.body(Body::empty()).expect("request")).await.expect("infallible");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// What comes next in one piece.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        self.body.next().await?.ok()
    }

    /// The next block, comments with an empty `event`; `None` when the stream has ended.
    pub(crate) async fn block(&mut self) -> Option<Sse> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut read = Sse::default();
                for line in block.lines() {
                    match line.split_once(": ").or_else(|| line.split_once(':')) {
                        Some(("event", value)) => read.event = value.to_owned(),
                        Some(("id", value)) => read.id = value.to_owned(),
                        Some(("data", value)) => read.data = value.to_owned(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                return Some(read);
            }
            self.text += std::str::from_utf8(&self.body.next().await?.ok()?).expect("UTF-8");
        }
    }

    /// The next event that is no comment.
    pub(crate) async fn next(&mut self) -> Option<Sse> {
        loop {
            let block = self.block().await?;
            if !block.event.is_empty() {
                return Some(block);
            }
        }
    }
}

/// A step as JSON. The detector below halts at the tool `rm`, warns at `curl` and allows everything else.
pub(crate) fn step(session: &str, id: &str, tool: &str) -> String {
    json!({
        "session_id": session,
        "step_id": id,
        "kind": "tool_call",
        "tool": tool,
        "agent": { "id": "support-eu", "version": "1" },
    })
    .to_string()
}

pub(crate) fn finding(column: Column, decision: Decision, message: &str, step: &Step<'_>) -> Finding {
    Finding {
        column,
        rule: "test-rule".into(),
        severity: Severity::High,
        mode: Mode::Enforce,
        decision,
        score: 1.0,
        calibration: Calibration::Fact,
        bound: None,
        evidence: vec![step.step_id.to_static()],
        began_at: step.step_id.to_static(),
        message: message.to_owned(),
        notify: Vec::new(),
    }
}

pub(crate) fn verdict(step: &Step<'_>, position: Position, findings: Vec<Finding>) -> Verdict<'static> {
    let decision = findings.iter().map(Finding::effective).max().unwrap_or_default();
    Verdict {
        verdict_id: VerdictId::of(&step.session_id, &step.step_id),
        session_id: step.session_id.to_static(),
        root_session_id: step.root_session_id.to_static(),
        step_id: step.step_id.to_static(),
        seq: step.seq,
        kind: step.kind,
        agent_id: step.agent.id.to_static(),
        agent_version: step.agent.version.as_deref().map(|it| it.to_owned().into()),
        environment: step.environment.as_deref().map(|it| it.to_owned().into()),
        tool: step.tool.as_deref().map(|it| it.to_owned().into()),
        gated: step.gated,
        time: step.time,
        position,
        decision,
        standing: decision,
        scores: Scores::new(),
        findings,
        edges: Vec::new(),
    }
}

pub(crate) fn spawn_detector(log: &Arc<MemoryLog>, tasks: &mut JoinSet<()>) {
    for partition in (0..log.partitions()).map(Partition) {
        tasks.spawn(Detector::default().run(Arc::clone(log), partition));
    }
}

#[derive(Default)]
struct Detector {
    next: BTreeMap<&'static str, Offset>,
    seen: HashSet<String>,
    judged: HashSet<[u8; 16]>,
    halted: HashSet<String>,
}

impl Detector {
    async fn run(mut self, log: Arc<MemoryLog>, partition: Partition) {
        let mut steps = log.grown(topics::STEPS, partition);
        let mut controls = log.grown(topics::CONTROLS, partition);
        let mut asks = log.grown(topics::ASKS, partition);
        loop {
            steps.mark_unchanged();
            controls.mark_unchanged();
            asks.mark_unchanged();
            let mut publish = Vec::new();
            for (topic, key, value) in self.read(&log, topics::CONTROLS, partition).await {
                publish.extend(self.control(&value, partition).map(|it| Append::new(topic, key, it)));
            }
            let from = self.next.get(topics::STEPS).copied().unwrap_or_default();
            let read = log.read(topics::STEPS, partition, from, ALL).await.unwrap_or_default();
            for record in read {
                self.next.insert(topics::STEPS, record.offset.next());
                let position = Position { partition: partition.0, offset: record.offset.0 };
                if !self.judged.insert(Step::from_log(&record.value).expect("step").key()) {
                    publish.push(Append::new(topics::STANDINGS, record.key, self.standing(&record.value)));
                    continue;
                }
                publish.push(Append::new(topics::VERDICTS, record.key, self.judge(&record.value, position)));
            }
            for (_, key, value) in self.read(&log, topics::ASKS, partition).await {
                publish.push(Append::new(topics::STANDINGS, key, self.standing(&value)));
            }
            if !publish.is_empty() {
                let publish = publish.into_iter().map(|it| it.to_partition(partition)).collect();
                let commit = Commit { consumer: "fake-detector", publish, ..Commit::default() };
                if log.commit(commit).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = steps.changed() => if changed.is_err() { return },
                changed = controls.changed() => if changed.is_err() { return },
                changed = asks.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn read(&mut self, log: &MemoryLog, topic: &'static str, at: Partition) -> Vec<(&'static str, Bytes, Bytes)> {
        let from = self.next.get(topic).copied().unwrap_or_default();
        let records = log.read(topic, at, from, ALL).await.unwrap_or_default();
        if let Some(last) = records.last() {
            self.next.insert(topic, last.offset.next());
        }
        records.into_iter().map(|it| (topic, it.key, it.value)).collect()
    }

    fn control(&mut self, value: &[u8], partition: Partition) -> Option<Bytes> {
        let mut control: Control = serde_json::from_slice(value).expect("control");
        if control.state != ControlState::Requested {
            return None;
        }
        let id = control.scope.key().to_owned();
        let known = self.seen.contains(&id)
            || matches!(control.action, ControlAction::Grant { .. } | ControlAction::UseBaselines { .. });
        let changed = match control.action {
            ControlAction::Halt => self.halted.insert(id),
            ControlAction::Resume => self.halted.remove(&id),
            _ => false,
        };
        let next = self.next.get(topics::STEPS).copied().unwrap_or_default();
        let before = Position { partition: partition.0, offset: next.0 };
        control.state = ControlState::Applied { before, known, changed: Some(changed) };
        Some(serde_json::to_vec(&control).expect("writes").into())
    }

    fn halt_of(&self, step: &Step<'_>) -> Option<Finding> {
        let halted =
            [step.session_id.as_str(), step.root_session_id.as_str()].iter().any(|it| self.halted.contains(*it));
        halted.then(|| finding(Column::Control, Decision::Halt, "halted before", step))
    }

    fn standing(&self, value: &[u8]) -> Bytes {
        let step = Step::from_log(value).expect("step");
        let finding = self.halt_of(&step);
        let standing = finding.as_ref().map_or(Decision::Allow, Finding::effective);
        let verdict_id = VerdictId::of(&step.session_id, &step.step_id);
        serde_json::to_vec(&Standing { verdict_id, standing, finding }).expect("writes").into()
    }

    fn judge(&mut self, value: &[u8], position: Position) -> Bytes {
        let step = Step::from_log(value).expect("step");
        let session = step.session_id.to_string();
        self.seen.insert(session.clone());
        let mut findings = Vec::from_iter(self.halt_of(&step));
        match step.tool.as_deref() {
            Some("rm") => {
                self.halted.insert(session);
                findings.push(finding(Column::Policy, Decision::Halt, "rm is not for agents", &step));
            }
            Some("curl") => findings.push(finding(Column::Loop, Decision::Warn, "curl again", &step)),
            _ => {}
        }
        serde_json::to_vec(&verdict(&step, position, findings)).expect("writes").into()
    }
}

/// Puts steps on the log as ingest does, one batch.
pub(crate) async fn append_steps(log: &MemoryLog, steps: &[String]) {
    let records = steps.iter().map(|json| {
        let arrival = martingale_schemas::Timestamp::from_micros(START_MICROS);
        let step = martingale_schemas::wire::StepV1::parse(json.as_bytes()).expect("step");
        let step = step.check(arrival, &Limits::DEFAULT).expect("step");
        let root = Bytes::copy_from_slice(step.root_session_id.as_str().as_bytes());
        Append::new(topics::STEPS, root, step.to_json().into()).with_id(step.key())
    });
    log.append(records.collect()).await.expect("appended");
}

/// Returns once `topic` of all partitions together holds `records` records.
pub(crate) async fn holds(log: &MemoryLog, topic: &'static str, records: usize) {
    let mut grown: Vec<_> = (0..log.partitions()).map(|it| log.grown(topic, Partition(it))).collect();
    loop {
        grown.iter_mut().for_each(|it| it.mark_unchanged());
        let mut held = 0;
        for partition in (0..log.partitions()).map(Partition) {
            held += log.read(topic, partition, Offset::START, ALL).await.expect("reads").len();
        }
        if held >= records {
            return;
        }
        let _ = futures::future::select_all(grown.iter_mut().map(|it| Box::pin(it.changed()))).await;
    }
}
