//! Steps for processes over Kafka: recorded ones, or made-up ones where nothing is recorded.

use std::fs::File;
use std::io::{BufRead, BufReader};

use flate2::read::MultiGzDecoder;
use serde_json::json;

use crate::harness::{Random, recorded_files, step};

/// Lines of steps, each session in its order.
pub(super) fn lines() -> Vec<String> {
    recorded().unwrap_or_else(made_up)
}

/// Recorded executions; the last session of a file may be cut. `MARTINGALE_KAFKA_STEPS` says how many steps at most; all of them
/// take some time.
fn recorded() -> Option<Vec<String>> {
    let steps_max: usize =
        std::env::var("MARTINGALE_KAFKA_STEPS").ok().map_or(6_000, |it| it.parse().expect("a number of steps"));
    let files = recorded_files()?;
    // Some of every file, so that each kind of recording is among them.
    let each = steps_max / files.len().max(1);
    let mut lines = Vec::new();
    for file in files {
        let of_file = BufReader::new(MultiGzDecoder::new(File::open(file).expect("opens"))).lines();
        lines.extend(of_file.map(|it| it.expect("reads")).take(each));
    }
    Some(lines)
}

/// Sessions that loop and come apart, where nothing is recorded.
fn made_up() -> Vec<String> {
    let mut random = Random::seeded_quietly(7);
    let mut lines = Vec::new();
    for seq in 0..60 {
        for session in 0..40 {
            let tool = ["search", "read_file", "send_email"][usize::try_from(random.below(3)).unwrap()];
            let time = format!("2026-01-01T00:{:02}:{:02}Z", seq / 60, seq % 60);
            let more = json!({ "seq": seq, "time": time, "tool": tool, "input": { "q": random.below(2) } });
            lines.push(step(&format!("made-{session}"), &seq.to_string(), "tool_call", more).to_string());
        }
    }
    lines
}
