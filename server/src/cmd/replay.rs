//! `replay`: recorded steps, judged through a server or in this process. Both give the same lines.

mod follow;
pub(crate) mod line;
mod offline;
pub(crate) mod send;
mod source;
mod spool;
mod summary;

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::Replay;
use crate::client::Client;
use crate::output::{note, plain, say, say_json};
use source::Source;
use summary::{Outcomes, Summary};

/// Faults of single lines that are told one by one; the rest is counted.
const FAULTS_TOLD_MAX: u64 = 10;

/// Steps of the same session share one, so that the number of sessions is known without keeping their names.
type Sessions = HashSet<[u8; 16]>;

pub(crate) async fn run(args: Replay) -> Result<ExitCode> {
    // Everything that can be refused is refused before the first step goes out.
    let source = Source::open(&args.files)?;
    let verdicts = args.verdicts.as_deref().map(create).transpose()?;
    let summary = if args.offline {
        let rules = crate::policies::load(args.policies.as_deref())?;
        tokio::task::spawn_blocking(move || offline::run(source, rules, verdicts)).await??
    } else {
        let client = Client::new(&args.server)?;
        let follows = args.json || verdicts.is_some();
        send::replay(&client, source, args.concurrency, follows, verdicts).await?
    };
    if args.json {
        say_json(&summary.to_json())?;
    } else {
        say(summary.table())?;
    }
    let shed = summary.outcomes.shed;
    if shed > 0 {
        note(format_args!(
            "error: the server took no more: {shed} steps were not sent; send the same files again later"
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

/// Tells the first few faults of lines on standard error.
#[derive(Debug, Default)]
struct Faults(u64);

impl Faults {
    fn tell(&mut self, at: &str, message: &str) {
        self.0 += 1;
        match self.0 {
            n if n <= FAULTS_TOLD_MAX => note(format_args!("{}: {}", plain(at, 400), plain(message, 400))),
            n if n == FAULTS_TOLD_MAX + 1 => note("more lines are rejected; they are counted"),
            _ => {}
        }
    }
}
