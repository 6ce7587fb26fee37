//! Log lines. Metrics are each service's own, in a shared `prometheus::Registry`.

mod lines;
mod metrics;

use std::io::{self, IsTerminal};

use prometheus::IntCounter;
use tracing_subscriber::EnvFilter;

pub use lines::Flush;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Sends log lines to standard error, since standard output belongs to the command's answer. `filter` is a tracing
/// directive such as `info` or `info,martingale_detector=debug`. A line is never waited for: one that standard error does not
/// take, or that finds too many before it, is given up and counted by what is returned, which waits to be registered. The
/// other is to be kept to the end of the process.
///
/// # Errors
/// A sentence that names the directive that cannot be read.
pub fn init(filter: &str, format: Format) -> Result<(IntCounter, Flush), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter `{filter}`: {error}"))?;
    let lost = metrics::lost().map_err(|error| format!("log output: {error}"))?;
    let coloured = io::stderr().is_terminal();
    let (lines, flush) =
        lines::start(io::stderr(), lost.clone()).map_err(|error| format!("log output: no thread: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        .with_ansi(coloured)
        // It would tell of a line that standard error refuses on standard error, and panic as that refuses it too.
        .log_internal_errors(false);
    let done = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| format!("log output: {error}"))?;
    Ok((lost, flush))
}
