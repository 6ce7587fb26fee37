//! Which dead letters were fed in again, and what came of it.
//!
//! A replay is a record of the same topic, after its letter. So that a page can say which letters are still open, the
//! topic is read once to its end, and from then on only what is new.

use std::collections::{HashMap, VecDeque};

use martingale_platform::log::{self, Log, Offset, Partition, ReadLimit, Record};
use martingale_schemas::record::{DeadLetter, LetterReplay};
use martingale_schemas::{ids, topics};
use serde::Deserialize;

/// A page of the topic.
const PAGE: ReadLimit = ReadLimit { records_max: 1_000, bytes_max: 8 << 20 };
/// Letters of one partition that are kept count of, some 80 bytes each. Beyond it the oldest are taken for open, and the
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
    fates: Fates,
}

#[derive(Debug, Default)]
struct Letters {
    next: Offset,
    kept: VecDeque<(Offset, Key)>,
}

/// By letter, what came of it; and how many there are, kept as they come and go.
#[derive(Debug, Default)]
struct Fates {
    fates: HashMap<Key, Fate>,
    letters: usize,
    replayed: usize,
}

/// Of the letters of one id: one, unless it was written by other means than ours.
#[derive(Debug, Default)]
struct Fate {
    letters: usize,
    /// The last one. It may be read before its letter, since the two may lie in different partitions.
    replay: Option<Box<LetterReplay>>,
}

impl Fate {
    fn replayed(&self) -> usize {
        if self.replay.as_ref().is_some_and(|it| it.is_settled()) { self.letters } else { 0 }
    }
}

impl Fates {
    fn change(&mut self, key: Key, change: impl FnOnce(&mut Fate)) {
        let fate = self.fates.entry(key).or_default();
        let (letters, replayed) = (fate.letters, fate.replayed());
        change(fate);
        self.letters = self.letters - letters + fate.letters;
        self.replayed = self.replayed - replayed + fate.replayed();
    }

    fn letter(&mut self, key: Key) {
        self.change(key, |it| it.letters += 1);
    }

    fn replay(&mut self, key: Key, replay: LetterReplay) {
        self.change(key, |it| {
            // The partitions are read one after another, and replays of a letter may lie in two of them.
            if it.replay.as_ref().is_none_or(|last| last.time <= replay.time) {
                it.replay = Some(Box::new(replay));
            }
        });
    }

    fn forget(&mut self, key: Key) {
        self.change(key, |it| it.letters = it.letters.saturating_sub(1));
        if self.fates.get(&key).is_some_and(|it| it.letters == 0) {
            self.fates.remove(&key);
        }
    }

    /// Replays of letters that are not kept count of: theirs were forgotten, maybe before the replay was read.
    fn drop_strays(&mut self) {
        if self.fates.len() > self.letters {
            self.fates.retain(|_, it| it.letters > 0);
        }
    }
}

fn key(id: &str) -> Key {
    ids::digest(&[id.as_bytes()])
}

impl Letters {
    fn take_in(&mut self, records: Vec<Record>, fates: &mut Fates) {
        for record in records {
            self.next = record.offset.next();
            match Entry::read(&record.value) {
                Some(Entry::Letter(letter)) => {
                    let key = key(&letter.id);
                    self.kept.push_back((record.offset, key));
                    fates.letter(key);
                }
                Some(Entry::Replay(replay)) => fates.replay(key(&replay.replay_of), replay),
                None => {}
            }
        }
    }

    /// Lets go of letters before `start`, and of the oldest beyond the limit.
    fn forget(&mut self, start: Offset, fates: &mut Fates) {
        while self.kept.len() > LETTERS_MAX || self.kept.front().is_some_and(|(offset, _)| *offset < start) {
            if let Some((_, key)) = self.kept.pop_front() {
                fates.forget(key);
            }
        }
    }
}

impl Known {
    /// Reads on to where the topic ends by now, and forgets what retention has removed. A request that is given up ends this
    /// at any page: what a page brought is taken in by then, and the next call goes on behind it.
    pub(super) async fn catch_up(&mut self, log: &dyn Log) -> Result<(), log::Error> {
        let Self { partitions, fates } = self;
        partitions.resize_with(log.partitions() as usize, Letters::default);
        for (partition, letters) in (0..).map(Partition).zip(partitions.iter_mut()) {
            let bounds = log.bounds(topics::DEAD_LETTER, partition).await?;
            letters.next = letters.next.max(bounds.start);
            letters.forget(bounds.start, fates);
            while letters.next < bounds.end {
                match log.read(topics::DEAD_LETTER, partition, letters.next, PAGE).await {
                    Err(log::Error::Expired { start, .. }) => letters.next = start,
                    Ok(records) if records.is_empty() => break,
                    read => letters.take_in(read?, fates),
                }
                letters.forget(bounds.start, fates);
            }
        }
        fates.drop_strays();
        Ok(())
    }

    /// The last replay of a letter.
    pub(super) fn replay_of(&self, id: &str) -> Option<&LetterReplay> {
        self.fates.fates.get(&key(id))?.replay.as_deref()
    }

    pub(super) fn is_open(&self, id: &str) -> bool {
        self.replay_of(id).is_none_or(|it| !it.is_settled())
    }

    pub(super) const fn counts(&self) -> Counts {
        let Fates { letters, replayed, .. } = self.fates;
        Counts { open: letters - replayed, replayed }
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
            letters.take_in(page, &mut known.fates);
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
        known.partitions[0].forget(Offset(1), &mut known.fates);
        assert!(known.is_open("a"), "both are forgotten");
        known.partitions[1].take_in(vec![replay(2, "old", 1)], &mut known.fates);
        known.fates.drop_strays();
        assert_eq!(known.fates.fates.len(), 1, "of letters that are not kept");
        assert_eq!(known.counts(), Counts { open: 1, replayed: 0 });
    }

    /// However letters and their replays come and go, the counts that are kept are those of a walk over all letters.
    #[test]
    fn counts_are_those_of_a_walk() {
        let settled = |n: u64, of: &str, second: u32, rejected: u64| {
            let time = format!("2026-01-01T00:00:{second:02}Z");
            record(n, &json!({ "replay_of": of, "time": time, "accepted": 1, "duplicate": 0, "rejected": rejected }))
        };
        let mut known = known(vec![Vec::new(), Vec::new()]);
        let steps = [
            (0, vec![replay(0, "c", 1), letter(1, "a"), letter(2, "b"), letter(3, "a")]),
            (1, vec![settled(0, "a", 3, 1), settled(1, "b", 1, 0)]),
            (1, vec![letter(2, "c"), settled(3, "a", 2, 0), settled(4, "gone", 1, 0)]),
            (0, vec![settled(4, "a", 4, 0), settled(5, "b", 2, 1)]),
        ];
        let expected = [(3, 0), (2, 1), (2, 2), (1, 3)];
        for ((partition, records), (open, replayed)) in steps.into_iter().zip(expected) {
            known.partitions[partition].take_in(records, &mut known.fates);
            known.fates.drop_strays();
            assert_eq!(known.counts(), Counts { open, replayed });
            assert_eq!(walk(&known), known.counts());
        }
        for start in 1..5 {
            known.partitions[0].forget(Offset(start), &mut known.fates);
            assert_eq!(walk(&known), known.counts(), "from {start}");
        }
        assert_eq!(known.counts(), Counts { open: 0, replayed: 1 });
    }

    fn walk(known: &Known) -> Counts {
        let kept: Vec<_> = known.partitions.iter().flat_map(|it| &it.kept).collect();
        let replay = |key| known.fates.fates.get(key).and_then(|it| it.replay.as_ref());
        let replayed = kept.iter().filter(|(_, key)| replay(key).is_some_and(|it| it.is_settled())).count();
        Counts { open: kept.len() - replayed, replayed }
    }
}
