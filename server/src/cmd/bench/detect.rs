//! `bench detect`: the core on one thread, from bytes to judgement.
//!
//! * Throughput: the median of passes over the same steps, each into a detector of its own. Changed state is encoded after
//!   every batch as the shell does, and stored nowhere: what that costs is the shell's, and stands apart.
//! * Late over early: sessions that are 100,000 steps long and sessions that begin, in turn, so that both are measured in
//!   the same minute on the same caches; the median of each. Every step is a batch of its own here, as when it comes
//!   alone, so that what a commit writes of a long session counts.
//! * Policies that cannot match: the same passes with and without them, in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use martingale_detector_core::policy::STARTER;
use martingale_detector_core::{Detector, Observed, Rules};
use martingale_schemas::{Step, bench_steps};

use super::Facts;
use crate::cli::bench::Detect;

/// Steps of a session in the passes: a long one of those that were recorded.
const SESSION_STEPS: u64 = 50;
/// As many sessions as are under way at once; a step's session is found among them.
const SESSIONS_AT_ONCE: u64 = 1_000;
const PASSES: usize = 5;
/// Steps between two hand-overs of changed state.
const BATCH: usize = 512;

/// Where early and late are, and how many steps one sample times: more would blur "at step 10", fewer the clock. Thoughts,
/// calls and results come in turn and cost differently, so that both numbers are of whole turns: else early and late would be
/// compared over different steps.
const EARLY: u64 = 6;
const LATE: u64 = 100_000;
const SAMPLE: u64 = 9;
const SAMPLES: u64 = 3_000;
const LONG_SESSIONS: u64 = 4;

pub(super) fn run(args: &Detect) -> Result<Facts> {
    let rules = Arc::new(Rules::starter());
    let idle = match args.policies_that_cannot_match {
        0 => None,
        count => Some(Arc::new(with_idle(count)?)),
    };
    let lines = Lines::new(u64::from(args.steps));
    let (mut plain, mut burdened, mut stored, mut memory) = (Vec::new(), Vec::new(), Vec::new(), (0, 0));
    let bar = super::progress(1 + PASSES as u64 + 1, "passes");
    // One pass to warm up, then in turn: what disturbs one disturbs the other.
    pass(&rules, &lines)?;
    for _ in 0..PASSES {
        bar.inc(1);
        let Pass { judging, encoding, sessions, bytes } = pass(&rules, &lines)?;
        plain.push(judging);
        stored.push(judging + encoding);
        memory = (sessions, bytes);
        if let Some(idle) = &idle {
            burdened.push(pass(idle, &lines)?.judging);
        }
    }
    bar.inc(1);
    let [(early, early_bytes), (late, late_bytes)] = early_and_late(&rules)?;
    bar.finish_and_clear();

    let (ns_per_step, ns_stored) = (median(&mut plain), median(&mut stored));
    let bytes_per_step = ratio(lines.bytes.len() as u64, lines.ends.len() as u64);
    let mut facts = Facts::new();
    let mut fact = |name: &str, value: f64| drop(facts.insert(name.to_owned(), value.into()));
    fact("steps_per_second", 1e9 / ns_per_step);
    fact("ns_per_step", ns_per_step);
    fact("ns_per_byte", ns_per_step / bytes_per_step);
    fact("steps_per_second_with_state_encoded", 1e9 / ns_stored);
    fact("ns_per_step_with_state_encoded", ns_stored);
    fact("bytes_per_step", bytes_per_step);
    fact("late_over_early", late / early);
    fact("ns_at_step_10", early);
    fact("ns_at_step_100000", late);
    fact("bytes_written_at_step_10", early_bytes);
    fact("bytes_written_at_step_100000", late_bytes);
    fact("bytes_per_session", ratio(memory.1 as u64, memory.0 as u64));
    if let Some(idle) = &idle {
        let burdened = median(&mut burdened);
        fact("ns_per_step_with_idle_policies", burdened);
        fact("idle_policies_cost", burdened / ns_per_step);
        facts.insert("idle_policies".to_owned(), (idle.policies() - rules.policies()).into());
    }
    facts.insert("policies".to_owned(), rules.policies().into());
    facts.insert("steps".to_owned(), lines.ends.len().into());
    Ok(facts)
}

/// Steps of many sessions under way at once, as bytes.
struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    fn new(steps: u64) -> Self {
        let (mut bytes, mut ends, mut line) = (Vec::new(), Vec::new(), Vec::new());
        // At most this many distinct ones in memory; a pass over them is repeated instead.
        let steps = steps.min(1_000_000);
        for at in 0..steps {
            let generation = at / (SESSIONS_AT_ONCE * SESSION_STEPS);
            let (session, number) = (at % SESSIONS_AT_ONCE, at / SESSIONS_AT_ONCE % SESSION_STEPS);
            bench_steps::write(&mut line, &format!("bench-{:06}", generation * SESSIONS_AT_ONCE + session), number);
            bytes.extend_from_slice(&line);
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// Nanoseconds a step, and what a new detector holds after all of them.
struct Pass {
    judging: f64,
    encoding: f64,
    sessions: usize,
    bytes: usize,
}

fn pass(rules: &Arc<Rules>, lines: &Lines) -> Result<Pass> {
    let (mut detector, mut encoded) = (Detector::new(Arc::clone(rules)), Vec::new());
    let (begun, mut encoding) = (Instant::now(), Duration::ZERO);
    for (at, line) in lines.iter().enumerate() {
        judge(&mut detector, line)?;
        if at % BATCH == BATCH - 1 {
            let begun = Instant::now();
            hand_over(&mut detector, &mut encoded)?;
            encoding += begun.elapsed();
        }
    }
    let per_step = |time: Duration| time.as_nanos() as f64 / lines.ends.len() as f64;
    let judging = per_step(begun.elapsed().saturating_sub(encoding));
    let (sessions, bytes) = (detector.sessions_in_memory(), detector.state_bytes());
    Ok(Pass { judging, encoding: per_step(encoding), sessions, bytes })
}

fn judge(detector: &mut Detector, line: &[u8]) -> Result<()> {
    let step = Step::from_log(line)?;
    loop {
        let absent = detector.absent(&step);
        if absent.is_empty() {
            break;
        }
        for key in absent {
            detector.load(key, None);
        }
    }
    match std::hint::black_box(detector.observe(&step)) {
        Observed::Judged(_) => Ok(()),
        Observed::Duplicate => Err(anyhow!("step {} of {} was taken for a duplicate", step.step_id, step.session_id)),
    }
}

/// Encodes what changed, as the shell does, and answers how many bytes it comes to. `bytes` is the room for it.
fn hand_over(detector: &mut Detector, bytes: &mut Vec<u8>) -> Result<usize> {
    let mut written = Ok(());
    bytes.clear();
    detector.drain_changed(|key, state| {
        key.write(bytes);
        if let Some(state) = state
            && let Err(error) = martingale_detector::write_state(0, &state, bytes)
        {
            written = Err(error);
        }
    });
    written?;
    Ok(std::hint::black_box(Bytes::copy_from_slice(bytes)).len())
}

/// Nanoseconds a step near the 10th and near the 100,000th of a session, and the bytes it writes.
fn early_and_late(rules: &Arc<Rules>) -> Result<[(f64, f64); 2]> {
    let (mut detector, mut encoded) = (Detector::new(Arc::clone(rules)), Vec::new());
    let mut line = Vec::new();
    let long: Vec<String> = (0..LONG_SESSIONS).map(|it| format!("bench-long-{it:06}")).collect();
    let begin = LATE - SAMPLES / LONG_SESSIONS * (EARLY + SAMPLE) / 2;
    for session in &long {
        for number in 0..begin {
            bench_steps::write(&mut line, session, number);
            judge(&mut detector, &line)?;
        }
        hand_over(&mut detector, &mut encoded)?;
    }
    let (mut early, mut late) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let put = |(nanos, bytes): &mut (Vec<f64>, Vec<f64>), sample: (f64, f64)| {
        nanos.push(sample.0);
        bytes.push(sample.1);
    };
    for sample in 0..SAMPLES {
        put(&mut early, sample_of(&mut detector, &mut encoded, &format!("bench-new--{sample:06}"), 0)?);
        let at = usize::try_from(sample % LONG_SESSIONS).unwrap_or(0);
        put(
            &mut late,
            sample_of(&mut detector, &mut encoded, &long[at], begin + sample / LONG_SESSIONS * (EARLY + SAMPLE))?,
        );
    }
    Ok([early, late].map(|(mut nanos, mut bytes)| (median(&mut nanos), median(&mut bytes))))
}

/// Some steps that are not timed, so that the session is at hand, and some that are; both kinds of session get the same.
/// Nanoseconds and bytes written, a step.
fn sample_of(detector: &mut Detector, encoded: &mut Vec<u8>, session: &str, from: u64) -> Result<(f64, f64)> {
    let lines: Vec<Vec<u8>> = (from..from + EARLY + SAMPLE)
        .map(|number| {
            let mut line = Vec::new();
            bench_steps::write(&mut line, session, number);
            line
        })
        .collect();
    let (before, timed) = lines.split_at(usize::try_from(EARLY)?);
    for line in before {
        judge(detector, line)?;
    }
    hand_over(detector, encoded)?;
    let (begun, mut bytes) = (Instant::now(), 0);
    for line in timed {
        judge(detector, line)?;
        bytes += hand_over(detector, encoded)?;
    }
    let (nanos, steps) = (begun.elapsed().as_nanos() as f64, timed.len() as f64);
    Ok((nanos / steps, bytes as f64 / steps))
}

/// The built-in policies, and more that name tools nobody calls.
fn with_idle(count: u32) -> Result<Rules> {
    let mut files: Vec<(String, String)> =
        STARTER.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    files.extend((0..count).map(|it| {
        let when = format!("step.kind == \"tool_call\" && step.tool == \"never_called_{it}\" && tool.destructive");
        let text = format!("id: idle-{it}\ntitle: Cannot match\nseverity: low\nmode: enforce\nwhen: '{when}'\nthen: {{ decision: deny, message: never }}\n");
        (format!("idle-{it}.yaml"), text)
    }));
    Rules::load(&files)
        .map_err(|errors| anyhow!("{}", errors.iter().map(crate::policies::display).collect::<Vec<_>>().join("\n")))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}
