//! How baselines are stored, in a file and on the log: a line that says what it is, a version, a digest, then the body, which
//! detectors alone read. Equal baselines are equal bytes, so the digest names them; from version 2 on it is of the version too.

use crate::BaselinesId;
use crate::ids::digest;

/// How every such file begins.
pub const MAGIC: &[u8] = b"martingale baselines\n";
const DIGEST_BYTES: usize = 16;

/// Stored baselines, whole and undamaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    pub version: u8,
    pub id: BaselinesId,
    pub body: &'a [u8],
}

/// Why bytes are no stored baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Something else.
    Foreign,
    Damaged,
}

fn name(version: u8, body: &[u8]) -> BaselinesId {
    BaselinesId::from(if version < 2 { digest(&[body]) } else { digest(&[&[version], body]) })
}

impl<'a> Stored<'a> {
    #[must_use]
    pub fn new(version: u8, body: &'a [u8]) -> Self {
        Self { version, id: name(version, body), body }
    }

    /// What [`Self::to_bytes`] wrote. Whether the version can be read is for whoever reads the body to say.
    ///
    /// # Errors
    /// [`Unread`] for anything else.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Unread> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Unread::Foreign)?;
        let (&version, rest) = rest.split_first().ok_or(Unread::Damaged)?;
        let (told, body) = rest.split_first_chunk::<DIGEST_BYTES>().ok_or(Unread::Damaged)?;
        let id = name(version, body);
        if version > 0 && id.as_bytes() == told { Ok(Self { version, id, body }) } else { Err(Unread::Damaged) }
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [MAGIC, &[self.version], self.id.as_bytes(), self.body].concat()
    }
}
