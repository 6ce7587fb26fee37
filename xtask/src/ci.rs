//! The one test command: every stage timed, stop at the first that fails, a summary at the end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::{command, python, tidy};

/// How a stage that did not fail ended.
enum Passed {
    Whole,
    /// Something was left out, and this is what and why.
    Partly(String),
}

struct Stage {
    name: &'static str,
    run: fn(&mut Shared) -> anyhow::Result<Passed>,
}

/// What an earlier stage found out for a later one.
struct Shared {
    python: Option<PathBuf>,
    /// What cannot be built here.
    left_out: Option<&'static str>,
}

impl Shared {
    /// # Errors
    /// Where nobody reads what was left out, nothing may be.
    fn new() -> anyhow::Result<Self> {
        let missing = ["make", "perl"].into_iter().any(|it| !is_there(it));
        if missing && std::env::var_os("CI").is_some() {
            bail!("`CI` is set, and librdkafka cannot be built without make and perl");
        }
        let left_out = missing.then_some("Kafka is left out, since make and perl are needed to build it");
        Ok(Self { python: None, left_out })
    }

    /// A command on the whole workspace whose compiler is clippy; what it warns of is an error.
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = command::cargo(&[command, "--workspace", "--locked"]);
        if self.left_out.is_some() {
            cargo.arg("--no-default-features");
        }
        cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
        // As `cargo clippy -- -D warnings` hands it on.
        cargo.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
        cargo
    }
}

fn is_there(program: &str) -> bool {
    let mut probe = Command::new(program);
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

const STAGES: &[Stage] = &[
    Stage { name: "format", run: format },
    Stage { name: "tidy", run: |_| tidy::run().map(|()| Passed::Whole) },
    Stage { name: "lints", run: lints },
    Stage { name: "python", run: prepare_python },
    Stage { name: "tests", run: tests },
    Stage { name: "deny", run: deny },
];

pub(crate) fn run() -> anyhow::Result<()> {
    let mut shared = Shared::new()?;
    let mut rows = Vec::new();
    let mut failure = None;
    for stage in STAGES {
        if failure.is_some() {
            rows.push((stage.name, None, "not run".to_owned()));
            continue;
        }
        println!("\n== {}", stage.name);
        let start = Instant::now();
        let result = match (stage.run)(&mut shared) {
            Ok(Passed::Whole) => "ok".to_owned(),
            Ok(Passed::Partly(what)) => format!("ok, except: {what}"),
            Err(error) => {
                failure = Some(error.context(format!("stage `{}`", stage.name)));
                "FAILED".to_owned()
            }
        };
        println!("== {} {result} ({})", stage.name, seconds(start.elapsed()));
        rows.push((stage.name, Some(start.elapsed()), result));
    }
    println!();
    for (name, took, result) in &rows {
        println!("{name:<8} {:>8}  {result}", took.map_or_else(String::new, seconds));
    }
    let total: Duration = rows.iter().filter_map(|(_, took, _)| *took).sum();
    println!("{:<8} {:>8}  {}", "total", seconds(total), if failure.is_some() { "FAILED" } else { "ok" });
    failure.map_or(Ok(()), Err)
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

fn format(_: &mut Shared) -> anyhow::Result<Passed> {
    command::run(&mut command::cargo(&["fmt", "--all", "--check"]))?;
    Ok(Passed::Whole)
}

/// Everything is compiled here, tests and benchmarks as well, with clippy as the compiler of the workspace. `cargo clippy` does the
/// same and then has to check all dependencies, which the tests compile once more: on a machine that has nothing yet that was 8 of
/// 30 minutes.
fn lints(shared: &mut Shared) -> anyhow::Result<Passed> {
    let mut build = shared.cargo("test");
    command::run(build.args(["--all-targets", "--no-run"]))?;
    Ok(match shared.left_out {
        None => Passed::Whole,
        Some(what) => Passed::Partly(what.to_owned()),
    })
}

fn prepare_python(shared: &mut Shared) -> anyhow::Result<Passed> {
    if let Some(given) = std::env::var_os("MARTINGALE_PYTHON") {
        println!("MARTINGALE_PYTHON is set: {}", given.display());
        return Ok(Passed::Whole);
    }
    Ok(match python::interpreter() {
        Ok(path) => {
            println!("{}", path.display());
            shared.python = Some(path);
            Passed::Whole
        }
        // Where nobody reads what was skipped, nothing may be.
        Err(error) if std::env::var_os("CI").is_some() => {
            return Err(error.context(
                "`CI` is set, and the tests with real Python clients cannot be run: give MARTINGALE_PYTHON, a Python with \
                 tests/python/requirements.txt, or a package index that can be reached",
            ));
        }
        Err(error) => {
            println!("no Python for the tests: {error:#}");
            println!("the tests with the real OpenTelemetry SDK and the standardwebhooks package WILL BE SKIPPED");
            Passed::Partly(format!("tests with real Python clients are skipped ({error})"))
        }
    })
}

fn tests(shared: &mut Shared) -> anyhow::Result<Passed> {
    let mut tests = shared.cargo("test");
    if let Some(python) = &shared.python {
        tests.env("MARTINGALE_PYTHON", python);
    }
    // A test that cannot run here passes, and says so in this file.
    let skipped = tempfile::NamedTempFile::new().context("a file for what is skipped")?;
    command::run(tests.env("MARTINGALE_SKIPPED", skipped.path()))?;
    let said = std::fs::read_to_string(skipped.path()).context("what was skipped")?;
    let reasons: BTreeSet<&str> = said.lines().collect();
    Ok(match reasons.len() {
        0 => Passed::Whole,
        _ => Passed::Partly(format!("skipped: {}", Vec::from_iter(reasons).join("; "))),
    })
}

/// `tidy` has checked licences, bans and sources by then; known vulnerabilities need the tool and its data base.
fn deny(_: &mut Shared) -> anyhow::Result<Passed> {
    if !is_there("cargo-deny") {
        println!("cargo-deny is not installed (`cargo install cargo-deny --locked`)");
        return Ok(Passed::Partly("known vulnerabilities are not checked, cargo-deny is not installed".to_owned()));
    }
    command::run(&mut command::cargo(&["deny", "--workspace", "check", "licenses", "bans", "sources"]))?;
    // The data base of advisories is fetched: no network is no fault of the change.
    if let Err(error) = command::run(&mut command::cargo(&["deny", "--workspace", "fetch", "db"])) {
        println!("{error:#}");
        return Ok(Passed::Partly(
            "known vulnerabilities are not checked, their data base cannot be fetched".to_owned(),
        ));
    }
    command::run(&mut command::cargo(&["deny", "--workspace", "check", "--disable-fetch", "advisories"]))?;
    Ok(Passed::Whole)
}
