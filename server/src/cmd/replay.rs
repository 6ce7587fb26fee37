//! `replay`: recorded steps, judged through a server or in this process. Both give the same lines.

mod follow;
mod lanes;
pub(crate) mod line;
pub(crate) mod normal;
pub(crate) mod offline;
pub(crate) mod send;
pub(crate) mod source;
mod spool;
pub(crate) mod steps;
mod summary;
mod tally;

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;

use crate::cli::{Replay, Server};
use crate::client::Client;
use crate::output::{note, plain, say, say_json};
use crate::policies::count;
use normal::Normal;
use source::{Place, Source};
use summary::{Outcomes, Summary};

/// Faults of single lines that are told one by one; the rest is counted.
const FAULTS_TOLD_MAX: u64 = 10;

/// Steps of the same session share one, so that the number of sessions is known without keeping their names.
type Sessions = HashSet<[u8; 16]>;

pub(crate) async fn run(args: Replay) -> Result<ExitCode> {
    // Everything that can be refused is refused before the first step goes out.
    let source = Source::open(&args.files)?;
    let read = args.files.iter().chain(&args.baselines);
    let verdicts = args.verdicts.as_deref().map(|it| Results::open(it, read)).transpose()?;
    let summary = if args.offline {
        let rules = crate::policies::load(args.policies.as_deref(), !args.no_shipped)?.rules;
        let normal = Normal::open(&args.baselines)?;
        tokio::task::spawn_blocking(move || offline::run(source, normal, rules, verdicts)).await??
    } else {
        let client = Client::new(&args.server)?;
        let exporting = match args.query_api {
            Some(server) => Client::new(&Server { server, token: args.server.token.clone() })?,
            None => client.clone(),
        };
        send::replay((&client, &exporting), source, args.concurrency, verdicts).await?
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

/// A file for results, which keeps what it held until there are some; where there was none, none is left behind without them.
#[derive(Debug)]
pub(crate) struct Results {
    file: Option<File>,
    /// Its path, where it was not there before.
    made: Option<PathBuf>,
}

impl Drop for Results {
    fn drop(&mut self) {
        if let Some(path) = self.made.take() {
            // It was to be removed already: whoever finds it empty loses nothing.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Results {
    /// # Errors
    /// When it is one of the files that are `read`, under whatever name, or cannot be written; with its name.
    pub(crate) fn open<'p>(path: &Path, read: impl IntoIterator<Item = &'p PathBuf>) -> Result<Self> {
        let regular = |it: &Path| it.metadata().ok().filter(Metadata::is_file).map(|it| (it.dev(), it.ino()));
        if let Some(same) = regular(path).and_then(|own| read.into_iter().find(|it| regular(it) == Some(own))) {
            let (path, same) = (path.display(), same.display());
            bail!("{path} is {same}, which is read: results would replace what is in it; name another file for them");
        }
        let made = File::options().write(true).create_new(true).open(path);
        let is_made = made.is_ok();
        let file = made.or_else(|_| File::options().write(true).create(true).truncate(false).open(path));
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { file: Some(file), made: is_made.then(|| path.to_owned()) })
    }

    /// Lets go of what the file held.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn begin(mut self) -> Result<BufWriter<File>> {
        self.made = None;
        let file = self.file.take().context("results have been begun")?;
        // A pipe or a terminal holds nothing.
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(BufWriter::with_capacity(1 << 20, file))
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::Results;

    /// Results may go anywhere but over what they are made of.
    #[test]
    fn a_file_that_is_read_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let [steps, link, hard, old, new] =
            ["steps.jsonl", "link", "hard", "old", "new"].map(|it| folder.path().join(it));
        std::fs::write(&steps, "steps").expect("writes");
        std::fs::write(&old, "old").expect("writes");
        symlink(&steps, &link).expect("links");
        std::fs::hard_link(&steps, &hard).expect("links");
        let read = [PathBuf::from("-"), "/dev/null".into(), steps.clone()];
        for path in [&steps, &link, &hard] {
            let said = Results::open(path, &read).expect_err("refused").to_string();
            assert!(said.contains("which is read") && said.contains("name another file"), "{said}");
        }
        let held = || [&steps, &old].map(|it| std::fs::read_to_string(it).expect("reads"));
        assert_eq!(held(), ["steps", "old"]);
        for path in [&old, &new, &PathBuf::from("/dev/null")] {
            let results = Results::open(path, &read).expect("another file");
            assert_eq!(held(), ["steps", "old"]);
            results.begin().expect("writes");
            std::fs::write(&old, "old").expect("writes");
        }
        Results::open(&old, &read).and_then(Results::begin).expect("writes");
        assert_eq!(held(), ["steps", ""]);
        let said = Results::open(&folder.path().join("no/where"), &read).expect_err("no folder").to_string();
        assert!(said.contains("no/where"), "{said}");
    }
}
