//! Rows of history as JSON objects.
//!
//! Values of a request reach a query as values of expressions, never as text of SQL.

use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, Expr, ident, lit};
use serde_json::{Map, Value};

use crate::http::Failure;
use crate::sql::{Answer, Context, Engine, Error};

pub(super) type Object = Map<String, Value>;

/// Columns that hold JSON as text and are shown as JSON.
pub(crate) const JSON: [&str; 5] = ["input", "output", "alternatives", "attributes", "scores"];

/// Names that a person may use in place of an Arrow error of a frame built here.
pub(super) fn fail(error: DataFusionError) -> Error {
    Error::internal(error)
}

/// Rows of a table or view of one snapshot.
pub(super) async fn table(context: &Context, name: &str) -> Result<DataFrame, Error> {
    context.session.table(name).await.map(once).map_err(fail)
}

/// Rows of a table that no query may name.
pub(super) async fn part(context: &Context, name: &str) -> Result<DataFrame, Error> {
    context.part(name).await.map(once).map_err(fail)
}

/// Optimised once: what is asked of it here is plain, and a second and third look at the plan find nothing. They are most
/// of the cost of these requests.
fn once(frame: DataFrame) -> DataFrame {
    let (mut state, plan) = frame.into_parts();
    state.config_mut().options_mut().optimizer.max_passes = 1;
    DataFrame::new(state, plan)
}

/// `column = value`.
pub(super) fn is(column: &str, value: &str) -> Expr {
    ident(column).eq(lit(value))
}

/// Rows without their missing values.
pub(super) async fn objects(engine: &Engine, frame: DataFrame) -> Result<Vec<Object>, Error> {
    let answer = Answer::try_from(engine.collect(frame).await?).map_err(Error::internal)?;
    let object = |row: Vec<Value>| {
        let present = answer.columns.iter().zip(row).filter(|(_, value)| !value.is_null());
        present.map(|(column, value)| (column.name.clone(), shown(&column.name, value))).collect()
    };
    Ok(answer.rows.into_iter().map(object).collect())
}

fn shown(column: &str, value: Value) -> Value {
    match &value {
        Value::String(text) if JSON.contains(&column) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    }
}

/// The session as one row of `sessions`.
pub(super) async fn session(engine: &Engine, context: &Context, id: &str) -> Result<Option<Object>, Error> {
    let frame = table(context, "sessions").await?.filter(is("session_id", id)).map_err(fail)?;
    Ok(objects(engine, frame).await?.pop())
}

/// A field of a row as text; empty when it is missing.
pub(super) fn text<'o>(object: &'o Object, field: &str) -> &'o str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A field of a row as a number; 0 when it is missing.
pub(super) fn number(object: &Object, field: &str) -> i64 {
    object.get(field).and_then(Value::as_i64).unwrap_or_default()
}

/// A limit of rows from a query string.
pub(super) fn limit(asked: Option<usize>, default: usize, max: usize) -> Result<usize, Failure> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        limit => {
            let message = format!("`limit` is {limit}: at least 1, at most {max}");
            Err(Failure::field("limit", "invalid_value", message))
        }
    }
}
