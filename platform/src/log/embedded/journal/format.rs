//! A file of the journal, format 1: frames, the first a head, each other one a group. Big-endian.
//!
//! | part | bytes |
//! |---|---|
//! | frame | length of the payload `u32`, its XXH3 `u64`, payload |
//! | head | `martingale journal`, version `u8` = 1, number of names `u32`, each: length `u8`, name |
//! | group | its number `u64`, number of writes `u32`, each: index of a name `u32`, length of the key `u32`, key, and `0`, or `1`, length of the value `u32`, value |
//!
//! A name is that of a keyspace of the store. A frame that is cut or does not match its hash ends the file: it is of a
//! write that nobody was told of.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::log::embedded::codec::Corrupt;
use crate::log::embedded::space::{Space, Write};

const TITLE: &[u8] = b"martingale journal";
const VERSION: u8 = 1;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEADER: usize = 4 + 8;
const REMOVED: u8 = 0;
const SET: u8 = 1;

/// What one write to disk carries.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::log::embedded) struct Group {
    pub(in crate::log::embedded) number: u64,
    /// With [`Space`] an index into the names of the file's head.
    pub(in crate::log::embedded) writes: Vec<Write>,
}

pub(super) fn push_head(bytes: &mut Vec<u8>, names: &[String]) -> Result<(), Corrupt> {
    frame(bytes, |bytes| {
        bytes.extend_from_slice(TITLE);
        bytes.push(VERSION);
        push_length(bytes, names.len())?;
        for name in names {
            let length = u8::try_from(name.len()).map_err(|_| TOO_LONG)?;
            bytes.push(length);
            bytes.extend_from_slice(name.as_bytes());
        }
        Ok(())
    })
}

pub(super) fn push_group(bytes: &mut Vec<u8>, number: u64, writes: &[Write]) -> Result<(), Corrupt> {
    frame(bytes, |bytes| {
        bytes.extend_from_slice(&number.to_be_bytes());
        push_length(bytes, writes.len())?;
        for write in writes {
            bytes.extend_from_slice(&write.space.0.to_be_bytes());
            push_length(bytes, write.key.len())?;
            bytes.extend_from_slice(&write.key);
            match &write.value {
                None => bytes.push(REMOVED),
                Some(value) => {
                    bytes.push(SET);
                    push_length(bytes, value.len())?;
                    bytes.extend_from_slice(value);
                }
            }
        }
        Ok(())
    })
}

const TOO_LONG: Corrupt = Corrupt("group: too long for the journal");

fn frame(bytes: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>) -> Result<(), Corrupt>) -> Result<(), Corrupt> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; FRAME_HEADER]);
    payload(bytes)?;
    let body = start + FRAME_HEADER;
    let length = u32::try_from(bytes.len() - body).map_err(|_| TOO_LONG)?;
    let hash = xxh3_64(&bytes[body..]);
    bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    bytes[start + 4..body].copy_from_slice(&hash.to_be_bytes());
    Ok(())
}

fn push_length(bytes: &mut Vec<u8>, length: usize) -> Result<(), Corrupt> {
    bytes.extend_from_slice(&u32::try_from(length).map_err(|_| TOO_LONG)?.to_be_bytes());
    Ok(())
}

/// Length and hash of a frame.
pub(super) fn read_frame(header: [u8; FRAME_HEADER]) -> (u32, u64) {
    let [a, b, c, d, hash @ ..] = header;
    (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(hash))
}

pub(super) fn matches(payload: &[u8], hash: u64) -> bool {
    xxh3_64(payload) == hash
}

/// Names of a head.
pub(super) fn read_head(payload: &Bytes) -> Result<Vec<String>, Corrupt> {
    let mut rest = Reader(payload.clone());
    if rest.take(TITLE.len())? != TITLE || rest.byte()? != VERSION {
        return Err(Corrupt("head of the journal (a newer release may have written it)"));
    }
    let count = rest.length()?;
    (0..count)
        .map(|_| {
            let length = rest.byte()?;
            String::from_utf8(rest.take(usize::from(length))?.to_vec()).map_err(|_| CUT)
        })
        .collect()
}

pub(super) fn read_group(payload: &Bytes) -> Result<Group, Corrupt> {
    let mut rest = Reader(payload.clone());
    let number = u64::from_be_bytes(rest.array()?);
    let count = rest.length()?;
    let mut writes = Vec::new();
    for _ in 0..count {
        let space = Space(u32::from_be_bytes(rest.array()?));
        let length = rest.length()?;
        let key = rest.take(length)?;
        let value = match rest.byte()? {
            REMOVED => None,
            _ => {
                let length = rest.length()?;
                Some(rest.take(length)?)
            }
        };
        writes.push(Write { space, key, value });
    }
    Ok(Group { number, writes })
}

const CUT: Corrupt = Corrupt("journal: a whole frame with half a group");

/// What has not been read of a payload.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, length: usize) -> Result<Bytes, Corrupt> {
        if length > self.0.len() {
            return Err(CUT);
        }
        Ok(self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        self.take(N)?.first_chunk().copied().ok_or(CUT)
    }

    fn byte(&mut self) -> Result<u8, Corrupt> {
        self.array().map(|[byte]| byte)
    }

    fn length(&mut self) -> Result<usize, Corrupt> {
        self.array().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(space: u32, key: &'static [u8], value: Option<&'static [u8]>) -> Write {
        Write { space: Space(space), key: Bytes::from_static(key), value: value.map(Bytes::from_static) }
    }

    /// Format 1, byte for byte. When one of these changes, journals in use become unreadable: write a new version beside.
    #[test]
    fn bytes_of_format_1() {
        let mut head = Vec::new();
        push_head(&mut head, &["meta".to_owned(), "b".to_owned()]).expect("head");
        assert_eq!(&head[FRAME_HEADER..], b"martingale journal\x01\0\0\0\x02\x04meta\x01b");
        let mut group = Vec::new();
        push_group(&mut group, 0x0102, &[write(3, b"k", Some(b"va")), write(0, b"", None)]).expect("group");
        assert_eq!(
            &group[FRAME_HEADER..],
            b"\0\0\0\0\0\0\x01\x02\0\0\0\x02\0\0\0\x03\0\0\0\x01k\x01\0\0\0\x02va\0\0\0\0\0\0\0\0\0"
        );
        assert_eq!(&group[..FRAME_HEADER], b"\0\0\0\x25\x4c\x0b\xdf\xcd\x75\x98\xfe\x33");
    }

    #[test]
    fn what_was_written_is_read_and_what_is_cut_is_not() {
        let mut bytes = Vec::new();
        let writes = vec![write(1, b"key", Some(b"")), write(2, b"\0", None)];
        push_group(&mut bytes, 7, &writes).expect("group");
        let (length, hash) = read_frame(*bytes.first_chunk().expect("header"));
        let payload = Bytes::from(bytes).slice(FRAME_HEADER..);
        assert_eq!(length as usize, payload.len());
        assert!(matches(&payload, hash) && !matches(&payload[1..], hash));
        assert_eq!(read_group(&payload).expect("group"), Group { number: 7, writes });
        for n in 0..payload.len() {
            read_group(&payload.slice(..n)).expect_err("cut");
        }
        let mut bytes = Vec::new();
        push_head(&mut bytes, &["a".to_owned()]).expect("head");
        let head = Bytes::from(bytes).slice(FRAME_HEADER..);
        assert_eq!(read_head(&head).expect("head"), ["a"]);
        for n in 0..head.len() {
            read_head(&head.slice(..n)).expect_err("cut");
        }
    }
}
