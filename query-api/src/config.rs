//! Configuration of this crate: one section for each part.

use serde::{Deserialize, Serialize};

use crate::http::bodies;
use crate::{alerts, controls, gate, stream, verdicts, webhooks};

/// Everything the enforcing side can be told. History and SQL have their own (`history::Config`, `sql::Config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub requests: bodies::Config,
    pub gate: gate::Config,
    pub controls: controls::Config,
    pub stream: stream::Config,
    pub verdicts: verdicts::Config,
    pub webhook: webhooks::Config,
    pub alerts: alerts::Config,
}
