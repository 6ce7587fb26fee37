//! What counts as memory of queries.
//!
//! `DataFusion` asks the pool for what its operators keep, but not for all of it. The side of a join that is kept is put
//! together into one batch, and is there twice while that is made: that is counted twice here. What a window looks over is
//! not asked for at all: it is here, all of it, and twice where the window begins when it has all and puts it together.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use super::held::Held;

/// Who asks for what a window looks over: all of it, put together, or parts that go when no row looks at them any more.
const WINDOW: &str = "WindowInput";
const PASSING_WINDOW: &str = "PassingWindowInput";
/// Who puts together what was asked for, by the beginning of their names.
const PUT_TOGETHER: [&str; 5] =
    ["HashJoinInput", "NestedLoopJoinLoad", "CrossJoinExec", "PiecewiseMergeJoinInput", WINDOW];

/// One bound for all queries.
#[derive(Debug)]
pub(super) struct Pool(TrackConsumersPool<GreedyMemoryPool>);

impl Pool {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(TrackConsumersPool::new(GreedyMemoryPool::new(bytes_max), NonZeroUsize::MIN))
    }
}

/// What is there at most of what somebody asked for.
fn real(reservation: &MemoryReservation, bytes: usize) -> usize {
    let name = reservation.consumer().name();
    if PUT_TOGETHER.iter().any(|it| name.starts_with(it)) { bytes.saturating_mul(2) } else { bytes }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MemoryPool for Pool {
    fn name(&self) -> &'static str {
        "queries"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.0.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.0.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.0.grow(reservation, real(reservation, additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.0.shrink(reservation, real(reservation, shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.0.try_grow(reservation, real(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.0.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.0.memory_limit()
    }
}

/// Puts a [`Counted`] below every window.
#[derive(Debug)]
pub(super) struct CountedWindows;

impl PhysicalOptimizerRule for CountedWindows {
    fn name(&self) -> &'static str {
        "counted_windows"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let counting = |plan: Arc<dyn ExecutionPlan>| {
            let who = match () {
                () if plan.is::<WindowAggExec>() => WINDOW,
                () if plan.is::<BoundedWindowAggExec>() => PASSING_WINDOW,
                () => return Ok(Transformed::no(plan)),
            };
            let counted = |input: &Arc<dyn ExecutionPlan>| Arc::new(Counted { input: Arc::clone(input), who }) as _;
            let inputs = plan.children().into_iter().map(counted).collect();
            plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
                .map(Transformed::yes)
        };
        plan.transform_up(counting).map(|it| it.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Lets rows through, and asks for them for as long as somebody reads on.
#[derive(Debug)]
struct Counted {
    input: Arc<dyn ExecutionPlan>,
    who: &'static str,
}

impl DisplayAs for Counted {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for Counted {
    fn name(&self) -> &'static str {
        "CountedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input, who: self.who })),
            Err(children) => Err(DataFusionError::Internal(format!("a window has one input, not {}", children.len()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut held = Held::new(context.memory_pool(), self.who);
        let rows = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            held.take(&batch)?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
