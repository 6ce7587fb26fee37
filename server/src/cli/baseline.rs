//! Arguments of `baseline`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What the agents do when nothing is wrong: learnt from recordings, kept as a file, judged by with `up --baselines`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale baseline learn last-month.jsonl.gz --out normal.baselines
  martingale baseline show normal.baselines
  martingale replay today.jsonl.gz --offline --baselines normal.baselines
  martingale up --data ./data --baselines normal.baselines")]
pub(crate) struct Baseline {
    #[command(subcommand)]
    pub(crate) command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Learn from recorded sessions, which are taken as normal and carry no labels.
    #[command(after_help = "Example:\n  martingale baseline learn steps.jsonl.gz --out normal.baselines")]
    Learn(Learn),
    /// What a file of baselines holds: for each agent how many sessions, and what its figures rest on.
    #[command(after_help = "Example:\n  martingale baseline show normal.baselines --json")]
    Show(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// Files of steps, one JSON object a line; `.gz` is read as gzip. They are read twice; from `-`, standard input, or a
    /// pipe, once, and `hijack` then states no rate.
    #[arg(required = true, value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,
    /// File to write. What it held is replaced when everything was learnt.
    #[arg(long, value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// Folder of policies whose tool catalogues say what the tools are.
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A file that `baseline learn` wrote.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}
