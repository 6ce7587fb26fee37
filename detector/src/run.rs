//! Which loops run.

use std::collections::BTreeMap;
use std::sync::Arc;

use martingale_detector_core::Rules;
use martingale_platform::log::{self, Log, Partition};
use martingale_platform::shutdown::{self, Shutdown, Trigger};
use martingale_schemas::{Limits, StepReader};
use prometheus::Registry;
use tokio::task::{Id, JoinError, JoinSet};

use crate::fetched::Fetched;
use crate::metrics::Metrics;
use crate::partition::{Shared, follow};
use crate::{CONSUMER, Config, Error, Health};

/// Where it says how it does.
#[derive(Debug)]
pub struct Watched<'a> {
    pub registry: &'a Registry,
    pub health: Health,
}

/// Judges the steps of every partition that is assigned to this process, until `shutdown`. A loop in the middle of a
/// commit finishes it first. Steps that others than ingest have put on the log are checked by `limits`, as ingest would.
///
/// # Errors
/// [`Error`], when going on would lose or change a verdict: state that cannot be read, a log that is closed. What the log
/// refuses for a while is tried again and is no error.
pub async fn run(
    config: Config,
    limits: &Limits,
    log: Arc<dyn Log>,
    rules: Arc<Rules>,
    watched: Watched<'_>,
    mut shutdown: Shutdown,
) -> Result<(), Error> {
    config.validate()?;
    let mut assigned = log.assigned(CONSUMER);
    let reader = StepReader::new(log.is_open(), limits);
    let metrics = Metrics::new(watched.registry)?;
    let (config, fetched) = (Arc::new(config), Fetched::default());
    let shared = Shared { config, reader, log, rules, metrics, health: watched.health, fetched };
    let mut loops = Loops { shared, tasks: JoinSet::new(), running: BTreeMap::new() };
    let outcome = loop {
        let owned = assigned.borrow_and_update().clone();
        if let Err(error) = loops.own(&owned).await {
            break Err(error);
        }
        let event = tokio::select! {
            biased;
            () = shutdown.stopping() => break Ok(()),
            changed = assigned.changed() => changed.map_err(|_| Error::Log(log::Error::Closed)),
            Some(ended) = loops.tasks.join_next_with_id() => loops.ended(ended),
        };
        if let Err(error) = event {
            break Err(error);
        }
    };
    let stopped = loops.own(&[]).await;
    outcome.and(stopped)
}

struct Loops {
    shared: Shared,
    tasks: JoinSet<Result<(), Error>>,
    running: BTreeMap<Partition, (Id, Trigger)>,
}

impl Loops {
    /// Stops what is not in `owned`, and only when that has ended starts what is missing.
    async fn own(&mut self, owned: &[Partition]) -> Result<(), Error> {
        let mut lost = 0;
        for (partition, (_, trigger)) in &self.running {
            if !owned.contains(partition) {
                trigger.stop();
                lost += 1;
            }
        }
        let mut outcome = Ok(());
        while lost > 0 {
            let Some(ended) = self.tasks.join_next_with_id().await else { break };
            let ended = self.ended(ended);
            outcome = outcome.and(ended);
            lost = self.running.keys().filter(|it| !owned.contains(it)).count();
        }
        outcome?;
        for partition in owned.iter().copied() {
            if !self.running.contains_key(&partition) {
                let (trigger, stop) = shutdown::channel();
                let task = self.tasks.spawn(follow(self.shared.clone(), partition, stop));
                self.running.insert(partition, (task.id(), trigger));
            }
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, Result<(), Error>), JoinError>) -> Result<(), Error> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        self.running.retain(|_, (it, _)| *it != id);
        let (_, outcome) = ended.map_err(Error::Broken)?;
        outcome
    }
}
