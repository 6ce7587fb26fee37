//! Records that ingest did not write and that cannot be judged.

use bytes::Bytes;
use martingale_platform::log::{Append, Partition, Record, Topic};
use martingale_schemas::record::DeadLetter;
use martingale_schemas::{Rejection, Timestamp, topics};

/// Bytes of a payload that are kept, as JSON writes them; with all else far below what a log takes as one record.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a key that are kept: those of ours are ids, and what is no step may have any.
const KEY_BYTES_MAX: usize = 1024;

/// The dead letter for a record of `topic`. Derived from the record's place, so that it is the same one each time.
pub(crate) fn append(topic: Topic, partition: Partition, record: &Record, rejection: Rejection) -> Append {
    let identity: [&[u8]; 2] = [&partition.0.to_le_bytes(), &record.offset.0.to_le_bytes()];
    let time = Timestamp::from_micros(record.appended_at);
    let letter = DeadLetter::new(format!("log_{topic}"), &identity, time, rejection, &record.value, PAYLOAD_BYTES_MAX);
    let key = record.key.slice(..record.key.len().min(KEY_BYTES_MAX));
    Append::new(topics::DEAD_LETTER, key, json(&letter)).to_partition(partition)
}

/// A record of ours as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Bytes {
    let mut out = Vec::with_capacity(512);
    // Cannot fail: the writer is memory and every map key is a string.
    let _ = serde_json::to_writer(&mut out, value);
    out.into()
}
