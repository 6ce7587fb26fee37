//! Rows of one table on their way to Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use martingale_schemas::Timestamp;
use martingale_schemas::arrow::{ColumnKind, Table};

/// Builds rows column by column, in the order of the table's description.
pub(crate) struct Rows {
    table: &'static Table,
    schema: SchemaRef,
    columns: Vec<Builder>,
    /// Column that the next value belongs to.
    next: usize,
    rows: usize,
}

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Texts(ListBuilder<StringBuilder>),
}

impl Rows {
    pub(crate) fn new(table: &'static Table) -> Self {
        let columns = table.columns.iter().map(|it| Builder::new(it.kind)).collect();
        Self { table, schema: Arc::new(table.schema()), columns, next: 0, rows: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rows, leaving none.
    ///
    /// # Errors
    /// When a row was not completed.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        let columns = self.columns.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }

    pub(crate) fn text(&mut self, name: &'static str, value: Option<&str>) {
        match self.column(name) {
            Builder::Text(it) => it.append_option(value),
            other => other.mismatch(),
        }
    }

    pub(crate) fn integer(&mut self, name: &'static str, value: Option<i64>) {
        match self.column(name) {
            Builder::Integer(it) => it.append_option(value),
            other => other.mismatch(),
        }
    }

    pub(crate) fn float(&mut self, name: &'static str, value: Option<f64>) {
        match self.column(name) {
            Builder::Float(it) => it.append_option(value),
            other => other.mismatch(),
        }
    }

    pub(crate) fn boolean(&mut self, name: &'static str, value: Option<bool>) {
        match self.column(name) {
            Builder::Boolean(it) => it.append_option(value),
            other => other.mismatch(),
        }
    }

    pub(crate) fn time(&mut self, name: &'static str, value: Timestamp) {
        match self.column(name) {
            Builder::Time(it) => it.append_value(value.as_micros()),
            other => other.mismatch(),
        }
    }

    pub(crate) fn texts<T: AsRef<str>>(&mut self, name: &'static str, values: Option<impl Iterator<Item = T>>) {
        match self.column(name) {
            Builder::Texts(it) => {
                let present = values.is_some();
                for value in values.into_iter().flatten() {
                    it.values().append_value(value);
                }
                it.append(present);
            }
            other => other.mismatch(),
        }
    }

    /// Ends a row of which every column was given.
    pub(crate) fn end(&mut self) {
        debug_assert_eq!(self.next, self.columns.len(), "a row of {} is incomplete", self.table.name);
        self.next = 0;
        self.rows += 1;
    }

    fn column(&mut self, name: &'static str) -> &mut Builder {
        debug_assert_eq!(self.table.columns.get(self.next).map(|it| it.name), Some(name), "in {}", self.table.name);
        let at = self.next % self.columns.len();
        self.next += 1;
        &mut self.columns[at]
    }
}

impl Builder {
    // Small to begin with: a quiet system makes many batches of one row.
    fn new(kind: ColumnKind) -> Self {
        const ROWS: usize = 16;
        match kind {
            ColumnKind::Text => Self::Text(StringBuilder::with_capacity(ROWS, 0)),
            ColumnKind::Integer => Self::Integer(Int64Builder::with_capacity(ROWS)),
            ColumnKind::Float => Self::Float(Float64Builder::with_capacity(ROWS)),
            ColumnKind::Boolean => Self::Boolean(BooleanBuilder::with_capacity(ROWS)),
            ColumnKind::Time => {
                Self::Time(TimestampMicrosecondBuilder::with_capacity(ROWS).with_data_type(kind.data_type()))
            }
            ColumnKind::Texts => {
                let values = StringBuilder::with_capacity(ROWS, 0);
                let field = Field::new("element", DataType::Utf8, true);
                Self::Texts(ListBuilder::with_capacity(values, ROWS).with_field(field))
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(it) => ArrayBuilder::finish(it),
            Self::Integer(it) => ArrayBuilder::finish(it),
            Self::Float(it) => ArrayBuilder::finish(it),
            Self::Boolean(it) => ArrayBuilder::finish(it),
            Self::Time(it) => ArrayBuilder::finish(it),
            Self::Texts(it) => ArrayBuilder::finish(it),
        }
    }

    /// A value of another kind than the column's: the column stays short and [`Rows::take`] reports it.
    #[expect(clippy::unused_self, reason = "reads as what it is where it is called")]
    fn mismatch(&self) {
        debug_assert!(false, "a value of another kind than its column");
    }
}
