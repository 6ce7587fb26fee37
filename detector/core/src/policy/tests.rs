//! What each form of policy does, and what is said of one that is wrong.

mod docs;
mod faults;
mod forms;
mod hints;
mod starter;
