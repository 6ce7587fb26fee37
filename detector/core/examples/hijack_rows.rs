//! Numbers of the hijack column for whoever fits its weights (`detector/core/embedding/fit.py`).
//!
//! `hijack_rows texts < LINES` prints for every line its vector and form. `hijack_rows calls JOBS.json STEPS.jsonl.gz`
//! learns, for every job `{"learn": [session…], "judge": [session…]}`, from the first sessions and prints one line for each
//! row of the calls of the others: job, session, seq, and the numbers; for a final message that repeats what was read its score.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use martingale_detector_core::{Baselines, HijackRows, Learner, Rules, hijack_text};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Timestamp};
use serde::Deserialize;

#[derive(Deserialize)]
struct Job {
    learn: Vec<String>,
    judge: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = BufWriter::new(std::io::stdout().lock());
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["texts"] => {
            for line in std::io::stdin().lock().lines() {
                writeln!(out, "{}", numbers(&hijack_text(&line?)))?;
            }
        }
        ["calls", jobs, steps] => calls(&serde_json::from_reader::<_, Vec<Job>>(File::open(jobs)?)?, steps, &mut out)?,
        _ => return Err("usage: hijack_rows texts | hijack_rows calls JOBS.json STEPS.jsonl.gz".into()),
    }
    out.flush()?;
    Ok(())
}

fn calls(jobs: &[Job], steps: &str, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut sessions: HashMap<String, Vec<String>> = HashMap::new();
    for line in BufReader::new(MultiGzDecoder::new(File::open(steps)?)).lines() {
        let line = line?;
        let id =
            StepV1::parse(line.as_bytes())?.check(Timestamp::from_micros(0), &Limits::DEFAULT)?.session_id.to_string();
        sessions.entry(id).or_default().push(line);
    }
    let rules = Rules::starter();
    for (number, job) in jobs.iter().enumerate() {
        let mut learner = Learner::default();
        for line in job.learn.iter().filter_map(|it| sessions.get(it)).flatten() {
            let step = StepV1::parse(line.as_bytes())?.check(Timestamp::from_micros(0), &Limits::DEFAULT)?;
            learner.observe(&step, &rules);
        }
        let baselines: Arc<Baselines> = Arc::new(learner.finish());
        for id in &job.judge {
            let mut rows = HijackRows::new(Arc::clone(&baselines));
            for line in sessions.get(id).into_iter().flatten() {
                let step = StepV1::parse(line.as_bytes())?.check(Timestamp::from_micros(0), &Limits::DEFAULT)?;
                for row in rows.observe(&step, &rules) {
                    writeln!(out, "{number}\t{id}\t{}\t{}", step.seq.unwrap_or(0), numbers(&row))?;
                }
            }
        }
    }
    Ok(())
}

fn numbers(row: &[i32]) -> String {
    row.iter().map(ToString::to_string).collect::<Vec<_>>().join("\t")
}
