//! Writing what could not be accepted, so that it can be mended and replayed.

use bytes::Bytes;
use martingale_platform::log::Append;
use martingale_schemas::record::DeadLetter;
use martingale_schemas::{Rejection, Timestamp, topics};

use crate::Door;

/// One rejected envelope as a record for the log. `index` tells two equal ones of one request apart.
pub(crate) fn append(
    door: Door,
    arrival: Timestamp,
    index: usize,
    rejection: &Rejection,
    payload: &[u8],
    bytes_max: usize,
) -> Append {
    let identity: [&[u8]; 3] = [payload, &arrival.as_micros().to_le_bytes(), &(index as u64).to_le_bytes()];
    let letter = DeadLetter::new(door.as_str(), &identity, arrival, rejection.clone(), payload, bytes_max);
    // Cannot fail: the writer is memory and every key is a string.
    let value = serde_json::to_vec(&letter).unwrap_or_default();
    Append::new(topics::DEAD_LETTER, Bytes::from(letter.id), Bytes::from(value))
}
