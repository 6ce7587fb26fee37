//! The pure heart of the system: `observe(&mut self, &Step) -> Observed`.
//!
//! **Invariant:** no clock, no I/O, no async, no randomness that could reach a verdict. Time comes from the steps, state
//! is loaded before and stored after by the shell. The same steps in the same order give the same verdicts, live, in
//! replay and in backtest.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

mod baseline;
mod blame;
mod bytes;
mod canonical;
mod capture;
mod columns;
mod condition;
pub mod conformal;
mod detector;
mod drift;
mod escalation;
mod flow;
mod glob;
mod grants;
mod halt;
mod hash;
mod hijack;
mod judgement;
mod limits;
mod pace;
mod parts;
pub mod policy;
pub mod provenance;
mod quote;
mod recent;
mod reservoir;
mod rules;
mod run;
mod secret;
mod session;
mod sink;
mod state;
mod store;
mod tally;
mod tenant;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tools;
mod v1;
mod yaml;

pub use baseline::{Baselines, BaselinesV1, BaselinesV2, Calibrator, Learner, Profile, Total};
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
