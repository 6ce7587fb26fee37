//! The words of Martingale and their wire forms.
//!
//! A step passes through three forms, each with its own trust:
//!
//! 1. [`wire::StepV1`]: what a producer sent. Forgiving, borrowed from the request, nothing checked but JSON itself.
//! 2. [`Step`]: checked once, at ingest, and complete: every default is filled in. This form is what the log holds
//!    (as JSON, see [`Step::to_json`]).
//! 3. `&Step`: what the detector core sees. [`Step::from_log`] reads it back without copying its text.
//!
//! **Invariant:** this crate has no I/O, no async and no clock; the time of arrival is an argument.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

#[cfg(feature = "arrow")]
pub mod arrow;
pub mod baselines;
pub mod bench_steps;
pub mod capture;
pub mod control;
pub mod decision;
pub mod grant;
pub mod hidden;
pub mod ids;
pub mod json_schema;
pub mod json_text;
pub mod limits;
pub mod lineage;
pub mod reader;
pub mod record;
pub mod rejection;
pub mod step;
pub mod time;
pub mod topics;
pub mod verdict;
pub mod wire;

pub use capture::{Capture, Redact};
pub use control::{Control, ControlAction, ControlState, Scope};
pub use decision::Decision;
pub use grant::Flow;
pub use ids::{AgentId, BaselinesId, ControlId, FindingId, SessionId, StepId, VerdictId};
pub use limits::Limits;
pub use lineage::Lineage;
pub use reader::StepReader;
pub use record::Position;
pub use rejection::{Reason, Rejection};
pub use step::{Kind, Status, Step};
pub use time::Timestamp;
pub use verdict::{
    Assumption, Bound, Calibration, Column, Finding, Mode, Scores, Severity, ValueEdge, ValueMatch, Verdict,
};
