//! How far what is visible is behind the log.

use std::time::Duration;

/// Age of a record that history has only just read, from which on it is late.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// What the writer is doing, as far as readers should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Reads what was on the log when it started.
    CatchingUp,
    Current,
    /// Reads records that are older than [`LATE`].
    Late,
    /// The rows in memory have reached their limit, and the tables take none.
    Full,
    /// The last flush failed; its rows are in memory.
    Unwritten,
    /// The tables that others write cannot be looked at.
    Unseen,
    LogUnreadable,
}

impl Standing {
    /// What had been read is no longer followed, and why; whether that is news.
    pub(super) fn loses(&mut self, why: Self) -> bool {
        let is_news = *self != Self::CatchingUp && *self != why;
        if is_news {
            *self = why;
        }
        is_news
    }

    pub(super) const fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Current => None,
            Self::CatchingUp => Some("it still reads what was on the log at start"),
            Self::Late => Some("it is more than 10 s behind the log"),
            Self::Full => Some("its rows in memory have reached their limit and are not in the tables yet"),
            Self::Unwritten => Some("its tables cannot be written now, and its newest rows are in memory"),
            Self::Unseen => Some("its tables cannot be read now"),
            Self::LogUnreadable => Some("it cannot read the log now"),
        }
    }
}
