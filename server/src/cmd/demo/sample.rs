//! The recording in `deploy/samples`: what some agents of the demo do when nobody stops them.
//!
//! `UPDATE_EXPECT=1` writes it anew.

use std::path::Path;

use martingale_schemas::Timestamp;

use super::fleet::complete;
use super::scenarios;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/samples/fleet.jsonl");
/// 2026-01-01T00:00:00Z; steps are two seconds apart, sessions a minute.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
const APART_MICROS: i64 = 2_000_000;
const SESSIONS: [&str; 6] = ["healthy-1", "healthy-2", "secret-egress", "runaway-loop", "privilege", "hijack"];

#[test]
fn the_sample_is_what_agents_of_the_demo_do() {
    let mut lines = String::new();
    let mut begin = BEGIN_MICROS;
    for name in SESSIONS {
        let scenarios = scenarios::all("");
        let scenario = scenarios.iter().find(|it| it.session == format!("demo-{name}")).expect(name);
        for (at, step) in scenario.script.iter().enumerate() {
            let time = begin + i64::try_from(at).expect("small") * APART_MICROS;
            let mut step = complete(scenario, at, step, Timestamp::from_micros(time));
            step["session_id"] = format!("sample-{name}").into();
            step["environment"] = "sample".into();
            lines.push_str(&step.to_string());
            lines.push('\n');
        }
        begin += 60_000_000;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(Path::new(FILE).parent().expect("a folder")).expect("made");
        std::fs::write(FILE, &lines).expect("writes");
    }
    let kept = std::fs::read_to_string(FILE).expect("the sample");
    assert_eq!(kept, lines, "write it anew with UPDATE_EXPECT=1");
}
