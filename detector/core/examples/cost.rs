//! What a step costs and what it comes to, for whoever makes it cheaper.
//!
//! `cost steps COUNT [baseline]` decodes and judges so many of the steps of `martingale bench detect`, a hundred sessions in
//! turn, and encodes what changed after every 512: of two counts the difference is the cost of a step, with setting up left out
//! (`valgrind --tool=callgrind`). `cost recorded STEPS.jsonl.gz COUNT` does so with steps that were recorded, and `cost time` times
//! the first in passes. `cost capture` times what a door does to content of 64 KiB.
//! `cost digest STEPS.jsonl.gz…` prints a digest of everything that is answered and stored, without a
//! baseline and with one, step by step: two builds that print the same judge alike.

use std::error::Error;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Write as _};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use martingale_detector_core::{Baselines, Detector, Learner, Redactor, Rules};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Capture, Limits, Redact as _, Step, Timestamp, bench_steps};
use serde_json::{Value, json};

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
        ["capture"] => capture()?,
        ["digest", files @ ..] => files.iter().map(|it| digests(it)).collect::<Outcome<Vec<_>>>()?.join("\n"),
        _ => {
            return Err(
                "usage: cost steps COUNT [baseline] | recorded FILE COUNT | time | capture | digest FILE…".into()
            );
        }
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

fn generated(count: u64, sessions: u64) -> Vec<Vec<u8>> {
    let line = |at: u64| {
        let mut line = Vec::new();
        bench_steps::write(&mut line, &format!("bench-{:06}", at % sessions), at / sessions);
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

/// What the door that takes a step in spends on content of 64 KiB, of a run of which 100 secrets are known.
fn capture() -> Outcome<String> {
    let secrets: Vec<String> = (0..100).map(|it| format!("hunter{it:03}x{}", it * 7919)).collect();
    let shown = secrets.iter().map(|it| format!("password: {it}")).collect::<Vec<_>>().join("\n");
    let fill = |text: &str| text.repeat(65_000 / text.len());
    let inner = STANDARD.encode(STANDARD.encode(fill("some words of a page ").get(..2_200).unwrap_or_default()));
    let cases = [
        ("prose", json!(fill("Lorem ipsum dolor sit amet, consectetur adipiscing elit. "))),
        ("secrets", json!(fill(&format!("{}, ", secrets[..40].join(", "))))),
        ("base64 in base64", json!(fill(&format!("{inner} ")))),
        (
            "base64 in one",
            json!(STANDARD.encode(STANDARD.encode(fill("some words of a page ").get(..36_000).unwrap_or_default()))),
        ),
        ("a path of base64", json!(fill(&format!("{}/", STANDARD.encode("see hunter007x55433 there"))))),
        ("a path of short base64", json!(fill("dGhlIHF1aWNrIGJy/"))),
        ("secrets in base64", json!(fill(&STANDARD.encode("hunter007x55433")))),
        ("percent", json!(fill("%61%62"))),
        (
            "names",
            serde_json::from_str(&format!(
                "{{{}\"x\":1}}",
                (0..5000).map(|it| format!("\"{it}\":1,")).collect::<String>()
            ))?,
        ),
        (
            "secret names",
            serde_json::from_str(&format!(
                "{{{}\"x\":1}}",
                (0..2200).map(|it| format!("\"hunter007x55433 {it}\":1,")).collect::<String>()
            ))?,
        ),
        ("a long name", json!({ fill("a\n")[..32_000].to_owned(): vec!["a"; 8_000] })),
        ("a long name of lists", json!({ fill("a\n")[..32_000].to_owned(): vec![Vec::<u8>::new(); 10_000] })),
        ("short texts", json!(vec!["abcdefgh"; 5_900])),
        ("numbers", json!(vec![1234567; 8_000])),
        ("JSON in JSON", json!(json!(vec!["abcdefgh"; 4_500]).to_string())),
        ("labels", json!(fill("a: password=x&"))),
    ];
    let mut said = String::new();
    for mode in [Capture::Redacted, Capture::Fingerprint] {
        let redactor = Redactor::new(&[b'k'; 32], mode, &[], &["ssn".to_owned()], Limits::DEFAULT.content_bytes_max)?;
        let step = |output: &Value, at: usize| {
            json!({"session_id": "s", "step_id": at.to_string(), "kind": "tool_result", "agent": {"id": "a"}, "tool": "t", "output": output}).to_string()
        };
        let take = |json: &str| -> Outcome<f64> {
            let step = StepV1::parse(json.as_bytes())?.check(Timestamp::from_micros(0), &Limits::DEFAULT)?;
            let begun = Instant::now();
            std::hint::black_box(redactor.redact(step));
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        };
        for (at, shown) in shown.lines().enumerate().collect::<Vec<_>>().chunks(10).enumerate() {
            take(&step(&json!(shown.iter().map(|it| it.1).collect::<Vec<_>>()), at))?;
        }
        for (name, content) in &cases {
            let json = step(content, 1_000);
            let best = (0..5).map(|_| take(&json)).collect::<Outcome<Vec<_>>>()?.into_iter().fold(f64::MAX, f64::min);
            said += &format!("{:11} {name:22} {:6} bytes {best:7.2} ms\n", mode.as_str(), json.len());
        }
    }
    Ok(said)
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
