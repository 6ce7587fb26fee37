//! Ids for what came without one.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use martingale_schemas::{Timestamp, ids};

/// An id that nobody else has. Drawn from the keys the standard library seeds its hash tables with, the time and a count.
pub(crate) fn id(prefix: &str, now: Timestamp) -> String {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let random = RandomState::new().hash_one(now.as_micros()).to_le_bytes();
    let count = DRAWN.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    ids::derive(prefix, &[&random, &now.as_micros().to_le_bytes(), &count])
}
