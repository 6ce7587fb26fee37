//! What a change has to pass, in one command that is the same on every machine: `cargo xtask ci`.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod ci;
mod codegen;
mod command;
mod python;
mod tidy;

use std::process::ExitCode;

use anyhow::bail;

const HELP: &str = "\
usage: cargo xtask <command>

  ci               format, lints, tidy, tests, licences: everything a change has to pass, in that order
  tidy             rules of the repository that no compiler checks
  codegen          write the checked-in files that are generated (schemas, OpenAPI)
  codegen --check  fail when one of them is not what the code says
  python           make the Python the end-to-end tests use, once, and print the path of its interpreter";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> anyhow::Result<()> {
    match args {
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["codegen"] => codegen::run(codegen::Mode::Write),
        ["codegen", "--check"] => codegen::run(codegen::Mode::Check),
        ["python"] => {
            println!("{}", python::interpreter()?.display());
            Ok(())
        }
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown command `{}`\n\n{HELP}", args.join(" ")),
    }
}
