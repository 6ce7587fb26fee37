//! `policy`: what is in force, whether it holds together, and whether its cases pass.
//!
//! Every command looks at what a server with these files would judge by: the built-in and shipped policies that they do not
//! replace are part of it. What is told is about the files alone.

use std::process::ExitCode;

use anyhow::{Context, Result};
use martingale_detector_core::PolicyError;
use martingale_detector_core::policy::{Note, TestResult, check_policies, run_tests};
use serde_json::{Value, json};

use crate::cli::policy::{List, Policy, PolicyCommand, PolicyFiles, Show, Test};
use crate::output::{Paint, Table, decision_paint, note, painted, plain, say, say_json, say_text};
use crate::policies::{Document, Origin, Pack, Stock, count, display, read};

pub(crate) fn run(args: &Policy) -> Result<ExitCode> {
    let good = match &args.command {
        PolicyCommand::List(args) => list(args)?,
        PolicyCommand::Show(args) => show(args)?,
        PolicyCommand::Check(args) => check(args)?,
        PolicyCommand::Test(args) => test(args)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(args: &List) -> Result<bool> {
    let pack = Pack::new(read(&args.paths)?, !args.no_shipped);
    if let Err(errors) = pack.compile() {
        tell(&errors);
        return Ok(false);
    }
    if args.json {
        let all: Vec<_> = pack.documents().iter().map(document_json).collect();
        say_json(&json!({ "policies": all }))?;
        return Ok(true);
    }
    let mut table =
        Table::with_sentences(["id", "mode", "severity", "decision", "title", "source"], &["title", "source"]);
    for it in pack.documents() {
        let mode = match it.mode.as_str() {
            "enforce" => Paint::Good,
            "off" => Paint::Dim,
            _ => Paint::Plain,
        };
        let decision = decision_paint(&it.decision);
        table.row([
            (it.id.as_str(), Paint::Plain),
            (&it.mode, mode),
            (&it.severity, Paint::Plain),
            (&it.decision, decision),
            (&it.title, Paint::Plain),
            (&it.source(), Paint::Dim),
        ]);
    }
    say(table.to_string().trim_end())?;
    Ok(true)
}

fn show(args: &Show) -> Result<bool> {
    let pack = Pack::new(read(&args.paths)?, !args.no_shipped);
    let found = pack.documents().iter().find(|it| it.id == args.id);
    let found = found.with_context(|| {
        format!("no policy has the id `{}`: `martingale policy list` prints those there are", plain(&args.id, 200))
    })?;
    say_text(&found.text)?;
    Ok(true)
}

fn check(args: &PolicyFiles) -> Result<bool> {
    let pack = Pack::new(read(&args.paths)?, !args.no_shipped);
    let report = check_policies(pack.files());
    let own = report.policies.saturating_sub(pack.shipped());
    let notes: Vec<&Note> = report.notes.iter().filter(|it| pack.is_own(&it.file)).collect();
    let good = report.errors.is_empty();
    if args.json {
        let notes: Vec<_> = notes.into_iter().map(note_json).collect();
        let errors: Vec<_> = report.errors.iter().map(error_json).collect();
        say_json(&json!({ "policies": own, "shipped": pack.shipped(), "errors": errors, "notes": notes }))?;
        return Ok(good);
    }
    tell(&report.errors);
    for it in notes {
        let policy = it.policy.as_ref().map_or_else(String::new, |id| format!("policy `{id}`, "));
        note(format_args!("note: {}\n  --> {}:{}\n   = {policy}at `{}`\n", it.message, it.file, it.line, it.path));
    }
    let errors = count(report.errors.len(), "error");
    let sum = format!("policies: {own}, and {} shipped ones beside them; {errors}", pack.shipped());
    say(painted(&sum, if good { Paint::Good } else { Paint::Bad }))?;
    Ok(good)
}

fn test(args: &Test) -> Result<bool> {
    let PolicyFiles { paths, no_shipped, json } = &args.files;
    let pack = Pack::new(read(paths)?, !no_shipped);
    let mut results = match run_tests(pack.files()) {
        Ok(results) => results,
        Err(errors) if *json => {
            let errors: Vec<_> = errors.iter().map(error_json).collect();
            say_json(&json!({ "passed": 0, "failed": 0, "cases": [], "untested": [], "errors": errors }))?;
            return Ok(false);
        }
        Err(errors) => {
            tell(&errors);
            say(painted(&format!("no case was run: {}", count(errors.len(), "error")), Paint::Bad))?;
            return Ok(false);
        }
    };
    results.retain(|it| pack.is_own(&it.file));
    let untested: Vec<&Document> =
        pack.documents().iter().filter(|it| it.stock().is_none() && it.cases == 0 && !it.is_of_core()).collect();
    let failed = results.iter().filter(|it| !it.passed()).count();
    let good = failed == 0 && (untested.is_empty() || !args.require_cases);
    if *json {
        let cases: Vec<_> = results.iter().map(case_json).collect();
        let passed = results.len() - failed;
        let untested: Vec<_> = untested.iter().map(|it| &it.id).collect();
        say_json(&json!({ "passed": passed, "failed": failed, "cases": cases, "untested": untested, "errors": [] }))?;
        return Ok(good);
    }
    for case in &results {
        let (word, paint) = if case.passed() { ("ok    ", Paint::Good) } else { ("FAILED", Paint::Bad) };
        say(format_args!("{} {}: {}", painted(word, paint), case.policy, case.name))?;
        for failure in &case.failures {
            say(format_args!("       {failure}"))?;
        }
    }
    for it in &untested {
        say(format_args!("{} {}: no case beside it", painted("none  ", Paint::Notice), it.id))?;
    }
    let sum = format!("{}, {failed} failed; policies without a case: {}", count(results.len(), "case"), untested.len());
    say(painted(&sum, if good { Paint::Good } else { Paint::Bad }))?;
    Ok(good)
}

fn tell(errors: &[PolicyError]) {
    for error in errors {
        note(format_args!("{}\n", display(error)));
    }
}

fn document_json(it: &Document) -> Value {
    let (source, replaces) = match &it.origin {
        Origin::Stock(stock) => (stock.as_str(), None),
        Origin::File { name, replaces } => (name.as_str(), *replaces),
    };
    json!({
        "id": it.id, "mode": it.mode, "severity": it.severity, "decision": it.decision, "title": it.title,
        "source": source, "replaces": replaces.map(Stock::as_str), "replaces_shipped": replaces == Some(Stock::Shipped),
        "cases": it.cases,
    })
}

fn error_json(it: &PolicyError) -> Value {
    json!({
        "file": it.file, "line": it.line, "column": it.column, "policy": it.policy, "path": it.path,
        "message": it.message, "suggestion": it.suggestion,
    })
}

fn note_json(it: &Note) -> Value {
    json!({ "file": it.file, "line": it.line, "policy": it.policy, "path": it.path, "message": it.message })
}

fn case_json(it: &TestResult) -> Value {
    json!({
        "file": it.file, "policy": it.policy, "name": it.name, "passed": it.passed(), "failures": it.failures,
    })
}
