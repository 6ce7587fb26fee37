//! Why a query has no answer.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::Statement;
use martingale_platform::config::Span;

use super::bounded::TooLong;
use super::words::{self, cut};
use crate::history::Damage;

/// Each with the HTTP status it is answered with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no query, or names what is not there.
    #[error("{message}")]
    Invalid { message: String },
    /// The statement would write.
    #[error("{statement} is not allowed: history is read only; send SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE")]
    Forbidden { statement: String },
    #[error("the query took longer than {limit}: narrow it by time or session, or raise `sql.time_max`")]
    TimedOut { limit: Span },
    /// The query or its answer needs more memory than is granted.
    #[error("{message}")]
    TooLarge { message: String },
    /// The tables are not yet what they were when the last process ended.
    #[error("history still reads what was on the log at start: ask again in a moment")]
    CatchingUp,
    /// Their folder or bucket does not answer. Why is in the log of the server: where it is, is not for everybody who may ask.
    #[error("the tables of history cannot be read now; the log of the server has the reason: ask again in a moment")]
    Unreadable,
    /// Files of history are not what they were.
    #[error("{0}")]
    Damaged(Damage),
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
            Self::Damaged(_) | Self::Internal(_) => 500,
            Self::CatchingUp | Self::Unreadable => 503,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub(crate) fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The statement, by its first word.
    pub(super) fn forbidden(statement: &impl std::fmt::Display) -> Self {
        let text = statement.to_string();
        let statement = text.split_whitespace().next().unwrap_or("the statement").to_uppercase();
        Self::Forbidden { statement }
    }

    /// What went wrong, told to whoever wrote the query; what is not theirs to mend is told to the operator.
    pub(super) fn of(error: DataFusionError, tables: &[&str]) -> Self {
        let message = || words::of(&error);
        match error.find_root() {
            DataFusionError::External(it) if it.is::<TooLong>() => Self::TooLarge { message: it.to_string() },
            // What a function could not read of its arguments, when it runs or is computed beforehand.
            DataFusionError::External(it) if let Some(it) = it.downcast_ref() => {
                Self::invalid(cut(super::plan::unreadable_regex(it)))
            }
            DataFusionError::ResourcesExhausted(_) => Self::TooLarge {
                message: "the query needs more memory than `sql.memory_bytes_max` grants: \
                          select fewer columns, narrow it by time or session, or aggregate"
                    .to_owned(),
            },
            DataFusionError::Plan(text) if text.starts_with("table '") => {
                let known = tables.join(", ");
                Self::invalid(format!("{}; the tables are {known}", message()))
            }
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::Execution(_)
            | DataFusionError::ArrowError(..)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Collection(_) => Self::invalid(message()),
            _ => Self::internal(error),
        }
    }

    /// The same of a text that could not be read.
    pub(super) fn of_text(error: DataFusionError, sql: &str) -> Self {
        match Self::of(error, &[]) {
            Self::Invalid { message } => Self::Invalid { message: words::at_end(message, sql) },
            other => other,
        }
    }
}

/// Whether a statement only reads.
pub(super) const fn reads(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::ExplainTable { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowFunctions { .. }
            | Statement::ShowVariable { .. }
    )
}
