//! Sessions, timelines and why.
