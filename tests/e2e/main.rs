//! The real binary, from outside: real sockets, real files, real clients, `kill -9`.
//!
//! Each test starts its own server on free ports in its own folder. `MARTINGALE_TRACES` names the folder of recorded
//! executions (default `../shared/traces` beside the checkout); `MARTINGALE_PYTHON` a Python with
//! `tests/python/requirements.txt` (`cargo xtask ci` makes one). A test that lacks either says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout, clippy::too_many_lines)]

mod baselines;
mod capture;
mod cli;
mod contract;
mod crash;
mod delivery;
mod document;
mod eval;
mod grants;
mod harness;
mod hostile;
#[cfg(feature = "kafka")]
mod kafka;
mod lineage;
mod objects;
mod otel;
mod recorded;
/// Taken in as a file: as a feature of the platform crate it would have everything above that compiled twice.
#[allow(dead_code, unreachable_pub)]
#[path = "../../platform/src/testing.rs"]
mod services;
