//! The tables of history as Arrow schemas: what SQL sees, what the Delta tables hold.
//!
//! Delta has no unsigned integers, so counts and offsets are `Int64`; what does not fit is stored as the largest `Int64`.
//! A column is never removed or given another meaning; new ones are added at the end and may be missing in old rows.

mod columns;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};

pub use columns::{CONTROL_EVENTS, EDGES, FINDINGS, SESSION_PARTS, STEPS, VERDICTS};

/// Every stored table.
pub const TABLES: [&Table; 6] = [&STEPS, &VERDICTS, &FINDINGS, &SESSION_PARTS, &CONTROL_EVENTS, &EDGES];

/// A table that is stored.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub doc: &'static str,
    pub columns: &'static [Column],
}

/// A column of a stored table.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
    /// Whether every row has a value.
    pub required: bool,
    pub doc: &'static str,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    Integer,
    Float,
    Boolean,
    /// Microseconds, UTC.
    Time,
    /// A list of texts.
    Texts,
}

impl ColumnKind {
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Texts => DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))),
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Time => "time",
            Self::Texts => "texts",
        }
    }
}

impl Table {
    /// The Arrow schema. Every column is nullable, because a reader of old files fills what they lack with null;
    /// `required` is held by the writer.
    #[must_use]
    pub fn schema(&self) -> Schema {
        Schema::new(self.columns.iter().map(|it| Field::new(it.name, it.kind.data_type(), true)).collect::<Vec<_>>())
    }
}

/// What `generated/arrow.json` holds: the tables for people and programs that read the Delta files without us.
#[must_use]
pub fn describe() -> serde_json::Value {
    let table = |it: &&Table| {
        let columns: Vec<_> = it
            .columns
            .iter()
            .map(|it| {
                serde_json::json!({
                    "name": it.name,
                    "type": it.kind.as_str(),
                    "arrow": it.kind.data_type().to_string(),
                    "required": it.required,
                    "description": it.doc,
                })
            })
            .collect();
        serde_json::json!({ "table": it.name, "description": it.doc, "columns": columns })
    };
    serde_json::Value::Array(TABLES.iter().map(table).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use expect_test::expect_file;

    use super::{TABLES, describe};

    #[test]
    fn the_checked_in_description_is_current() {
        let mut text = serde_json::to_string_pretty(&describe()).expect("values");
        text.push('\n');
        expect_file!["../generated/arrow.json"].assert_eq(&text);
    }

    #[test]
    fn names_are_unique_and_documented() {
        for table in TABLES {
            let names: HashSet<_> = table.columns.iter().map(|it| it.name).collect();
            assert_eq!(names.len(), table.columns.len(), "{}", table.name);
            assert!(table.columns.iter().all(|it| !it.doc.is_empty()), "{}", table.name);
        }
    }
}
