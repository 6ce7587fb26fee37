//! Keys and values as they stand on disk, format 1. Big-endian, so that the order of bytes is the order of numbers.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `records.<topic>.<partition>` | offset `u64` | version `u8` = 1, appended at `i64` µs, key length `u32`, key, value |
//! | `ids.<topic>` | the 16 bytes | partition `u32`, offset `u64` |
//! | `latest.<topic>` (compacted) | record key | partition `u32`, offset `u64`, length of id `u8` (0 or 16), id, value |
//! | `state` | store, partition `u32`, key | as given |
//! | `meta` | `s` topic, partition | start of the partition, `u64` |
//! | `meta` | `e` topic, partition | an offset that was the end once, `u64` |
//! | `meta` | `m` topic, partition, first offset `u64` | segment: appended at `i64` µs, bytes before it `u64` |
//! | `meta` | `g` topic, partition, offset `u64` | superseded record: its id, or nothing |
//! | `meta` | `c` consumer, topic, partition | next offset `u64` |
//! | `meta` | `a` | number of the journal's last group that is here, `u64` |
//!
//! A name (store, topic, consumer) is its length as `u8` and its bytes.

use bytes::Bytes;

use crate::log::{Offset, Partition, Position, Record};

/// Bytes of a record before its key.
pub(super) const RECORD_HEADER: usize = 1 + 8 + 4;
const RECORD_VERSION: u8 = 1;

/// A value on disk that no release wrote.
#[derive(Debug, thiserror::Error)]
#[error("unreadable {0} on disk")]
pub(super) struct Corrupt(pub(super) &'static str);

pub(super) fn record(appended_at: i64, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_HEADER + key.len() + value.len());
    bytes.push(RECORD_VERSION);
    bytes.extend_from_slice(&appended_at.to_be_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "lengths are checked on the way in")]
    bytes.extend_from_slice(&(key.len() as u32).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    bytes
}

/// Reads a record; its key and value share `bytes`.
pub(super) fn read_record(offset: Offset, bytes: &Bytes) -> Result<Record, Corrupt> {
    let corrupt = Corrupt("record");
    let Some((&[RECORD_VERSION], rest)) = bytes.split_first_chunk::<1>() else { return Err(corrupt) };
    let Some((appended_at, rest)) = rest.split_first_chunk::<8>() else { return Err(corrupt) };
    let Some((key, rest)) = rest.split_first_chunk::<4>() else { return Err(corrupt) };
    let key = u32::from_be_bytes(*key) as usize;
    if key > rest.len() {
        return Err(corrupt);
    }
    let value = RECORD_HEADER + key;
    let appended_at = i64::from_be_bytes(*appended_at);
    Ok(Record { offset, appended_at, key: bytes.slice(RECORD_HEADER..value), value: bytes.slice(value..) })
}

pub(super) fn offset(bytes: &[u8]) -> Result<Offset, Corrupt> {
    bytes.try_into().map(|bytes| Offset(u64::from_be_bytes(bytes))).map_err(|_| Corrupt("offset"))
}

pub(super) fn position(position: Position) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&position.partition.0.to_be_bytes());
    bytes[4..].copy_from_slice(&position.offset.0.to_be_bytes());
    bytes
}

pub(super) fn read_position(bytes: &[u8]) -> Result<Position, Corrupt> {
    match bytes.split_first_chunk::<4>() {
        Some((partition, rest)) if rest.len() == 8 => {
            Ok(Position { partition: Partition(u32::from_be_bytes(*partition)), offset: offset(rest)? })
        }
        _ => Err(Corrupt("position")),
    }
}

/// The newest record of a key of a compacted topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) position: Position,
    pub(super) id: Option<[u8; 16]>,
    pub(super) value: Bytes,
}

pub(super) fn latest(latest: &Latest) -> Vec<u8> {
    let mut bytes = position(latest.position).to_vec();
    match latest.id {
        Some(id) => {
            bytes.push(16);
            bytes.extend_from_slice(&id);
        }
        None => bytes.push(0),
    }
    bytes.extend_from_slice(&latest.value);
    bytes
}

pub(super) fn read_latest(bytes: &[u8]) -> Result<Latest, Corrupt> {
    let corrupt = || Corrupt("newest record of a key");
    let (place, rest) = bytes.split_at_checked(12).ok_or_else(corrupt)?;
    let (length, rest) = rest.split_first().ok_or_else(corrupt)?;
    let (id, value) = rest.split_at_checked(usize::from(*length)).ok_or_else(corrupt)?;
    Ok(Latest { position: read_position(place)?, id: read_id(id)?, value: Bytes::copy_from_slice(value) })
}

pub(super) fn read_id(bytes: &[u8]) -> Result<Option<[u8; 16]>, Corrupt> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| Corrupt("id"))
}

/// Where a segment of a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) first: Offset,
    /// When its first record was appended.
    pub(super) at: i64,
    /// Bytes of all records of the partition before it, removed ones included.
    pub(super) bytes_before: u64,
}

pub(super) fn mark(mark: Mark) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mark.at.to_be_bytes());
    bytes[8..].copy_from_slice(&mark.bytes_before.to_be_bytes());
    bytes
}

/// `key` is of the partition's marks: it ends with the first offset.
pub(super) fn read_mark(key: &[u8], value: &[u8]) -> Result<Mark, Corrupt> {
    let corrupt = || Corrupt("segment");
    let first = key.last_chunk::<8>().ok_or_else(corrupt)?;
    let (at, rest) = value.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let bytes_before = rest.try_into().map_err(|_| corrupt())?;
    Ok(Mark {
        first: Offset(u64::from_be_bytes(*first)),
        at: i64::from_be_bytes(*at),
        bytes_before: u64::from_be_bytes(bytes_before),
    })
}

/// The keys of `meta` that belong to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Meta {
    Start = b's',
    End = b'e',
    Mark = b'm',
    Superseded = b'g',
}

pub(super) fn meta(kind: Meta, topic: &str, partition: Partition) -> Vec<u8> {
    let mut key = vec![kind as u8];
    push_name(&mut key, topic);
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}

pub(super) fn meta_at(kind: Meta, topic: &str, partition: Partition, offset: Offset) -> Vec<u8> {
    let mut key = meta(kind, topic, partition);
    key.extend_from_slice(&offset.0.to_be_bytes());
    key
}

/// The key of how far the store has taken over the journal.
pub(super) const APPLIED: &[u8] = b"a";

/// What the keys of all consumers' positions begin with.
pub(super) const COMMITTED: &[u8] = b"c";

pub(super) fn committed(consumer: &str, topic: &str, partition: Partition) -> Vec<u8> {
    let mut key = COMMITTED.to_vec();
    push_name(&mut key, consumer);
    push_name(&mut key, topic);
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}

/// Consumer, topic and partition of a key of [`committed`].
pub(super) fn read_committed(key: &[u8]) -> Result<(&[u8], &[u8], Partition), Corrupt> {
    let corrupt = || Corrupt("position of a consumer");
    let rest = key.strip_prefix(COMMITTED).ok_or_else(corrupt)?;
    let (consumer, rest) = split_name(rest).ok_or_else(corrupt)?;
    let (topic, rest) = split_name(rest).ok_or_else(corrupt)?;
    let partition = rest.try_into().map_err(|_| corrupt())?;
    Ok((consumer, topic, Partition(u32::from_be_bytes(partition))))
}

/// What the keys of one store and partition begin with.
pub(super) fn state(store: &str, partition: Partition, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + store.len() + 4 + key.len());
    push_name(&mut bytes, store);
    bytes.extend_from_slice(&partition.0.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

fn push_name(bytes: &mut Vec<u8>, name: &str) {
    #[expect(clippy::cast_possible_truncation, reason = "names are checked on the way in")]
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name.as_bytes());
}

fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { partition: Partition(3), offset: Offset(0x0102) };

    /// Format 1, byte for byte. When one of these changes, folders in use become unreadable: write a new version beside.
    #[test]
    fn bytes_of_format_1() {
        let newest = Latest { position: AT, id: Some([9; 16]), value: Bytes::from_static(b"v") };
        let no_id = Latest { id: None, ..newest.clone() };
        let segment = Mark { first: Offset(7), at: 1_000, bytes_before: 513 };
        let cases: [(&str, Vec<u8>, &[u8]); 12] = [
            ("record", record(-2, b"key", b"value"), b"\x01\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\x03keyvalue"),
            ("empty record", record(1, b"", b""), b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0"),
            ("position", position(AT).to_vec(), b"\0\0\0\x03\0\0\0\0\0\0\x01\x02"),
            (
                "latest",
                latest(&newest),
                b"\0\0\0\x03\0\0\0\0\0\0\x01\x02\x10\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09v",
            ),
            ("latest, no id", latest(&no_id), b"\0\0\0\x03\0\0\0\0\0\0\x01\x02\0v"),
            ("mark", mark(segment).to_vec(), b"\0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\x02\x01"),
            ("start", meta(Meta::Start, "steps", Partition(1)), b"s\x05steps\0\0\0\x01"),
            ("end", meta(Meta::End, "steps", Partition(1)), b"e\x05steps\0\0\0\x01"),
            ("mark key", meta_at(Meta::Mark, "a", Partition(1), Offset(7)), b"m\x01a\0\0\0\x01\0\0\0\0\0\0\0\x07"),
            (
                "superseded",
                meta_at(Meta::Superseded, "a", Partition(1), Offset(7)),
                b"g\x01a\0\0\0\x01\0\0\0\0\0\0\0\x07",
            ),
            ("committed", committed("det", "steps", Partition(2)), b"c\x03det\x05steps\0\0\0\x02"),
            ("state", state("det", Partition(2), b"s/1"), b"\x03det\0\0\0\x02s/1"),
        ];
        for (what, written, expected) in cases {
            assert_eq!(written, expected, "{what}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = Bytes::from(record(-2, b"key", b"value"));
        let back = read_record(Offset(5), &bytes).expect("record");
        assert_eq!(
            (back.offset, back.appended_at, &back.key[..], &back.value[..]),
            (Offset(5), -2, &b"key"[..], &b"value"[..])
        );
        assert_eq!(read_position(&position(AT)).expect("position"), AT);
        for id in [None, Some([7; 16])] {
            let newest = Latest { position: AT, id, value: Bytes::from_static(b"\0v") };
            assert_eq!(read_latest(&latest(&newest)).expect("latest"), newest);
        }
        let segment = Mark { first: Offset(7), at: -1, bytes_before: 513 };
        let key = meta_at(Meta::Mark, "a", Partition(1), segment.first);
        assert_eq!(read_mark(&key, &mark(segment)).expect("mark"), segment);
        let key = committed("det", "steps", Partition(2));
        assert_eq!(read_committed(&key).expect("committed"), (&b"det"[..], &b"steps"[..], Partition(2)));
    }

    /// Every prefix of a good value is refused or read, none panics.
    #[test]
    fn cut_values_do_not_panic() {
        let bytes = Bytes::from(record(1, b"key", b""));
        for n in 0..bytes.len() {
            assert!(read_record(Offset(0), &bytes.slice(..n)).is_err(), "record cut to {n}");
        }
        let newest = latest(&Latest { position: AT, id: Some([7; 16]), value: Bytes::new() });
        for n in 0..newest.len() {
            assert!(read_latest(&newest[..n]).is_err(), "latest cut to {n}");
        }
        let key = committed("det", "steps", Partition(2));
        for n in 0..key.len() {
            assert!(read_committed(&key[..n]).is_err(), "committed cut to {n}");
        }
        assert!(
            read_record(Offset(0), &Bytes::from_static(b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0")).is_err(),
            "newer version"
        );
    }
}
