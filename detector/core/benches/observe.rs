//! Cost of a step: decoded from the log's form and judged, under the rules that ship.

use std::hint::black_box;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use martingale_detector_core::policy::STARTER;
use martingale_detector_core::{Baselines, Detector, Learner, Redactor, Rules, StateKey};
use martingale_schemas::{Capture, Limits, Redact as _, Step};

/// Steps of one session in the log's form, about 300 bytes each: a message, then calls and results that do not repeat.
fn session(name: &str, steps: usize) -> Vec<Vec<u8>> {
    (0..steps)
        .map(|n| {
            let (kind, body) = match n % 4 {
                0 => ("user_message", format!(r#""text":"Please look up order {n} and tell me when it will be delivered to the address on file""#)),
                1 => ("reasoning", format!(r#""text":"I need the order's record first; then I can look up the shipment {n} that belongs to it""#)),
                2 => ("tool_call", format!(r#""tool":"get_order","input":{{"order_id":"o-{n}","fields":["status","shipment","address"]}}"#)),
                _ => ("tool_result", format!(r#""tool":"get_order","causes":["{}"],"status":"ok","output":{{"order_id":"o-{n}","status":"sent"}}"#, n - 1)),
            };
            format!(
                r#"{{"session_id":"{name}","step_id":"{n}","seq":{n},"time":"2026-01-01T00:{:02}:{:02}Z","kind":"{kind}","agent":{{"id":"support-agent","version":"2026-01-15"}},"environment":"production",{body}}}"#,
                n / 60 % 60,
                n % 60
            )
            .into_bytes()
        })
        .collect()
}

fn many_policies() -> Rules {
    let mut files: Vec<(String, String)> =
        STARTER.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    for n in 0..1000 {
        let scope = match n % 3 {
            0 => format!("scope: {{ agent: 'other-{n}-*' }}\nwhen: 'step.text.contains(\"x\")'"),
            1 => format!("when: 'step.kind == \"tool_call\" && step.tool == \"tool-{n}\" && step.input.a == 1'"),
            _ => "when: 'step.kind == \"guardrail\" && step.text.contains(\"x\")'".to_owned(),
        };
        files.push((
            format!("{n}.yaml"),
            format!("id: p{n}\ntitle: T\nseverity: low\n{scope}\nthen: {{ decision: deny }}\n"),
        ));
    }
    Rules::load(&files).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Learnt from sessions as long as those that are judged.
fn baselines() -> Arc<Baselines> {
    let (mut learner, rules) = (Learner::default(), Rules::starter());
    for n in 0..100 {
        for json in session(&format!("b-{n}"), 24) {
            if let Ok(step) = Step::from_log(&json) {
                learner.observe(&step, &rules);
            }
        }
    }
    Arc::new(learner.finish())
}

fn run(detector: &mut Detector, steps: &[Vec<u8>]) {
    for json in steps {
        if let Ok(step) = Step::from_log(json) {
            black_box(detector.observe(&step));
        }
    }
    commit(detector);
}

/// Encodes what changed, as the shell does; answers the bytes of each.
fn commit(detector: &mut Detector) -> Vec<(StateKey<'static>, usize)> {
    let mut out = Vec::new();
    detector.drain_changed(|key, state| {
        let bytes = state.map(|it| postcard::to_extend(&it, Vec::with_capacity(512)));
        let bytes = black_box(bytes.transpose()).unwrap_or_else(|error| panic!("{error}"));
        out.push((key.to_static(), bytes.map_or(0, |it| it.len())));
    });
    out
}

/// A run of so many sessions, each the child of the one before or all of the root, one of them halted.
fn halted_run(sessions: usize, chain: bool) -> Detector {
    let mut detector = Detector::new(Arc::new(Rules::starter()));
    run(&mut detector, &[step_of(0, 0, 0)]);
    for n in 1..sessions {
        run(&mut detector, &[step_of(n, if chain { n - 1 } else { 0 }, 0)]);
    }
    let halt = r#"{"control_id":"c","action":"halt","scope":{"type":"session","session_id":"s1"},
        "time":"2026-01-01T00:00:00Z","state":"requested"}"#;
    detector.apply(&serde_json::from_str(halt).unwrap_or_else(|error| panic!("{error}")));
    commit(&mut detector);
    detector
}

fn step_of(session: usize, parent: usize, n: usize) -> Vec<u8> {
    let parent = if session == parent { String::new() } else { format!(r#""parent_session_id":"s{parent}","#) };
    format!(
        r#"{{"session_id":"s{session}","root_session_id":"s0",{parent}"step_id":"{n}","time":"2026-01-01T00:00:00Z","kind":"plan","agent":{{"id":"a"}}}}"#
    )
    .into_bytes()
}

/// A call of 48 KB in a run that has read a secret, by what it sends; and what a door that hides secrets does to it.
fn leaving(c: &mut Criterion) {
    const BYTES: usize = 48_000;
    let prose = "the weather is mild and dry, and tomorrow it stays so. ".repeat(BYTES / 40);
    let twice = STANDARD.encode(STANDARD.encode(&prose));
    let paths: String = prose.chars().map(|it| if it == ' ' { '/' } else { it }).collect();
    let sent = [
        ("prose", prose.clone()),
        ("base64", STANDARD.encode(&prose)),
        ("base64 of base64", twice),
        ("hexadecimal", prose.bytes().map(|it| format!("{it:02x}")).collect()),
        ("percent-encoding", prose.bytes().map(|it| format!("%{it:02x}")).collect()),
        ("letters of base64 that are none", "Zq3xVb9LkP0wTnRy".repeat(BYTES / 16)),
        ("one path", paths),
    ];
    let rules = Arc::new(Rules::starter());
    let line = |id: &str, kind: &str, body: &str| {
        format!(
            r#"{{"session_id":"s","step_id":"{id}","time":"2026-01-01T00:00:00Z","kind":"{kind}","agent":{{"id":"a"}},{body}}}"#
        )
    };
    let read = line("1", "tool_result", r#""tool":"read_file","output":"aws_access_key_id = AKIAQ7RT2ZPLMNB45XYW""#);
    let limit = Limits::DEFAULT.content_bytes_max;
    let redactor =
        Redactor::new(&[b'k'; 32], Capture::Redacted, &[], &[], limit).unwrap_or_else(|error| panic!("{error}"));
    let mut group = c.benchmark_group("a call of 48 KB after a secret");
    group.sample_size(20);
    for (name, text) in sent {
        let call = line("2", "tool_call", &format!(r#""tool":"send_email","input":{{"body":"{}"}}"#, &text[..BYTES]));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || {
                    let mut detector = Detector::new(Arc::clone(&rules));
                    run(&mut detector, &[read.clone().into_bytes()]);
                    detector
                },
                |detector| Step::from_log(call.as_bytes()).map(|step| drop(black_box(detector.observe(&step)))).is_ok(),
                BatchSize::LargeInput,
            );
        });
        if let Ok(step) = Step::from_log(read.as_bytes()) {
            drop(redactor.redact(step));
        }
        group.bench_function(format!("redacted: {name}"), |b| {
            b.iter(|| Step::from_log(call.as_bytes()).map(|step| drop(black_box(redactor.redact(step)))).is_ok());
        });
    }
    group.finish();
}

/// What the doors do to steps that are not kept as they were sent.
fn captures(group: &mut BenchmarkGroup<'_, WallTime>, sessions: &[Vec<Vec<u8>>]) {
    for mode in [Capture::Redacted, Capture::Fingerprint] {
        let limit = Limits::DEFAULT.content_bytes_max;
        let redactor = Redactor::new(&[b'k'; 32], mode, &[], &[], limit).unwrap_or_else(|error| panic!("{error}"));
        group.bench_function(format!("decode and capture, {}", mode.as_str()), |b| {
            b.iter(|| {
                let steps = sessions.iter().flatten().filter_map(|json| Step::from_log(json).ok());
                steps.for_each(|step| drop(black_box(redactor.redact(step))));
            });
        });
    }
}

fn benches(c: &mut Criterion) {
    let sessions: Vec<Vec<Vec<u8>>> = (0..100).map(|n| session(&format!("s-{n:016x}"), 24)).collect();
    let steps: usize = sessions.iter().map(Vec::len).sum();
    let bytes: usize = sessions.iter().flatten().map(Vec::len).sum();
    let mut group = c.benchmark_group(format!("{} bytes a step", bytes / steps));
    group.throughput(Throughput::Elements(steps as u64)).sample_size(20);

    group.bench_function("decode", |b| {
        b.iter(|| sessions.iter().flatten().for_each(|json| drop(black_box(Step::from_log(json)))));
    });
    captures(&mut group, &sessions);
    let builtin = Rules::load::<&str, &str>(&[]).unwrap_or_else(|errors| panic!("{errors:?}"));
    for (name, rules) in [
        ("built-in", builtin),
        ("starter", Rules::starter()),
        ("starter and 1,000 others", many_policies()),
        ("starter without hijack", Rules::starter().with_hijack(None)),
        ("the same with a baseline", Rules::starter().with_hijack(None).with_baselines(baselines())),
    ] {
        let rules = Arc::new(rules);
        group.bench_function(format!("decode and observe: {name}"), |b| {
            b.iter_batched_ref(
                || {
                    // The policies of an agent are indexed when its first step comes.
                    let mut detector = Detector::new(Arc::clone(&rules));
                    run(&mut detector, &session("warm-up", 1));
                    detector
                },
                |detector| sessions.iter().for_each(|steps| run(detector, steps)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();

    let mut group = c.benchmark_group("a step in a run with a halt");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for (name, sessions, chain) in
        [("10 in a chain", 10, true), ("500 in a chain", 500, true), ("500 beside", 500, false)]
    {
        group.bench_function(name, |b| {
            let mut detector = halted_run(sessions, chain);
            let mut n = 0;
            b.iter_batched(
                || {
                    n += 1;
                    step_of(sessions - 1, if chain { sessions - 2 } else { 0 }, n)
                },
                |json| Step::from_log(&json).map(|step| drop(black_box(detector.observe(&step)))).is_ok(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();

    leaving(c);

    let rules = Arc::new(Rules::starter());
    let long = session("long", 101_000);
    let mut group = c.benchmark_group("position in a session");
    group.throughput(Throughput::Elements(1000)).sample_size(20);
    for from in [10, 1_000, 100_000] {
        let mut detector = Detector::new(Arc::clone(&rules));
        run(&mut detector, &long[..from]);
        if let Ok(step) = Step::from_log(&long[from]) {
            detector.observe(&step);
        }
        let bytes: usize = commit(&mut detector).into_iter().map(|(_, bytes)| bytes).sum();
        // Each is a batch of its own, as a step that comes alone.
        group.bench_function(format!("1,000 steps from {from}, which writes {bytes} bytes"), |b| {
            b.iter_batched_ref(
                || {
                    let mut detector = Detector::new(Arc::clone(&rules));
                    run(&mut detector, &long[..from]);
                    detector
                },
                |detector| long[from..from + 1000].iter().for_each(|it| run(detector, std::slice::from_ref(it))),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(observe, benches);
criterion_main!(observe);
