//! Process plumbing: the log, the clock, shutdown, telemetry. Moves bytes and knows no step.
//!
//! **Invariant:** no domain types here. `schemas` and `platform` do not know each other; services meet in both.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

pub mod background;
pub mod budget;
pub mod clock;
pub mod config;
pub mod files;
pub mod log;
pub mod shutdown;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
