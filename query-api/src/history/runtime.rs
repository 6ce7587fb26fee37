//! Threads of the writer: building rows, writing Parquet.
//!
//! An agent waits for its verdict on the main runtime's threads, which a sort of a million rows must not sit on. Queries
//! have threads of their own (`sql::threads`): one that cannot be stopped must not keep rows from being written.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

use super::Error;

/// One follows the log while the other writes files.
const WORKERS: usize = 2;

/// Dropped without waiting: what its tasks had not committed is read from the log again.
pub(super) struct Background(Mutex<Option<Runtime>>, Handle);

impl Background {
    pub(super) fn start() -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("history")
            // With two cores and two of these at work, who answers an agent would wait for a core.
            .on_thread_start(martingale_platform::background::lower_priority)
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let handle = runtime.handle().clone();
        Ok(Self(Mutex::new(Some(runtime)), handle))
    }

    pub(super) fn handle(&self) -> Handle {
        self.1.clone()
    }

    /// Ends its tasks where they are, without waiting.
    pub(super) fn kill(&self) {
        if let Some(runtime) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}
