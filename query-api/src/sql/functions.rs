//! Which functions a query may call.
//!
//! A list of those that are offered, because what a function may cost is not written on it: the pool of memory sees what
//! is sorted, grouped and joined, but not the values of functions, and a function that runs cannot be stopped. So what
//! makes much of little (`repeat`, `lpad`, `array_repeat`, `encode`, …) or takes more time than its input is long
//! (`levenshtein`, `array_has_all`, …) or whose type doubles (`struct`) is not offered, and what joins texts is [bounded](super::bounded).

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{ScalarUDF, WindowUDF};

use super::bounded::{Bounded, BoundedPlanner, Growth};

/// Their values are no longer than their arguments together, give or take a small factor, nothing is added up.
#[rustfmt::skip]
const PLAIN: &[&str] = &[
    // Choices, structures, types.
    "arrow_typeof", "coalesce", "get_field", "greatest", "least", "nullif", "nvl", "nvl2",
    "version",
    // Times.
    "current_date", "current_time", "date_bin", "date_part", "date_trunc", "from_unixtime", "make_date", "make_time",
    "now", "to_date", "to_local_time", "to_time", "to_timestamp", "to_timestamp_micros", "to_timestamp_millis",
    "to_timestamp_nanos", "to_timestamp_seconds", "to_unixtime",
    // Numbers.
    "abs", "cbrt", "ceil", "exp", "floor", "isnan", "iszero", "ln", "log", "log10", "log2", "nanvl", "pi", "power",
    "random", "round", "signum", "sqrt", "trunc",
    // Texts.
    "ascii", "bit_length", "btrim", "character_length", "chr", "contains", "ends_with", "initcap", "left", "lower",
    "ltrim", "md5", "octet_length", "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "reverse", "right",
    "rtrim", "sha256", "split_part", "starts_with", "strpos", "substr", "substr_index", "to_hex", "translate", "upper",
    "uuid",
    // Lists.
    "array_distinct", "array_element", "array_has", "array_length", "array_max", "array_min", "array_slice",
    "cardinality", "empty",
];

/// Their values add up, and one of them may be the argument of the next.
const GROWING: [(&str, Growth); 7] = [
    ("array_to_string", Growth::Separated { by: 1 }),
    ("concat", Growth::Sum),
    ("concat_ws", Growth::Separated { by: 0 }),
    ("make_array", Growth::Sum),
    ("regexp_replace", Growth::Replaced { by: 2 }),
    ("replace", Growth::Replaced { by: 2 }),
    ("to_char", Growth::Formatted { by: 1 }),
];

/// What may be computed over a window. An aggregate that keeps every row, as `array_agg`, would be kept for every row.
#[rustfmt::skip]
const WINDOWED: &[&str] = &[
    "avg", "bool_and", "bool_or", "count", "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "max",
    "min", "nth_value", "ntile", "percent_rank", "rank", "row_number", "sum",
];

/// Scalar functions as they are offered.
pub(super) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let offered = |it: Arc<ScalarUDF>| match growth(it.name()) {
        Some(growth) => Some(Arc::new(ScalarUDF::new_from_impl(Bounded::new(it, growth)))),
        None => PLAIN.contains(&it.name()).then_some(it),
    };
    SessionStateDefaults::default_scalar_functions().into_iter().filter_map(offered).collect()
}

/// Window functions as they are offered.
pub(super) fn window() -> Vec<Arc<WindowUDF>> {
    SessionStateDefaults::default_window_functions().into_iter().filter(|it| may_be_windowed(it.name())).collect()
}

/// What turns operators into functions: the bounded ones first.
pub(super) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    let bounded: Arc<dyn ExprPlanner> = Arc::new(BoundedPlanner::new());
    std::iter::once(bounded).chain(SessionStateDefaults::default_expr_planners()).collect()
}

/// Whether a scalar function is offered. An operator may stand for one that is not.
pub(super) fn may_be_called(function: &ScalarUDF) -> bool {
    function.inner().is::<Bounded>() || PLAIN.contains(&function.name())
}

pub(super) fn may_be_windowed(name: &str) -> bool {
    WINDOWED.contains(&name)
}

fn growth(name: &str) -> Option<Growth> {
    GROWING.iter().find(|it| it.0 == name).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{GROWING, PLAIN, scalar, window};

    #[test]
    fn every_function_of_the_lists_exists() {
        let scalar: BTreeSet<_> = scalar().iter().map(|it| it.name().to_owned()).collect();
        let listed = PLAIN.iter().copied().chain(GROWING.iter().map(|it| it.0));
        let listed: BTreeSet<_> = listed.map(ToOwned::to_owned).collect();
        assert_eq!(listed.difference(&scalar).collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!(window().len(), 11);
    }
}
