//! The thread that brings what the journal holds to the store, behind everybody who waits for an answer.

use std::sync::Arc;
use std::time::Instant;

use super::pending::Generation;
use super::shared::Shared;
use super::store::Failure;
use crate::background;

/// Runs until [`super::pending::Pending`] is closed and empty. After a failure the log is repaired by the writer, who
/// opens the store again and reads the journal: then there is nothing left to bring.
pub(super) fn run(shared: &Arc<Shared>) {
    background::lower_priority();
    while let Some(generation) = shared.pending.take() {
        let broken = shared.healthy().map_err(Failure::Storage);
        match broken.and_then(|()| apply(shared, &generation)) {
            Ok(()) => shared.pending.applied(&generation),
            Err(_) => {
                if !shared.pending.wait_to_retry() {
                    return;
                }
            }
        }
    }
}

fn apply(shared: &Shared, generation: &Generation) -> Result<(), Failure> {
    let started = Instant::now();
    let bring = |store: &super::store::Store| {
        // On the disk before any of it is in the store: whatever a power cut leaves there, the journal makes it whole.
        shared.journal.sync()?;
        store.apply(generation)
    };
    shared.with_store(bring).inspect_err(|failure| {
        tracing::error!(error = %failure, "log store cannot be written");
        shared.set_broken(failure);
    })?;
    shared.metrics.apply_seconds.observe(started.elapsed().as_secs_f64());
    Ok(())
}
