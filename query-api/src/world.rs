//! A small world for tests of history: a log in memory, a judge that needs no detector, history and SQL on a folder of
//! its own.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::log::{Append, Appended, Cleanup, Log, MemoryLog, Partition, TopicSpec};
use martingale_platform::shutdown::{self, Trigger};
use martingale_schemas::verdict::{Assumption, Bound, Calibration, Column, Finding, Mode, Severity};
use martingale_schemas::{
    Control, Decision, Kind, Limits, Position, Scores, Step, Timestamp, Verdict, VerdictId, topics, wire::StepV1,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::history::{self, History};
use crate::services::s3::ObjectServer;
use crate::sql::{self, Engine};

const TOPICS: [TopicSpec; 3] = [
    TopicSpec { topic: topics::STEPS, cleanup: Cleanup::Retain },
    TopicSpec { topic: topics::VERDICTS, cleanup: Cleanup::Retain },
    TopicSpec { topic: topics::CONTROLS, cleanup: Cleanup::Retain },
];

/// What survives a crash: the folder and the log.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) config: history::Config,
}

/// What does not.
pub(crate) struct Process {
    pub(crate) history: Arc<History>,
    pub(crate) engine: Engine,
    trigger: Trigger,
    task: JoinHandle<Result<(), history::Error>>,
}

impl World {
    pub(crate) fn new(partitions: u32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let log = MemoryLog::new(partitions, &TOPICS, Clock::manual(0));
        let config = history::Config { dir: dir.path().join("history").into(), ..history::Config::default() };
        Self { dir, log, config }
    }

    /// With its tables in a new bucket.
    pub(crate) fn in_bucket(partitions: u32, server: &ObjectServer) -> Self {
        let mut world = Self::new(partitions);
        let bucket = server.bucket();
        world.config.dir = format!("s3://{bucket}/some/prefix").parse().expect("an address");
        let options = server.options().into_iter().map(|(name, value)| (name.to_owned(), value));
        world.config.options = history::Options(options.collect());
        world
    }

    /// The folder of the tables.
    pub(crate) fn tables(&self) -> PathBuf {
        self.config.dir.folder().expect("a folder").to_owned()
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("the folder")
    }

    pub(crate) async fn start(&self) -> Process {
        self.start_with(sql::Config::default()).await
    }

    pub(crate) async fn start_with(&self, sql: sql::Config) -> Process {
        let log: Arc<dyn Log> = Arc::clone(&self.log) as _;
        let registry = prometheus::Registry::new();
        let history = History::open(self.config.clone(), &Limits::DEFAULT, log, Clock::manual(0), &registry)
            .await
            .expect("opens");
        let (trigger, shutdown) = shutdown::channel();
        let task = tokio::spawn(Arc::clone(&history).run(shutdown));
        let engine = Engine::new(Arc::clone(&history), sql).expect("threads");
        Process { history, engine, trigger, task }
    }

    /// Appends steps and, for each that is new, the verdict on it.
    pub(crate) async fn judge(&self, steps: &[Value]) {
        for step in steps {
            let text = step.to_string();
            let step = checked(&text);
            let key = Bytes::copy_from_slice(step.root_session_id.as_str().as_bytes());
            let append = Append::new(topics::STEPS, key, step.to_json().into()).with_id(step.key());
            let appended = self.log.append(vec![append]).await.expect("appends");
            if let Appended::At(at) = appended[0] {
                self.publish(&verdict(&step, Position { partition: at.partition.0, offset: at.offset.0 })).await;
            }
        }
    }

    pub(crate) async fn publish(&self, verdict: &Verdict<'_>) {
        let key = Bytes::copy_from_slice(verdict.root_session_id.as_str().as_bytes());
        let value = serde_json::to_vec(verdict).expect("a verdict");
        self.log.append(vec![Append::new(topics::VERDICTS, key, value.into())]).await.expect("appends");
    }

    pub(crate) async fn control(&self, control: &Control, partition: u32) {
        let value = serde_json::to_vec(control).expect("a control");
        let append = Append::new(topics::CONTROLS, Bytes::new(), value.into()).to_partition(Partition(partition));
        self.log.append(vec![append]).await.expect("appends");
    }
}

impl Process {
    /// Rows of a query.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        self.engine.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).rows
    }

    pub(crate) async fn one(&self, sql: &str) -> Value {
        self.rows(sql).await[0][0].clone()
    }

    /// Waits until a query that yields one number yields this one.
    pub(crate) async fn until(&self, sql: &str, wanted: u64) {
        let mut changes = self.history.changes();
        while self.rows(sql).await != [[json!(wanted)]] {
            assert!(changes.changed().await, "history ended before `{sql}` was {wanted}");
        }
    }

    /// Waits until so many steps can be seen, in files and in memory together. A query takes longer than to become visible.
    pub(crate) async fn holds_steps(&self, wanted: u64) {
        let mut changes = self.history.changes();
        loop {
            let seen = &self.history.snapshot().tables[0];
            let stored: usize = seen.stored.snapshot.log_data().iter().map(|it| it.num_records().unwrap_or(0)).sum();
            let fresh: usize = seen.fresh.iter().map(|it| it.num_rows()).sum();
            if (stored + fresh) as u64 >= wanted {
                return;
            }
            assert!(changes.changed().await, "history ended before {wanted} steps were visible");
        }
    }

    pub(crate) async fn stop(self) {
        self.trigger.stop();
        self.task.await.expect("no panic").expect("stops");
    }

    /// As if the process were killed: whatever was under way ends where it is.
    pub(crate) async fn kill(self, world: &mut World) {
        world.log = world.log.reopen();
        self.history.kill();
        let _ = self.task.await;
    }
}

pub(crate) fn checked(text: &str) -> Step<'_> {
    let arrival = Timestamp::from_micros(1_800_000_000_000_000);
    StepV1::parse(text.as_bytes()).and_then(|it| it.check(arrival, &Limits::DEFAULT)).expect("a good step")
}

/// Halts a step that calls `danger`, warns in shadow about one that calls `odd`, allows the rest.
pub(crate) fn verdict(step: &Step<'_>, position: Position) -> Verdict<'static> {
    let called = step.tool.as_deref().filter(|_| step.kind == Kind::ToolCall);
    let (would, mode) = match called {
        Some("danger") => (Decision::Halt, Some(Mode::Enforce)),
        Some("odd") => (Decision::Warn, Some(Mode::Shadow)),
        _ => (Decision::Allow, None),
    };
    let finding = mode.map(|mode| Finding {
        column: Column::Policy,
        rule: "no-danger".into(),
        severity: Severity::High,
        mode,
        decision: would,
        score: 1.0,
        calibration: Calibration::Conformal,
        bound: Some(Bound {
            at_most: 0.05,
            threshold: 0.5,
            sessions: 120,
            requests: 40,
            assumes: Assumption::Exchangeable,
            alarms_per_day: Some(2.5),
        }),
        evidence: vec![step.step_id.to_static()],
        began_at: step.step_id.to_static(),
        message: "a dangerous tool".to_owned(),
        notify: vec!["security".to_owned()],
    });
    let decision = finding.as_ref().map_or(Decision::Allow, Finding::effective);
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
        scores: finding.iter().map(|it| (it.column.as_str().into(), it.score)).collect::<Scores>(),
        findings: finding.into_iter().collect(),
        edges: Vec::new(),
    }
}

/// Step `n` of a session, with more fields laid over it.
pub(crate) fn step(session: &str, n: u64, kind: &str, more: Value) -> Value {
    let at = 1_700_000_000_000_000 + i64::try_from(n).expect("small") * 1_000_000;
    let mut step = json!({
        "session_id": session,
        "step_id": format!("s{n}"),
        "seq": n,
        "time": Timestamp::from_micros(at).to_string(),
        "kind": kind,
        "agent": { "id": "bot", "version": "1.0" },
        "environment": "production",
    });
    if let (Some(step), Value::Object(more)) = (step.as_object_mut(), more) {
        step.extend(more);
    }
    step
}
