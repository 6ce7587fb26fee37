//! Entries of the duplicate index leave with the records they point to: not by a deletion each, but the next time
//! compaction rewrites the file they are in. Until then a look-up sees that they point before the start.
//!
//! The consequence: a record whose first copy was removed by retention is new when it is sent again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fjall::compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict};

use super::codec;
use super::topics::{Starts, Topics};

type Assigner = Arc<dyn Fn(&str) -> Option<Arc<dyn Factory>> + Send + Sync>;

pub(super) fn ids_keyspace(topic: &str) -> String {
    format!("ids.{topic}")
}

/// Gives each topic's index its filter.
pub(super) fn of_topics(topics: &Topics) -> Assigner {
    let by_name = topics.list.iter().map(|held| (ids_keyspace(held.spec.topic), Arc::clone(&held.starts)));
    let by_name: Vec<(String, Starts)> = by_name.collect();
    Arc::new(move |keyspace| {
        let (_, starts) = by_name.iter().find(|(name, _)| name == keyspace)?;
        Some(Arc::new(Expired(Arc::clone(starts))))
    })
}

struct Expired(Starts);

impl Factory for Expired {
    fn name(&self) -> &'static str {
        "expired"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl CompactionFilter for Expired {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let Ok(position) = codec::read_position(&item.value()?) else { return Ok(Verdict::Keep) };
        let start = self.0.get(position.partition.0 as usize).map_or(0, |start| start.load(Ordering::Acquire));
        // An older copy that comes back to light points before the start as well.
        Ok(if position.offset.0 < start { Verdict::Destroy } else { Verdict::Keep })
    }
}
