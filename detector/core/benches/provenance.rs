//! Cost of remembering a result and of asking where the arguments of a call come from, in time per byte.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use martingale_detector_core::provenance::{Bounds, Index, Integrity, ToolTraits};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Step, Timestamp};

/// A result of about that many bytes, as tools print records.
fn records(bytes: usize) -> String {
    let mut out = String::new();
    for n in 0.. {
        if out.len() >= bytes {
            break;
        }
        out += &format!(
            "- id: '{n}'\n  sender: person{n}@company-{}.example\n  subject: Report of the weekly meeting about item {n}\n  body: Hello, the numbers we spoke of are in the file report-{}.xlsx; please have a look before Friday and tell me what you think of the third chart.\n",
            n % 7,
            n * 31
        );
    }
    out
}

fn step(kind: &str, field: &str, value: &serde_json::Value) -> String {
    serde_json::json!({
        "session_id": "s", "step_id": "1", "kind": kind, "agent": { "id": "a" }, "tool": "send_email", field: value,
    })
    .to_string()
}

fn parsed(json: &str) -> Step<'_> {
    let step = StepV1::parse(json.as_bytes()).and_then(|it| it.check(Timestamp::from_micros(0), &Limits::DEFAULT));
    step.unwrap_or_else(|error| panic!("{error:?}"))
}

fn ingest(index: &mut Index, step: &Step<'_>) {
    black_box(index.ingest(step, ToolTraits::default(), Integrity::Record, &Bounds::DEFAULT, &mut ()));
}

fn benches(c: &mut Criterion) {
    let contents = [
        ("record_1k", records(1_100)),
        ("record_28k", records(27_700)),
        ("prose_1k", "The quick brown fox jumps over the lazy dog and runs away. ".repeat(19)),
        ("one_token_128k", "a1B2".repeat(32_000)),
        ("quotes_128k", "\"'".repeat(32_000)),
        ("percent_128k", "%41".repeat(42_000)),
        ("lines_128k", "a: b\n".repeat(25_000)),
        ("unicode_128k", "\u{1d400}\u{301}\u{200b}".repeat(14_000)),
        ("addresses_128k", (0..5_000).map(|it| format!("u{it}@host{it}.test ")).collect()),
    ];
    let mut group = c.benchmark_group("ingest");
    for (name, content) in &contents {
        let json = step("tool_result", "output", &content.as_str().into());
        let step = parsed(&json);
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_function(*name, |b| {
            b.iter_batched_ref(Index::default, |index| ingest(index, &step), BatchSize::SmallInput);
        });
        group.bench_function(format!("{name}/full"), |b| {
            let flood = self::step("tool_result", "output", &contents[8].1.as_str().into());
            let mut index = Index::default();
            (0..8).for_each(|_| ingest(&mut index, &parsed(&flood)));
            b.iter(|| ingest(&mut index, &step));
        });
    }
    group.finish();
    let read = || {
        let mut index = Index::default();
        let json = step("tool_result", "output", &records(8_000).into());
        ingest(&mut index, &parsed(&json));
        index
    };
    let arguments = serde_json::json!({ "to": ["person3@company-3.example"], "subject": "Report of the weekly meeting", "body": "see report-93.xlsx" });
    let call = step("tool_call", "input", &arguments);
    let call = parsed(&call);
    c.bench_function("probe", |b| {
        let index = read();
        b.iter(|| index.probe(&call, ToolTraits::default(), &mut |it| _ = black_box(it.traces().count())));
    });
    c.bench_function("store", |b| {
        let index = read();
        b.iter(|| black_box(postcard::to_allocvec(&index)));
    });
}

criterion_group!(provenance, benches);
criterion_main!(provenance);
