//! Threads of queries: apart from those that answer agents and behind them, and apart from those that write history.

use tokio::runtime::{Builder, Handle, Runtime};

/// Plans and expressions are trees that are walked by calling oneself. A query may nest as deep as
/// [`super::shape::NESTED_MAX`], and a level takes tens of kilobytes without optimisation. Only what is used of it is
/// memory.
const STACK_BYTES: usize = 64 << 20;
const WORKERS_MAX: usize = 64;
/// Threads for reading files.
const BLOCKING_THREADS_MAX: usize = 64;

/// Dropped without waiting: nothing that a query does has to be finished.
pub(super) struct Threads {
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// One for each query that may run: one that does not give way keeps its own, and the others go on.
    pub(super) fn start(queries_max: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(queries_max.clamp(1, WORKERS_MAX))
            .thread_name("sql")
            .on_thread_start(martingale_platform::background::lower_priority)
            .thread_stack_size(STACK_BYTES)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
