//! Writing what could not be accepted, so that it can be mended and replayed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use martingale_platform::log::Append;
use martingale_schemas::record::DeadLetter;
use martingale_schemas::{Rejection, Timestamp, ids, topics};

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
    let letter = letter(door, arrival, index, rejection, payload, bytes_max);
    // Cannot fail: the writer is memory and every key is a string.
    let value = serde_json::to_vec(&letter).unwrap_or_default();
    Append::new(topics::DEAD_LETTER, Bytes::from(letter.id), Bytes::from(value))
}

fn letter(
    door: Door,
    arrival: Timestamp,
    index: usize,
    rejection: &Rejection,
    payload: &[u8],
    bytes_max: usize,
) -> DeadLetter {
    let source = door.as_str();
    let parts: [&[u8]; 4] =
        [source.as_bytes(), payload, &arrival.as_micros().to_le_bytes(), &(index as u64).to_le_bytes()];
    let (text, payload_is_base64) = match std::str::from_utf8(payload) {
        Ok(text) => (text[..text.floor_char_boundary(bytes_max)].to_owned(), false),
        Err(_) => (BASE64.encode(&payload[..payload.len().min(bytes_max)]), true),
    };
    DeadLetter {
        id: ids::derive("dl-", &parts),
        time: arrival,
        source: source.to_owned(),
        reason: rejection.reason,
        field: rejection.field.as_deref().map(str::to_owned),
        message: rejection.message.clone(),
        payload: text,
        payload_is_base64,
        payload_truncated_from: (payload.len() > bytes_max).then_some(payload.len() as u64),
    }
}

/// The payload as it came, or why it cannot be had.
pub(crate) fn payload(letter: &DeadLetter) -> Result<Vec<u8>, String> {
    if let Some(whole) = letter.payload_truncated_from {
        return Err(format!("the payload had {whole} bytes and was cut: send it again from its source"));
    }
    if letter.payload_is_base64 {
        return BASE64.decode(&letter.payload).map_err(|error| format!("the payload is no base64: {error}"));
    }
    Ok(letter.payload.clone().into_bytes())
}

#[cfg(test)]
mod tests {
    use martingale_schemas::{Reason, Rejection, Timestamp};

    use super::{letter, payload};
    use crate::Door;

    fn of(bytes: &[u8], max: usize) -> martingale_schemas::record::DeadLetter {
        let rejection = Rejection::new(Reason::InvalidJson, "no");
        letter(Door::HttpSteps, Timestamp::from_micros(1), 0, &rejection, bytes, max)
    }

    #[test]
    fn a_payload_comes_back_as_it_was_unless_it_was_cut() {
        for bytes in [&b"{\"a\":1}"[..], b"", b"\xff\xfe\x00", "größer".as_bytes()] {
            assert_eq!(payload(&of(bytes, 64)).as_deref(), Ok(bytes));
        }
        let cut = of("größer".as_bytes(), 3);
        assert_eq!((cut.payload.as_str(), cut.payload_truncated_from), ("gr", Some(8)));
        assert!(payload(&cut).is_err_and(|message| message.contains("8 bytes")));
        assert!(payload(&of(b"\xff\xfe\x00", 2)).is_err());
    }

    #[test]
    fn each_arrival_has_its_own_id() {
        let rejection = Rejection::new(Reason::InvalidJson, "no");
        let id = |at, index| letter(Door::HttpSteps, Timestamp::from_micros(at), index, &rejection, b"x", 9).id;
        assert_eq!(id(1, 0), id(1, 0));
        assert_ne!(id(1, 0), id(2, 0));
        assert_ne!(id(1, 0), id(1, 1));
    }
}
