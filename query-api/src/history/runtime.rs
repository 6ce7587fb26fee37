//! Threads for heavy work: building rows, writing Parquet, running queries.
//!
//! An agent waits for its verdict on the main runtime's threads; a scan over a million rows must not sit on one of them.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

use super::Error;

/// Dropped without waiting: what its tasks had not committed is read from the log again.
pub(super) struct Background(Mutex<Option<Runtime>>, Handle);

impl Background {
    pub(super) fn start() -> Result<Self, Error> {
        let runtime =
            Builder::new_multi_thread().thread_name("history").enable_all().build().map_err(Error::Threads)?;
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
