//! Arguments of `grant`, `revoke` and `grants`.

use clap::{ArgGroup, Args};

use super::{Output, Signed};

/// Let calls of a flow run without asking a person: those of a tool, by an agent, whose values come from the results of a
/// source or which go to one address. It ends by itself. Facts, denials and halts stand whatever is granted; a secret and
/// what must not leave need a destination.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale grant --agent clerk --tool send_money --from read_file --to CH9300762011623852957 --for 30d
  martingale grant --agent 'support-*' --tool send_email --to team@example.com --for 7d --reason \"weekly report\"")]
pub(crate) struct Grant {
    #[command(flatten)]
    pub(crate) flow: Flow,
    /// How long it lasts, as 12h or 7d; at most 90d.
    #[arg(long = "for", value_name = "SPAN", required_unless_present = "until", conflicts_with = "until")]
    pub(crate) span: Option<String>,
    /// When it ends, as 2026-01-31T12:00:00Z, in place of `--for`.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) signed: Signed,
}

/// Take a grant back: the one of an order, or all those of a flow. What is left out stands for any, so that
/// `--agent a --tool t` takes back every grant of that tool.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["grant", "agent"]).required(true))]
#[command(after_help = "\
Examples:
  martingale revoke c-0198f2
  martingale revoke --agent clerk --tool send_money")]
pub(crate) struct Revoke {
    /// Id of the order that gave it.
    #[arg(conflicts_with_all = ["agent", "tool", "environment", "from", "to"])]
    pub(crate) grant: Option<String>,
    #[command(flatten)]
    pub(crate) flow: SomeFlow,
    #[command(flatten)]
    pub(crate) signed: Signed,
}

/// Which grants are in force, the one that was given last first: as the detectors applied them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  martingale grants")]
pub(crate) struct Grants {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Flow {
    /// The agent; one `*` at the end stands for any rest.
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: String,
    /// The tool that is called.
    #[arg(long, value_name = "TOOL")]
    pub(crate) tool: String,
    #[command(flatten)]
    pub(crate) ends: Ends,
}

#[derive(Debug, Args)]
pub(crate) struct SomeFlow {
    /// The agent, as it was granted.
    #[arg(long, value_name = "AGENT", requires = "tool")]
    pub(crate) agent: Option<String>,
    /// The tool that is called.
    #[arg(long, value_name = "TOOL", requires = "agent")]
    pub(crate) tool: Option<String>,
    #[command(flatten)]
    pub(crate) ends: Ends,
}

#[derive(Debug, Args)]
pub(crate) struct Ends {
    /// Only there [default: every environment].
    #[arg(long, value_name = "ENVIRONMENT")]
    pub(crate) environment: Option<String>,
    /// The tool whose results bring what neither user nor operator wrote of the call [default: any].
    #[arg(long, value_name = "SOURCE")]
    pub(crate) from: Option<String>,
    /// The one address that the call goes to [default: any].
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) to: Option<String>,
}
