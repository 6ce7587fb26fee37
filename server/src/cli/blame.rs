//! `blame`.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgGroup, ArgMatches, Args};

use super::Server;

/// Rank the steps of a session that failed or was halted by where it went wrong, with reasons.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["files", "sessions"]).required(true).multiple(true))]
#[command(after_help = "\
Of a session that a server holds, or of recorded steps, which are judged in this process as `replay --offline` does. No
model is asked and nothing is decided by it: it is a list to read from the top. How often it is right is in
docs/detection.md.

Examples:
  martingale blame --session my-session
  martingale blame steps.jsonl.gz --session my-session --top 5
  martingale blame steps.jsonl.gz --ranked ranked.jsonl --json")]
pub(crate) struct Blame {
    /// Files of steps, one JSON object a line; `.gz` is read as gzip, `-` is standard input. Without any, the session is
    /// asked of the server.
    #[arg(value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,
    /// This session; may be given several times. Of files, all of them where none is named.
    #[arg(long = "session", value_name = "SESSION")]
    pub(crate) sessions: Vec<String>,
    /// Most steps to name of a session.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    /// Most sessions to show; `--ranked` has all of them.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    /// Write one line of JSON for each session: `session_id` and `ranked`, the `seq` of every step, most suspect first.
    #[arg(long, value_name = "OUT.jsonl")]
    pub(crate) ranked: Option<PathBuf>,
    /// Files only: sessions to learn the agents' normal behaviour from first, as for `replay`; or what was learnt. May be given several times.
    #[arg(long, value_name = "FILE", requires = "files")]
    pub(crate) baselines: Vec<PathBuf>,
    /// Files only: folder of policies (`*.yaml`), added to the shipped ones.
    #[arg(long, value_name = "DIR", requires = "files")]
    pub(crate) policies: Option<PathBuf>,
    /// Files only: leave the shipped policies out.
    #[arg(long, requires = "files")]
    pub(crate) no_shipped: bool,
    /// One JSON object instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// A server that the environment names stands for no wish, as for `replay`.
pub(super) fn contradiction(blame: &ArgMatches) -> Option<String> {
    let given = |name: &str| blame.value_source(name) == Some(ValueSource::CommandLine);
    let name = given("files").then(|| ["server", "token"].into_iter().find(|it| given(it))).flatten()?;
    Some(format!("files are judged in this process and no server is asked, so --{name} has no meaning: leave out one"))
}
