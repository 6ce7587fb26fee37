//! `demo`: a server, a fleet that misbehaves in every way the system is made for, and where to look.

mod fleet;
mod otlp;
mod report;
#[cfg(test)]
mod sample;
mod scenarios;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use martingale_detector_core::Rules;
use martingale_platform::clock::Clock;
use tokio::time::Instant;

use super::up::{Signals, serve};
use crate::cli::{Demo, Server};
use crate::client::Client;
use crate::config::{Config, Layer};
use crate::output::{note, say};
use crate::roles::{self, Running};

pub(crate) async fn run(args: Demo) -> Result<ExitCode> {
    let (_, _flush) = martingale_platform::telemetry::init("warn", martingale_platform::telemetry::Format::Text)
        .map_err(|message| anyhow!(message))?;
    let mut signals = Signals::new()?;
    let begun = Instant::now();
    // Removed when it is dropped, at the end.
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("no room for a temporary folder")?),
    };
    let data: PathBuf = match (&args.data, &temporary) {
        (Some(data), _) => data.clone(),
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => return Err(anyhow!("no folder")),
    };
    let running = Box::pin(roles::start(config(&data)?, Rules::starter(), prometheus::Registry::new())).await?;
    let server = format!("http://{}", running.addresses.http);
    note(format_args!("a server is running at {server}, its data in {}", data.display()));

    // In a folder that is kept, sessions of an earlier demo are there already: these get names of their own.
    let mark =
        if args.data.is_some() { format!("-{:x}", Clock::System.now_micros() / 1_000_000) } else { String::new() };
    let fleet = play(&running, &server, &mark);
    tokio::select! {
        played = Box::pin(fleet) => played?,
        () = signals.next() => {
            running.stop().await?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let Some(seconds) = args.seconds else {
        note("the server goes on until Ctrl-C");
        return serve(running, &mut signals).await;
    };
    tokio::select! {
        () = tokio::time::sleep_until(begun + Duration::from_secs(seconds)) => {}
        () = signals.next() => {}
    }
    running.stop().await.map(|()| ExitCode::SUCCESS)
}

async fn play(running: &Running, server: &str, mark: &str) -> Result<()> {
    let client = Client::new(&Server { server: server.to_owned(), token: None })?;
    let scenarios = scenarios::all(mark);
    let bar = ProgressBar::new(scenarios.iter().map(|it| it.script.len() as u64).sum());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} steps of the fleet {elapsed}") {
        bar.set_style(style);
    }
    let otlp = running.addresses.otlp_http.context("it was started with every role")?;
    let played = fleet::play(&client, otlp, scenarios, &bar).await;
    bar.finish_and_clear();
    let played = played?;
    let seen = report::wait(&client, &played).await?;
    say(report::table(&played, &seen))?;
    say(report::hints(&played, &seen, server))?;
    Ok(())
}

/// The built-in defaults; a default port that is taken is replaced by a free one.
fn config(data: &Path) -> Result<Config> {
    let data = data.to_str().with_context(|| format!("{} is not UTF-8", data.display()))?;
    let defaults = Config::from_layers(&[])?.server;
    let mut layers = vec![Layer::flag("--data", "server.data", data)];
    let addresses = [
        ("--http", "server.http", defaults.http),
        ("--otlp-grpc", "server.otlp_grpc", defaults.otlp_grpc),
        ("--otlp-http", "server.otlp_http", defaults.otlp_http),
    ];
    for (flag, key, address) in addresses {
        if TcpListener::bind(address).is_err() {
            layers.push(Layer::flag(flag, key, SocketAddr::new(address.ip(), 0).to_string()));
        }
    }
    Ok(Config::from_layers(&layers)?)
}
