//! The one binary: arguments in, one command run, an exit code out.
//!
//! **Invariant:** nothing below this crate reads arguments, the environment or signals.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables of cases"))]

#[cfg(feature = "kafka")]
mod bridge;
mod cli;
mod client;
mod cmd;
mod config;
mod guard;
mod log;
mod metrics;
mod output;
mod panics;
mod policies;
mod roles;
mod serve;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::of_process();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(format_args!("error: no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        // The reader of our output has what it wanted.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    };
    // What was told to stop has stopped; what does not listen (standard input, a query) is not waited for.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => Box::pin(cmd::up::run(args)).await,
        Command::Demo(args) => Box::pin(cmd::demo::run(args)).await,
        Command::Replay(args) => Box::pin(cmd::replay::run(args)).await,
        Command::Sql(args) => cmd::sql::run(args).await,
        Command::Sessions(args) => cmd::session::sessions(args).await,
        Command::Timeline(args) => cmd::session::timeline(args).await,
        Command::Why(args) => cmd::session::why(args).await,
        Command::Blame(args) => cmd::blame::run(args).await,
        Command::Baseline(args) => cmd::baseline::run(args).await,
        Command::Eval(args) => cmd::eval::run(args).await,
        Command::Tail(args) => cmd::tail::run(args).await,
        Command::Halt(args) => cmd::control::halt(args).await,
        Command::Resume(args) => cmd::control::resume(args).await,
        Command::Grant(args) => cmd::grant::grant(args).await,
        Command::Revoke(args) => cmd::grant::revoke(args).await,
        Command::Grants(args) => cmd::grant::list(args).await,
        Command::Alerts(args) => cmd::alerts::run(args).await,
        Command::DeadLetters(args) => cmd::dead_letters::run(args).await,
        Command::Policy(args) => cmd::policy::run(&args),
        Command::Bench(args) => Box::pin(cmd::bench::run(args)).await,
    }
}

/// The error and what caused it, each said once.
fn tell(error: &anyhow::Error) {
    let mut said: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !said.iter().any(|it| it.contains(&text)) {
            said.push(text);
        }
    }
    output::note(format_args!("error: {}", said.join(": ")));
}
