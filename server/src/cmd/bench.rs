//! `bench`: what this machine does, loopback only.

mod detect;
mod gate;
mod ingest;
#[cfg(feature = "kafka")]
mod kafka;
mod stalls;
mod target;

use std::process::ExitCode;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use crate::cli::bench::{Bench, BenchCommand};
use crate::output::{Table, note, say, say_json};

pub(crate) async fn run(args: Bench) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        note("this build is not optimised: measure with `cargo build --release`");
    }
    let (json, facts) = match args.command {
        BenchCommand::Detect(args) => (args.json, tokio::task::spawn_blocking(move || detect::run(&args)).await??),
        BenchCommand::Gate(args) => (args.target.json, gate::run(&args).await?),
        BenchCommand::Ingest(args) => (args.target.json, ingest::run(&args).await?),
        #[cfg(feature = "kafka")]
        BenchCommand::Kafka(args) => (args.json, Box::pin(kafka::run(&args)).await?),
    };
    if json {
        say_json(&facts)?;
    } else {
        say(Table::facts(facts.iter().map(|(name, value)| (name.as_str(), shown(value)))))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How far a measurement is; drawn on standard error, and only when that is a terminal.
fn progress(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {what} {{elapsed}}")) {
        bar.set_style(style);
    }
    bar
}

/// Names and numbers of one measurement.
type Facts = Map<String, Value>;

/// Numbers as people read them: no more digits than mean something.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && number.abs() < 1_000.0 => format!("{number:.3}"),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; shown without digits")]
        Some(number) => crate::output::grouped(number.round() as u64),
        None => super::sql::text(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shown;

    #[test]
    fn numbers_have_no_more_digits_than_mean_something() {
        for (value, text) in
            [(json!(0.123_456), "0.123"), (json!(123_456.7), "123,457"), (json!(12), "12"), (json!("x"), "x")]
        {
            assert_eq!(shown(&value), text);
        }
    }
}
