//! `baseline`: what is normal, learnt from recordings and kept as a file, or on the log of a server.

mod on_log;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use martingale_detector::write_baselines;
use martingale_detector_core::{Baselines, Profile};
use martingale_platform::clock::Clock;
use martingale_schemas::Timestamp;
use serde_json::{Map, Value, json};

use super::replay::source::Source;
use super::replay::{Faults, Results, normal, offline};
use crate::cli::baseline::{Baseline, BaselineCommand, Learn, Show};
use crate::output::{Paint, Table, note, say, say_json};
use crate::policies::count;

pub(crate) async fn run(args: Baseline) -> Result<ExitCode> {
    match args.command {
        BaselineCommand::Learn(args) => tokio::task::spawn_blocking(move || learn(&args)).await?,
        BaselineCommand::Show(args) => tokio::task::spawn_blocking(move || show(&args)).await?,
        BaselineCommand::List { output } => on_log::list(&output).await,
        BaselineCommand::Publish { file, signed } => on_log::publish(&file, &signed).await,
        BaselineCommand::Use { id, signed } => on_log::use_them(&id, &signed).await,
        BaselineCommand::Remove { id, output } => on_log::remove(&id, &output).await,
        BaselineCommand::Fetch { id, out, output } => on_log::fetch(&id, &out, &output).await,
    }
}

fn learn(args: &Learn) -> Result<ExitCode> {
    let out = Results::open(&args.out, &args.files)?;
    let rules = crate::policies::load(args.policies.as_deref(), true)?.rules;
    let source = Source::open(&args.files)?;
    let faults = Faults::new(source.progress());
    let arrival = Timestamp::from_micros(Clock::System.now_micros());
    let (baselines, lines) = offline::learn_some(source, "", &rules, arrival, &faults, |_| true)?;
    if baselines.agents() == 0 {
        bail!("nothing was learnt: {} holds what it held", args.out.display());
    }
    let bytes = write_baselines(&baselines)?;
    let written = || format!("{} cannot be written", args.out.display());
    let mut out = out.begin().with_context(written)?;
    out.write_all(&bytes).and_then(|()| out.flush()).with_context(written)?;
    tell(&args.out, &bytes, args.json)?;
    if lines.rejected > 0 {
        let rejected = usize::try_from(lines.rejected).unwrap_or(usize::MAX);
        note(format_args!("error: {} rejected and not learnt from", count(rejected, "line")));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Show) -> Result<ExitCode> {
    let bytes = normal::bytes(&args.file)?;
    tell(&args.file, &bytes, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What a file holds.
fn tell(path: &Path, bytes: &[u8], as_json: bool) -> Result<()> {
    let (baselines, id) = normal::parse(path, bytes)?;
    if as_json {
        let agents: Vec<Value> = baselines.profiles().into_iter().map(facts).collect();
        say_json(&json!({ "baselines_id": id.to_string(), "bytes": bytes.len(), "agents": agents }))?;
        return Ok(());
    }
    say(table(&baselines))?;
    if let Some(totals) = totals(&baselines) {
        say(format_args!(
            "what sessions used in all, the median / 95 of 100 no more, for budgets with a forecast\n{totals}"
        ))?;
    }
    note(format_args!("baselines {id}, {} of {}", count(bytes.len(), "byte"), count(baselines.agents(), "agent")));
    Ok(())
}

fn facts(profile: &Profile) -> Value {
    let drift = profile.drift_calibration().map(|it| {
        json!({
            "learnt": it.learnt,
            "calibrating": it.calibrating,
            "requests": it.requests,
            "warn_bits": it.warn_bits,
            "throttle_bits": it.throttle_bits,
            "calibration": state(it.is_calibrated),
        })
    });
    let hijack = profile.hijack_calibration().map(|it| {
        json!({
            "calibrating": it.calibrating,
            "requests": it.requests,
            "warn": it.warn,
            "ask": it.ask,
            "calibration": state(it.warn.is_some()),
        })
    });
    let (kept, totals) = profile.totals();
    let totals = (kept > 0).then(|| {
        let each = totals.iter().map(|it| (it.measure.to_owned(), json!({ "median": it.median, "p95": it.p95 })));
        let each: Map<String, Value> = each.collect();
        json!({ "sessions": kept, "used": each })
    });
    json!({
        "agent_id": profile.agent(),
        "environment": profile.environment(),
        "sessions": profile.sessions(),
        "sessions_per_day": profile.sessions_per_day(),
        "requests": profile.requests(),
        "tools": profile.tools(),
        "drift": drift,
        "hijack": hijack,
        "totals": totals,
    })
}

const fn state(is_calibrated: bool) -> &'static str {
    if is_calibrated { "conformal" } else { "uncalibrated" }
}

/// Of the agents of which it is kept: in baselines of before that it is of none.
fn totals(baselines: &Baselines) -> Option<Table> {
    let header = ["agent", "environment", "sessions", "steps", "tool calls", "tokens", "USD", "seconds"];
    let mut table = Table::with_sentences(header, &[]);
    let with: Vec<_> = baselines.profiles().into_iter().filter(|it| it.totals().0 > 0).collect();
    for profile in &with {
        let (sessions, totals) = profile.totals();
        let who = [profile.agent(), profile.environment().unwrap_or_default()].map(str::to_owned);
        let used = totals.iter().map(|it| format!("{} / {}", it.median, it.p95));
        let cells = who.into_iter().chain([sessions.to_string()]).chain(used);
        table.row(cells.map(|it| (it, Paint::Plain)));
    }
    (!with.is_empty()).then_some(table)
}

fn table(baselines: &Baselines) -> Table {
    let header = [
        "agent",
        "environment",
        "sessions",
        "a day",
        "requests",
        "tools",
        "drift",
        "calibrating",
        "warns from",
        "throttles from",
        "hijack",
        "calibrating",
        "warns from",
        "asks from",
    ];
    let mut table = Table::with_sentences(header, &[]);
    let bits = |it: Option<f64>| it.map_or_else(String::new, |it| format!("{it:.1} bits"));
    let score = |it: Option<f64>| it.map_or_else(String::new, |it| format!("{it:.1}"));
    for profile in baselines.profiles() {
        let drift = match profile.drift_calibration() {
            None => ["too few sessions".to_owned(), String::new(), String::new(), String::new()],
            Some(it) => [
                state(it.is_calibrated).to_owned(),
                it.calibrating.to_string(),
                bits(it.warn_bits),
                bits(it.throttle_bits),
            ],
        };
        let hijack = match profile.hijack_calibration() {
            None => ["uncalibrated".to_owned(), String::new(), String::new(), String::new()],
            Some(it) => {
                [state(it.warn.is_some()).to_owned(), it.calibrating.to_string(), score(it.warn), score(it.ask)]
            }
        };
        let who = [
            profile.agent().to_owned(),
            profile.environment().unwrap_or_default().to_owned(),
            profile.sessions().to_string(),
            score(profile.sessions_per_day()),
            profile.requests().to_string(),
            profile.tools().to_string(),
        ];
        table.row(who.into_iter().chain(drift).chain(hijack).map(|it| (it, Paint::Plain)));
    }
    table
}
