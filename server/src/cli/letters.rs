//! Arguments of `dead-letters`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::Output;

/// Look at records that could not be accepted, and send them again.
#[derive(Debug, Args)]
#[command(after_help = "\
A letter is open until a replay leaves nothing of it rejected; the list shows the open ones. It is kept, replayed or not, until
retention removes it; one that was accepted is a duplicate when it is replayed again.

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
    /// List them, newest last, with what came of those that were replayed.
    #[command(
        after_help = "Examples:\n  martingale dead-letters list --limit 100 --json\n  martingale dead-letters list --state all"
    )]
    List {
        /// Which ones.
        #[arg(long, value_enum, default_value_t = LetterState::Open)]
        state: LetterState,
        /// Most records to list.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Send them through ingest again: the ones that are named, or all that are open.
    #[command(
        group = ArgGroup::new("which").args(["ids", "all"]).required(true),
        after_help = "Examples:\n  martingale dead-letters replay <id>...\n  martingale dead-letters replay --all"
    )]
    Replay {
        /// Which ones; `dead-letters list` shows their ids.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// All that are open.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// Which letters to list.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LetterState {
    Open,
    Replayed,
    All,
}

impl LetterState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::All => "all",
        }
    }
}
