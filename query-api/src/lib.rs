pub mod history;
pub mod sessions;
pub mod sql;
pub mod tables;
