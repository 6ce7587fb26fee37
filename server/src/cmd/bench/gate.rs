//! `bench gate`: latency at a fixed rate.
//!
//! Open loop: request `i` is due at `i / rate` whatever became of those before, and its latency counts from when it was
//! due. When the server stalls, the requests that should have been sent meanwhile are late, and the percentiles say so.
//!
//! Plain threads with blocking sockets and not the async client: timers of an async runtime tick in milliseconds, and the
//! client would share its threads with the server that is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;
use martingale_schemas::bench_steps;
use tokio::task;

use super::target::Measured;
use super::{Facts, stalls};
use crate::cli::bench::Gate;

/// Sessions that take turns.
const SESSIONS: u64 = 200;
const ANSWER_BYTES_MAX: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest latency that is told apart, in microseconds.
const MICROS_MAX: u64 = 60_000_000;
/// Requests of each client before it is measured.
const WARM_UP: u64 = 100;
/// Between two updates of the progress bar.
const TELL_EVERY: Duration = Duration::from_millis(250);

pub(super) async fn run(args: &Gate) -> Result<Facts> {
    let measured = Measured::start(&args.target).await?;
    let asked = Asked { address: measured.address, token: measured.token.clone(), run: std::process::id() };
    let clients = (0..args.connections).map(move |it| {
        let asked = asked.clone();
        move || Client::warm(&asked, it)
    });
    let clients = task::spawn_blocking(|| on_threads(clients)).await??;
    let plan = Arc::new(Plan {
        rate: u64::from(args.rate),
        requests: u64::from(args.rate) * u64::from(args.seconds),
        next: AtomicU64::new(0),
        begin: Instant::now() + Duration::from_millis(100),
    });
    let offers: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let plan = Arc::clone(&plan);
            move || client.offer(&plan)
        })
        .collect();
    let joined = task::spawn_blocking(move || {
        let mut all = Counted::new()?;
        for one in on_threads(offers.into_iter())? {
            all.latency.add(&one.latency)?;
            all.decisions.0 += one.decisions.0;
            all.decisions.1 += one.decisions.1;
        }
        anyhow::Ok(all)
    });
    let counted = watched(&plan, joined).await??;
    let took = plan.begin.elapsed();
    measured.stop().await?;

    let ms = |quantile: f64| counted.latency.value_at_quantile(quantile) as f64 / 1e3;
    let mut facts = Facts::new();
    let mut fact = |name: &str, value: f64| drop(facts.insert(name.to_owned(), value.into()));
    fact("offered_per_second", f64::from(args.rate));
    fact("answered_per_second", counted.latency.len() as f64 / took.as_secs_f64());
    fact("p50_ms", ms(0.5));
    fact("p90_ms", ms(0.9));
    fact("p99_ms", ms(0.99));
    fact("p999_ms", ms(0.999));
    fact("max_ms", counted.latency.max() as f64 / 1e3);
    facts.insert("requests".into(), counted.latency.len().into());
    facts.insert("allowed".into(), counted.decisions.0.into());
    facts.insert("not_allowed".into(), counted.decisions.1.into());
    facts.insert("connections".into(), args.connections.into());
    // Afterwards, when nothing asks any more.
    Ok(task::spawn_blocking(move || {
        stalls::watch(&mut facts);
        facts
    })
    .await?)
}

/// Shows how far the measurement is until it ends. The threads that measure know nothing of it.
async fn watched<T>(plan: &Plan, mut joined: task::JoinHandle<T>) -> Result<T, task::JoinError> {
    let bar = super::progress(plan.requests, "requests");
    loop {
        tokio::select! {
            ended = &mut joined => {
                bar.finish_and_clear();
                return ended;
            }
            () = tokio::time::sleep(TELL_EVERY) => bar.set_position(plan.next.load(Ordering::Relaxed).min(plan.requests)),
        }
    }
}

/// Runs each on a thread of its own; what they returned, in order.
fn on_threads<T: Send + 'static>(
    all: impl Iterator<Item = impl FnOnce() -> Result<T> + Send + 'static>,
) -> Result<Vec<T>> {
    let threads: Vec<_> = all.map(|it| std::thread::Builder::new().name("bench-gate".into()).spawn(it)).collect();
    let join = |it: JoinHandle<Result<T>>| it.join().map_err(|_| anyhow!("a thread of the measurement broke"))?;
    threads.into_iter().map(|it| join(it?)).collect()
}

/// Who is asked.
#[derive(Clone)]
struct Asked {
    address: SocketAddr,
    token: Option<String>,
    /// A server that runs may know the steps of an earlier measurement.
    run: u32,
}

/// When, and how often.
struct Plan {
    rate: u64,
    requests: u64,
    next: AtomicU64,
    begin: Instant,
}

impl Plan {
    fn due(&self, number: u64) -> Instant {
        self.begin
            + Duration::from_nanos(
                u64::try_from(u128::from(number) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX),
            )
    }
}

struct Counted {
    latency: Histogram<u64>,
    /// Allowed (or warned of), and everything else.
    decisions: (u64, u64),
}

impl Counted {
    fn new() -> Result<Self> {
        Ok(Self { latency: Histogram::new_with_bounds(1, MICROS_MAX, 3)?, decisions: (0, 0) })
    }
}

struct Client {
    connection: Connection,
    counted: Counted,
    run: u32,
}

impl Client {
    /// A client that has asked, so that its own start and its connection's are not measured.
    fn warm(asked: &Asked, number: u32) -> Result<Self> {
        let mut client = Self { connection: Connection::open(asked)?, counted: Counted::new()?, run: asked.run };
        for step in 0..WARM_UP {
            client.connection.ask(&format!("bench-warm-{}-{number}", asked.run), step)?;
        }
        // Not only empties it: its memory is there afterwards.
        client.counted.latency.reset();
        Ok(client)
    }

    /// Takes the next request that is due, until there are no more.
    fn offer(mut self, plan: &Plan) -> Result<Counted> {
        loop {
            let number = plan.next.fetch_add(1, Ordering::Relaxed);
            if number >= plan.requests {
                return Ok(self.counted);
            }
            let due = plan.due(number);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let session = format!("bench-gate-{}-{}", self.run, number % SESSIONS);
            let allowed = self.connection.ask(&session, number / SESSIONS)?;
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(MICROS_MAX);
            self.counted.latency.saturating_record(micros.max(1));
            if allowed {
                self.counted.decisions.0 += 1;
            } else {
                self.counted.decisions.1 += 1;
            }
        }
    }
}

/// One keep-alive connection that asks the gate and reads its answers; HTTP/1.1 as far as our own server speaks it.
struct Connection {
    stream: TcpStream,
    head: String,
    step: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(asked: &Asked) -> Result<Self> {
        let stream = TcpStream::connect(asked.address).with_context(|| format!("no server at {}", asked.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let token = asked.token.as_ref().map_or_else(String::new, |it| format!("authorization: Bearer {it}\r\n"));
        let head = format!(
            "POST /v1/gate HTTP/1.1\r\nhost: {}\r\n{token}content-type: application/json\r\ncontent-length: ",
            asked.address
        );
        Ok(Self { stream, head, step: Vec::new(), request: Vec::new(), answer: Vec::new() })
    }

    /// Whether the step may run.
    fn ask(&mut self, session: &str, number: u64) -> Result<bool> {
        bench_steps::write(&mut self.step, session, number * 3 + 1);
        self.request.clear();
        write!(self.request, "{}{}\r\n\r\n", self.head, self.step.len())?;
        self.request.extend_from_slice(&self.step);
        self.stream.write_all(&self.request).context("the server closed the connection")?;
        let body = self.read()?;
        let body = self.answer.get(body..).unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_slice(body).context("the gate's answer is no JSON")?;
        match answer["decision"].as_str() {
            Some(decision) => Ok(matches!(decision, "allow" | "warn")),
            None => Err(anyhow!("the gate answered {answer}")),
        }
    }

    /// Reads one answer whole; where its body begins.
    fn read(&mut self) -> Result<usize> {
        self.answer.clear();
        let mut chunk = [0; 4_096];
        loop {
            let read = self.stream.read(&mut chunk).context("no answer from the gate")?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            self.answer.extend_from_slice(&chunk[..read]);
            if self.answer.len() > ANSWER_BYTES_MAX {
                bail!("the gate's answer is larger than {ANSWER_BYTES_MAX} bytes");
            }
            let Some(end) = find(&self.answer, b"\r\n\r\n") else { continue };
            let body = end + 4;
            let head = std::str::from_utf8(&self.answer[..end]).context("the answer's head is no text")?;
            let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
            });
            let length = length.context("the gate's answer does not say its length")?;
            if self.answer.len() >= body + length {
                return Ok(body);
            }
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|it| it == part)
}
