//! One write to disk in the making: a group of requests, checked for duplicates and given offsets, as one frame of the
//! journal.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::codec::{self, Latest, Mark, Meta};
use super::journal::Journal;
use super::queue::{Request, Trim};
use super::space::{Space, Spaces, Write};
use super::store::Failure;
use super::topics::{Slot, Topics};
use super::view::View;
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
    view: View<'a>,
    segments: SegmentLimits,
    appended_at: i64,
    writes: Vec<Write>,
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
    pub(super) fn new(topics: &'a Topics, view: View<'a>, segments: SegmentLimits, appended_at: i64) -> Self {
        Self {
            topics,
            view,
            segments,
            appended_at,
            writes: Vec::new(),
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

    /// Makes the group durable, on the disk if `sync`, and visible to reads by key.
    pub(super) fn commit(mut self, journal: &Journal, sync: bool) -> Result<Changes, Failure> {
        for ((topic, key), newest) in std::mem::take(&mut self.latest) {
            let value = newest.map(|newest| codec::latest(&newest).into());
            self.writes.push(Write { space: self.topics.spaces.latest(topic), key, value });
        }
        for (key, value) in std::mem::take(&mut self.state) {
            self.writes.push(Write { space: Spaces::STATE, key: key.into(), value });
        }
        for (key, next) in std::mem::take(&mut self.changes.progress) {
            self.set(Spaces::META, key.clone(), next.0.to_be_bytes());
            self.changes.progress.insert(key, next);
        }
        if self.writes.is_empty() {
            return Ok(self.changes);
        }
        // What is removed must be known on disk before files are: a start that a power cut takes back would promise
        // records that are gone.
        let number = journal.append(&self.writes, sync || !self.changes.starts.is_empty())?;
        self.view.pending.add(self.writes, number);
        Ok(self.changes)
    }

    fn set(&mut self, space: Space, key: impl Into<Bytes>, value: impl AsRef<[u8]>) {
        let value = Some(Bytes::copy_from_slice(value.as_ref()));
        self.writes.push(Write { space, key: key.into(), value });
    }

    fn remove(&mut self, space: Space, key: impl Into<Bytes>) {
        self.writes.push(Write { space, key: key.into(), value: None });
    }

    fn append(&mut self, slot: Slot, record: Append) -> Result<Appended, Failure> {
        let topic = self.topics.topic_index(slot);
        if let Some(id) = record.id {
            let held = match self.ids.get(&(topic, id)) {
                Some(held) => Some(*held),
                None => self.view.find_id(self.topics, topic, &id)?,
            };
            if let Some(held) = held {
                *self.changes.duplicates.entry(topic).or_default() += 1;
                return Ok(Appended::Duplicate(held));
            }
        }
        let value = Bytes::from(codec::record(self.appended_at, &record.key, &record.value));
        let offset = self.extend(slot, &value, record.key.len());
        let position = Position { partition: self.topics.partition(slot), offset };
        let key = Bytes::copy_from_slice(&offset.0.to_be_bytes());
        self.writes.push(Write { space: self.topics.spaces.records(slot), key, value: Some(value) });
        if let Some(id) = record.id {
            self.ids.insert((topic, id), position);
            self.set(self.topics.spaces.ids(topic), Bytes::copy_from_slice(&id), codec::position(position));
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
            let value = Some(Bytes::copy_from_slice(&codec::mark(mark)));
            self.writes.push(Write { space: Spaces::META, key: key.into(), value });
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
            None => self.view.find_latest(self.topics, topic, &record.key)?,
        };
        let removes = newest.value.is_empty();
        let superseded = held.into_iter().chain(removes.then(|| newest.clone()));
        for old in superseded {
            let name = self.topics.list[topic].spec.topic;
            let key = codec::meta_at(Meta::Superseded, name, old.position.partition, old.position.offset);
            self.set(Spaces::META, key, old.id.as_ref().map_or(&[][..], |id| &id[..]));
        }
        self.latest.insert((topic, record.key), (!removes).then_some(newest));
        Ok(())
    }

    fn trim(&mut self, trim: &Trim) {
        match *trim {
            Trim::Before { slot, start } => {
                let (topic, partition) = (self.topics.topic(slot).spec.topic, self.topics.partition(slot));
                let key = codec::meta(Meta::Start, topic, partition);
                self.set(Spaces::META, key, start.0.to_be_bytes());
                let marks = self.topics.segments(slot).marks;
                let gone = marks.iter().zip(marks.iter().skip(1)).take_while(|(_, next)| next.first <= start);
                for (mark, _) in gone {
                    let key = codec::meta_at(Meta::Mark, topic, partition, mark.first);
                    self.remove(Spaces::META, key);
                }
                self.changes.starts.push((slot, start));
            }
            Trim::Superseded { slot, offset, id } => {
                let (topic, partition) = (self.topics.topic(slot).spec.topic, self.topics.partition(slot));
                self.remove(Spaces::META, codec::meta_at(Meta::Superseded, topic, partition, offset));
                self.remove(self.topics.spaces.records(slot), Bytes::copy_from_slice(&offset.0.to_be_bytes()));
                if let Some(id) = id {
                    self.remove(self.topics.spaces.ids(self.topics.topic_index(slot)), Bytes::copy_from_slice(&id));
                }
                // The last record of a partition may go this way, and its offset must not be given again.
                let end = self.topics.bounds(slot).end.0.to_be_bytes();
                self.set(Spaces::META, codec::meta(Meta::End, topic, partition), end);
            }
        }
    }
}
