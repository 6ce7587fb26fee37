//! An entry of the state store: a version, the tick of its last use ([`crate::idle`]), then the core's state in postcard.
//!
//! Every version ever written stays readable; `detector/fixtures/state` holds bytes of each.

use bytes::{BufMut, Bytes, BytesMut};
use martingale_detector_core::State;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + size_of::<i64>();

/// An entry whose state has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Tick of the last use.
    pub(crate) used: i64,
    body: &'a [u8],
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it has version {found}, this program reads up to {VERSION}: start the newer program again, or empty the state")]
    Newer { found: u8 },
    #[error("it has {bytes} bytes, too few for its header: restore the data folder")]
    Short { bytes: usize },
    #[error("it is damaged: restore the data folder")]
    Damaged(#[source] postcard::Error),
}

pub(crate) fn encode(used: i64, state: &State) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    out.extend_from_slice(&used.to_le_bytes());
    postcard::to_extend(state, out).map(Bytes::from).map_err(Error::Damaged)
}

pub(crate) fn read(bytes: &[u8]) -> Result<Entry<'_>, Error> {
    match bytes.first() {
        None | Some(0) => Err(Error::Short { bytes: bytes.len() }),
        Some(&found) if found > VERSION => Err(Error::Newer { found }),
        Some(_) => {
            let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(Error::Short { bytes: bytes.len() })?;
            let mut used = [0; size_of::<i64>()];
            used.copy_from_slice(&header[1..]);
            Ok(Entry { used: i64::from_le_bytes(used), body })
        }
    }
}

impl Entry<'_> {
    pub(crate) fn state(self) -> Result<State, Error> {
        let (state, rest) = postcard::take_from_bytes(self.body).map_err(Error::Damaged)?;
        if rest.is_empty() { Ok(state) } else { Err(Error::Damaged(postcard::Error::DeserializeBadEncoding)) }
    }

    /// The same state, used at another tick.
    pub(crate) fn used_at(self, tick: i64) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.body.len());
        out.put_u8(VERSION);
        out.put_i64_le(tick);
        out.put_slice(self.body);
        out.freeze()
    }
}
