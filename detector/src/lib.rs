//! The shell of the detector: log → core → commit, one loop for each partition this process owns.
//!
//! * [`run`] follows the assignment of partitions: it stops the loops of those it loses before it starts others.
//! * `partition` is the loop. It reads orders before steps, loads the state they need, judges, and makes verdicts, state
//!   and positions durable with one [`martingale_platform::log::Log::commit`]. Nothing is published by other means.
//! * What a loop holds in memory is a cache: dropped at any moment, it is read back from the log, and the next verdicts
//!   are the same ones.
//!
//! **Invariant:** the judgement of a step depends on the log alone: on the steps before it in its partition, on the
//! orders whose [`martingale_schemas::ControlState::Applied`] names a position at or before it, and on the times at which
//! the log took those steps in. Not on the clock, on batches, on memory or on restarts.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

mod baselines;
mod config;
mod controls;
mod dead_letter;
mod error;
mod fetched;
mod health;
mod idle;
mod judge;
mod learning;
mod metrics;
mod partition;
mod published;
mod run;
mod state;
#[cfg(test)]
mod tests;

pub use baselines::{BaselinesError, read_baselines, write_baselines};
pub use config::Config;
pub use error::Error;
pub use health::Health;
pub use learning::{Learning, learn};
pub use run::{Watched, run};
pub use state::{Error as StateError, write as write_state};

use martingale_platform::log::{Consumer, Store};

/// The name under which positions are committed and partitions assigned.
pub const CONSUMER: Consumer = "detector";
/// The store that holds the state of sessions and runs.
pub const STORE: Store = "detector";
