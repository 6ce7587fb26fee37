//! The detector as a whole.

mod agents;
mod bounded;
mod captured;
mod controls;
mod definitions;
mod drifted;
mod given;
mod grants;
mod heirs;
mod leakage;
mod lineage;
mod pages;
mod privilege;
mod properties;
mod recorded;
mod sent;
mod state;
mod told;
mod values;
