//! Why a query has no answer.

/// Each with the HTTP status it is answered with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no query, or names what is not there.
    #[error("{message}")]
    Invalid { message: String },
    /// The statement would write.
    #[error("{statement} is not allowed: history is read only, send SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE")]
    Forbidden { statement: String },
    #[error("the query took longer than {limit}: narrow it by time or session, or raise `sql.time_max`")]
    TimedOut { limit: martingale_platform::config::Span },
    /// The query or its answer needs more memory than is granted.
    #[error("{message}")]
    TooLarge { message: String },
    /// Not the caller's fault. The details are in the log of the server, not in the answer.
    #[error("the query failed inside the server; its log has the reason")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Invalid { .. } => 400,
            Self::Forbidden { .. } => 403,
            Self::TimedOut { .. } => 408,
            Self::TooLarge { .. } => 413,
            Self::Internal(_) => 500,
        }
    }
}
