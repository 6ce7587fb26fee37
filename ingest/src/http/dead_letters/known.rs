//! Which dead letters were fed in again, and what came of it.
//!
//! A replay is a record of the same topic, after its letter. So that a page can say which letters are still open, the
//! topic is read once to its end, and from then on only what is new.

use std::collections::{HashMap, HashSet, VecDeque};

use martingale_platform::log::{self, Log, Offset, Partition, ReadLimit, Record};
use martingale_schemas::record::{DeadLetter, LetterReplay};
use martingale_schemas::{ids, topics};
use serde::Deserialize;

/// A page of the topic.
const PAGE: ReadLimit = ReadLimit { records_max: 1_000, bytes_max: 8 << 20 };
/// Letters of one partition that are kept count of, some 40 bytes each. Beyond it the oldest are taken for open, and the
/// counts are too low by as many.
const LETTERS_MAX: usize = 1_000_000;

type Key = [u8; 16];

/// What a record of the topic is.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    Letter(Box<DeadLetter>),
    Replay(LetterReplay),
}

impl Entry {
    /// `None` for a record put there by other means than ours.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).inspect_err(|error| tracing::warn!(%error, "record is no dead letter")).ok()
    }
}

/// How many letters there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) open: usize,
    pub(super) replayed: usize,
}

/// What is known of every letter that the log still has.
#[derive(Debug, Default)]
pub(crate) struct Known {
    partitions: Vec<Letters>,
    /// Of letters that are kept count of.
    replays: HashMap<Key, LetterReplay>,
}

#[derive(Debug, Default)]
struct Letters {
    next: Offset,
    kept: VecDeque<(Offset, Key)>,
}

fn key(id: &str) -> Key {
    ids::digest(&[id.as_bytes()])
}

impl Letters {
    fn take_in(&mut self, records: Vec<Record>, replays: &mut HashMap<Key, LetterReplay>) {
        for record in records {
            self.next = record.offset.next();
            match Entry::read(&record.value) {
                Some(Entry::Letter(letter)) => self.kept.push_back((record.offset, key(&letter.id))),
                Some(Entry::Replay(replay)) => {
                    // The partitions are read one after another, and replays of a letter may lie in two of them.
                    let last = replays.entry(key(&replay.replay_of)).or_insert_with(|| replay.clone());
                    if last.time <= replay.time {
                        *last = replay;
                    }
                }
                None => {}
            }
        }
    }

    /// Lets go of letters before `start`, and of the oldest beyond the limit.
    fn forget(&mut self, start: Offset, replays: &mut HashMap<Key, LetterReplay>) {
        while self.kept.len() > LETTERS_MAX || self.kept.front().is_some_and(|(offset, _)| *offset < start) {
            if let Some((_, key)) = self.kept.pop_front() {
                replays.remove(&key);
            }
        }
    }
}

impl Known {
    /// Reads on to where the topic ends by now, and forgets what retention has removed. A request that is given up ends this
    /// at any page: what a page brought is taken in by then, and the next call goes on behind it.
    pub(super) async fn catch_up(&mut self, log: &dyn Log) -> Result<(), log::Error> {
        let Self { partitions, replays } = self;
        partitions.resize_with(log.partitions() as usize, Letters::default);
        for (partition, letters) in (0..).map(Partition).zip(partitions.iter_mut()) {
            let bounds = log.bounds(topics::DEAD_LETTER, partition).await?;
            letters.next = letters.next.max(bounds.start);
            letters.forget(bounds.start, replays);
            while letters.next < bounds.end {
                match log.read(topics::DEAD_LETTER, partition, letters.next, PAGE).await {
                    Err(log::Error::Expired { start, .. }) => letters.next = start,
                    Ok(records) if records.is_empty() => break,
                    read => letters.take_in(read?, replays),
                }
                letters.forget(bounds.start, replays);
            }
        }
        self.drop_strays();
        Ok(())
    }

    /// Replays of letters that are not kept count of: theirs were forgotten, maybe before the replay was read, since the two
    /// may lie in different partitions.
    fn drop_strays(&mut self) {
        if self.replays.len() > self.letters() {
            let kept: HashSet<Key> = self.partitions.iter().flat_map(|it| &it.kept).map(|(_, key)| *key).collect();
            self.replays.retain(|key, _| kept.contains(key));
        }
    }

    fn letters(&self) -> usize {
        self.partitions.iter().map(|it| it.kept.len()).sum()
    }

    /// The last replay of a letter.
    pub(super) fn replay_of(&self, id: &str) -> Option<&LetterReplay> {
        self.replays.get(&key(id))
    }

    pub(super) fn is_open(&self, id: &str) -> bool {
        self.replay_of(id).is_none_or(|it| !it.is_settled())
    }

    pub(super) fn counts(&self) -> Counts {
        let settled = |(_, key): &&(Offset, Key)| self.replays.get(key).is_some_and(LetterReplay::is_settled);
        let replayed = self.partitions.iter().flat_map(|it| &it.kept).filter(settled).count();
        Counts { open: self.letters() - replayed, replayed }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use martingale_platform::log::{Offset, Record};
    use serde_json::json;

    use super::{Counts, Known, Letters};

    fn record(offset: u64, value: &serde_json::Value) -> Record {
        Record { offset: Offset(offset), appended_at: 0, key: Bytes::new(), value: value.to_string().into() }
    }

    fn letter(offset: u64, id: &str) -> Record {
        record(
            offset,
            &json!({ "id": id, "time": "2026-01-01T00:00:00Z", "source": "http", "reason": "invalid_json",
                "message": "no", "payload": "{", "payload_bytes": 1 }),
        )
    }

    fn replay(offset: u64, of: &str, second: u32) -> Record {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        record(offset, &json!({ "replay_of": of, "time": time, "accepted": 1, "duplicate": 0, "rejected": 0 }))
    }

    fn known(pages: Vec<Vec<Record>>) -> Known {
        let mut known = Known::default();
        for page in pages {
            let mut letters = Letters::default();
            letters.take_in(page, &mut known.replays);
            known.partitions.push(letters);
        }
        known
    }

    /// Whatever ends a reading, the position never stands behind a replay that is not known.
    #[test]
    fn a_page_is_taken_in_whole_before_the_next_is_read() {
        let known = known(vec![vec![replay(0, "b", 1), letter(1, "a"), replay(2, "a", 2)]]);
        assert_eq!(known.partitions[0].next, Offset(3));
        assert!(!known.is_open("a") && !known.is_open("b"));
        assert_eq!(known.counts(), Counts { open: 0, replayed: 1 });
    }

    #[test]
    fn replays_go_with_their_letters() {
        let mut known =
            known(vec![vec![letter(0, "a"), letter(1, "b")], vec![replay(0, "a", 1), replay(1, "gone", 1)]]);
        known.partitions[0].forget(Offset(1), &mut known.replays);
        assert!(known.is_open("a"), "both are forgotten");
        known.partitions[1].take_in(vec![replay(2, "old", 1)], &mut known.replays);
        known.drop_strays();
        assert!(known.replays.is_empty(), "of letters that are not kept");
        assert_eq!(known.counts(), Counts { open: 1, replayed: 0 });
    }
}
