//! Learning baselines while a server runs: from sessions on the log that are over, again and again.
//!
//! Each round learns anew from what the log holds of the last weeks, so what is old fades by itself, nothing has to be kept
//! between rounds, and one that breaks off costs nothing. What it learnt is put on the log, and every partition is ordered to
//! use it. One process does it: the one that owns the first partition.

mod halts;
mod round;
mod survey;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use martingale_detector_core::Rules;
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{Log, Partition};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Limits, StepReader};
use serde::{Deserialize, Serialize};

use crate::{CONSUMER, Error};
use round::{Round, Shared};

/// See `deploy/config.default.toml`, section `learning`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learning {
    /// Whether baselines are learnt at all.
    pub enabled: bool,
    /// Time between two rounds. One with too little that is new ends at once.
    pub every: Span,
    /// How old the end of a session may be. What the log has removed is not learnt from either.
    pub window: Span,
    /// How long a session without an end is silent until it is taken as over.
    pub silent: Span,
    /// Most sessions and steps of a round: the newest ones.
    pub sessions_max: usize,
    pub steps_max: usize,
    /// Baselines kept on the log, to go back to.
    pub kept: usize,
}

impl Default for Learning {
    fn default() -> Self {
        const HOUR: u64 = 3_600;
        Self {
            enabled: true,
            every: Span(Duration::from_secs(HOUR)),
            window: Span(Duration::from_secs(14 * 24 * HOUR)),
            silent: Span(Duration::from_secs(HOUR)),
            sessions_max: 100_000,
            steps_max: 2_000_000,
            kept: 8,
        }
    }
}

impl Learning {
    /// # Errors
    /// [`Error::Config`] with the field that does not hold.
    pub fn validate(&self) -> Result<(), Error> {
        let spans =
            [("learning.every", self.every), ("learning.window", self.window), ("learning.silent", self.silent)];
        if let Some((field, span)) = spans.into_iter().find(|(_, it)| it.0.is_zero()) {
            return Err(Error::Config { field, value: span.to_string(), remedy: "set a span such as 1h" });
        }
        let counts = [("learning.sessions_max", self.sessions_max), ("learning.steps_max", self.steps_max)];
        if self.kept < 2 {
            let value = self.kept.to_string();
            let remedy = "set at least 2: the former ones are used until every partition has the new ones";
            return Err(Error::Config { field: "learning.kept", value, remedy });
        }
        match counts.into_iter().find(|(_, it)| *it == 0) {
            Some((field, _)) => Err(Error::Config { field, value: "0".to_owned(), remedy: "set at least 1" }),
            None => Ok(()),
        }
    }
}

/// Learns until `shutdown`. A round that fails is told and tried again with the next.
///
/// # Errors
/// [`Error::Config`].
pub async fn learn(
    config: Learning,
    clock: Clock,
    limits: &Limits,
    log: Arc<dyn Log>,
    rules: Arc<Rules>,
    mut shutdown: Shutdown,
) -> Result<(), Error> {
    config.validate()?;
    let assigned = log.assigned(CONSUMER);
    let every = config.every.0;
    let reader = StepReader::new(log.is_open(), limits);
    let mut round = Round::new(Shared { config, clock, reader, log, rules });
    loop {
        tokio::select! {
            biased;
            () = shutdown.stopping() => return Ok(()),
            () = tokio::time::sleep(every) => {}
        }
        if !assigned.borrow().contains(&Partition(0)) {
            continue;
        }
        let outcome = tokio::select! {
            biased;
            () = shutdown.stopping() => return Ok(()),
            outcome = round.learn() => outcome,
        };
        if let Err(error) = outcome {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "baselines were not learnt; tried again in {every:?}"
            );
        }
    }
}
