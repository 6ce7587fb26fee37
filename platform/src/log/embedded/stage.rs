//! One write to disk in the making: a group of requests, checked for duplicates and given offsets, as one atomic batch.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};

use super::codec::{self, Latest, Mark, Meta};
use super::queue::{Request, Trim};
use super::store::{Failure, Store};
use super::topics::{Slot, Topics};
use crate::log::{Append, Appended, Offset, Position, Record};

/// When a partition begins a new segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentLimits {
    pub(super) bytes_max: u64,
    /// So that a partition with little traffic loses its old records too. In microseconds.
    pub(super) age_max: i64,
}

pub(super) struct Stage<'a> {
    topics: &'a Topics,
    store: &'a Store,
    segments: SegmentLimits,
    appended_at: i64,
    batch: OwnedWriteBatch,
    ids: HashMap<(usize, [u8; 16]), Position>,
    latest: BTreeMap<(usize, Bytes), Option<Latest>>,
    state: BTreeMap<Vec<u8>, Option<Bytes>>,
    changes: Changes,
}

/// What memory has to follow once the batch is durable.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) grown: BTreeMap<Slot, Grown>,
    pub(super) progress: BTreeMap<Vec<u8>, Offset>,
    pub(super) starts: Vec<(Slot, Offset)>,
    /// How many, by topic.
    pub(super) duplicates: BTreeMap<usize, u64>,
    pub(super) records: usize,
}

/// Records at the end of a partition.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) end: Offset,
    pub(super) records: Vec<Record>,
    pub(super) new_marks: Vec<Mark>,
    pub(super) bytes_end: u64,
    segment: Option<Mark>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(topics: &'a Topics, store: &'a Store, segments: SegmentLimits, appended_at: i64) -> Self {
        Self {
            topics,
            store,
            segments,
            appended_at,
            batch: store.batch(),
            ids: HashMap::new(),
            latest: BTreeMap::new(),
            state: BTreeMap::new(),
            changes: Changes::default(),
        }
    }

    /// Adds a request. After a failure the whole stage is of no use.
    pub(super) fn add(&mut self, request: &mut Request) -> Result<Vec<Appended>, Failure> {
        let publish = std::mem::take(&mut request.publish);
        let appended = publish.into_iter().map(|(slot, record)| self.append(slot, record)).collect();
        self.state.extend(std::mem::take(&mut request.state));
        self.changes.progress.extend(std::mem::take(&mut request.progress));
        for trim in &request.trim {
            self.trim(trim);
        }
        appended
    }

    /// Makes the group durable: `durability` or more.
    pub(super) fn commit(mut self, durability: PersistMode) -> Result<Changes, Failure> {
        for ((topic, key), newest) in std::mem::take(&mut self.latest) {
            let Some(keyspace) = self.store.latest(topic) else { continue };
            match newest {
                Some(newest) => self.batch.insert(keyspace, &key[..], codec::latest(&newest)),
                None => self.batch.remove(keyspace, &key[..]),
            }
        }
        for (key, value) in std::mem::take(&mut self.state) {
            match value {
                Some(value) => self.batch.insert(&self.store.state, key, &value[..]),
                None => self.batch.remove(&self.store.state, key),
            }
        }
        for (key, next) in &self.changes.progress {
            self.batch.insert(&self.store.meta, key, next.0.to_be_bytes().as_slice());
        }
        let touched = self
            .changes
            .grown
            .keys()
            .flat_map(|slot| [self.store.records(*slot), self.store.ids(self.topics.topic_index(*slot))]);
        self.store.wait_for_room(touched.chain([&self.store.state, &self.store.meta]))?;
        // What is removed must be known on disk before files are: a start that a power cut takes back would promise
        // records that are gone.
        let durability = if self.changes.starts.is_empty() { durability } else { PersistMode::SyncAll };
        self.batch.durability(Some(durability)).commit()?;
        Ok(self.changes)
    }

    fn append(&mut self, slot: Slot, record: Append) -> Result<Appended, Failure> {
        let topic = self.topics.topic_index(slot);
        if let Some(id) = record.id {
            let held = match self.ids.get(&(topic, id)) {
                Some(held) => Some(*held),
                None => self.store.find_id(self.topics, topic, &id)?,
            };
            if let Some(held) = held {
                *self.changes.duplicates.entry(topic).or_default() += 1;
                return Ok(Appended::Duplicate(held));
            }
        }
        let value = Bytes::from(codec::record(self.appended_at, &record.key, &record.value));
        let offset = self.extend(slot, &value, record.key.len());
        let position = Position { partition: self.topics.partition(slot), offset };
        self.batch.insert(self.store.records(slot), offset.0.to_be_bytes().as_slice(), &value[..]);
        if let Some(id) = record.id {
            self.ids.insert((topic, id), position);
            self.batch.insert(self.store.ids(topic), id.as_slice(), codec::position(position).as_slice());
        }
        if self.topics.is_compacted(slot) {
            self.supersede(topic, record, position)?;
        }
        Ok(Appended::At(position))
    }

    /// Puts a record at the end of its partition.
    fn extend(&mut self, slot: Slot, encoded: &Bytes, key: usize) -> Offset {
        let topics = self.topics;
        let grown = self.changes.grown.entry(slot).or_insert_with(|| {
            let (segment, bytes_end) = topics.last_segment(slot);
            Grown { end: topics.bounds(slot).end, records: Vec::new(), new_marks: Vec::new(), bytes_end, segment }
        });
        let offset = grown.end;
        let begins = !topics.is_compacted(slot)
            && grown.segment.is_none_or(|segment| {
                grown.bytes_end - segment.bytes_before >= self.segments.bytes_max
                    || self.appended_at.saturating_sub(segment.at) >= self.segments.age_max
            });
        if begins {
            let mark = Mark { first: offset, at: self.appended_at, bytes_before: grown.bytes_end };
            let key = codec::meta_at(Meta::Mark, topics.topic(slot).spec.topic, topics.partition(slot), offset);
            self.batch.insert(&self.store.meta, key, codec::mark(mark).as_slice());
            grown.segment = Some(mark);
            grown.new_marks.push(mark);
        }
        let (key, value) = (codec::RECORD_HEADER..codec::RECORD_HEADER + key, codec::RECORD_HEADER + key..);
        grown.records.push(Record {
            offset,
            appended_at: self.appended_at,
            key: encoded.slice(key),
            value: encoded.slice(value),
        });
        grown.bytes_end += 8 + encoded.len() as u64;
        grown.end = offset.next();
        self.changes.records += 1;
        offset
    }

    /// Makes a record the newest of its key; an empty value leaves none.
    fn supersede(&mut self, topic: usize, record: Append, position: Position) -> Result<(), Failure> {
        let newest = Latest { position, id: record.id, value: record.value };
        let held = match self.latest.get(&(topic, record.key.clone())) {
            Some(held) => held.clone(),
            None => self.store.find_latest(topic, &record.key)?,
        };
        let removes = newest.value.is_empty();
        let superseded = held.into_iter().chain(removes.then(|| newest.clone()));
        for old in superseded {
            let name = self.topics.list[topic].spec.topic;
            let key = codec::meta_at(Meta::Superseded, name, old.position.partition, old.position.offset);
            self.batch.insert(&self.store.meta, key, old.id.as_ref().map_or(&[][..], |id| &id[..]));
        }
        self.latest.insert((topic, record.key), (!removes).then_some(newest));
        Ok(())
    }

    fn trim(&mut self, trim: &Trim) {
        match *trim {
            Trim::Before { slot, start } => {
                let (topic, partition) = (self.topics.topic(slot).spec.topic, self.topics.partition(slot));
                let key = codec::meta(Meta::Start, topic, partition);
                self.batch.insert(&self.store.meta, key, start.0.to_be_bytes().as_slice());
                let marks = self.topics.segments(slot).marks;
                let gone = marks.iter().zip(marks.iter().skip(1)).take_while(|(_, next)| next.first <= start);
                for (mark, _) in gone {
                    let key = codec::meta_at(Meta::Mark, topic, partition, mark.first);
                    self.batch.remove(&self.store.meta, key);
                }
                self.changes.starts.push((slot, start));
            }
            Trim::Superseded { slot, offset, id } => {
                let (topic, partition) = (self.topics.topic(slot).spec.topic, self.topics.partition(slot));
                self.batch.remove(&self.store.meta, codec::meta_at(Meta::Superseded, topic, partition, offset));
                self.batch.remove(self.store.records(slot), offset.0.to_be_bytes().as_slice());
                if let Some(id) = id {
                    self.batch.remove(self.store.ids(self.topics.topic_index(slot)), id.as_slice());
                }
                // The last record of a partition may go this way, and its offset must not be given again.
                let end = self.topics.bounds(slot).end.0.to_be_bytes();
                self.batch.insert(&self.store.meta, codec::meta(Meta::End, topic, partition), end.as_slice());
            }
        }
    }
}
