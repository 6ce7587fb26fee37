//! The detector as a whole.

mod controls;
mod properties;
mod recorded;
mod state;
