//! Arrow values as JSON and CSV.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use martingale_schemas::Timestamp;
use serde_json::{Map, Value};

use super::{Answer, Column, Table};

impl TryFrom<Table> for Answer {
    type Error = ArrowError;

    fn try_from(table: Table) -> Result<Self, ArrowError> {
        let mut all = Vec::with_capacity(table.batches.iter().map(RecordBatch::num_rows).sum());
        for batch in &table.batches {
            all.extend(rows(batch)?);
        }
        Ok(Self { columns: columns(&table.schema), rows: all, truncated: table.truncated })
    }
}

pub(super) fn columns(schema: &Schema) -> Vec<Column> {
    schema.fields().iter().map(|it| Column { name: it.name().clone(), kind: it.data_type().to_string() }).collect()
}

pub(super) fn rows(batch: &RecordBatch) -> Result<impl Iterator<Item = Vec<Value>> + use<>, ArrowError> {
    let columns = batch.columns().iter().map(values).collect::<Result<Vec<_>, _>>()?;
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    Ok((0..batch.num_rows()).map(move |_| columns.iter_mut().filter_map(Iterator::next).collect()))
}

/// Comma-separated values (RFC 4180). A missing value is empty, an empty text is `""`.
pub(super) fn csv_line(cells: impl Iterator<Item = Value>) -> String {
    let mut out = String::new();
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(',');
        }
        match cell {
            Value::Null => {}
            Value::String(text) => quote(&mut out, &text),
            other => quote(&mut out, &other.to_string()),
        }
    }
    out.push_str("\r\n");
    out
}

fn quote(out: &mut String, text: &str) {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

impl Table {
    /// Takes a text out of every value, wherever it stands: a plan names files, and where they are is nobody's business.
    pub(super) fn remove_text(&mut self, unwanted: &str) -> Result<(), ArrowError> {
        for batch in &mut self.batches {
            let columns = batch.columns().iter().map(|column| match column.as_string_opt::<i32>() {
                Some(texts) => {
                    let kept = texts.iter().map(|it| it.map(|it| it.replace(unwanted, "")));
                    Arc::new(kept.collect::<StringArray>())
                }
                None => Arc::clone(column),
            });
            *batch = RecordBatch::try_new(batch.schema(), columns.collect())?;
        }
        Ok(())
    }
}

fn values(array: &ArrayRef) -> Result<Vec<Value>, ArrowError> {
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|it| it.map_or(Value::Null, Value::Bool)).collect(),
        DataType::Int8 => numbers::<Int8Type>(array),
        DataType::Int16 => numbers::<Int16Type>(array),
        DataType::Int32 => numbers::<Int32Type>(array),
        DataType::Int64 => numbers::<Int64Type>(array),
        DataType::UInt8 => numbers::<UInt8Type>(array),
        DataType::UInt16 => numbers::<UInt16Type>(array),
        DataType::UInt32 => numbers::<UInt32Type>(array),
        DataType::UInt64 => numbers::<UInt64Type>(array),
        DataType::Float32 => numbers::<Float32Type>(array),
        DataType::Float64 => numbers::<Float64Type>(array),
        DataType::Utf8 => array.as_string::<i32>().iter().map(Value::from).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(Value::from).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(Value::from).collect(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|it| it.map_or(Value::Null, |it| Value::String(Timestamp::from_micros(it).to_string())))
            .collect(),
        DataType::Timestamp(_, zone) => {
            values(&cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?)?
        }
        DataType::List(_) => lists(array.len(), |at| (!array.is_null(at)).then(|| array.as_list::<i32>().value(at)))?,
        DataType::LargeList(_) => {
            lists(array.len(), |at| (!array.is_null(at)).then(|| array.as_list::<i64>().value(at)))?
        }
        DataType::FixedSizeList(..) => {
            lists(array.len(), |at| (!array.is_null(at)).then(|| array.as_fixed_size_list().value(at)))?
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(values).collect::<Result<Vec<_>, _>>()?;
            let object = |at: usize| {
                let entries = fields.iter().zip(&columns).map(|(field, it)| (field.name().clone(), it[at].clone()));
                Value::Object(entries.collect::<Map<_, _>>())
            };
            (0..array.len()).map(|at| if array.is_null(at) { Value::Null } else { object(at) }).collect()
        }
        DataType::Dictionary(_, held) => values(&cast(array, held)?)?,
        _ => {
            let options = FormatOptions::new();
            let text = ArrayFormatter::try_new(array, &options)?;
            let value = |at| if array.is_null(at) { Value::Null } else { Value::String(text.value(at).to_string()) };
            (0..array.len()).map(value).collect()
        }
    })
}

/// A number that JSON does not have (NaN, infinity) becomes null.
fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<Value>
where
    T::Native: Into<Value>,
{
    array.as_primitive::<T>().iter().map(|it| it.map_or(Value::Null, Into::into)).collect()
}

fn lists(len: usize, at: impl Fn(usize) -> Option<ArrayRef>) -> Result<Vec<Value>, ArrowError> {
    (0..len).map(|it| at(it).map_or(Ok(Value::Null), |it| values(&it).map(Value::Array))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::csv_line;

    #[test]
    fn csv_quotes_what_it_must() {
        for (cells, line) in [
            (vec![json!("a,b"), json!("n")], "\"a,b\",n\r\n"),
            (vec![json!("say \"x\"\n"), json!(1)], "\"say \"\"x\"\"\n\",1\r\n"),
            (vec![Value::Null, json!(2)], ",2\r\n"),
            (vec![json!(""), json!(["p", "q"])], "\"\",\"[\"\"p\"\",\"\"q\"\"]\"\r\n"),
        ] {
            assert_eq!(csv_line(cells.into_iter()), line);
        }
    }
}
