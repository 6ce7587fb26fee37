//! Ends a join that gives nothing out.
//!
//! A query that is given up ends where it gives way to others: when rows are read, and when a join gives some out
//! ([`super::yielding`]). A join whose condition no pair meets does neither while it looks at the pairs, of which there
//! may be more than anybody can wait for. So the condition itself asks whether somebody still does.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};

/// Whether a query is given up. That of an engine itself never is.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Given up when this is dropped.
    pub(super) fn on_drop(&self) -> Stopping {
        Stopping(self.clone())
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The plan with every join in it asking.
    pub(super) fn watch(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let watching = |plan: Arc<dyn ExecutionPlan>| {
            if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
                && let Some(filter) = join.filter()
            {
                let filter = self.condition(filter);
                let join = NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?;
                return Ok(Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>));
            }
            if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
                let filter = match join.filter() {
                    Some(filter) => Some(self.condition(filter)),
                    // It tells of each row at most once, of however many pairs.
                    None if tells_once(*join.join_type()) && !join.null_aware => {
                        Some(self.condition(&JoinFilter::new(lit(true), Vec::new(), Arc::new(Schema::empty()))))
                    }
                    None => None,
                };
                if filter.is_some() {
                    let join = join.builder().with_filter(filter).build()?;
                    return Ok(Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>));
                }
            }
            Ok(Transformed::no(plan))
        };
        plan.transform_up(watching).map(|it| it.data)
    }

    fn condition(&self, filter: &JoinFilter) -> JoinFilter {
        let condition = Watched { condition: Arc::clone(filter.expression()), stop: self.clone() };
        JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }
}

const fn tells_once(join: JoinType) -> bool {
    match join {
        JoinType::LeftSemi
        | JoinType::RightSemi
        | JoinType::LeftAnti
        | JoinType::RightAnti
        | JoinType::LeftMark
        | JoinType::RightMark => true,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => false,
    }
}

/// See [`Stop::on_drop`].
pub(super) struct Stopping(Stop);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A condition that fails once the query is given up.
#[derive(Debug)]
struct Watched {
    condition: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition) && Arc::ptr_eq(&self.stop.0, &other.stop.0)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.is_set() {
            return Err(DataFusionError::Execution("the query was given up".to_owned()));
        }
        self.condition.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.condition.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 1]>::try_from(children) {
            Ok([condition]) => Ok(Arc::new(Self { condition, stop: self.stop.clone() })),
            Err(children) => {
                Err(DataFusionError::Internal(format!("a watched condition has one part, not {}", children.len())))
            }
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
