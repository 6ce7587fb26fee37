//! `bench ingest`: from the first request until SQL sees every step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use martingale_schemas::bench_steps;
use serde_json::json;

use super::Facts;
use super::target::Measured;
use crate::cli::bench::Ingest;
use crate::cmd::replay::Faults;
use crate::cmd::replay::send::send;
use crate::cmd::replay::source::Place;

/// Steps between two updates of the progress bar while they are sent.
const TELL_EVERY: u64 = 8_192;
/// Steps of a session.
const SESSION_STEPS: u64 = 50;
/// Longest time without any further step becoming visible.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn run(args: &Ingest) -> Result<Facts> {
    let measured = Measured::start(&args.target).await?;
    let total = u64::from(args.steps);
    let prefix = format!("bench-ingest-{}", std::process::id());
    // On its own server everything counts; on one that runs, only these sessions.
    let query = match args.target.server {
        None => "SELECT count(*) FROM steps".to_owned(),
        Some(_) => format!("SELECT count(*) FROM steps WHERE session_id LIKE '{prefix}-%'"),
    };
    let bar = super::progress(total, "steps sent, then visible");
    let (faults, sending) = (Faults::new(bar.clone()), bar.clone());
    let begun = Instant::now();
    let (mut at, file) = (0, Arc::from("bench"));
    let next = move |line: &mut Vec<u8>| {
        if at == total {
            return Ok(None);
        }
        bench_steps::write(line, &format!("{prefix}-{}", at / SESSION_STEPS), at % SESSION_STEPS);
        at += 1;
        if at % TELL_EVERY == 0 {
            sending.set_position(at);
        }
        Ok(Some(Place { file: Arc::clone(&file), line: at }))
    };
    let sent = send(&measured.client, args.concurrency, (None, Arc::default()), faults, next).await?;
    let acknowledged = begun.elapsed();
    if sent.outcomes.accepted != total {
        bail!("{} of {total} steps were accepted: {:?}", sent.outcomes.accepted, sent.outcomes);
    }
    let (mut seen, mut progressed) = (0, Instant::now());
    while seen < total {
        let now = count(&measured, &query).await?;
        bar.set_position(now);
        if now > seen {
            (seen, progressed) = (now, Instant::now());
        } else if progressed.elapsed() > PATIENCE {
            bail!("SQL sees {seen} of {total} steps, and no more came in {} s", PATIENCE.as_secs());
        }
        if seen < total {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let visible = begun.elapsed();
    bar.finish_and_clear();
    if seen > total {
        bail!("SQL sees {seen} steps although {total} were sent");
    }
    measured.stop().await?;

    let rate = |took: Duration| f64::from(args.steps) / took.as_secs_f64();
    let mut facts = Facts::new();
    facts.insert("steps_per_second".into(), rate(visible).into());
    facts.insert("acknowledged_per_second".into(), rate(acknowledged).into());
    facts.insert("seconds".into(), visible.as_secs_f64().into());
    facts.insert("steps".into(), total.into());
    Ok(facts)
}

async fn count(measured: &Measured, query: &str) -> Result<u64> {
    let answer = measured.client.post(&["v1", "sql"], &json!({ "query": query })).await?;
    answer["rows"][0][0].as_u64().context("the count is no number")
}
