//! Waits for the verdict of every step that was sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Method, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::line::Exported;
use super::spool::Spool;
use super::summary::Decisions;
use super::tally::Tally;
use crate::client::{Client, refusal};

/// Verdicts of one page, and how long the server holds one back when there is none.
const PAGE: &str = "10000";
const WAIT: &str = "500ms";
const CURSOR: &str = "martingale-cursor";
/// Longest time without any verdict that was waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Steps whose verdict is waited for, by identity, with their number.
#[derive(Debug, Default)]
pub(crate) struct Expected(Mutex<Steps>);

#[derive(Debug, Default)]
struct Steps {
    numbers: HashMap<[u8; 16], Wait>,
    added: usize,
    waiting: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    For(usize),
    /// Seen, or not to be waited for.
    Over,
}

impl Expected {
    /// Takes a step; one that was added before keeps its first place.
    pub(super) fn add(&self, key: [u8; 16]) -> [u8; 16] {
        let mut steps = self.lock();
        let number = steps.added;
        if let Entry::Vacant(entry) = steps.numbers.entry(key) {
            entry.insert(Wait::For(number));
            steps.added += 1;
            steps.waiting += 1;
        }
        key
    }

    /// The step was not taken: there will be no verdict.
    pub(super) fn forget(&self, key: &[u8; 16]) {
        self.take(key);
    }

    /// The number of a step that is still waited for, which it no longer is.
    fn take(&self, key: &[u8; 16]) -> Option<usize> {
        let mut steps = self.lock();
        let Wait::For(number) = std::mem::replace(steps.numbers.get_mut(key)?, Wait::Over) else { return None };
        steps.waiting -= 1;
        Some(number)
    }

    fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came.
pub(super) struct Followed {
    pub(super) decisions: Decisions,
    pub(super) findings: Tally,
    pub(super) spool: Option<Spool>,
}

/// Reads verdicts while steps are still being sent.
pub(super) struct Follower {
    expected: Arc<Expected>,
    /// Set when everything is sent: whether some steps were there before.
    sent: watch::Sender<Option<bool>>,
    task: JoinHandle<Result<Followed>>,
}

impl Follower {
    /// Begins behind the newest verdict: those of steps that are sent from now on come after it.
    ///
    /// # Errors
    /// When the server does not export verdicts.
    pub(super) async fn start(client: Client, keeps_lines: bool) -> Result<Self> {
        let spool = if keeps_lines { Some(Spool::new().context("no room for a temporary file")?) } else { None };
        let (_, cursor) = page(&client, "end", "1", "0s").await?;
        let expected = Arc::new(Expected::default());
        let (sent, all_sent) = watch::channel(None);
        let followed = Followed { decisions: Decisions::default(), findings: Tally::default(), spool };
        let task = tokio::spawn(follow(client, Arc::clone(&expected), all_sent, cursor, followed));
        Ok(Self { expected, sent, task })
    }

    pub(super) fn expected(&self) -> Arc<Expected> {
        Arc::clone(&self.expected)
    }

    /// Waits for what is missing. `duplicates` says that some verdicts were given before this replay.
    ///
    /// # Errors
    /// When verdicts do not come.
    pub(super) async fn finish(self, duplicates: bool) -> Result<Followed> {
        self.sent.send_replace(Some(duplicates));
        self.task.await.context("reading verdicts broke")?
    }
}

async fn follow(
    client: Client,
    expected: Arc<Expected>,
    sent: watch::Receiver<Option<bool>>,
    mut cursor: String,
    mut followed: Followed,
) -> Result<Followed> {
    let (mut from_start, mut progressed) = (false, Instant::now());
    loop {
        let all_sent = *sent.borrow();
        if all_sent.is_some() && expected.waiting() == 0 {
            return Ok(followed);
        }
        if sent.has_changed().is_err() {
            bail!("sending ended");
        }
        let (body, next) = page(&client, &cursor, PAGE, WAIT).await?;
        for verdict in body.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()) {
            let other = "the server exported something else than verdicts";
            let (line, identity) = Exported::parse(verdict).context(other)?;
            let Some(number) = expected.take(&identity.key()) else { continue };
            progressed = Instant::now();
            followed.decisions.count(line.decision);
            followed.findings.count(identity.session(), line.found().context(other)?);
            if let Some(spool) = &mut followed.spool {
                spool.put(number, &line).context("the temporary file cannot be written")?;
            }
        }
        // At the end with verdicts missing, and some steps were sent before: theirs lie further back.
        let at_end = body.is_empty();
        cursor = next;
        if at_end && all_sent == Some(true) && !from_start {
            (from_start, cursor, progressed) = (true, "start".to_owned(), Instant::now());
        } else if all_sent.is_none() || !at_end {
            progressed = Instant::now();
        }
        if progressed.elapsed() > PATIENCE {
            let missing = expected.waiting();
            return Err(anyhow!("{missing} verdicts did not come within {} s", PATIENCE.as_secs()).context(
                "the steps are safe on the server; `martingale sql \"SELECT count(*) FROM verdicts\"` shows how far it is",
            ));
        }
    }
}

/// A page of verdicts, one a line, and where the next one begins.
async fn page(client: &Client, after: &str, limit: &str, wait: &str) -> Result<(bytes::Bytes, String)> {
    let query = [("after", Some(after)), ("limit", Some(limit)), ("wait", Some(wait))];
    let answer = client.send_any(client.request(Method::GET, &["v1", "verdicts"], &query)).await?;
    match answer.status() {
        status if status.is_success() => {}
        StatusCode::GONE => {
            return Err(refusal(answer)
                .await
                .context("verdicts of steps that were sent before are no longer on the log"));
        }
        StatusCode::NOT_FOUND => {
            let remedy = "the server does not export verdicts: where its roles are processes of their own, name a query-api \
                          with --query-api beside the ingest with --server";
            return Err(refusal(answer).await.context(remedy));
        }
        _ => return Err(refusal(answer).await.context("the server does not export verdicts")),
    }
    let cursor = answer.headers().get(CURSOR).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let cursor = cursor.with_context(|| format!("the server's answer has no `{CURSOR}` header"))?;
    Ok((answer.bytes().await.context("the answer broke off")?, cursor))
}

#[cfg(test)]
mod tests {
    use super::Expected;

    #[test]
    fn a_step_is_waited_for_once() {
        let expected = Expected::default();
        let keys: Vec<[u8; 16]> = (0..4_u8).map(|it| [it; 16]).collect();
        for key in keys.iter().chain([&keys[1]]) {
            assert_eq!(expected.add(*key), *key);
        }
        assert_eq!(expected.waiting(), 4);
        expected.forget(&keys[3]);
        let numbers: Vec<_> = [2, 0, 1, 1, 3].map(|it| expected.take(&keys[it])).to_vec();
        assert_eq!(numbers, [Some(2), Some(0), Some(1), None, None]);
        assert_eq!((expected.waiting(), expected.take(&[9; 16])), (0, None));
    }
}
