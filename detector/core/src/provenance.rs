//! Where values come from: an index of what a session has read, asked before each call.
//!
//! Every value (an address, a number, an id, a path, a name, a phrase) is kept as a fingerprint with the step, the path
//! and the sentence it stood in; no text is kept. What the user or the operator wrote is kept apart from what tools gave:
//! only the first is an authority. Bounded: see [`Bounds`]. Deterministic: integers only, and a hash of our own.
//!
//! What it cannot see: a value that the model computed, translated or split into pieces; an encoding it does not know.

mod aim;
mod atom;
mod canonical;
pub(crate) mod decode;
pub(crate) mod fold;
mod index;
mod loopback;
pub(crate) mod pages;
mod paths;
mod places;
mod probe;
mod rarity;
mod role;
mod scan;
mod sends;
pub(crate) mod sent;
mod shared;
mod shell;
mod sip;
mod source;
mod spelled;
mod table;
mod vault;
mod walk;
mod words;
mod written;

pub use crate::secret::{SecretKind, is_credential};
pub(crate) use aim::{Aim, Short};
pub(crate) use index::error_of;
pub use index::{Bounds, Index, Ingested, ToolTraits, Watch};
pub(crate) use pages::At;
pub use pages::{Page, PageRef, Shelf};
pub(crate) use paths::same_name;
pub(crate) use places::is_of_the_web;
pub use probe::{Argument, Trace};
pub use rarity::GATE_BITS;
pub use role::Role;
pub(crate) use sends::{named_code_sends, sends};
pub(crate) use shared::is_strangers;
pub use shared::{Handed, Mark, Shared};
pub use source::{Confidentiality, Integrity, Source};
pub use vault::{Leak, Secret, Vault};
pub use walk::Leaf;

#[cfg(test)]
mod tests;
