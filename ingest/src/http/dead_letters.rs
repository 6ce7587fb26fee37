//! `GET /v1/dead-letters` and `POST /v1/dead-letters/replay`.
//!
//! Both walk the dead letters in the order of the log, oldest first, from a cursor: `next` of one answer is `after` of
//! the following call, and the cursor of an empty page stays good for what comes later. A cursor is the offset in each
//! partition, joined by `.`.
//!
//! Letters stay where they are, and each replay is a record beside them ([`known`]): so a list says which are still open.

mod known;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use martingale_platform::log::{self, Append, Log, Offset, Partition, ReadLimit};
use martingale_schemas::record::{DeadLetter, LetterReplay};
use martingale_schemas::rejection::shown;
use martingale_schemas::{Rejection, Timestamp, topics};
use serde::{Deserialize, Serialize};

use known::Entry;
pub(crate) use known::Known;

use super::{Problem, json};
use crate::intake::{Keep, Outcome};
use crate::{Door, Parts, body, otlp};

const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
    after: Option<String>,
    #[serde(default)]
    state: Wish,
}

/// Which letters are asked for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wish {
    #[default]
    Open,
    Replayed,
    All,
}

/// `open` until a replay leaves nothing of the letter rejected.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Open,
    Replayed,
}

#[derive(Serialize)]
struct Listed {
    dead_letters: Vec<ListedLetter>,
    /// Of all letters, whichever were asked for.
    open: usize,
    replayed: usize,
    next: String,
}

#[derive(Serialize)]
struct ListedLetter {
    #[serde(flatten)]
    letter: DeadLetter,
    state: Standing,
    /// When it was last replayed, and what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_replay: Option<Outcomes>,
}

#[derive(Serialize)]
struct Outcomes {
    time: Timestamp,
    accepted: u64,
    duplicate: u64,
    rejected: u64,
}

/// Letters of one look, however few are asked for: most of them may be of a state that is not.
const LOOK_LETTERS: usize = 250;
/// Looks of one request: the page ends there, and its cursor goes on.
const LOOKS_MAX: usize = 40;

pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let page = match page {
        Ok(Query(page)) => page,
        Err(error) => return bad_request(error.body_text()).into_response(),
    };
    let limit = page.limit.unwrap_or(100).clamp(1, parts.config.dead_letters_page_max);
    match listed(&parts, page, limit).await {
        Ok(listed) => json(StatusCode::OK, &listed),
        Err(Unread::Cursor(message)) => bad_request(message).into_response(),
        Err(Unread::Log(error)) => Problem::of_log(&error, parts.config.retry_after_secs()).into_response(),
    }
}

async fn listed(parts: &Parts, page: Page, limit: usize) -> Result<Listed, Unread> {
    let mut known = parts.letters.lock().await;
    known.catch_up(&*parts.log).await.map_err(Unread::Log)?;
    let mut after = page.after;
    let mut dead_letters = Vec::new();
    for look in 1.. {
        let Read { letters, from: mut cursor, next } =
            read(&*parts.log, after.as_deref(), LOOK_LETTERS.max(limit)).await?;
        let mut is_full = false;
        for At { partition, offset, letter } in letters {
            // Up to here, and not to the end of the look: what is behind belongs to the next page.
            cursor.0[partition] = offset.next();
            dead_letters.extend(wanted(&known, page.state, letter));
            is_full = dead_letters.len() >= limit;
            if is_full {
                break;
            }
        }
        let cursor = if is_full { cursor } else { next }.to_string();
        let is_end = after.as_ref() == Some(&cursor);
        after = Some(cursor);
        if is_full || is_end || look == LOOKS_MAX {
            break;
        }
    }
    let counts = known.counts();
    Ok(Listed { dead_letters, open: counts.open, replayed: counts.replayed, next: after.unwrap_or_default() })
}

/// A letter as it is listed, where its state was asked for.
fn wanted(known: &Known, wish: Wish, letter: DeadLetter) -> Option<ListedLetter> {
    let state = if known.is_open(&letter.id) { Standing::Open } else { Standing::Replayed };
    match (state, wish) {
        (Standing::Open, Wish::Replayed) | (Standing::Replayed, Wish::Open) => return None,
        (Standing::Open, Wish::Open | Wish::All) | (Standing::Replayed, Wish::Replayed | Wish::All) => {}
    }
    let last_replay = known.replay_of(&letter.id).map(|it| Outcomes {
        time: it.time,
        accepted: it.accepted,
        duplicate: it.duplicate,
        rejected: it.rejected,
    });
    Some(ListedLetter { letter, state, last_replay })
}

fn bad_request(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}

/// Either `ids`, replayed or not, or `all` that are open; and where to begin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    all: bool,
    after: Option<String>,
}

/// What became of the dead letters.
#[derive(Default, Serialize)]
struct Replayed {
    /// Dead letters fed in again.
    replayed: u64,
    /// Steps that came out of them, by outcome.
    accepted: u64,
    duplicate: u64,
    rejected: Vec<StillRejected>,
    /// Dead letters that cannot be fed in again, and why.
    not_replayable: Vec<NotReplayable>,
    /// Ids that no dead letter has.
    unknown: Vec<String>,
    /// With `all`: where to go on, when there may be more.
    next: Option<String>,
}

#[derive(Serialize)]
struct StillRejected {
    id: String,
    #[serde(flatten)]
    rejection: Rejection,
}

#[derive(Serialize)]
struct NotReplayable {
    id: String,
    message: String,
}

pub(super) async fn replay(State(parts): State<Arc<Parts>>, request: Request) -> Response {
    let since = Instant::now();
    let answer = match replay_wanted(&parts, request).await {
        Ok(replayed) => json(StatusCode::OK, &replayed),
        Err(problem) => problem.into_response(),
    };
    parts.metrics.took(Door::Replay, since);
    answer
}

async fn replay_wanted(parts: &Parts, request: Request) -> Result<Replayed, Problem> {
    let retry_after = parts.config.retry_after_secs();
    let page_max = parts.config.dead_letters_page_max;
    let (head, body) = request.into_parts();
    let received = body::receive(&head.headers, body, &parts.config, &parts.budget)
        .await
        .map_err(|fault| Problem::of_body(&fault, retry_after))?;
    let wanted: Wanted = serde_json::from_slice(&received.bytes)
        .map_err(|error| bad_request(format!("{error}: send {{\"ids\":[…]}} or {{\"all\":true}}")))?;
    if wanted.all != wanted.ids.is_empty() {
        return Err(bad_request("send either `ids` with at least one id, or `all`: true"));
    }
    if wanted.ids.len() > page_max {
        return Err(bad_request(format!("`ids` has {} entries: at most {page_max} are taken", wanted.ids.len())));
    }

    let mut missing: HashSet<String> = wanted.ids.into_iter().collect();
    let mut after = wanted.after;
    let mut replayed = Replayed::default();
    // Held to the end: one replay at a time, and none of letters that another has just fed in.
    let mut known = parts.letters.lock().await;
    known.catch_up(&*parts.log).await.map_err(|error| Problem::of_log(&error, retry_after))?;
    loop {
        let read = read(&*parts.log, after.as_deref(), page_max).await.map_err(|unread| match unread {
            Unread::Cursor(message) => bad_request(message),
            Unread::Log(error) => Problem::of_log(&error, retry_after),
        })?;
        let cursor = read.next.to_string();
        let end = after.as_ref() == Some(&cursor);
        for At { letter, .. } in read.letters {
            if (wanted.all && known.is_open(&letter.id)) || missing.remove(&letter.id) {
                feed(parts, &letter, &mut replayed).await.map_err(|error| Problem::of_log(&error, retry_after))?;
            }
        }
        if wanted.all {
            replayed.next = (!end).then_some(cursor);
            return Ok(replayed);
        }
        if end || missing.is_empty() {
            replayed.unknown = missing.into_iter().collect();
            replayed.unknown.sort_unstable();
            return Ok(replayed);
        }
        after = Some(cursor);
    }
}

/// Feeds one dead letter through intake, with the time it first arrived: a step that says no time keeps its own. What came
/// of it is put down beside the letter.
async fn feed(parts: &Parts, letter: &DeadLetter, replayed: &mut Replayed) -> Result<(), log::Error> {
    let payload = match letter.payload() {
        Ok(payload) => payload,
        Err(message) => {
            replayed.not_replayable.push(NotReplayable { id: letter.id.clone(), message });
            return Ok(());
        }
    };
    let (envelopes, _room) = otlp::envelopes_of(parts, &letter.source, &payload);
    let taken = parts.intake.take(Door::Replay, letter.time, envelopes, Keep::Nothing).await;
    let tally = taken.tally();
    if let Some(error) = taken.failed {
        return Err(error);
    }
    let note = LetterReplay {
        replay_of: letter.id.clone(),
        time: Timestamp::from_micros(parts.clock.now_micros()),
        accepted: tally.accepted,
        duplicate: tally.duplicate,
        rejected: tally.rejected,
    };
    // Cannot fail: the writer is memory and every key is a string.
    let value = serde_json::to_vec(&note).unwrap_or_default();
    parts.log.append(vec![Append::new(topics::DEAD_LETTER, Bytes::from(note.replay_of), Bytes::from(value))]).await?;
    replayed.replayed += 1;
    replayed.accepted += tally.accepted;
    replayed.duplicate += tally.duplicate;
    replayed.rejected.extend(taken.outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Rejected(rejection) => Some(StillRejected { id: letter.id.clone(), rejection }),
        _ => None,
    }));
    Ok(())
}

#[derive(Clone)]
struct Cursor(Vec<Offset>);

/// Letters in their order, and what is before and behind them.
struct Read {
    letters: Vec<At>,
    from: Cursor,
    next: Cursor,
}

struct At {
    partition: usize,
    offset: Offset,
    letter: DeadLetter,
}

impl Cursor {
    fn parse(text: &str, partitions: u32) -> Result<Self, String> {
        let offsets: Option<Vec<Offset>> = text.split('.').map(|it| it.parse().ok().map(Offset)).collect();
        match offsets {
            Some(offsets) if offsets.len() == partitions as usize => Ok(Self(offsets)),
            _ => Err(format!("`{}` is no cursor: send the `next` of an earlier answer, or none", shown(text))),
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, offset) in self.0.iter().enumerate() {
            write!(f, "{}{offset}", if at == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

enum Unread {
    Cursor(String),
    Log(log::Error),
}

/// Dead letters from a cursor on, oldest first over all partitions.
async fn read(log: &dyn Log, after: Option<&str>, limit: usize) -> Result<Read, Unread> {
    let mut cursor = match after {
        Some(text) => Cursor::parse(text, log.partitions()).map_err(Unread::Cursor)?,
        None => Cursor(vec![Offset::START; log.partitions() as usize]),
    };
    let mut lanes = Vec::with_capacity(cursor.0.len());
    for (partition, next) in (0..).map(Partition).zip(&mut cursor.0) {
        let bounds = log.bounds(topics::DEAD_LETTER, partition).await.map_err(Unread::Log)?;
        // What retention has removed is gone; the page begins with what is left.
        *next = (*next).max(bounds.start);
        let read_limit = ReadLimit { records_max: limit, bytes_max: PAGE_BYTES_MAX };
        let records = log.read(topics::DEAD_LETTER, partition, *next, read_limit).await.map_err(Unread::Log)?;
        lanes.push(records.into_iter().map(|it| (it.offset, letter(&it.value))).collect::<VecDeque<_>>());
    }
    let from = cursor.clone();
    let mut letters = Vec::new();
    while letters.len() < limit {
        for (lane, next) in lanes.iter_mut().zip(&mut cursor.0) {
            while let Some((offset, None)) = lane.front() {
                *next = offset.next();
                lane.pop_front();
            }
        }
        let heads = lanes.iter().enumerate().filter_map(|(at, lane)| Some((lane.front()?.1.as_ref()?.time, at)));
        let Some((_, partition)) = heads.min() else { break };
        if let Some((offset, Some(letter))) = lanes[partition].pop_front() {
            cursor.0[partition] = offset.next();
            letters.push(At { partition, offset, letter });
        }
    }
    Ok(Read { letters, from, next: cursor })
}

/// `None` for what is no letter.
fn letter(value: &[u8]) -> Option<DeadLetter> {
    match Entry::read(value)? {
        Entry::Letter(letter) => Some(*letter),
        Entry::Replay(_) => None,
    }
}
