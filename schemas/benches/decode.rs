//! What it costs to read a step: from a producer (parse and check), from the log, and to write it to the log.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Step, Timestamp};

const ARRIVAL: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// 300 bytes: a tool call as agents send them.
const STEP: &str = r#"{"session_id":"s-e5d659364eb965ed","step_id":"12","seq":12,"time":"2025-12-01T00:30:04.500Z","kind":"tool_call","agent":{"id":"banking-assistant","version":"2.4.1"},"environment":"production","causes":["11"],"tool":"send_money","input":{"recipient":"GB29NWBK60161331926819","amount":98.70,"date":"2025-12-01"}}"#;

fn decode(c: &mut Criterion) {
    let without_id = STEP.replace(r#""step_id":"12","#, "");
    let parse = |json: &[u8]| StepV1::parse(json).and_then(|it| it.check(ARRIVAL, &Limits::DEFAULT)).map(|it| it.time);
    let logged =
        StepV1::parse(STEP.as_bytes()).and_then(|it| it.check(ARRIVAL, &Limits::DEFAULT)).expect("a step").to_json();

    let mut group = c.benchmark_group("step");
    group.throughput(Throughput::Bytes(STEP.len() as u64));
    group.bench_function("parse", |b| b.iter(|| StepV1::parse(black_box(STEP.as_bytes())).map(|it| it.fields.seq)));
    group.bench_function("time", |b| b.iter(|| Timestamp::parse(black_box("2025-12-01T00:30:04.500Z"))));
    group.bench_function("parse_and_check", |b| b.iter(|| parse(black_box(STEP.as_bytes()))));
    group.bench_function("parse_and_check_derived_id", |b| b.iter(|| parse(black_box(without_id.as_bytes()))));
    group.bench_function("from_log", |b| b.iter(|| Step::from_log(black_box(&logged)).map(|it| it.time)));
    let step = Step::from_log(&logged).expect("a step");
    group.bench_function("to_json", |b| b.iter(|| black_box(&step).to_json()));
    group.bench_function("key", |b| b.iter(|| black_box(&step).key()));
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
