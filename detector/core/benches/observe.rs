//! Cost of a step: decoded from the log's form and judged, under the rules that ship.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use martingale_detector_core::policy::STARTER;
use martingale_detector_core::{Detector, Rules};
use martingale_schemas::Step;

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

fn run(detector: &mut Detector, steps: &[Vec<u8>]) {
    for json in steps {
        if let Ok(step) = Step::from_log(json) {
            black_box(detector.observe(&step));
        }
    }
    detector.drain_changed(|_, _| {});
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
    let builtin = Rules::load::<&str, &str>(&[]).unwrap_or_else(|errors| panic!("{errors:?}"));
    for (name, rules) in
        [("built-in", builtin), ("starter", Rules::starter()), ("starter and 1,000 others", many_policies())]
    {
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

    let rules = Arc::new(Rules::starter());
    let long = session("long", 101_000);
    let mut group = c.benchmark_group("position in a session");
    group.throughput(Throughput::Elements(1000)).sample_size(20);
    for from in [0, 100_000] {
        group.bench_function(format!("1,000 steps from {from}"), |b| {
            b.iter_batched_ref(
                || {
                    let mut detector = Detector::new(Arc::clone(&rules));
                    run(&mut detector, &long[..from]);
                    detector
                },
                |detector| run(detector, &long[from..from + 1000]),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(observe, benches);
criterion_main!(observe);
