//! Arrow values as JSON, CSV and Arrow streams.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use martingale_schemas::Timestamp;
use serde_json::{Map, Value};

use super::{Answer, Column, Table};

impl TryFrom<Table> for Answer {
    type Error = ArrowError;

    fn try_from(table: Table) -> Result<Self, ArrowError> {
        let columns = table
            .schema
            .fields()
            .iter()
            .map(|it| Column { name: it.name().clone(), kind: it.data_type().to_string() })
            .collect();
        let mut rows = Vec::with_capacity(table.batches.iter().map(RecordBatch::num_rows).sum());
        for batch in &table.batches {
            let columns = batch.columns().iter().map(values).collect::<Result<Vec<_>, _>>()?;
            let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
            rows.extend(
                (0..batch.num_rows()).map(|_| columns.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()),
            );
        }
        Ok(Self { columns, rows, truncated: table.truncated })
    }
}

impl Answer {
    /// Comma-separated values with a header (RFC 4180). A missing value is empty, an empty text is `""`.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut out = String::new();
        let header = self.columns.iter().map(|it| quoted(&it.name));
        line(&mut out, header);
        for row in &self.rows {
            line(
                &mut out,
                row.iter().map(|it| match it {
                    Value::Null => String::new(),
                    Value::String(text) => quoted(text),
                    other => quoted(&other.to_string()),
                }),
            );
        }
        out
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

    /// An Arrow IPC stream.
    pub(super) fn to_arrow(&self) -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), &self.schema)?;
        for batch in &self.batches {
            writer.write(batch)?;
        }
        writer.into_inner()
    }
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&cell);
    }
    out.push_str("\r\n");
}

fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
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
    use super::{Answer, Column};

    #[test]
    fn csv_quotes_what_it_must() {
        let answer = Answer {
            columns: vec![
                Column { name: "a,b".into(), kind: "Utf8".into() },
                Column { name: "n".into(), kind: "Int64".into() },
            ],
            rows: vec![
                vec!["say \"x\"\n".into(), 1.into()],
                vec![serde_json::Value::Null, 2.into()],
                vec!["".into(), serde_json::json!(["p", "q"])],
            ],
            truncated: false,
        };
        assert_eq!(answer.to_csv(), "\"a,b\",n\r\n\"say \"\"x\"\"\n\",1\r\n,2\r\n\"\",\"[\"\"p\"\",\"\"q\"\"]\"\r\n");
    }
}
