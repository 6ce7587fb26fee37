//! `replay`: recorded steps, judged through a server or in this process. Both give the same lines.

mod follow;
mod lanes;
pub(crate) mod line;
pub(crate) mod lineages;
pub(crate) mod offline;
pub(crate) mod send;
pub(crate) mod source;
mod spool;
mod summary;
mod tally;

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use crate::cli::Replay;
use crate::client::Client;
use crate::output::{note, plain, say, say_json};
use crate::policies::count;
use source::{Place, Source};
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
        let rules = crate::policies::load(args.policies.as_deref(), !args.no_shipped)?.rules;
        let baselines = if args.baselines.is_empty() { None } else { Some(Source::open(&args.baselines)?) };
        tokio::task::spawn_blocking(move || offline::run(source, baselines, rules, verdicts)).await??
    } else {
        let client = Client::new(&args.server)?;
        send::replay(&client, source, args.concurrency, verdicts).await?
    };
    if args.json {
        say_json(&summary.to_json())?;
    } else {
        say(summary.table())?;
        say(summary.findings.shown().trim_end())?;
    }
    let Outcomes { shed, rejected, .. } = summary.outcomes;
    if shed > 0 {
        note(format_args!(
            "error: the server took no more: {shed} steps were not sent; send the same files again later"
        ));
    }
    if rejected > 0 {
        let lines = usize::try_from(rejected).unwrap_or(usize::MAX);
        note(format_args!("error: {} rejected", count(lines, "line")));
    }
    Ok(if shed + rejected > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// # Errors
/// When it cannot be written, with its name.
pub(crate) fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

/// Tells the first few faults of lines on standard error.
#[derive(Debug)]
pub(crate) struct Faults {
    told: AtomicU64,
    /// Stands aside while a line is printed.
    progress: ProgressBar,
}

impl Faults {
    pub(crate) fn new(progress: ProgressBar) -> Self {
        Self { told: AtomicU64::new(0), progress }
    }

    /// Tells nothing: what is read once more was told of the first time.
    pub(crate) fn told_before(progress: ProgressBar) -> Self {
        Self { told: AtomicU64::new(FAULTS_TOLD_MAX + 1), progress }
    }

    pub(crate) fn tell(&self, at: &Place, message: &str) {
        let at = at.to_string();
        match self.told.fetch_add(1, Ordering::Relaxed) {
            n if n < FAULTS_TOLD_MAX => {
                self.progress.suspend(|| note(format_args!("{}: {}", plain(&at, 400), plain(message, 400))));
            }
            n if n == FAULTS_TOLD_MAX => {
                self.progress.suspend(|| note("more lines are rejected; they are counted"));
            }
            _ => {}
        }
    }
}
