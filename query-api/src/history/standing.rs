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
    LogUnreadable,
}

impl Standing {
    /// What had been read is no longer followed; whether that is news.
    pub(super) fn unreadable(&mut self) -> bool {
        let was_followed = !matches!(self, Self::CatchingUp | Self::LogUnreadable);
        if was_followed {
            *self = Self::LogUnreadable;
        }
        was_followed
    }

    pub(super) const fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Current => None,
            Self::CatchingUp => Some("it still reads what was on the log at start"),
            Self::Late => Some("it is more than 10 s behind the log"),
            Self::Full => Some("its rows in memory have reached their limit and are not on disk yet"),
            Self::LogUnreadable => Some("it cannot read the log now"),
        }
    }
}
