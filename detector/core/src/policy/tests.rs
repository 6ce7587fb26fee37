//! What each form of policy does, and what is said of one that is wrong.

mod faults;
mod forms;
mod starter;
