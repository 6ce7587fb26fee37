//! Baselines from the log, read once for all partitions of the process.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use martingale_detector_core::Baselines;
use martingale_platform::background::beside_others;
use martingale_platform::log::{Log, blob};
use martingale_schemas::{BaselinesId, topics};
use tokio::sync::Mutex;

use crate::{Error, read_baselines};

/// Those that some partition holds steps against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetched(Arc<Mutex<HashMap<BaselinesId, Weak<Baselines>>>>);

impl Fetched {
    /// `None`, and why in the log of the process, when they are not on the log or cannot be read by this program.
    pub(crate) async fn get(&self, log: &dyn Log, id: BaselinesId) -> Result<Option<Arc<Baselines>>, Error> {
        // Held while reading: partitions that start together want the same ones.
        let mut held = self.0.lock().await;
        if let Some(baselines) = held.get(&id).and_then(Weak::upgrade) {
            return Ok(Some(baselines));
        }
        held.retain(|_, it| it.strong_count() > 0);
        let Some(stored) = blob::get(log, topics::BASELINES, &id.to_string()).await? else {
            tracing::error!(baselines = %id, "these baselines are not on the log: publish them again, or order others");
            return Ok(None);
        };
        // Some ten milliseconds for a megabyte.
        match beside_others(|| read_baselines(&stored)) {
            Ok((baselines, found)) if found == id => {
                let baselines = Arc::new(baselines);
                held.insert(id, Arc::downgrade(&baselines));
                Ok(Some(baselines))
            }
            Ok((_, found)) => {
                tracing::error!(baselines = %id, %found, "others are on the log under this name: publish these again");
                Ok(None)
            }
            Err(error) => {
                tracing::error!(baselines = %id, error = &error as &dyn std::error::Error, "these baselines cannot be read");
                Ok(None)
            }
        }
    }
}
