//! Values too large for a record: in pieces on a compacted topic, all in its first partition.
//!
//! The pieces come first and the head last, so what has a head is whole. Names hold no slash.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Append, Bounds, Error, Log, Offset, Partition, ReadLimit, Topic};

/// Bytes of a piece: half of what the smallest record that a log must take may have.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces appended at once.
const PIECES_AT_ONCE: usize = 4;
/// Waits while the log's queue is full, and how often.
const BUSY: Duration = Duration::from_millis(50);
const BUSY_MAX: u32 = 200;
/// Pieces without a head for longer are of nobody who is still putting them: to put takes minutes at most.
const UNFINISHED: Duration = Duration::from_secs(3_600);
/// How long what was read is gone on from. Compaction drops what tells of a removal after a day; whoever did not look in between
/// would take what was removed to be there.
const FRESH: Duration = Duration::from_secs(3_600);
const HOME: Partition = Partition(0);
const PAGE: ReadLimit = ReadLimit { records_max: 1_000, bytes_max: 4 << 20 };

/// A value that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub name: String,
    pub bytes: u64,
    /// When it was put, by the clock of the log, in microseconds since the Unix epoch.
    pub put_at: i64,
}

/// Puts a value under its name. The same name is to mean the same value, so that putting it again changes nothing.
///
/// # Errors
/// When the log does not take it; what was put of it is replaced by the next try.
pub async fn put(log: &dyn Log, topic: Topic, name: &str, value: &Bytes) -> Result<(), Error> {
    let starts = (0..value.len()).step_by(PIECE_BYTES);
    let pieces = starts.map(|from| value.slice(from..value.len().min(from + PIECE_BYTES)));
    let pieces: Vec<Append> = pieces.zip(0..).map(|(piece, at)| record(topic, piece_key(name, at), piece)).collect();
    for some in pieces.chunks(PIECES_AT_ONCE) {
        append(log, some).await?;
    }
    let head = Bytes::copy_from_slice(&(value.len() as u64).to_le_bytes());
    append(log, &[record(topic, Bytes::copy_from_slice(name.as_bytes()), head)]).await
}

/// The value of a name; `None` when there is none, or not all of it.
///
/// # Errors
/// When the log cannot be read.
pub async fn get(log: &dyn Log, topic: Topic, name: &str) -> Result<Option<Bytes>, Error> {
    let mut pieces: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let mut length = None;
    let bounds = log.bounds(topic, HOME).await?;
    each(log, topic, bounds, |key, value, _| {
        if key == name.as_bytes() {
            length = head(&value);
        } else if is_piece_of(&key, name) {
            pieces.insert(key, value);
        }
    })
    .await?;
    let Some(length) = length else { return Ok(None) };
    let whole: Vec<u8> = pieces.into_values().flatten().collect();
    Ok((whole.len() as u64 == length).then(|| whole.into()))
}

/// Every value there is, the one that was put last at the end.
///
/// # Errors
/// When the log cannot be read.
pub async fn list(log: &dyn Log, topic: Topic) -> Result<Vec<Blob>, Error> {
    let mut index = Index::default();
    index.refresh(log, topic).await?;
    Ok(index.blobs)
}

/// What there is, kept in memory: a log gives no keys without their values, so to list is to read every piece. Of one topic.
#[derive(Debug, Default)]
pub struct Index {
    /// Where to go on, and when all was read.
    read: Option<(Offset, Instant)>,
    blobs: Vec<Blob>,
    /// Keys of pieces, and when each was put.
    pieces: BTreeMap<Bytes, i64>,
}

impl Index {
    /// Reads what came since the last time, and answers every value there is, the one that was put last at the end.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn refresh(&mut self, log: &dyn Log, topic: Topic) -> Result<&[Blob], Error> {
        let bounds = log.bounds(topic, HOME).await?;
        let fresh = self.read.filter(|(next, at)| bounds.start <= *next && *next <= bounds.end && at.elapsed() < FRESH);
        if fresh.is_none() {
            *self = Self::default();
        }
        let (next, at) = fresh.unwrap_or_else(|| (bounds.start, Instant::now()));
        let next =
            each(log, topic, Bounds { start: next, ..bounds }, |key, value, put_at| self.note(key, &value, put_at));
        self.read = Some((next.await?, at));
        Ok(&self.blobs)
    }

    fn note(&mut self, key: Bytes, value: &[u8], put_at: i64) {
        let Ok(name) = str::from_utf8(&key) else { return };
        if name.contains('/') {
            if value.is_empty() {
                self.pieces.remove(&key);
            } else {
                self.pieces.insert(key, put_at);
            }
            return;
        }
        self.blobs.retain(|it| it.name != name);
        self.blobs.extend(head(value).map(|bytes| Blob { name: name.to_owned(), bytes, put_at }));
    }

    /// Removes pieces of what was never put whole: whoever put them broke off. `now`: by the clock of the log.
    ///
    /// # Errors
    /// When the log cannot be read, or does not take it.
    pub async fn sweep(&mut self, log: &dyn Log, topic: Topic, now: i64) -> Result<(), Error> {
        self.refresh(log, topic).await?;
        let before = now.saturating_sub(i64::try_from(UNFINISHED.as_micros()).unwrap_or(i64::MAX));
        let whole = |key: &[u8]| self.blobs.iter().any(|it| is_piece_of(key, &it.name));
        // One that is put just now has no head either.
        let left = self.pieces.iter().filter(|(key, put_at)| **put_at < before && !whole(key));
        let left: Vec<Append> = left.map(|(key, _)| record(topic, key.clone(), Bytes::new())).collect();
        for some in left.chunks(PAGE.records_max) {
            append(log, some).await?;
        }
        Ok(())
    }
}

/// Removes a value; the head first, so that nobody finds half of it.
///
/// # Errors
/// When the log does not take it.
pub async fn remove(log: &dyn Log, topic: Topic, blob: &Blob) -> Result<(), Error> {
    append(log, &[record(topic, Bytes::copy_from_slice(blob.name.as_bytes()), Bytes::new())]).await?;
    let count = blob.bytes.div_ceil(PIECE_BYTES as u64);
    let pieces: Vec<Append> = (0..count).map(|at| record(topic, piece_key(&blob.name, at), Bytes::new())).collect();
    for some in pieces.chunks(PAGE.records_max) {
        append(log, some).await?;
    }
    Ok(())
}

fn piece_key(name: &str, at: u64) -> Bytes {
    Bytes::from(format!("{name}/{at:08}"))
}

fn is_piece_of(key: &[u8], name: &str) -> bool {
    key.strip_prefix(name.as_bytes()).is_some_and(|it| it.first() == Some(&b'/'))
}

fn head(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

fn record(topic: Topic, key: Bytes, value: Bytes) -> Append {
    Append::new(topic, key, value).to_partition(HOME)
}

async fn append(log: &dyn Log, records: &[Append]) -> Result<(), Error> {
    for _ in 0..BUSY_MAX {
        match log.append(records.to_vec()).await {
            Err(Error::Full { .. }) => tokio::time::sleep(BUSY).await,
            done => return done.map(drop),
        }
    }
    log.append(records.to_vec()).await.map(drop)
}

/// Calls it with each record within the bounds; answers where to go on.
async fn each(
    log: &dyn Log,
    topic: Topic,
    Bounds { start: mut next, end }: Bounds,
    mut f: impl FnMut(Bytes, Bytes, i64),
) -> Result<Offset, Error> {
    while next < end {
        let records = log.read(topic, HOME, next, PAGE).await?;
        let Some(last) = records.last() else { break };
        next = last.offset.next();
        records.into_iter().for_each(|it| f(it.key, it.value, it.appended_at));
    }
    Ok(next)
}

#[cfg(test)]
pub(crate) mod tests;
