//! `eval`: how good detection is on recorded, labelled sessions.
//!
//! **Invariant:** labels decide which session teaches, calibrates or is judged, and what a figure counts. Nothing that learns
//! or judges is handed one.

mod labels;
mod measure;
mod passes;
mod report;
mod seen;
mod shown;
mod split;
mod stairs;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use martingale_schemas::ids;

use super::replay::Results;
use crate::cli::eval::Eval;
use crate::output::{note, say, say_json};
use crate::policies::{self, count};
use labels::{Asked, Kind, Label, LeftOut};
use passes::Recording;
use report::{Basis, Record};
use shown::{ASSUMES, Counted, Report};
use split::{Deal, Fold, Item, Role};

pub(crate) async fn run(args: Eval) -> Result<ExitCode> {
    // Everything that can be refused is refused before the first step is read.
    if args.files.iter().chain(&args.labels).any(|it| it == Path::new("-")) {
        bail!("standard input can be read only once, and eval reads several times: write it to a file");
    }
    let asked = Asked { split: args.split.clone(), by: args.by.clone(), with_failed: args.with_failed };
    let labels = labels::read(&args.labels, &asked)?;
    policies::load(args.policies.as_deref(), !args.no_shipped)?;
    let read = args.files.iter().chain(&args.labels);
    let verdicts = args.verdicts.as_deref().map(|it| Results::open(it, read)).transpose()?;
    let json = args.json;
    let report = tokio::task::spawn_blocking(move || evaluate(&args, &labels, verdicts)).await??;
    if json {
        say_json(&report)?;
    } else {
        say(report.text().trim_end())?;
    }
    shown::remarks(&report.sessions).iter().for_each(|it| note(format_args!("note: {it}")));
    let rejected = report.sessions.rejected_lines;
    if rejected > 0 {
        note(format_args!("error: {} rejected", count(usize::try_from(rejected).unwrap_or(usize::MAX), "line")));
    }
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn evaluate(args: &Eval, labels: &[Label], verdicts: Option<Results>) -> Result<Report> {
    let recording = Recording::open(args.files.clone())?;
    let by_place: HashMap<usize, &Label> =
        labels.iter().filter_map(|it| Some((*recording.places.get(&it.session_id)?, it))).collect();
    let sessions = counted(labels, &recording, by_place.len());
    let items = items(&recording, &by_place);
    let deal = if args.leave_one_out { Deal::OneOut } else { Deal::InTurn(args.folds as usize) };
    let folds = split::folds(&items, deal, args.calibrate).map_err(|why| cannot_divide(why, args, &sessions))?;
    let mut verdicts = verdicts.map(Results::begin).transpose()?;
    let (mut records, mut bases) = (Vec::new(), Vec::new());
    for (number, fold) in folds.iter().enumerate() {
        // Compiled anew: what is judged by takes the fold's baselines with it.
        let rules = policies::load(args.policies.as_deref(), !args.no_shipped)?.rules;
        let title = format!("fold {} of {}", number + 1, folds.len());
        let seen = recording.judge(fold, rules, &title, verdicts.as_mut())?;
        bases.push(Basis { name: fold.name.clone(), learnt: learnt(fold), calibrating: Vec::new() });
        for (at, seen) in seen {
            let Item { cluster, kind, by, .. } = items[at];
            match (fold.roles[at], kind) {
                (Role::Judged, Some(kind)) => {
                    records.push(Record { kind, by: by.map(str::to_owned), cluster, fold: number, seen });
                }
                _ => bases[number].calibrating.push((cluster, seen)),
            }
        }
    }
    if let Some(mut out) = verdicts {
        out.flush()?;
    }
    let mut clusters: Vec<usize> = items.iter().filter(|it| it.kind.is_some()).map(|it| it.cluster).collect();
    clusters.sort_unstable();
    clusters.dedup();
    Ok(Report {
        sessions,
        clusters: clusters.len(),
        split: args.split.clone(),
        by: args.by.clone(),
        leave_one_out: args.leave_one_out,
        figures: report::figures(&records, &bases, &args.alarms),
        assumes: ASSUMES,
    })
}

fn learnt(fold: &Fold) -> usize {
    fold.roles.iter().filter(|it| **it == Role::Learnt).count()
}

/// The sessions of the files, for those who divide.
fn items<'l>(recording: &'l Recording, labels: &HashMap<usize, &'l Label>) -> Vec<Item<'l>> {
    let mut names = vec![""; recording.sessions.len()];
    recording.places.iter().for_each(|(id, at)| names[*at] = id);
    let runs = split::clusters(recording.sessions.iter().map(|it| it.runs.clone()));
    let keys = recording.sessions.iter().enumerate().map(|(at, it)| {
        let split = labels.get(&at).and_then(|it| it.split.as_deref());
        let run = it.runs.iter().map(|it| (true, *it));
        run.chain(split.map(|it| (false, ids::digest(&[it.as_bytes()])))).collect()
    });
    let clusters = split::clusters(keys);
    let item = |(at, name): (usize, &'l str)| Item {
        name,
        cluster: clusters[at],
        run: runs[at],
        kind: labels.get(&at).and_then(|it| it.kind.ok()),
        by: labels.get(&at).and_then(|it| it.by.as_deref()),
    };
    names.into_iter().enumerate().map(item).collect()
}

fn counted(labels: &[Label], recording: &Recording, labelled: usize) -> Counted {
    let mut counted = Counted {
        without_steps: labels.len() - labelled,
        unlabelled: recording.sessions.len() - labelled,
        rejected_lines: recording.lines.rejected,
        ..Counted::default()
    };
    for label in labels {
        let Some(at) = recording.places.get(&label.session_id) else { continue };
        let count = match label.kind {
            Ok(Kind::Normal) => &mut counted.normal,
            Ok(Kind::Resisted) => &mut counted.resisted,
            Ok(Kind::Bad { first }) => {
                counted.ended_before_first_bad_step += usize::from(first > recording.sessions[*at].last);
                &mut counted.bad
            }
            Err(LeftOut::Asked) => &mut counted.left_out.asked,
            Err(LeftOut::Failed) => &mut counted.left_out.failed,
            Err(LeftOut::Unlocated) => &mut counted.left_out.unlocated,
        };
        *count += 1;
    }
    counted
}

fn cannot_divide(why: &str, args: &Eval, sessions: &Counted) -> anyhow::Error {
    let used = sessions.normal + sessions.resisted + sessions.bad;
    let remedy = match (args.leave_one_out, &args.split) {
        _ if used == 0 => {
            "no session of the files has a label that counts: are these the files that the labels are of?"
        }
        (true, _) => "--by has one value for all of them: leave out --leave-one-out",
        (false, Some(_)) => "--split has one value for all of them: name another path, or leave it out",
        (false, None) => "more sessions are needed",
    };
    anyhow!("{}, and {why}: {remedy}", count(used, "labelled session"))
}
