//! The one thread that writes. It takes what has queued while it wrote before, writes it as one batch and tells who
//! waits. After a failed write it opens the store again before the next one, once the disk takes writes.

use std::sync::Arc;
use std::time::Instant;

use super::config::Durability;
use super::queue::Request;
use super::shared::Shared;
use super::stage::{Changes, Stage};
use super::store::Failure;
use crate::log::Appended;

/// Runs until the queue is closed and drained.
pub(super) fn run(shared: &Arc<Shared>) {
    // However this thread ends, nobody waits for an answer that will not come.
    let _refuse = RefuseOnExit(shared);
    let mut appended_at = i64::MIN;
    while let Some(group) = shared.queue.take(shared.config.group_commit) {
        // The clock may be set back; the times of a partition's records only grow.
        appended_at = appended_at.max(shared.clock.now_micros());
        write(shared, group, appended_at);
    }
}

struct RefuseOnExit<'a>(&'a Shared);

impl Drop for RefuseOnExit<'_> {
    fn drop(&mut self) {
        self.0.queue.close();
        while self.0.queue.take(self.0.config.group_commit).is_some() {}
    }
}

fn write(shared: &Shared, mut group: Vec<Request>, appended_at: i64) {
    let written = repair_if_broken(shared).and_then(|()| commit(shared, &mut group, appended_at));
    shared.queue.release(group.iter().map(|request| request.bytes).sum());
    // An answer that cannot be sent is one nobody waits for any more.
    match written {
        Ok(appended) => {
            for (request, appended) in group.into_iter().zip(appended) {
                let _ = request.answer.send(Ok(appended));
            }
        }
        Err(failure) => {
            shared.metrics.write_failures.inc();
            tracing::error!(error = %failure, requests = group.len(), "log write failed");
            for request in group {
                let _ = request.answer.send(Err(failure.clone().into()));
            }
        }
    }
}

fn repair_if_broken(shared: &Shared) -> Result<(), Failure> {
    let Err(reason) = shared.healthy() else { return Ok(()) };
    // Opening the store brings it what it lacks of the journal: not worth it while the disk refuses.
    shared
        .folder
        .probe(shared.pending.bytes())
        .map_err(|error| Failure::Storage(format!("{reason}; the disk still refuses: {error}")))?;
    shared.reopen()
}

fn commit(shared: &Shared, group: &mut [Request], appended_at: i64) -> Result<Vec<Vec<Appended>>, Failure> {
    shared.pending.wait_for_room(|| shared.healthy().map_err(Failure::Storage))?;
    shared.with_store(|store| {
        let mut stage = Stage::new(&shared.topics, shared.view(store), shared.segment_limits(), appended_at);
        let appended = group.iter_mut().map(|request| stage.add(request)).collect::<Result<Vec<_>, _>>()?;
        let started = Instant::now();
        let sync = shared.config.durability == Durability::Fsync;
        let changes = stage.commit(&shared.journal, sync).inspect_err(|failure| shared.set_broken(failure))?;
        shared.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        apply(shared, changes);
        Ok(appended)
    })
}

/// Lets readers see what is durable now.
fn apply(shared: &Shared, changes: Changes) {
    #[expect(clippy::cast_precision_loss, reason = "a count of records in memory")]
    shared.metrics.group_records.observe(changes.records as f64);
    for (topic, duplicates) in changes.duplicates {
        shared.topics.list[topic].metrics.duplicates.inc_by(duplicates);
    }
    for (slot, grown) in changes.grown {
        let metrics = &shared.topics.topic(slot).metrics;
        metrics.records.inc_by(grown.records.len() as u64);
        metrics.bytes.inc_by(grown.bytes_end - shared.topics.last_segment(slot).1);
        shared.tail.push(slot, grown.records);
        shared.topics.grow(slot, grown.end, &grown.new_marks, grown.bytes_end);
    }
    shared.topics.commit(changes.progress);
    for (slot, start) in changes.starts {
        shared.topics.trim(slot, start);
    }
}
