//! What a consumer is to the log.

use super::{Consumer, Store, Topic};
#[cfg(doc)]
use crate::log::Log;

/// A consumer as the log is opened with it: what it keeps, and who runs it.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerSpec {
    pub consumer: Consumer,
    /// Its state stores. No other consumer may have one of the same name.
    pub stores: &'static [Store],
    pub share: Share,
    pub settle: Settle,
}

/// How processes share the partitions of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Each partition belongs to one process of a group, by this topic.
    Group { by: Topic },
    /// All of them belong to one process of a group, the one that is given the first partition of this topic. The others
    /// stand by.
    One { by: Topic },
    /// Every process owns all of them. At most one at a time can commit: the newest to begin fences the others.
    All,
}

impl Share {
    /// The topic of the group; None without one.
    pub(super) const fn by(self) -> Option<Topic> {
        match self {
            Self::Group { by } | Self::One { by } => Some(by),
            Self::All => None,
        }
    }
}

/// When a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// When all of it is durable.
    AtOnce,
    /// When its records are published. State and progress become durable behind it, in order, at once for several
    /// commits. When that fails, the next commit says so and the consumer starts again from [`Log::committed`]: what it
    /// published meanwhile is on the log, what it knew is not. For a consumer that reads what it published and would
    /// publish the same again.
    Behind,
}
