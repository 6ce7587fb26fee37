//! What the tests of the whole system share.
//!
//! The simulation runs detectors against a log in memory, in one thread and on a clock that stands still: everything that
//! happens is drawn from one seed, so a seed that fails fails again. `SEED=123 cargo test -p martingale-tests --test sim`.
//!
//! * [`world`] is the agents: runs of sessions, their steps and the orders of their operators.
//! * [`member`] is a process of the detector's group as the log sees it, with everything that goes wrong.
//! * [`simulation`] lets the two meet and then lets the faults stop.
//! * [`reference`](mod@reference) is what should have happened, computed without shell, batches, cache or faults.
//! * [`invariants`] compares.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

pub mod invariants;
pub mod learnt;
pub mod member;
pub mod random;
pub mod reference;
pub mod simulation;
pub mod world;
