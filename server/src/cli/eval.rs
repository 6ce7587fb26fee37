//! `eval`.

use std::path::PathBuf;

use clap::Args;

/// Measure detection on recorded, labelled sessions: alarms on good ones, harm that would have been stopped on bad ones.
#[derive(Debug, Args)]
#[command(after_help = "\
Each session is judged by what other good ones taught, and held against thresholds that yet others set. Nothing that
judges reads a label. A line of LABELS has `session_id` and `label`, and counts by the first that fits:

  label.use: false                left out
  label.first_bad_step: N         bad, from the step with this `seq` on (without any: its place, from 0)
  label.attack_succeeded: true    left out: bad, and nobody says from where
  label.failed: true              left out; with --with-failed as if it were not there
  label.attack: true              resisted: good, but never learnt from, and counted apart
  anything else                   normal: good, learnt from, sets thresholds

PATH leads to a text, number or boolean in that line, such as `info.task`. What the columns and the JSON mean, and what
is assumed, is in docs/detection.md.

Examples:
  martingale eval --labels sessions.jsonl.gz steps.jsonl.gz
  martingale eval --labels sessions.jsonl --split info.task --by info.kind steps.jsonl
  martingale eval --labels sessions.jsonl --by info.suite --leave-one-out steps.jsonl.gz --json")]
pub(crate) struct Eval {
    /// Files of steps, one JSON object a line; `.gz` is read as gzip. They are read several times, so not standard input.
    #[arg(required = true, value_name = "STEPS")]
    pub(crate) files: Vec<PathBuf>,
    /// Labels of the sessions, one JSON object a line. May be given several times.
    #[arg(long, required = true, value_name = "LABELS")]
    pub(crate) labels: Vec<PathBuf>,
    /// What makes sessions alike: those of one value are never divided over learning, calibrating and judging [default: each
    /// run stands for itself].
    #[arg(long, value_name = "PATH")]
    pub(crate) split: Option<String>,
    /// The figures once more for each value of this.
    #[arg(long, value_name = "PATH")]
    pub(crate) by: Option<String>,
    /// Judge each value of --by by what the others taught, in place of folds.
    #[arg(long, requires = "by", conflicts_with = "folds")]
    pub(crate) leave_one_out: bool,
    /// Parts that are judged in turn, each by what the others taught.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) folds: u32,
    /// Share of the others that is not learnt from and sets the thresholds.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub(crate) calibrate: f64,
    /// Wanted shares of false alarms.
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_value = "0.01,0.05,0.1", value_parser = share)]
    pub(crate) alarms: Vec<f64>,
    /// Sessions that failed, with no first bad step, count as good ones.
    #[arg(long)]
    pub(crate) with_failed: bool,
    /// Write one line of JSON for each step of the judged sessions, as `replay` does.
    #[arg(long, value_name = "OUT.jsonl")]
    pub(crate) verdicts: Option<PathBuf>,
    /// Folder of policies (`*.yaml`), added to the shipped ones.
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// Leave the shipped policies out.
    #[arg(long)]
    pub(crate) no_shipped: bool,
    /// One JSON object instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.trim().parse().ok().filter(|it| (0.0..1.0).contains(it) && *it > 0.0);
    share.ok_or_else(|| "give a share between 0 and 1, such as 0.05".to_owned())
}
