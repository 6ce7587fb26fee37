//! Steps to a server: batches of lines over HTTP, each run in the order of its lines.
//!
//! A reader tells the runs apart and spreads them over lanes; a lane has one request under way at a time, so a run is
//! never overtaken by itself. A server that is busy (429, 503) is waited for as it asks, for a bounded time; after that
//! the steps that are left are shed, and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use martingale_platform::clock::Clock;
use martingale_schemas::Timestamp;
use martingale_schemas::lineage::Lineages;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::follow::{Expected, Followed, Follower};
use super::lanes::Lanes;
use super::source::{Place, Source};
use super::{Faults, Outcomes, Results, Summary, steps};
use crate::client::{Client, refusal};
use crate::output::{grouped, plain};

/// Steps and bytes of one request. Small enough that one is a single append on the server: all of it counts or none.
const BATCH_STEPS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Batches that wait in front of each lane.
const LANE_BATCHES_MAX: usize = 2;
/// Longest time that a busy server is waited for without any batch being taken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Wait when the server does not say how long, or says something absurd.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Lines of one request.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    steps: Vec<Sending>,
}

/// Where a line is from, and the identity of its step if it has one.
struct Sending {
    place: Place,
    key: Option<[u8; 16]>,
}

/// What `POST /v1/steps` answers.
#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    duplicate: u64,
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Rejected {
    index: usize,
    reason: String,
    #[serde(default)]
    message: String,
}

/// What was sent and what became of it.
pub(crate) struct Sent {
    pub(crate) sessions: u64,
    pub(crate) steps: u64,
    pub(crate) outcomes: Outcomes,
}

/// Sends to one server and reads verdicts from the other, which usually is the same.
pub(super) async fn replay(
    (client, verdicts): (&Client, &Client),
    mut source: Source,
    lanes: u32,
    out: Option<Results>,
) -> Result<Summary> {
    let progress = source.progress();
    let begun = Instant::now();
    let follower = Follower::start(verdicts.clone(), out.is_some()).await?;
    let faults = Faults::new(progress.clone());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let next = move |line: &mut Vec<u8>| source.next_line(line);
    let sent = send(client, lanes, (Some(follower.expected()), Arc::clone(&acknowledged)), faults, next).await;
    let sent = sent.map_err(|error| cut(error, &acknowledged))?;
    progress.set_message("waiting for verdicts");
    let followed = follower.finish(sent.outcomes.duplicate > 0).await;
    let Followed { decisions, findings, spool } = followed.map_err(|error| cut(error, &acknowledged))?;
    let took = begun.elapsed();
    progress.finish_and_clear();
    if let (Some(out), Some(spool)) = (out, spool) {
        let mut out = out.begin()?;
        spool.write_to(&mut out)?;
        out.flush()?;
    }
    Ok(Summary { sessions: sent.sessions, steps: sent.steps, took, decisions, findings, outcomes: sent.outcomes })
}

/// Why the replay ended early, with what is known of the steps so far.
fn cut(error: anyhow::Error, acknowledged: &AtomicU64) -> anyhow::Error {
    let acknowledged = grouped(acknowledged.load(Ordering::Relaxed));
    error.context(format!(
        "the replay was cut short after {acknowledged} steps were acknowledged, which the server keeps; running the same command again is safe, since it recognises them as duplicates"
    ))
}

/// Sends every line that `next` puts out.
///
/// `acknowledged` counts the steps that the server has taken, now or before, also where this ends with an error.
///
/// # Errors
/// When reading or the server fails in a way that waiting does not mend.
pub(crate) async fn send(
    client: &Client,
    lanes: u32,
    (expected, acknowledged): (Option<Arc<Expected>>, Arc<AtomicU64>),
    faults: Faults,
    next: impl FnMut(&mut Vec<u8>) -> Result<Option<Place>> + Send + 'static,
) -> Result<Sent> {
    let shared = Arc::new(Shared { gave_up: AtomicBool::new(false), acknowledged, faults });
    let mut workers = JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..lanes.max(1) {
        let (sender, receiver) = mpsc::channel(LANE_BATCHES_MAX);
        senders.push(sender);
        workers.spawn(lane(client.clone(), receiver, expected.clone(), Arc::clone(&shared)));
    }
    let reader = tokio::task::spawn_blocking(move || read(next, &senders, expected.as_deref()));
    let mut outcomes = Outcomes::default();
    while let Some(done) = workers.join_next().await {
        // The first error ends the others: dropping the set stops them, and with them the reader.
        let lane = done.context("a lane broke")??;
        outcomes.accepted += lane.accepted;
        outcomes.duplicate += lane.duplicate;
        outcomes.rejected += lane.rejected;
        outcomes.shed += lane.shed;
    }
    let (sessions, steps) = reader.await.context("the reader broke")??;
    Ok(Sent { sessions, steps, outcomes })
}

/// What all lanes have in common.
struct Shared {
    /// The server stayed busy: nothing more is sent.
    gave_up: AtomicBool,
    acknowledged: Arc<AtomicU64>,
    faults: Faults,
}

/// Fills batches until the lines end or nobody takes them any more.
fn read(
    mut next: impl FnMut(&mut Vec<u8>) -> Result<Option<Place>>,
    lanes: &[mpsc::Sender<Batch>],
    expected: Option<&Expected>,
) -> Result<(u64, u64)> {
    let arrival = Timestamp::from_micros(Clock::System.now_micros());
    let mut batches: Vec<Batch> = lanes.iter().map(|_| Batch::default()).collect();
    let (mut lanes_of, mut lineages) = (Lanes::new(lanes.len()), Lineages::default());
    let (mut line, mut steps) = (Vec::new(), 0_u64);
    while let Some(place) = next(&mut line)? {
        steps += 1;
        // Read here only for its identity and place. What is wrong with it the server says, and keeps.
        let step = steps::read(&mut lineages, &line, arrival).ok();
        let lane = match &step {
            Some(step) => lanes_of.of(step),
            None => lanes_of.of_refused(&line),
        };
        let key = step.map(|step| {
            let key = step.key();
            expected.map_or(key, |expected| expected.add(key))
        });
        let batch = &mut batches[lane];
        batch.body.extend_from_slice(&line);
        batch.body.push(b'\n');
        batch.steps.push(Sending { place, key });
        if batch.steps.len() >= BATCH_STEPS_MAX || batch.body.len() >= BATCH_BYTES_MAX {
            let full = std::mem::take(batch);
            if lanes[lane].blocking_send(full).is_err() {
                return Ok((lanes_of.sessions(), steps));
            }
        }
    }
    for (lane, batch) in lanes.iter().zip(batches) {
        if !batch.steps.is_empty() && lane.blocking_send(batch).is_err() {
            break;
        }
    }
    Ok((lanes_of.sessions(), steps))
}

async fn lane(
    client: Client,
    mut batches: mpsc::Receiver<Batch>,
    expected: Option<Arc<Expected>>,
    shared: Arc<Shared>,
) -> Result<Outcomes> {
    let mut outcomes = Outcomes::default();
    while let Some(batch) = batches.recv().await {
        let answer = if shared.gave_up.load(Ordering::Relaxed) { None } else { post(&client, &batch).await? };
        let forget = |index: usize| {
            let key = batch.steps.get(index).and_then(|it| it.key.as_ref());
            if let (Some(expected), Some(key)) = (&expected, key) {
                expected.forget(key);
            }
        };
        let Some(answer) = answer else {
            shared.gave_up.store(true, Ordering::Relaxed);
            outcomes.shed += batch.steps.len() as u64;
            (0..batch.steps.len()).for_each(forget);
            continue;
        };
        shared.acknowledged.fetch_add(answer.accepted + answer.duplicate, Ordering::Relaxed);
        outcomes.accepted += answer.accepted;
        outcomes.duplicate += answer.duplicate;
        outcomes.rejected += answer.rejected.len() as u64;
        for rejected in answer.rejected {
            forget(rejected.index);
            let message = if rejected.message.is_empty() { &rejected.reason } else { &rejected.message };
            if let Some(sent) = batch.steps.get(rejected.index) {
                shared.faults.tell(&sent.place, message);
            }
        }
    }
    Ok(outcomes)
}

/// The answer to a batch; nothing when the server stayed busy for longer than patience lasts.
async fn post(client: &Client, batch: &Batch) -> Result<Option<Answer>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(batch.body.len() / 4), Compression::fast());
    encoder.write_all(&batch.body)?;
    let body = bytes::Bytes::from(encoder.finish()?);
    let begun = Instant::now();
    loop {
        let request = client
            .request(Method::POST, &["v1", "steps"], &[])
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(CONTENT_ENCODING, "gzip")
            .body(body.clone());
        let answer = client.send_any(request).await?;
        match answer.status() {
            // 400 is what a batch of nothing but rejected steps is answered with.
            status if status.is_success() || status == StatusCode::BAD_REQUEST => {
                let text = answer.text().await.context("the answer broke off")?;
                let Ok(answer) = serde_json::from_str::<Answer>(&text) else {
                    bail!("the server does not take these steps: {status}: {}", plain(&text, 2_000));
                };
                let counted = answer.accepted + answer.duplicate + answer.rejected.len() as u64;
                if counted != batch.steps.len() as u64 {
                    bail!("{} steps were sent and the server accounts for {counted}", batch.steps.len());
                }
                return Ok(Some(answer));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait =
                    answer.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()).and_then(|it| it.parse().ok());
                let wait = wait.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs).min(RETRY_AFTER_MAX);
                if begun.elapsed() + wait > PATIENCE {
                    return Ok(None);
                }
                tokio::time::sleep(wait).await;
            }
            StatusCode::PAYLOAD_TOO_LARGE if batch.steps.len() == 1 => {
                let message = refusal(answer).await.to_string();
                let rejected = vec![Rejected { index: 0, reason: "too_large".into(), message }];
                return Ok(Some(Answer { accepted: 0, duplicate: 0, rejected }));
            }
            _ => return Err(anyhow!(refusal(answer).await).context("the server does not take these steps")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use indicatif::ProgressBar;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::{BATCH_STEPS_MAX, cut, send};
    use crate::cli::Server;
    use crate::client::Client;
    use crate::cmd::replay::Faults;
    use crate::cmd::replay::source::Source;

    /// Takes one batch, acknowledges it, and is gone.
    async fn takes_one_batch(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        drop(listener);
        let (mut request, mut more) = (Vec::new(), [0; 4096]);
        let whole = |request: &[u8]| {
            let text = String::from_utf8_lossy(request);
            let (head, _) = text.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|it| it.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
            (request.len() >= head.len() + 4 + length).then_some(())
        };
        while whole(&request).is_none() {
            let read = stream.read(&mut more).await.expect("a request");
            request.extend_from_slice(&more[..read]);
        }
        let body = format!(r#"{{"accepted":{BATCH_STEPS_MAX},"duplicate":0,"rejected":[]}}"#);
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("answered");
    }

    #[tokio::test]
    async fn a_server_that_goes_away_leaves_word_of_what_it_took() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Server { server: listener.local_addr().expect("bound").to_string(), token: None };
        let taking = tokio::spawn(takes_one_batch(listener));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("steps.jsonl");
        let line = |n: usize| format!(r#"{{"session_id":"s","step_id":"{n}","kind":"plan","agent":{{"id":"a"}}}}"#);
        let lines: Vec<String> = (0..3 * BATCH_STEPS_MAX).map(line).collect();
        std::fs::write(&path, lines.join("\n")).expect("written");
        let mut source = Source::open(&[path]).expect("opens");
        let acknowledged = Arc::new(AtomicU64::new(0));
        let client = Client::new(&server).expect("valid");
        let next = move |line: &mut Vec<u8>| source.next_line(line);
        let faults = Faults::new(ProgressBar::hidden());
        let sent = send(&client, 1, (None, Arc::clone(&acknowledged)), faults, next).await;
        taking.await.expect("no panic");
        let Err(error) = sent else { panic!("the server is gone") };
        let said = format!("{:#}", cut(error, &acknowledged));
        assert!(said.starts_with("the replay was cut short after 1,000 steps were acknowledged"), "{said}");
        assert!(said.contains("running the same command again is safe") && said.contains("no server at"), "{said}");
    }
}
