//! Reads of what is durable: [`Pending`] over the store.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::codec::{self, Latest};
use super::pending::{Entries, Pending};
use super::space::Space;
use super::store::{Failure, Store};
use super::take_within;
use super::topics::{Slot, Topics};
use crate::log::{Offset, Position, ReadLimit, Record};

/// The store and what it has not got yet.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    pub(super) pending: &'a Pending,
}

impl View<'_> {
    pub(super) fn get(self, space: Space, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        // In this order: what leaves the one meanwhile is in the other.
        match self.pending.get(space, key) {
            Some(newest) => Ok(newest),
            None => self.store.get(space, key),
        }
    }

    /// Where the record of this identity is; one that retention has removed is not there, whatever the index holds yet.
    pub(super) fn find_id(self, topics: &Topics, topic: usize, id: &[u8; 16]) -> Result<Option<Position>, Failure> {
        let Some(entry) = self.get(topics.spaces.ids(topic), id)? else { return Ok(None) };
        let position = codec::read_position(&entry)?;
        let start = topics.list[topic].starts.get(position.partition.0 as usize);
        Ok(start.is_some_and(|start| position.offset.0 >= start.load(Ordering::Acquire)).then_some(position))
    }

    pub(super) fn find_latest(self, topics: &Topics, topic: usize, key: &[u8]) -> Result<Option<Latest>, Failure> {
        let Some(entry) = self.get(topics.spaces.latest(topic), key)? else { return Ok(None) };
        Ok(Some(codec::read_latest(&entry)?))
    }

    /// Entries below `prefix` after `after`, with the prefix taken off the keys. Fewer than `limit` means that there are no more.
    pub(super) fn page(
        self,
        space: Space,
        prefix: &[u8],
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let mut from = match after {
            Some(after) => Bound::Excluded([prefix, &after].concat()),
            None => Bound::Included(prefix.to_vec()),
        };
        let mut page = Vec::new();
        loop {
            let bounds = (from.as_ref().map(Vec::as_slice), Bound::Unbounded);
            let [applying, active] = self.pending.range(space, bounds, limit);
            let stored = self.store.range(space, bounds, limit)?;
            let (merged, horizon) = merge([stored, applying, active]);
            let mut ends = false;
            for (key, value) in merged {
                if !key.starts_with(prefix) {
                    ends = true;
                    break;
                }
                if let Some(value) = value
                    && page.len() < limit
                {
                    page.push((key.slice(prefix.len()..), value));
                }
            }
            match horizon {
                // Some of it was removed: what follows is still to be looked at.
                Some(horizon) if page.len() < limit && !ends => from = Bound::Excluded(horizon.to_vec()),
                _ => return Ok(page),
            }
        }
    }

    /// Records from `from` up to but not including `end`.
    pub(super) fn records(
        self,
        topics: &Topics,
        slot: Slot,
        mut from: Offset,
        end: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Failure> {
        let space = topics.spaces.records(slot);
        loop {
            let (first, past) = (from.0.to_be_bytes(), end.0.to_be_bytes());
            let bounds = (Bound::Included(&first[..]), Bound::Excluded(&past[..]));
            // One record is read whatever the limit.
            let [applying, active] = self.pending.range(space, bounds, limit.records_max.max(1));
            let (stored, more) = self.store.read(slot, from, end, limit)?;
            if applying.entries.is_empty() && active.entries.is_empty() {
                return Ok(stored);
            }
            let reached = stored.last().map(|record| record.offset).filter(|_| more);
            let horizon = [&applying, &active].into_iter().filter_map(|it| it.entries.last().filter(|_| it.more));
            let horizon = horizon.map(|(key, _)| codec::offset(key)).collect::<Result<Vec<_>, _>>()?;
            let horizon = horizon.into_iter().chain(reached).min();
            let mut merged: BTreeMap<Offset, Option<Record>> =
                stored.into_iter().map(|record| (record.offset, Some(record))).collect();
            for (key, value) in applying.entries.into_iter().chain(active.entries) {
                let offset = codec::offset(&key)?;
                merged.insert(offset, value.map(|value| codec::read_record(offset, &value)).transpose()?);
            }
            let within = merged.into_iter().take_while(|(offset, _)| horizon.is_none_or(|horizon| *offset <= horizon));
            let records = take_within(limit, within.filter_map(|(_, record)| record));
            match horizon {
                Some(horizon) if records.is_empty() => from = horizon.next(),
                _ => return Ok(records),
            }
        }
    }
}

/// The entries of all sources up to where one of them may lack some; of each key that of the last source.
fn merge(sources: [Entries; 3]) -> (impl Iterator<Item = (Bytes, Option<Bytes>)>, Option<Bytes>) {
    let ends = sources.iter().filter(|it| it.more).filter_map(|it| it.entries.last());
    let horizon = ends.map(|(key, _)| key.clone()).min();
    let merged: BTreeMap<Bytes, Option<Bytes>> = sources.into_iter().flat_map(|it| it.entries).collect();
    let last = horizon.clone();
    (merged.into_iter().take_while(move |(key, _)| last.as_ref().is_none_or(|last| key <= last)), horizon)
}
