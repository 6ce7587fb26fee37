//! From records of the log to rows of the tables of history: one module a table.
//!
//! The columns and their meaning are in `schemas` ([`martingale_schemas::arrow`]); each module here fills them, in order.

mod control_events;
mod edges;
mod findings;
mod row;
mod session_parts;
mod steps;
#[cfg(test)]
mod tests;
mod verdicts;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use martingale_schemas::arrow as schema;
use martingale_schemas::{Control, Position, Step, Verdict};

pub(crate) use row::Rows;
pub(crate) use session_parts::Parts;

/// The stored tables, in the order in which arrays of [`TABLES`] hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Steps,
    Verdicts,
    Findings,
    SessionParts,
    ControlEvents,
    Edges,
}

pub(crate) const TABLES: usize = 6;

impl Table {
    pub(crate) const ALL: [Self; TABLES] =
        [Self::Steps, Self::Verdicts, Self::Findings, Self::SessionParts, Self::ControlEvents, Self::Edges];

    pub(crate) const fn description(self) -> &'static schema::Table {
        match self {
            Self::Steps => &schema::STEPS,
            Self::Verdicts => &schema::VERDICTS,
            Self::Findings => &schema::FINDINGS,
            Self::SessionParts => &schema::SESSION_PARTS,
            Self::ControlEvents => &schema::CONTROL_EVENTS,
            Self::Edges => &schema::EDGES,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        self.description().name
    }

    /// What the rows of one file are sorted by, so that the rows of one session lie together.
    pub(crate) const fn sort_columns(self) -> [&'static str; 2] {
        match self {
            Self::Steps | Self::Verdicts | Self::Findings | Self::Edges => ["session_id", "offset"],
            Self::SessionParts => ["session_id", "first_offset"],
            Self::ControlEvents => ["control_id", "offset"],
        }
    }

    /// Columns whose least and greatest value of each file are in the Delta log, so that a query can leave files out.
    pub(crate) const fn statistics(self) -> &'static str {
        match self {
            Self::Steps | Self::Verdicts | Self::Findings | Self::Edges => {
                "session_id,root_session_id,time,agent_id,partition,offset"
            }
            Self::SessionParts => "session_id,root_session_id,started_at,last_at,agent_id",
            Self::ControlEvents => "control_id,scope_id,time",
        }
    }
}

/// A step with the verdict on it. The step is missing only when retention removed it before it was read.
pub(crate) struct Judged<'a> {
    pub(crate) verdict: &'a Verdict<'a>,
    pub(crate) step: Option<&'a Step<'a>>,
}

/// Rows of all tables that were not yet made visible.
pub(crate) struct Pending {
    rows: [Rows; TABLES],
    parts: Parts,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { rows: Table::ALL.map(|it| Rows::new(it.description())), parts: Parts::default() }
    }

    /// Adds what a judged step contributes to a table.
    pub(crate) fn judged(&mut self, table: Table, it: &Judged<'_>) {
        let rows = &mut self.rows[table as usize];
        match table {
            Table::Steps => {
                if let Some(step) = it.step {
                    steps::push(rows, step, it.verdict);
                }
            }
            Table::Verdicts => verdicts::push(rows, it.verdict),
            Table::Findings => findings::push(rows, it.verdict),
            Table::Edges => edges::push(rows, it.verdict),
            Table::SessionParts => self.parts.add(it),
            Table::ControlEvents => {}
        }
    }

    /// Adds a record of the topic of controls.
    pub(crate) fn control(&mut self, control: &Control, at: Position) {
        control_events::push(&mut self.rows[Table::ControlEvents as usize], control, at);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.rows.iter().all(Rows::is_empty)
    }

    /// Rows of a table, leaving none. Session parts are returned by [`Pending::take_parts`].
    pub(crate) fn take(&mut self, table: Table) -> Result<Option<RecordBatch>, ArrowError> {
        self.rows[table as usize].take()
    }

    pub(crate) fn take_parts(&mut self) -> Parts {
        std::mem::take(&mut self.parts)
    }
}

/// `Int64` of a count; the largest one when it does not fit.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
