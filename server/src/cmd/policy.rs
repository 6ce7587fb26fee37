//! `policy check` and `policy test`.

use std::process::ExitCode;

use anyhow::Result;
use martingale_detector_core::PolicyError;
use martingale_detector_core::policy::{Note, Report, TestResult, check_policies, run_tests};
use serde_json::{Value, json};

use crate::cli::{Policy, PolicyCommand, PolicyPaths};
use crate::output::{Paint, note, painted, say, say_json};
use crate::policies::{count, display, read};

pub(crate) fn run(args: &Policy) -> Result<ExitCode> {
    let good = match &args.command {
        PolicyCommand::Check(paths) => check(paths)?,
        PolicyCommand::Test(paths) => test(paths)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(args: &PolicyPaths) -> Result<bool> {
    let report = check_policies(&read(&args.paths)?);
    let good = report.errors.is_empty();
    if args.json {
        say_json(&report_json(&report))?;
        return Ok(good);
    }
    tell(&report.errors);
    for it in &report.notes {
        note(format_args!("note: {}\n  --> {}:{}\n   = at `{}`\n", it.message, it.file, it.line, it.path));
    }
    let sum = format!("policies: {}, {}", report.policies, count(report.errors.len(), "error"));
    say(painted(&sum, if good { Paint::Good } else { Paint::Bad }))?;
    Ok(good)
}

fn test(args: &PolicyPaths) -> Result<bool> {
    let results = match run_tests(&read(&args.paths)?) {
        Ok(results) => results,
        Err(errors) if args.json => {
            let errors: Vec<_> = errors.iter().map(error_json).collect();
            say_json(&json!({ "passed": 0, "failed": 0, "cases": [], "errors": errors }))?;
            return Ok(false);
        }
        Err(errors) => {
            tell(&errors);
            say(painted(&format!("no case was run: {}", count(errors.len(), "error")), Paint::Bad))?;
            return Ok(false);
        }
    };
    let failed = results.iter().filter(|it| !it.passed()).count();
    let good = failed == 0;
    if args.json {
        let cases: Vec<_> = results.iter().map(case_json).collect();
        let passed = results.len() - failed;
        say_json(&json!({ "passed": passed, "failed": failed, "cases": cases, "errors": [] }))?;
        return Ok(good);
    }
    for case in &results {
        let (word, paint) = if case.passed() { ("ok    ", Paint::Good) } else { ("FAILED", Paint::Bad) };
        say(format_args!("{} {}: {}", painted(word, paint), case.policy, case.name))?;
        for failure in &case.failures {
            say(format_args!("       {failure}"))?;
        }
    }
    let sum = format!("{}, {failed} failed", count(results.len(), "case"));
    say(painted(&sum, if good { Paint::Good } else { Paint::Bad }))?;
    Ok(good)
}

fn tell(errors: &[PolicyError]) {
    for error in errors {
        note(format_args!("{}\n", display(error)));
    }
}

fn report_json(report: &Report) -> Value {
    let notes: Vec<_> = report.notes.iter().map(note_json).collect();
    let errors: Vec<_> = report.errors.iter().map(error_json).collect();
    json!({ "policies": report.policies, "errors": errors, "notes": notes })
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
