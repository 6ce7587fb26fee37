//! The weights, and what a row comes to.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use super::row::{BLAME_NUMBERS, Row};

/// A weight for each number, in thousandths of a log-odds for 1,024 of it.
pub(super) type Weights = Row;

#[derive(Deserialize)]
struct Stored {
    weights: BTreeMap<String, i32>,
}

pub(super) fn weights() -> &'static Weights {
    static WEIGHTS: OnceLock<Weights> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        let stored: Option<Stored> = serde_json::from_str(include_str!("../../blame/weights.json")).ok();
        BLAME_NUMBERS.map(|name| stored.as_ref().and_then(|it| it.weights.get(name)).copied().unwrap_or(0))
    })
}

pub(super) fn score(row: &Row) -> i32 {
    row.iter().zip(weights()).map(|(number, weight)| number * weight / 1024).sum()
}
