//! Detectors in processes of their own, as an operator runs them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use martingale_platform::log::KafkaConfig;
use reqwest::Method;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::PATIENCE;
use crate::cli::Server;
use crate::client::Client;

/// How often they are asked how far they are: seldom beside what is measured, often beside its length.
const ASK_EVERY: Duration = Duration::from_millis(25);

pub(super) struct Detectors {
    started: Instant,
    running: Vec<(Child, Client)>,
    partitions: usize,
}

/// How far they are, together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Progress {
    judged: u64,
    /// Partitions that one of them has, and has nothing left to judge of.
    done: usize,
}

impl Detectors {
    /// So many processes that share the partitions. They are started at once, so that a group that waits for members
    /// (`group.initial.rebalance.delay.ms` of the brokers) divides them once. `token`: theirs, which they have from the
    /// same configuration.
    pub(super) async fn start(
        config: &KafkaConfig,
        (file, token): (Option<&Path>, Option<&str>),
        count: u32,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut starting = Vec::new();
        for _ in 0..count {
            starting.push(spawn(config, file)?);
        }
        let mut running = Vec::new();
        for mut process in starting {
            let client = client(&mut process, token).await?;
            running.push((process, client));
        }
        Ok(Self { started, running, partitions: config.partitions as usize })
    }

    /// Steps per second, from when the first are judged until all are and their verdicts are committed.
    pub(super) async fn pace(&mut self, count: u64) -> Result<f64> {
        let bar = crate::cmd::bench::progress(count, "steps judged");
        let began = Instant::now();
        let mut first: Option<(Instant, u64)> = None;
        loop {
            let Progress { judged, done } = self.progress().await?;
            bar.set_position(judged);
            if judged > 0 && first.is_none() {
                first = Some((Instant::now(), judged));
            }
            if judged >= count && done == self.partitions {
                bar.finish_and_clear();
                // So few steps that all were judged between two questions: their start counts too.
                let (from, before) = first.filter(|(_, before)| *before < count).unwrap_or((self.started, 0));
                return Ok((count - before) as f64 / from.elapsed().as_secs_f64());
            }
            ensure!(began.elapsed() < PATIENCE, "{judged} of {count} steps were judged within {PATIENCE:?}");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn progress(&mut self) -> Result<Progress> {
        let mut all = Progress::default();
        for (process, client) in &mut self.running {
            if let Some(status) = process.try_wait()? {
                bail!("a detector ended: {status}");
            }
            let metrics = client.send(client.request(Method::GET, &["metrics"], &[])).await?.text().await?;
            let Progress { judged, done } = Progress::of(&metrics);
            all.judged += judged;
            all.done += done;
        }
        Ok(all)
    }
}

impl Progress {
    /// Reads the text format of Prometheus.
    fn of(metrics: &str) -> Self {
        let mut it = Self::default();
        for (name, value) in metrics.lines().filter_map(|line| line.rsplit_once(' ')) {
            if name == "martingale_detector_steps_judged_total" {
                it.judged = value.parse().unwrap_or_default();
            }
            if name.starts_with("martingale_detector_lag_steps{") && value == "0" {
                it.done += 1;
            }
        }
        it
    }
}

/// Ends with the value: nobody goes on with topics that were made to measure with.
fn spawn(config: &KafkaConfig, file: Option<&Path>) -> Result<Child> {
    let me = std::env::current_exe().context("this program does not know where it is")?;
    let mut command = Command::new(me);
    command.args(["up", "--role", "detector", "--http", "127.0.0.1:0", "--json"]);
    command.args(["--kafka", &config.brokers, "--topic-prefix", &config.topic_prefix]);
    command.env("MARTINGALE__KAFKA__PARTITIONS", config.partitions.to_string());
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().context("a detector cannot be started")
}

/// Reads where it listens, which it tells when it is ready.
async fn client(process: &mut Child, token: Option<&str>) -> Result<Client> {
    #[derive(Deserialize)]
    struct Addresses {
        http: String,
    }
    let output = process.stdout.take().context("a detector has no standard output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await?;
    let Addresses { http } = serde_json::from_str(&line).context("a detector did not start")?;
    Client::new(&Server { server: format!("http://{http}"), token: token.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn progress_is_read_from_metrics() {
        let text = "# HELP martingale_detector_lag_steps Steps\n\
                    martingale_detector_lag_steps{partition=\"0\"} 0\n\
                    martingale_detector_lag_steps{partition=\"1\"} 10\n\
                    martingale_detector_steps_judged_total 1234\n\
                    martingale_detector_steps_judged_total_of_others 9\n";
        assert_eq!(Progress::of(text), Progress { judged: 1_234, done: 1 });
    }
}
