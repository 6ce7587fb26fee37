//! Numbers of the steps of recorded sessions for whoever fits the weights of blame (`detector/core/blame/fit.py`).
//!
//! `blame_rows STEPS.jsonl.gz` judges the steps under the shipped policies and prints one line for each: session, seq, and
//! the numbers. The first line names them. Steps of a session stand together.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use martingale_detector_core::{BLAME_NUMBERS, Blame, Detector, Observed, Rules};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: blame_rows STEPS.jsonl.gz")?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    writeln!(out, "session\tseq\t{}", BLAME_NUMBERS.join("\t"))?;
    let mut detector = Detector::new(Arc::new(Rules::starter()));
    let (mut session, mut blame, mut seqs) = (String::new(), Blame::default(), Vec::new());
    for line in BufReader::new(MultiGzDecoder::new(File::open(path)?)).lines() {
        let line = line?;
        let step = StepV1::parse(line.as_bytes())?.check(Timestamp::from_micros(0), &Limits::DEFAULT)?;
        if step.session_id.as_str() != session {
            write(&mut out, &session, &seqs, &std::mem::take(&mut blame))?;
            session = step.session_id.to_string();
            seqs.clear();
            detector.evict(0);
        }
        let Observed::Judged(judgement) = detector.observe(&step) else { continue };
        blame.observe(&step, &judgement.findings);
        seqs.push(step.seq.unwrap_or(0));
    }
    write(&mut out, &session, &seqs, &blame)?;
    out.flush()?;
    Ok(())
}

fn write(out: &mut impl Write, session: &str, seqs: &[u64], blame: &Blame) -> std::io::Result<()> {
    for (seq, row) in seqs.iter().zip(blame.rows()) {
        let numbers: Vec<String> = row.iter().map(ToString::to_string).collect();
        writeln!(out, "{session}\t{seq}\t{}", numbers.join("\t"))?;
    }
    Ok(())
}
