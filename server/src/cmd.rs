//! One module for each command.

pub(crate) mod alerts;
pub(crate) mod baseline;
pub(crate) mod bench;
pub(crate) mod blame;
pub(crate) mod control;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod eval;
pub(crate) mod grant;
pub(crate) mod policy;
pub(crate) mod replay;
pub(crate) mod session;
pub(crate) mod sql;
pub(crate) mod tail;
pub(crate) mod up;
