//! From text to a plan that only reads, and within bounds.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, WindowFrame, WindowFrameBound};
use datafusion::prelude::{DataFrame, SQLOptions};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use regex::RegexBuilder;

use super::{Context, Error, TABLES, error, functions};

/// Nodes of a plan and of its expressions, views written out.
const NODES_MAX: usize = 100_000;
/// Fields of the type of one column, counted through lists and structures.
const FIELDS_MAX: usize = 1_000;
/// A pattern is tried at every letter of a text, so its size multiplies.
const PATTERN_BYTES_MAX: usize = 1_000;
const REGEX_BYTES_MAX: usize = 256 << 10;

/// Rows or groups that a frame of a window may reach by number.
const FRAME_ROWS_MAX: u64 = 1_000_000_000_000;
/// Items of a list from one that is taken to the next.
const STRIDE_MAX: u64 = 1_000_000;

/// Whether a statement only reads.
pub(super) fn check_reads(statement: &Statement) -> Result<(), Error> {
    match statement {
        Statement::Statement(it) if error::reads(it) => Ok(()),
        Statement::Explain(it) => check_reads(&it.statement),
        other => Err(Error::forbidden(other)),
    }
}

/// Whether an answer is about rows, and not about the plan.
pub(super) fn reads_rows(statement: &Statement) -> bool {
    match statement {
        Statement::Explain(it) => it.options.analyze,
        _ => true,
    }
}

pub(super) async fn plan(context: &Context, statement: Statement) -> Result<DataFrame, Error> {
    let state = context.session.state();
    let plan = state.statement_to_plan(statement).await.map_err(|it| Error::of(it, &TABLES))?;
    // A second wall: whatever the statement was called, the plan must not write.
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|it| Error::Forbidden { statement: it.strip_backtrace() })?;
    check(&plan)?;
    Ok(DataFrame::new(state, plan))
}

/// Refuses what no limit of memory or time would stop.
fn check(plan: &LogicalPlan) -> Result<(), Error> {
    let mut nodes = 0;
    let mut refused = None;
    let walked = plan.apply_with_subqueries(|plan| {
        nodes += 1;
        refused = plan.schema().fields().iter().find_map(|it| check_type(it.data_type()).err());
        if refused.is_none() {
            plan.apply_expressions(|root| {
                root.apply(|expr| {
                    nodes += 1;
                    refused = check_expr(expr).err();
                    Ok(go_on(refused.is_none() && nodes <= NODES_MAX))
                })
            })?;
        }
        Ok(go_on(refused.is_none() && nodes <= NODES_MAX))
    });
    walked.map_err(|it: DataFusionError| Error::of(it, &TABLES))?;
    match refused {
        Some(why) => Err(Error::invalid(why)),
        None if nodes > NODES_MAX => {
            Err(Error::invalid(format!("the query is planned in more than {NODES_MAX} steps: ask less at once")))
        }
        None => Ok(()),
    }
}

const fn go_on(yes: bool) -> TreeNodeRecursion {
    if yes { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop }
}

fn check_expr(expr: &Expr) -> Result<(), String> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            if !functions::may_be_called(func) {
                return Err(format!("the function `{}` is not offered", func.name()));
            }
            if let ("array_slice", [_, _, _, stride]) = (func.name(), &args[..]) {
                check_stride(stride)?;
            }
            let regex = func.name().starts_with("regexp_").then(|| args.get(1)).flatten();
            // Of the flags that may follow, one changes what an expression may look like.
            let verbose = args.iter().skip(2).any(|it| check_pattern(it).map_or(true, |it| it.contains('x')));
            regex.map_or(Ok(()), |it| check_regex(it, !verbose))
        }
        Expr::WindowFunction(it) if !functions::may_be_windowed(it.fun.name()) => {
            Err(format!("`{}` cannot be computed over a window: group, or aggregate first", it.fun.name()))
        }
        Expr::WindowFunction(it) => check_frame(&it.params.window_frame),
        Expr::HigherOrderFunction(_) => Err("functions of functions are not offered".to_owned()),
        Expr::Cast(it) => check_type(it.field.data_type()),
        Expr::TryCast(it) => check_type(it.field.data_type()),
        Expr::Like(it) => check_pattern(&it.pattern).map(|_| ()),
        Expr::SimilarTo(it) => check_regex(&it.pattern, true),
        Expr::BinaryExpr(BinaryExpr { op, right, .. }) => match op {
            Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                check_regex(right, true)
            }
            Operator::LikeMatch | Operator::ILikeMatch | Operator::NotLikeMatch | Operator::NotILikeMatch => {
                check_pattern(right).map(|_| ())
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A row and what its frame reaches to are numbers that are added up.
fn check_frame(frame: &WindowFrame) -> Result<(), String> {
    for bound in [&frame.start_bound, &frame.end_bound] {
        if let WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows)))
        | WindowFrameBound::Following(ScalarValue::UInt64(Some(rows))) = bound
            && *rows > FRAME_ROWS_MAX
        {
            return Err(format!(
                "a window that reaches {rows} rows: at most {FRAME_ROWS_MAX} are taken; write UNBOUNDED for all"
            ));
        }
    }
    Ok(())
}

/// Items of a list are counted on by it.
fn check_stride(stride: &Expr) -> Result<(), String> {
    match stride {
        Expr::Literal(ScalarValue::Int64(Some(items)), _) if items.unsigned_abs() <= STRIDE_MAX => Ok(()),
        Expr::Literal(it, _) if it.is_null() => Ok(()),
        _ => Err(format!("the stride of array_slice has to be written out, as a number of at most {STRIDE_MAX}")),
    }
}

/// A value of a type of fixed size is as large as the type says, even a missing one.
fn check_type(of: &DataType) -> Result<(), String> {
    let mut open = vec![of];
    let mut fields = 0;
    while let Some(next) = open.pop() {
        fields += 1;
        if fields > FIELDS_MAX {
            return Err(format!("a column has more than {FIELDS_MAX} fields: select fewer"));
        }
        match next {
            DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_) => {
                return Err(format!("the type {next} is not offered: leave its size away"));
            }
            DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
                open.push(field.data_type());
            }
            DataType::Struct(of) => open.extend(of.iter().map(|it| it.data_type())),
            DataType::Dictionary(_, of) => open.push(of),
            _ => {}
        }
    }
    Ok(())
}

fn check_pattern(pattern: &Expr) -> Result<&str, String> {
    match pattern {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
            _,
        ) if text.len() <= PATTERN_BYTES_MAX => Ok(text),
        Expr::Literal(it, _) if it.is_null() => Ok(""),
        _ => Err(format!(
            "a pattern has to be written out, in at most {PATTERN_BYTES_MAX} bytes: \
             for other texts there are contains, starts_with and ends_with"
        )),
    }
}

/// `plain` is whether it is read as it stands.
fn check_regex(pattern: &Expr, plain: bool) -> Result<(), String> {
    let text = check_pattern(pattern)?;
    match RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build() {
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("the regular expression is too large: repeat less often, or name fewer letters than \\w does"
                .to_owned())
        }
        Err(error) if plain => Err(unreadable_regex(&error)),
        // What is wrong with one that is read otherwise is told by whoever uses it.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The last line says why; those above it draw the expression.
pub(super) fn unreadable_regex(error: &regex::Error) -> String {
    let text = error.to_string();
    let why = text.lines().next_back().unwrap_or_default().trim_start_matches("error: ");
    format!("the regular expression cannot be read: {why}")
}
