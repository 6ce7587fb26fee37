//! Identities. Each is its own type, so that one cannot be passed for another.

use std::borrow::{Borrow, Cow};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Borrows from the bytes it was read from where it can; [`Self::into_owned`] keeps it.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(transparent)]
        pub struct $name<'a>(Cow<'a, str>);

        impl<'de> Deserialize<'de> for $name<'_> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self(Cow::Owned(text)))
            }
        }

        impl<'a> $name<'a> {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            #[must_use]
            pub fn into_owned(self) -> $name<'static> {
                $name(Cow::Owned(self.0.into_owned()))
            }

            #[must_use]
            pub fn to_static(&self) -> $name<'static> {
                $name(Cow::Owned(self.0.as_ref().to_owned()))
            }

            /// The same identity, borrowed from this one.
            #[must_use]
            pub fn as_ref(&self) -> $name<'_> {
                $name(Cow::Borrowed(&self.0))
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'a> From<&'a str> for $name<'a> {
            fn from(text: &'a str) -> Self {
                Self(Cow::Borrowed(text))
            }
        }

        impl<'a> From<Cow<'a, str>> for $name<'a> {
            fn from(text: Cow<'a, str>) -> Self {
                Self(text)
            }
        }

        impl From<String> for $name<'static> {
            fn from(text: String) -> Self {
                Self(Cow::Owned(text))
            }
        }

        impl Borrow<str> for $name<'_> {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// One autonomous execution of one agent task. At most [`crate::Limits::id_bytes_max`] bytes, no control characters, none that
    /// nobody sees.
    SessionId
);
text_id!(
    /// One step, unique in its session. Identity of a step is `(session_id, step_id)`.
    StepId
);
text_id!(
    /// An agent as its operator names it; with version and environment, what a baseline belongs to.
    AgentId
);
text_id!(
    /// Derived from `(session_id, step_id)`: a verdict that is published again is the same verdict.
    VerdictId
);
text_id!(
    /// Derived from the verdict and the rule that found it.
    FindingId
);
text_id!(
    /// A standing order. Given by the caller, so that a repeated request is the same order, or drawn at random.
    ControlId
);

/// Names baselines by what is in them: a digest of their stored form, 32 digits in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9a-f]{32}$"))]
pub struct BaselinesId([u8; 16]);

/// Not the name of baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBaselinesId;

impl fmt::Display for NoBaselinesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("baselines are named by 32 digits 0-9 and a-f")
    }
}

impl std::error::Error for NoBaselinesId {}

impl BaselinesId {
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for BaselinesId {
    fn from(digest: [u8; 16]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for BaselinesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl fmt::Debug for BaselinesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<BaselinesId> for String {
    fn from(id: BaselinesId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BaselinesId {
    type Error = NoBaselinesId;

    fn try_from(text: String) -> Result<Self, NoBaselinesId> {
        text.parse()
    }
}

impl std::str::FromStr for BaselinesId {
    type Err = NoBaselinesId;

    fn from_str(text: &str) -> Result<Self, NoBaselinesId> {
        let is_digit = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        let number = (text.len() == 32 && text.bytes().all(is_digit)).then(|| u128::from_str_radix(text, 16).ok());
        number.flatten().map(|it| Self(it.to_be_bytes())).ok_or(NoBaselinesId)
    }
}

/// 128 bits of BLAKE3 over length-prefixed parts, in lower-case hexadecimal.
///
/// A cryptographic hash, because an agent's content is chosen by whoever writes to it: with a weak one, a crafted step
/// could take the identity of another and be dropped as its duplicate.
#[must_use]
pub fn derive(prefix: &str, parts: &[&[u8]]) -> String {
    let digest = digest(parts);
    let mut out = String::with_capacity(prefix.len() + 32);
    out.push_str(prefix);
    for byte in digest {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    out
}

/// 128 bits of BLAKE3 over length-prefixed parts (so that `["ab", "c"]` and `["a", "bc"]` differ).
#[must_use]
pub fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let hash = match in_one_piece(parts, &mut [0; 256]) {
        Some(whole) => blake3::hash(whole),
        None => {
            let mut hasher = blake3::Hasher::new();
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            hasher.finalize()
        }
    };
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_bytes()[..16]);
    short
}

/// The parts with their lengths before them, if there is room: hashing one piece takes half as long as hashing four.
fn in_one_piece<'b>(parts: &[&[u8]], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut end = 0;
    for part in parts {
        let length = (part.len() as u64).to_le_bytes();
        buffer.get_mut(end..end + length.len())?.copy_from_slice(&length);
        end += length.len();
        buffer.get_mut(end..end.checked_add(part.len())?)?.copy_from_slice(part);
        end += part.len();
    }
    buffer.get(..end)
}

impl VerdictId<'static> {
    #[must_use]
    pub fn of(session: &SessionId<'_>, step: &StepId<'_>) -> Self {
        Self::from(derive("v-", &[session.as_str().as_bytes(), step.as_str().as_bytes()]))
    }
}

impl FindingId<'static> {
    #[must_use]
    pub fn of(verdict: &VerdictId<'_>, column: &str, rule: &str) -> Self {
        Self::from(derive("f-", &[verdict.as_str().as_bytes(), column.as_bytes(), rule.as_bytes()]))
    }
}

/// Identity of a step on the log, `(session_id, step_id)`, in the fixed size a duplicate index wants.
#[must_use]
pub fn step_key(session: &SessionId<'_>, step: &StepId<'_>) -> [u8; 16] {
    digest(&[session.as_str().as_bytes(), step.as_str().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::digest;

    /// Stored and published values, on both sides of what fits into one piece.
    #[test]
    fn digests_are_those_of_the_parts_and_their_lengths() {
        for bytes in [0, 1, 119, 120, 121, 239, 240, 241, 5000] {
            let part = vec![b'x'; bytes];
            let parts: [&[u8]; 2] = [&part, b"end"];
            let mut hasher = blake3::Hasher::new();
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            assert_eq!(digest(&parts), hasher.finalize().as_bytes()[..16], "{bytes}");
        }
    }
}
