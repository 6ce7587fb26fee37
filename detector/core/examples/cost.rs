//! What a step costs and what it comes to, for whoever makes it cheaper.
//!
//! `cost steps COUNT [baseline]` decodes and judges so many of the steps of `martingale bench detect`, a hundred sessions in
//! turn, and encodes what changed after every 512: of two counts the difference is the cost of a step, with setting up left out
//! (`valgrind --tool=callgrind`). `cost recorded STEPS.jsonl.gz COUNT` does so with steps that were recorded, and `cost time` times
//! the first in passes. `cost digest STEPS.jsonl.gz…` prints a digest of everything that is answered and stored, without a
//! baseline and with one, step by step: two builds that print the same judge alike.

#[path = "../../../server/src/cmd/bench/steps.rs"]
#[allow(dead_code, unreachable_pub, reason = "the bench's own")]
mod steps;

use std::error::Error;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Write as _};
use std::sync::Arc;
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use martingale_detector_core::{Baselines, Detector, Learner, Rules};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Step, Timestamp};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let said = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["steps", count] => judge(&generated(count.parse()?, 100), None)?,
        ["steps", count, "baseline"] => {
            let baselines = learn(&generated(20_000, 400))?;
            judge(&generated(count.parse()?, 100), Some(baselines))?
        }
        ["recorded", file, count] => {
            let lines: Vec<Vec<u8>> = recorded(file)?.into_iter().take(count.parse()?).collect();
            judge(&lines, None)?
        }
        ["time"] => time()?,
        ["digest", files @ ..] => files.iter().map(|it| digests(it)).collect::<Outcome<Vec<_>>>()?.join("\n"),
        _ => return Err("usage: cost steps COUNT [baseline] | recorded FILE COUNT | time | digest FILE…".into()),
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

fn generated(count: u64, sessions: u64) -> Vec<Vec<u8>> {
    let line = |at: u64| {
        let mut line = Vec::new();
        steps::write(&mut line, &format!("bench-{:06}", at % sessions), at / sessions);
        line
    };
    (0..count).map(line).collect()
}

/// In the log's form.
fn recorded(file: &str) -> Outcome<Vec<Vec<u8>>> {
    let lines = BufReader::new(MultiGzDecoder::new(File::open(file)?)).lines();
    let logged = |line: std::io::Result<String>| {
        Ok(StepV1::parse(line?.as_bytes())?.check(Timestamp::from_micros(0), &Limits::DEFAULT)?.to_json())
    };
    lines.map(logged).collect()
}

fn learn(lines: &[Vec<u8>]) -> Outcome<Arc<Baselines>> {
    let (mut learner, rules) = (Learner::default(), Rules::starter());
    for line in lines {
        learner.observe(&Step::from_log(line)?, &rules);
    }
    Ok(Arc::new(learner.finish()))
}

fn detector(baselines: Option<Arc<Baselines>>) -> Detector {
    let rules = Rules::starter();
    Detector::new(Arc::new(match baselines {
        Some(it) => rules.with_baselines(it),
        None => rules,
    }))
}

fn judge(lines: &[Vec<u8>], baselines: Option<Arc<Baselines>>) -> Outcome<String> {
    let (mut detector, mut out, mut bytes) = (detector(baselines), Vec::new(), 0);
    for batch in lines.chunks(512) {
        for line in batch {
            let step = Step::from_log(line)?;
            for key in detector.absent(&step) {
                detector.load(key, None);
            }
            std::hint::black_box(detector.observe(&step));
        }
        bytes += hand_over(&mut detector, &mut out)?.len();
    }
    Ok(format!("{} steps, {bytes} bytes stored", lines.len()))
}

/// Everything that changed, each under its key.
fn hand_over<'o>(detector: &mut Detector, out: &'o mut Vec<u8>) -> Outcome<&'o [u8]> {
    out.clear();
    let mut written = Ok(());
    detector.drain_changed(|key, state| {
        key.write(out);
        match postcard::to_extend(&state, std::mem::take(out)) {
            Ok(it) => *out = it,
            Err(error) => written = Err(error),
        }
    });
    written?;
    Ok(out)
}

fn time() -> Outcome<String> {
    let lines = generated(50_000, 1_000);
    let mut passes: Vec<f64> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            judge(&lines, None)?;
            Ok(begun.elapsed().as_nanos() as f64 / lines.len() as f64)
        })
        .collect::<Outcome<_>>()?;
    passes.sort_by(f64::total_cmp);
    Ok(format!(
        "{:.0} ns a step at best, {:.0} in the middle, what changed encoded",
        passes[0],
        passes[passes.len() / 2]
    ))
}

fn digests(file: &str) -> Outcome<String> {
    let lines = recorded(file)?;
    let (without, with) = (digest(&lines, None)?, digest(&lines, Some(learn(&lines[..lines.len() / 2])?))?);
    Ok(format!("{without:016x} {with:016x} {} steps {file}", lines.len()))
}

fn digest(lines: &[Vec<u8>], baselines: Option<Arc<Baselines>>) -> Outcome<u64> {
    let (mut detector, mut out, mut digest) = (detector(baselines), Vec::new(), DefaultHasher::new());
    for line in lines {
        let observed = detector.observe(&Step::from_log(line)?);
        digest.write(format!("{observed:?}").as_bytes());
        digest.write(hand_over(&mut detector, &mut out)?);
        if detector.sessions_in_memory() > 10_000 {
            detector.evict(1_000);
        }
    }
    Ok(digest.finish())
}
