//! Arguments of `halt` and `resume`.

use clap::Args;

use super::Signed;

/// Stop a session before its next step, or every session of a run. It holds until a person resumes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale halt my-session --reason \"sends mail to strangers\"
  martingale halt --run root-session --reason \"cost\"")]
pub(crate) struct Halt {
    #[command(flatten)]
    pub(crate) order: Order,
}

/// Lift the halt of a session or of a run, whether a person or a policy gave it. A halt of the session it descends from,
/// or of its whole run, goes on until that one is lifted. Where no halt stood it says so and ends with 0; of what no step
/// was ever seen, with 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale resume my-session --reason \"looked at, harmless\"
  martingale resume --run root-session")]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) order: Order,
}

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) signed: Signed,
}

/// What it holds for: one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Scope {
    /// The session; its descendants follow.
    pub(crate) session: Option<String>,
    /// Every session that grew from this root.
    #[arg(long, value_name = "ROOT")]
    pub(crate) run: Option<String>,
}
