//! The detector as a whole.

mod controls;
mod leakage;
mod properties;
mod recorded;
mod state;
mod values;
