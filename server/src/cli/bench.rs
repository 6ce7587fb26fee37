//! Arguments of `bench`.

#[cfg(feature = "kafka")]
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Server;

/// Measure on this machine, loopback only. Use an optimised build for numbers that mean something.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale bench detect --policies-that-cannot-match 1000
  martingale bench gate --rate 2000 --seconds 10 --json
  martingale bench ingest --steps 300000
  martingale bench kafka --brokers 127.0.0.1:9092")]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// The detector core on one thread: steps of about 300 bytes, decoded and judged.
    #[command(after_help = "Example:\n  martingale bench detect --steps 1000000 --json")]
    Detect(Detect),
    /// Latency of the gate at a fixed rate, measured from when each request should have been sent.
    #[command(after_help = "Example:\n  martingale bench gate --rate 2000 --seconds 10 --json")]
    Gate(Gate),
    /// Steps per second over HTTP until every one is durable and visible to SQL.
    #[command(after_help = "Example:\n  martingale bench ingest --steps 300000 --json")]
    Ingest(Ingest),
    /// A detector beside brokers of Apache Kafka: steps per second to committed verdicts, latency at a rate, restore.
    #[cfg(feature = "kafka")]
    #[command(after_help = "\
Configured as `up` is: environment and --config hold brokers, security, detector and policies.

Examples:
  martingale bench kafka --brokers 127.0.0.1:9092 --json
  martingale bench kafka --config martingale.toml --partitions 8 --processes 2,4,8
  MARTINGALE__DETECTOR__BATCH_STEPS_MAX=512 martingale bench kafka --brokers 127.0.0.1:9092")]
    Kafka(Kafka),
}

#[cfg(feature = "kafka")]
#[derive(Debug, Args)]
pub(crate) struct Kafka {
    /// Brokers to measure with [default: those of the configuration]; the topics that are made there stay.
    #[arg(long, value_name = "BROKERS")]
    pub(crate) brokers: Option<String>,
    /// Configuration file (TOML), as for `up`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Numbers of partitions to compare, one detector process each.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 4], value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) partitions: Vec<u32>,
    /// Numbers of detector processes to compare, with the most partitions of those above.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [2, 4], value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) processes: Vec<u32>,
    /// Steps on the log for each of them.
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub(crate) steps: u32,
    /// Steps per second at which latency is measured.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// For how long.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Live sessions to take over; 0 leaves it out.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub(crate) sessions: u32,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Detect {
    /// Steps to judge.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub(crate) steps: u32,
    /// Compare with this many more policies of which none can match.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub(crate) policies_that_cannot_match: u32,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gate {
    /// Requests offered per second.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Keep-alive connections: requests under way at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) connections: u32,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// Steps to send.
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) steps: u32,
    /// Requests under way at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) concurrency: u32,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Against what to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// A running server [default: one in this process, in a temporary folder].
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Bearer token, where the server wants one.
    #[arg(long, value_name = "TOKEN", env = "MARTINGALE_TOKEN", hide_env_values = true, requires = "server")]
    pub(crate) token: Option<String>,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Target {
    pub(crate) fn remote(&self) -> Option<Server> {
        self.server.clone().map(|server| Server { server, token: self.token.clone() })
    }
}
