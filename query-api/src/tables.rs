//! The tables of history, one module each.
