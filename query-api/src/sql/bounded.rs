//! Functions whose values add up, within a bound.
//!
//! How long a value can become is known from the arguments before it is made. A batch is taken in pieces that are small
//! by that reckoning, which is coarse; what was made of them is counted, which is exact.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat;
use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawDictionaryExpr};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Longest value of one row, and most that is made at once.
const PIECE_BYTES: usize = 8 << 20;
/// Longest values of one batch together.
const BATCH_BYTES: usize = 64 << 20;
/// Most text that a letter of a format stands for.
const FORMATTED_BYTES: usize = 16;

/// A value would be too long.
#[derive(Debug, thiserror::Error)]
#[error("`{function}` would make {bytes} bytes: at most {most} are made of {of}")]
pub(super) struct TooLong {
    function: String,
    bytes: usize,
    most: usize,
    of: &'static str,
}

/// How long values can become, from the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// As long as all arguments together.
    Sum,
    /// And a separator, the argument `by`, after each item.
    Separated { by: usize },
    /// The argument `by` in place of any letter of the first, and between any two.
    Replaced { by: usize },
    /// The format, the argument `by`, with every letter written out.
    Formatted { by: usize },
}

impl Growth {
    fn most(self, args: &[Size], rows: usize) -> usize {
        let all = args.iter().fold(0_usize, |sum, it| sum.saturating_add(it.bytes));
        let longest = |by: usize| args.get(by).map_or(0, |it| it.longest);
        match self {
            Self::Sum => all,
            Self::Separated { by } => {
                let items = args.iter().map(|it| it.items).sum::<usize>();
                all.saturating_add(items.saturating_mul(longest(by)))
            }
            Self::Replaced { by } => {
                let places = args.first().map_or(0, |it| it.bytes).saturating_add(rows);
                all.saturating_add(places.saturating_mul(longest(by)))
            }
            Self::Formatted { by } => rows.saturating_mul(longest(by)).saturating_mul(FORMATTED_BYTES),
        }
    }
}

/// What there is of one argument.
#[derive(Clone, Copy, Default)]
struct Size {
    bytes: usize,
    items: usize,
    longest: usize,
}

impl Size {
    fn of(value: &ColumnarValue, rows: usize) -> Result<Self> {
        match value {
            ColumnarValue::Array(array) => Ok(Self::of_array(array)),
            ColumnarValue::Scalar(scalar) => {
                let one = Self::of_array(&scalar.to_array()?);
                Ok(Self { bytes: one.bytes.saturating_mul(rows), items: one.items.saturating_mul(rows), ..one })
            }
        }
    }

    fn of_array(array: &ArrayRef) -> Self {
        let texts = |lengths: &mut dyn Iterator<Item = usize>| {
            lengths.fold(Self::default(), |all, it| Self {
                bytes: all.bytes + it,
                items: all.items + 1,
                longest: all.longest.max(it),
            })
        };
        match array.data_type() {
            DataType::Utf8 => texts(&mut array.as_string::<i32>().offsets().lengths()),
            DataType::LargeUtf8 => texts(&mut array.as_string::<i64>().offsets().lengths()),
            DataType::Utf8View => texts(&mut array.as_string_view().iter().map(|it| it.map_or(0, str::len))),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let (from, to) = (list.offsets()[0].max(0), list.offsets()[list.len()].max(0));
                let from = usize::try_from(from).unwrap_or(0);
                let to = usize::try_from(to).unwrap_or(0);
                let values = Self::of_array(&list.values().slice(from, to - from));
                Self { items: values.items + list.len(), ..values }
            }
            _ => {
                let bytes = array.to_data().get_slice_memory_size();
                let bytes = bytes.unwrap_or_else(|_| array.get_array_memory_size());
                Self { bytes, items: array.len(), longest: 0 }
            }
        }
    }
}

/// A function that is refused what would grow beyond its bound.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    function: Arc<ScalarUDF>,
    growth: Growth,
}

impl Bounded {
    pub(super) const fn new(function: Arc<ScalarUDF>, growth: Growth) -> Self {
        Self { function, growth }
    }

    fn too_long(&self, bytes: usize, most: usize, of: &'static str) -> DataFusionError {
        DataFusionError::External(Box::new(TooLong { function: self.name().to_owned(), bytes, most, of }))
    }

    /// Rows from `from` on whose values are small enough to be made at once.
    fn piece(&self, args: &[ColumnarValue], from: usize, end: usize) -> Result<(Vec<ColumnarValue>, usize)> {
        let mut rows = end - from;
        loop {
            let slice = |it: &ColumnarValue| match it {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, rows)),
                ColumnarValue::Scalar(scalar) => ColumnarValue::Scalar(scalar.clone()),
            };
            let piece: Vec<_> = args.iter().map(slice).collect();
            let sizes = piece.iter().map(|it| Size::of(it, rows)).collect::<Result<Vec<_>>>()?;
            match self.growth.most(&sizes, rows) {
                most if most <= PIECE_BYTES => return Ok((piece, rows)),
                most if rows <= 1 => return Err(self.too_long(most, PIECE_BYTES, "one row")),
                _ => rows /= 2,
            }
        }
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.function.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let one = args.args.iter().all(|it| matches!(it, ColumnarValue::Scalar(_)));
        if one {
            self.piece(&args.args, 0, 1)?;
            return self.function.invoke_with_args(args);
        }
        let end = args.number_rows;
        let (mut from, mut bytes, mut made) = (0, 0_usize, Vec::new());
        while from < end || made.is_empty() {
            let (piece, rows) = self.piece(&args.args, from, end)?;
            let piece = ScalarFunctionArgs { args: piece, number_rows: rows, ..args.clone() };
            let values = self.function.invoke_with_args(piece)?.into_array(rows)?;
            bytes = bytes.saturating_add(Size::of_array(&values).bytes);
            if bytes > BATCH_BYTES {
                return Err(self.too_long(bytes, BATCH_BYTES, "one batch of rows"));
            }
            made.push(values);
            from += rows;
        }
        match made.as_slice() {
            [whole] => Ok(ColumnarValue::Array(Arc::clone(whole))),
            many => {
                let many: Vec<&dyn Array> = many.iter().map(AsRef::as_ref).collect();
                Ok(ColumnarValue::Array(concat(&many)?))
            }
        }
    }
}

/// Plans what operators stand for, where its values add up: `a || b` and `[a, b]`.
#[derive(Debug)]
pub(super) struct BoundedPlanner {
    joined: Arc<ScalarUDF>,
    list: Arc<ScalarUDF>,
}

impl BoundedPlanner {
    pub(super) fn new() -> Self {
        let bounded = |it| Arc::new(ScalarUDF::new_from_impl(Bounded::new(it, Growth::Sum)));
        Self { joined: bounded(Arc::new(ScalarUDF::new_from_impl(Joined::default()))), list: bounded(make_array_udf()) }
    }
}

impl ExprPlanner for BoundedPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let nested = |it: &Expr| Ok::<_, DataFusionError>(it.get_type(schema)?.is_nested());
        if expr.op != BinaryOperator::StringConcat || nested(&expr.left)? || nested(&expr.right)? {
            return Ok(PlannerResult::Original(expr));
        }
        Ok(PlannerResult::Planned(self.joined.call(vec![expr.left, expr.right])))
    }

    // A structure of a structure of …, each twice in the next, is a type that cannot be looked at in any time.
    fn plan_struct_literal(&self, _: Vec<Expr>, _: bool) -> Result<PlannerResult<Vec<Expr>>> {
        Err(DataFusionError::Plan("structures are not offered: select their fields".to_owned()))
    }

    fn plan_dictionary_literal(&self, _: RawDictionaryExpr, _: &DFSchema) -> Result<PlannerResult<RawDictionaryExpr>> {
        Err(DataFusionError::Plan("structures are not offered: select their fields".to_owned()))
    }

    fn plan_make_map(&self, _: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Err(DataFusionError::Plan("maps are not offered".to_owned()))
    }

    fn plan_array_literal(&self, items: Vec<Expr>, _: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.list.call(items)))
    }
}

/// `a || b` as a function: missing when either is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined(Signature);

impl Default for Joined {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &'static str {
        "||"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<_> = args.iter().map(|it| it.schema_name().to_string()).collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type(),
            _ => Err(DataFusionError::Plan("`||` stands between two values".to_owned())),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [left, right] => {
                let (left, right) = BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types()?;
                Ok(vec![left, right])
            }
            _ => Err(DataFusionError::Plan("`||` stands between two values".to_owned())),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|it| matches!(it, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let values = args.args.into_iter().map(|it| it.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let [left, right] = values.as_slice() else {
            return Err(DataFusionError::Execution("`||` stands between two values".to_owned()));
        };
        let joined = concat_elements_dyn(left, right)?;
        if scalar {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?))
        } else {
            Ok(ColumnarValue::Array(joined))
        }
    }
}
