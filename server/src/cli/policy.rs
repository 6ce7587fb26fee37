//! Arguments of `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// List and show the policies that are in force, check files of them and run the cases beside them, without a server.
#[derive(Debug, Args)]
#[command(after_help = "\
A server judges by the built-in policies (the rules over loops, values and meanings), the shipped ones and those of its folder; a policy there
replaces the one of the same id. These commands follow the same rule for the files they are given; --no-shipped is
`policies.shipped = false`, which leaves the built-in ones.

Examples:
  martingale policy list                         those that are there without a file
  martingale policy list ./policies              what a server with this folder judges by
  martingale policy show secret-then-egress > policies/secret-then-egress.yaml
  martingale policy show repeat > policies/repeat.yaml         the same for a built-in one
  martingale policy check ./policies
  martingale policy test ./policies --json")]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    List(List),
    Show(Show),
    /// Names, types, conditions: every mistake with its place and a suggestion.
    #[command(after_help = "Example:\n  martingale policy check ./policies/secret-then-egress.yaml")]
    Check(PolicyFiles),
    Test(Test),
}

/// Print what is in force: id, mode, severity, decision, title, and where each comes from.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  martingale policy list ./policies")]
pub(crate) struct List {
    /// Policy files, or folders of them; without any the built-in and shipped policies alone.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Leave the shipped policies out.
    #[arg(long)]
    pub(crate) no_shipped: bool,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print one policy as it is written, to read it or to make it one's own.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  martingale policy show secret-then-egress")]
pub(crate) struct Show {
    /// Its id.
    pub(crate) id: String,
    /// Policy files, or folders of them, that are looked in before the shipped ones.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Leave the shipped policies out.
    #[arg(long)]
    pub(crate) no_shipped: bool,
}

/// Run the cases beside each policy of the files, with the tools that they describe.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  martingale policy test ./policies --require-cases")]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) files: PolicyFiles,
    /// Fail when a policy has no case.
    #[arg(long)]
    pub(crate) require_cases: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyFiles {
    /// Policy files, or folders of them (`*.yaml`, `*.yml`).
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Leave the shipped policies out: by default those that the files do not replace stand beside them.
    #[arg(long)]
    pub(crate) no_shipped: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}
