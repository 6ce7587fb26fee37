//! What the tables on disk are doing, and the flush that moves rows to them.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::tail::{Flush, Frozen};
use super::{Error, Stores};

/// What the tables on disk are doing.
pub(super) enum Disk {
    Idle(Stores),
    Flushing {
        frozen: Frozen,
        task: JoinHandle<Written>,
        began: Instant,
    },
    /// The flush failed and is repeated at `again`; its rows stay in memory and visible.
    Failed {
        frozen: Frozen,
        stores: Stores,
        again: Instant,
    },
    /// Between two of the others.
    Moving,
}

/// The tables, and whether they have all rows.
pub(super) type Written = (Stores, Result<(), Error>);

impl Disk {
    pub(super) const fn frozen(&self) -> Option<&Frozen> {
        match self {
            Self::Flushing { frozen, .. } | Self::Failed { frozen, .. } => Some(frozen),
            Self::Idle(_) | Self::Moving => None,
        }
    }
}

/// Appends to every table in turn. Tables that had it already, from a flush that failed half-way, are left alone.
pub(super) async fn write(mut stores: Stores, flush: Arc<Flush>) -> Written {
    for (at, store) in stores.iter_mut().enumerate() {
        if let Err(error) = store.append(&flush.rows[at], &flush.moves(at)).await {
            return (stores, Err(error));
        }
    }
    (stores, Ok(()))
}
