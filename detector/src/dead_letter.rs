//! Records that ingest did not write and that cannot be judged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use martingale_platform::log::{Append, Partition, Record, Topic};
use martingale_schemas::record::DeadLetter;
use martingale_schemas::{Rejection, Timestamp, ids, topics};

/// Bytes of a payload that are kept.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// The dead letter for a record of `topic`. Derived from the record and its place, so that it is the same one each time.
pub(crate) fn append(topic: Topic, partition: Partition, record: &Record, rejection: Rejection) -> Append {
    let id = [topic.as_bytes(), &partition.0.to_le_bytes(), &record.offset.0.to_le_bytes()];
    let kept = &record.value[..record.value.len().min(PAYLOAD_BYTES_MAX)];
    let (payload, payload_is_base64) = match std::str::from_utf8(kept) {
        Ok(text) => (text.to_owned(), false),
        // Cut within a character: the rest is text.
        Err(error) if error.error_len().is_none() && kept.len() < record.value.len() => {
            (String::from_utf8_lossy(&kept[..error.valid_up_to()]).into_owned(), false)
        }
        Err(_) => (STANDARD.encode(kept), true),
    };
    let letter = DeadLetter {
        id: ids::derive("dl-", &id),
        time: Timestamp::from_micros(record.appended_at),
        source: format!("log_{topic}"),
        reason: rejection.reason,
        field: rejection.field.map(std::borrow::Cow::into_owned),
        message: rejection.message,
        payload,
        payload_is_base64,
        payload_truncated_from: (kept.len() < record.value.len()).then_some(record.value.len() as u64),
    };
    Append::new(topics::DEAD_LETTER, record.key.clone(), json(&letter)).to_partition(partition)
}

/// A record of ours as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Bytes {
    let mut out = Vec::with_capacity(512);
    // Cannot fail: the writer is memory and every map key is a string.
    let _ = serde_json::to_writer(&mut out, value);
    out.into()
}

#[cfg(test)]
mod tests {
    use martingale_platform::log::Offset;
    use martingale_schemas::Reason;

    use super::*;

    fn letter(value: Vec<u8>) -> DeadLetter {
        let record =
            Record { offset: Offset(7), appended_at: 1_000_000, key: Bytes::from_static(b"k"), value: value.into() };
        let rejection = Rejection::field(Reason::MissingField, "kind", "`kind` is required");
        let append = append(topics::STEPS, Partition(3), &record, rejection);
        assert_eq!((append.topic, append.key.as_ref()), (topics::DEAD_LETTER, b"k".as_slice()));
        serde_json::from_slice(&append.value).expect("own JSON")
    }

    #[test]
    fn payloads_are_kept_as_far_as_they_go() {
        let long = "é".repeat(PAYLOAD_BYTES_MAX / 2);
        let cases: [(Vec<u8>, &str, bool, Option<u64>); 4] = [
            (b"{}".to_vec(), "{}", false, None),
            (vec![0xff, 0xfe], "//4=", true, None),
            (long.clone().into_bytes(), &long, false, None),
            (format!("x{long}").into_bytes(), &format!("x{}", &long[2..]), false, Some(PAYLOAD_BYTES_MAX as u64 + 1)),
        ];
        for (value, payload, payload_is_base64, payload_truncated_from) in cases {
            let got = letter(value);
            assert_eq!(got.payload, payload);
            assert_eq!(
                (got.payload_is_base64, got.payload_truncated_from),
                (payload_is_base64, payload_truncated_from)
            );
            assert_eq!(
                (got.source.as_str(), got.reason, got.field.as_deref()),
                ("log_steps", Reason::MissingField, Some("kind"))
            );
        }
        assert_eq!(letter(b"a".to_vec()).id, letter(b"b".to_vec()).id, "the place is the identity");
    }
}
