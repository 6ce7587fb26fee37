//! An answer on its way out: in pieces, on the threads of queries, as fast as it is taken.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::body::Body;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Engine, Table, value};

/// About how much is encoded at once. Encoded text is a few times larger.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait to be taken.
const WAITING_MAX: usize = 2;
/// Longest time a piece waits. Whoever takes longer is cut off: the answer holds memory and a place.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
    Arrow,
}

/// The body of an answer. The memory of the table, and its place among the queries, are held until it is written.
pub(super) fn body(engine: &Engine, table: Table, form: Form) -> Body {
    let (into, pieces) = mpsc::channel(WAITING_MAX);
    engine.spawn(async move {
        if let Err(error) = write(table, form, &into).await {
            tracing::warn!(%error, "an answer could not be encoded and breaks off");
        }
    });
    let next = |mut pieces: mpsc::Receiver<Piece>| async move {
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), pieces)),
            Some(Piece::End) => None,
            // So that half an answer does not pass for a whole one.
            None => Some((Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)), pieces)),
        }
    };
    Body::from_stream(futures::stream::unfold(pieces, next))
}

enum Piece {
    Bytes(Bytes),
    End,
}

async fn write(mut table: Table, form: Form, into: &mpsc::Sender<Piece>) -> Result<(), ArrowError> {
    let send = |bytes: Vec<u8>| async {
        let taken = bytes.is_empty()
            || matches!(tokio::time::timeout(TAKEN_WITHIN, into.send(Piece::Bytes(bytes.into()))).await, Ok(Ok(())));
        taken.then_some(())
    };
    let mut encoder = Encoder::new(form, &table)?;
    if send(encoder.head()?).await.is_none() {
        return Ok(());
    }
    for batch in std::mem::take(&mut table.batches) {
        for piece in pieces(&batch) {
            if send(encoder.rows(&piece)?).await.is_none() {
                return Ok(());
            }
        }
    }
    if send(encoder.tail(table.truncated)?).await.is_some() {
        let _ = into.send(Piece::End).await;
    }
    Ok(())
}

/// A batch, a few rows at a time.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let step = (rows.saturating_mul(PIECE_BYTES) / batch.get_array_memory_size().max(1)).max(1);
    (0..rows).step_by(step).map(move |from| batch.slice(from, step.min(rows - from)))
}

enum Encoder {
    Json { columns: Value, first: bool },
    Csv { columns: Vec<String> },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    fn new(form: Form, table: &Table) -> Result<Self, ArrowError> {
        Ok(match form {
            Form::Json => Self::Json { columns: serde_json::json!(value::columns(&table.schema)), first: true },
            Form::Csv => Self::Csv { columns: value::columns(&table.schema).into_iter().map(|it| it.name).collect() },
            Form::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &table.schema)?)),
        })
    }

    fn head(&mut self) -> Result<Vec<u8>, ArrowError> {
        Ok(match self {
            Self::Json { columns, .. } => format!("{{\"columns\":{columns},\"rows\":[").into_bytes(),
            Self::Csv { columns } => value::csv_line(columns.iter().map(|it| Value::from(it.as_str()))).into_bytes(),
            Self::Arrow(writer) => std::mem::take(writer.get_mut()),
        })
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut out = Vec::new();
        match self {
            Self::Json { first, .. } => {
                for row in value::rows(batch)? {
                    if !std::mem::take(first) {
                        out.push(b',');
                    }
                    serde_json::to_writer(&mut out, &row).map_err(|it| ArrowError::JsonError(it.to_string()))?;
                }
            }
            Self::Csv { .. } => {
                for row in value::rows(batch)? {
                    out.extend_from_slice(value::csv_line(row.into_iter()).as_bytes());
                }
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                out = std::mem::take(writer.get_mut());
            }
        }
        Ok(out)
    }

    fn tail(&mut self, truncated: bool) -> Result<Vec<u8>, ArrowError> {
        Ok(match self {
            Self::Json { .. } => format!("],\"truncated\":{truncated}}}").into_bytes(),
            Self::Csv { .. } => Vec::new(),
            Self::Arrow(writer) => {
                writer.finish()?;
                std::mem::take(writer.get_mut())
            }
        })
    }
}
