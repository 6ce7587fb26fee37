//! A server under test, and the recorded executions to feed it.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::document;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_martingale");

/// Longest a server may take to become ready, or an answer to arrive: a bound on a broken build, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// `martingale up` on free ports.
pub(crate) struct Server {
    child: Child,
    /// Told once, at its end: what it wrote to standard error.
    said: mpsc::Receiver<String>,
    pub(crate) http: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) client: reqwest::Client,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub(crate) fn start_with(data: &Path, args: &[&str]) -> Self {
        Self::try_start(Command::new(BINARY), data, args).unwrap_or_else(|error| panic!("{error}"))
    }

    /// `command` is the binary, or a wrapper that ends in it.
    pub(crate) fn try_start(mut command: Command, data: &Path, args: &[&str]) -> Result<Self, String> {
        let mut child = command
            .args(["up", "--json", "--http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"])
            .arg("--data")
            .arg(data)
            .args(args)
            // On a busy machine an orderly stop takes as long as it takes.
            .env("MARTINGALE__SERVER__DRAIN_MAX", format!("{}s", PATIENCE.as_secs()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{BINARY}: {error}"))?;

        // Standard error is drained all along: a full pipe would stop the server.
        let stderr = child.stderr.take().expect("piped");
        let (errors, stderr_seen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if text.len() < 64 * 1024 {
                    text.push_str(&line);
                    text.push('\n');
                }
                if std::env::var_os("MARTINGALE_E2E_VERBOSE").is_some() {
                    eprintln!("server: {line}");
                }
            }
            let _ = errors.send(text);
        });

        let stdout = child.stdout.take().expect("piped");
        let (ready, first_line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = ready.send(line);
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        let line = first_line.recv_timeout(PATIENCE).unwrap_or_default();
        let Ok(addresses) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            let status = child.wait();
            let stderr = stderr_seen.recv_timeout(PATIENCE).unwrap_or_default();
            return Err(format!(
                "the server did not become ready ({status:?}); first line {line:?}; it said:\n{stderr}"
            ));
        };
        let address = |name: &str| addresses[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            child,
            said: stderr_seen,
            http: address("http"),
            otlp_grpc: address("otlp_grpc"),
            otlp_http: address("otlp_http"),
            client: reqwest::Client::builder().timeout(PATIENCE).build().expect("client"),
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Waits until `/readyz` says so: over Kafka a process listens before partitions are its own.
    #[cfg(feature = "kafka")]
    pub(crate) async fn ready(&self) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (status, ready) = self.get("/readyz").await;
            if status == 200 {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "not ready: {ready}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Of the process.
    #[cfg(feature = "kafka")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// No chance to write anything more.
    pub(crate) fn kill_9(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("reaped");
    }

    /// As an operator stops it; fails if it does not end well.
    pub(crate) fn terminate(mut self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let status = self.child.wait().expect("reaped");
        let said = self.said.recv_timeout(PATIENCE).unwrap_or_default();
        assert!(status.success(), "ended with {status}; it said:\n{said}");
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let answer = self
            .client
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .expect("an answer");
        read("post", path, answer).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        read("get", path, self.client.get(self.url(path)).send().await.expect("an answer")).await
    }

    /// Rows of a query that must succeed.
    pub(crate) async fn sql(&self, query: &str) -> Vec<Vec<Value>> {
        let (status, answer) = self.post("/v1/sql", json!({ "query": query }).to_string()).await;
        assert_eq!(status, 200, "{query}: {answer}");
        serde_json::from_value(answer["rows"].clone()).expect("rows")
    }

    /// The one number a query answers.
    pub(crate) async fn count(&self, query: &str) -> u64 {
        self.sql(query).await[0][0].as_u64().expect("a number")
    }

    /// Asks until the number is reached: rows become visible within a second of their verdict, not at once.
    pub(crate) async fn count_reaches(&self, query: &str, expected: u64) {
        let seen = self.count_settles(query, expected).await;
        assert_eq!(seen, expected, "{query}");
    }

    /// Asks until the number is at least the expected one, which it answers.
    pub(crate) async fn count_settles(&self, query: &str, expected: u64) -> u64 {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let seen = self.count(query).await;
            if seen >= expected {
                return seen;
            }
            assert!(tokio::time::Instant::now() < until, "{query}: {seen}, expected {expected}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a client command against this server.
    pub(crate) fn martingale(&self, args: &[&str]) -> Output {
        martingale(&[args, &["--server", &format!("http://{}", self.http)]].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn read(method: &str, path: &str, answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
    document::check(method, path, status, &answer);
    (status, answer)
}

/// Runs the binary to its end.
pub(crate) fn martingale(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).stdin(Stdio::null()).output().expect("runs")
}

/// Standard output as JSON of a command that must succeed.
pub(crate) fn json_of(output: &Output) -> Value {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    serde_json::from_str(stdout.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("no JSON:\n{stdout}\n{stderr}"))
}

/// Says that a test is left out, and why. `cargo xtask ci` gathers what is said and does not call that a whole pass.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
    let Some(path) = std::env::var_os("MARTINGALE_SKIPPED") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("MARTINGALE_SKIPPED");
    writeln!(file, "{why}").expect("MARTINGALE_SKIPPED");
}

/// The folder of recorded executions, or a word on why the test is skipped.
fn traces() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces");
    let folder = std::env::var_os("MARTINGALE_TRACES").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("no recorded executions at {} (MARTINGALE_TRACES names them)", folder.display()));
    None
}

/// Its files of steps, in order.
pub(crate) fn recorded_files() -> Option<Vec<PathBuf>> {
    let mut files: Vec<_> = std::fs::read_dir(traces()?)
        .expect("readable")
        .filter_map(|entry| Some(entry.ok()?.path().join("steps.jsonl.gz")))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    Some(files)
}

/// A Python with the packages of `tests/python/requirements.txt`, or a word on why the test is skipped.
pub(crate) fn python() -> Option<PathBuf> {
    let python = std::env::var_os("MARTINGALE_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip("no Python with the clients (`cargo xtask python` makes one, MARTINGALE_PYTHON names it)");
    }
    python
}

/// A minimal valid step.
pub(crate) fn step(session: &str, id: &str, kind: &str, more: Value) -> Value {
    let mut step = json!({ "session_id": session, "step_id": id, "kind": kind, "agent": { "id": "e2e" } });
    let Value::Object(more) = more else { panic!("more fields are an object") };
    step.as_object_mut().expect("an object").extend(more);
    step
}

/// Seeded and small: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    /// From `SEED` when set, else from the given number; printed, so that a failure can be repeated.
    pub(crate) fn seeded(default: u64) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(default);
        eprintln!("SEED={seed}");
        Self(seed)
    }

    pub(crate) fn seeded_quietly(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
