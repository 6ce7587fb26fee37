//! Arguments of `dead-letters`.

use clap::{ArgGroup, Args, Subcommand};

use super::Output;

/// Look at records that could not be accepted, and send them again.
#[derive(Debug, Args)]
#[command(after_help = "\
A letter stays in the list until retention removes it, replayed or not; one that was accepted is a duplicate when it is
replayed again.

Examples:
  martingale dead-letters list
  martingale dead-letters replay <id>...       after the cause is mended
  martingale dead-letters replay --all")]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List them, newest last.
    #[command(after_help = "Example:\n  martingale dead-letters list --limit 100 --json")]
    List {
        /// Most records to list.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Send them through ingest again: the ones that are named, or all of them.
    #[command(
        group = ArgGroup::new("which").args(["ids", "all"]).required(true),
        after_help = "Examples:\n  martingale dead-letters replay <id>...\n  martingale dead-letters replay --all"
    )]
    Replay {
        /// Which ones; `dead-letters list` shows their ids.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// All of them.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: Output,
    },
}
