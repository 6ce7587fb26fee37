//! Which partitions do not go on, and why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use martingale_platform::log::Partition;

/// What readiness asks. Empty while every partition of this process goes on.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<Partition, String>>>);

impl Health {
    /// The partitions whose loops started again since they last got on, and why the first did.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let troubled = self.lock();
        let (first, why) = troubled.iter().next()?;
        let others = troubled.len() - 1;
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        Some(format!("partition {first}{more} does not go on: {why}"))
    }

    pub(crate) fn failed(&self, partition: Partition, error: &dyn std::error::Error) {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            why = format!("{why}: {error}");
            cause = error.source();
        }
        self.lock().insert(partition, why);
    }

    pub(crate) fn goes_on(&self, partition: Partition) {
        self.lock().remove(&partition);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Partition, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
