//! The pure heart of the system: `observe(&mut self, &Step) -> Observed`.
//!
//! **Invariant:** no clock, no I/O, no async, no randomness that could reach a verdict. Time comes from the steps, state
//! is loaded before and stored after by the shell. The same steps in the same order give the same verdicts, live, in
//! replay and in backtest.

mod detector;
mod judgement;
mod limits;
pub mod policy;
mod rules;
mod run;
mod session;
mod state;

pub use detector::Detector;
pub use judgement::{Applied, Judgement, Observed};
pub use limits::StateLimits;
pub use policy::{PolicyError, check_policies};
pub use rules::Rules;
pub use run::RunState;
pub use session::SessionState;
pub use state::{State, StateKey};
