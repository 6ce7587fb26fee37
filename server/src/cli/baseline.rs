//! Arguments of `baseline`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Output, Signed};

/// What the agents do when nothing is wrong: learnt by a server from sessions that are over, or from recordings into a file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale baseline learn last-month.jsonl.gz --out normal.baselines
  martingale baseline show normal.baselines
  martingale replay today.jsonl.gz --offline --baselines normal.baselines
  martingale baseline publish normal.baselines      onto the log, and into use
  martingale baseline list                          which there are, and which is used
  martingale baseline use <id>                      back to earlier ones
  martingale baseline fetch <id> --out used.baselines
  martingale baseline remove <id>                   from the log; those that are used stay")]
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
    /// Baselines on the server's log, newest first, and which of them steps are held against.
    #[command(after_help = "Example:\n  martingale baseline list")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Put a file onto the server's log, and have every detector use it from its next step on.
    #[command(after_help = "\
A server that learns (`learning.enabled`) goes on to its own with its next round.

Example:
  martingale baseline publish normal.baselines --reason \"before the release\"")]
    Publish {
        /// A file that `baseline learn` wrote.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        signed: Signed,
    },
    /// Have every detector use baselines that are on the log.
    #[command(
        after_help = "Example:\n  martingale baseline use <id> --reason \"the last ones were learnt on a bad day\""
    )]
    Use {
        /// Which ones; `baseline list` shows their ids.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        signed: Signed,
    },
    /// Remove baselines from the server's log. Those that are used, or were ordered last, are not.
    #[command(after_help = "Example:\n  martingale baseline remove <id>")]
    Remove {
        /// Which ones; `baseline list` shows their ids.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        output: Output,
    },
    /// Write baselines of the server's log to a file.
    #[command(after_help = "Example:\n  martingale baseline fetch <id> --out used.baselines")]
    Fetch {
        /// Which ones; `baseline list` shows their ids.
        #[arg(value_name = "ID")]
        id: String,
        /// File to write. What it held is replaced when they are here.
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
        #[command(flatten)]
        output: Output,
    },
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
