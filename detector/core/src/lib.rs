//! The pure heart of the system: `observe(&mut self, &Step) -> Observed`.
//!
//! **Invariant:** no clock, no I/O, no async, no randomness that could reach a verdict. Time comes from the steps, state
//! is loaded before and stored after by the shell. The same steps in the same order give the same verdicts, live, in
//! replay and in backtest.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

// What judges: the columns, and the policies of operators.
mod columns;
mod condition;
mod drift;
mod escalation;
mod flow;
mod halt;
mod hijack;
mod pace;
pub mod policy;

// What they go by: what a session has read and of which tools, secrets, what is ordinary, what was approved.
mod baseline;
pub mod conformal;
mod grants;
pub mod provenance;
mod reservoir;
mod secret;
mod sink;
mod tools;

// What is remembered, and how it is stored.
mod bytes;
mod limits;
mod parts;
mod recent;
mod run;
mod session;
mod state;
mod store;
mod tally;
mod tenant;
mod v1;

// What puts them together.
mod detector;
mod judgement;
mod rules;

// What is no verdict: what the doors do to content, and where a session that is over went wrong.
mod blame;
mod capture;

// Means of all of them.
mod canonical;
mod glob;
mod hash;
mod quote;
mod yaml;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use baseline::{Baselines, BaselinesV1, BaselinesV2, Calibrator, Learner, Profile, ReadFor, Total};
pub use blame::{BLAME_NUMBERS, Blame, Reason, Suspect};
pub use capture::{CaptureError, Redactor};
pub use detector::Detector;
pub use drift::DriftCalibration;
pub use hijack::{HijackCalibration, HijackRows, HijackRules, hijack_text};
pub use judgement::{Applied, Judgement, Observed};
pub use limits::StateLimits;
pub use policy::{CoreRule, PolicyError, check_policies};
pub use rules::{Rules, Values};
pub use run::RunState;
pub use session::{Counts, SessionState};
pub use state::{Part, PartRef, PartState, State, StateKey, StateRef};
pub use tally::Tally;
pub use tenant::TenantState;
pub use v1::StateV1;
