//! What each form of policy does, and what is said of one that is wrong.

mod docs;
mod faults;
mod forecast;
mod forms;
mod hints;
mod starter;
