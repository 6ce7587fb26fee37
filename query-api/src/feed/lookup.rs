//! Finds the verdict of a step that was appended before, by where the step stands.
//!
//! Verdicts of a partition follow the order of their steps, so this is a search by halves: some twenty reads of one
//! record among a million. It stays exact where a log published verdicts again after a crash: their steps then go back
//! and forward once more, but forward always from one judged step to the next, so wherever the order passes the step
//! sought, it passes *through* it.

use bytes::Bytes;
use martingale_platform::log::{self, Log, Offset, Partition, Position, ReadLimit, Record};
use martingale_schemas::topics;

use super::event;

const ONE: ReadLimit = ReadLimit { records_max: 1, bytes_max: 1 };

/// What is known of a step's verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Found(Bytes),
    /// Not on the log: not judged yet.
    Missing,
    /// Older than what retention kept of the verdicts.
    Expired,
}

/// The verdict of the step at `step`.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn verdict_of(log: &dyn Log, step: Position) -> Result<Lookup, log::Error> {
    let bounds = log.bounds(topics::VERDICTS, step.partition).await?;
    let (mut low, mut high) = (bounds.start, bounds.end);
    // The first verdict at or after the step is in low..=high.
    while low < high {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        match first(log, step.partition, middle).await {
            Ok(Some(record)) if record.offset < high && offset_of_step(&record) < step.offset => {
                low = record.offset.next();
            }
            Ok(_) => high = middle,
            Err(log::Error::Expired { start, .. }) => low = start.max(middle.next()),
            Err(error) => return Err(error),
        }
    }
    let at_or_after = first(log, step.partition, low).await;
    Ok(match at_or_after {
        Ok(Some(record)) if offset_of_step(&record) == step.offset => Lookup::Found(record.value),
        Ok(Some(_)) if low > bounds.start || bounds.start == Offset::START => Lookup::Missing,
        Ok(None) if bounds.end > bounds.start || bounds.end == Offset::START => Lookup::Missing,
        Ok(_) | Err(log::Error::Expired { .. }) => Lookup::Expired,
        Err(error) => return Err(error),
    })
}

/// The verdict whose own place is known.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn verdict_at(log: &dyn Log, partition: Partition, at: Offset) -> Result<Lookup, log::Error> {
    Ok(match first(log, partition, at).await {
        Ok(Some(record)) if record.offset == at => Lookup::Found(record.value),
        Ok(_) | Err(log::Error::Expired { .. }) => Lookup::Expired,
        Err(error) => return Err(error),
    })
}

async fn first(log: &dyn Log, partition: Partition, from: Offset) -> Result<Option<Record>, log::Error> {
    Ok(log.read(topics::VERDICTS, partition, from, ONE).await?.into_iter().next())
}

/// A record that is no verdict sorts first: it is passed over.
fn offset_of_step(record: &Record) -> Offset {
    Offset(event::position(&record.value).map_or(0, |position| position.offset))
}
