//! Which dead letters were fed in again, and what came of it.
//!
//! A replay is a record of the same topic, after its letter. So that a page can say which letters are still open, the
//! topic is read once to its end, and from then on only what is new.

use std::collections::{HashMap, VecDeque};

use martingale_platform::log::{self, Log, Offset, Partition, ReadLimit};
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

impl Known {
    /// Reads on to where the topic ends by now, and forgets what retention has removed.
    pub(super) async fn catch_up(&mut self, log: &dyn Log) -> Result<(), log::Error> {
        self.partitions.resize_with(log.partitions() as usize, Letters::default);
        let (mut replays, mut forgotten) = (Vec::new(), Vec::new());
        for (partition, letters) in (0..).map(Partition).zip(&mut self.partitions) {
            let bounds = log.bounds(topics::DEAD_LETTER, partition).await?;
            letters.next = letters.next.max(bounds.start);
            while letters.next < bounds.end {
                let records = match log.read(topics::DEAD_LETTER, partition, letters.next, PAGE).await {
                    Err(log::Error::Expired { start, .. }) => {
                        letters.next = start;
                        continue;
                    }
                    read => read?,
                };
                let Some(last) = records.last() else { break };
                letters.next = last.offset.next();
                for record in records {
                    match Entry::read(&record.value) {
                        Some(Entry::Letter(letter)) => letters.kept.push_back((record.offset, key(&letter.id))),
                        Some(Entry::Replay(replay)) => replays.push(replay),
                        None => {}
                    }
                }
            }
            while letters.kept.len() > LETTERS_MAX
                || letters.kept.front().is_some_and(|(offset, _)| *offset < bounds.start)
            {
                forgotten.extend(letters.kept.pop_front().map(|(_, key)| key));
            }
        }
        // The partitions are read one after another; a letter and its replays may lie in two of them.
        for replay in replays {
            let earlier = self.replays.entry(key(&replay.replay_of)).or_insert_with(|| replay.clone());
            if earlier.time <= replay.time {
                *earlier = replay;
            }
        }
        for key in forgotten {
            self.replays.remove(&key);
        }
        Ok(())
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
        let all: usize = self.partitions.iter().map(|it| it.kept.len()).sum();
        let replayed = self.partitions.iter().flat_map(|it| &it.kept).filter(settled).count();
        Counts { open: all - replayed, replayed }
    }
}
