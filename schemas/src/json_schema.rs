//! JSON Schemas of what goes over the wire and onto the log, for people who write producers and consumers.
//!
//! They are checked in under `generated/` and a test compares them, so that a change of a format is a visible difference.

mod step;

#[cfg(test)]
mod tests;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::record::DeadLetter;
use crate::{Control, Verdict};

/// A step as a producer sends it.
#[must_use]
pub fn step() -> Schema {
    of::<step::Step>("Step, v1")
}

/// A record of the `verdicts` topic.
#[must_use]
pub fn verdict() -> Schema {
    of::<Verdict<'static>>("Verdict, v1")
}

/// A record of the `controls` topic.
#[must_use]
pub fn control() -> Schema {
    of::<Control>("Control, v1")
}

/// A record of the `dead_letter` topic.
#[must_use]
pub fn dead_letter() -> Schema {
    of::<DeadLetter>("Dead letter, v1")
}

/// All of them, by the name of their file.
#[must_use]
pub fn all() -> [(&'static str, Schema); 4] {
    [("step", step()), ("verdict", verdict()), ("control", control()), ("dead_letter", dead_letter())]
}

fn of<T: JsonSchema>(title: &str) -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema
}
