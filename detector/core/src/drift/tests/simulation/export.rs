//! The simulated sessions as steps, for detectors of others (`tests/peers/README.md`), and what this one says of each.
//!
//! What the simulation leaves open is chosen here: its unit of time is a millisecond, a call is made as soon as the one before
//! is answered, and an agent begins 32 sessions a day. No stream of the column depends on any of it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use martingale_schemas::Timestamp;

use super::{Change, FLEETS, Fleet, Random, Simulated, mix};
use crate::drift::learn::Sessions;
use crate::drift::{SLOWED, Standard, WARNED};
use crate::testing::BEGIN;

/// Baselines of each fleet, and sessions that each of them judges.
const DRAWS: u64 = 8;
const JUDGED: usize = 250;
const LEARNT: usize = 1024;
const SESSIONS_A_DAY: usize = 32;
const DAY_MICROS: f64 = 86_400e6;

const CHANGES: [(Fleet, Change); 4] = [
    (Fleet::Heterogeneous, Change::NewTasks),
    (Fleet::Daily, Change::Night),
    (Fleet::Poisson, Change::Slower),
    (Fleet::Poisson, Change::Astray),
];

/// `FOLDER/<fleet>-<draw>-learn.jsonl.gz` and `FOLDER/<fleet>-<change>-<draw>-judge.jsonl.gz` hold steps;
/// `FOLDER/drift.jsonl` a line for each session judged.
#[test]
#[ignore = "writes files for comparison with others; see tests/peers/README.md"]
fn export_simulated_sessions() {
    let folder =
        std::env::var("MARTINGALE_SIMULATED_TO").expect("MARTINGALE_SIMULATED_TO names the folder to write to");
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    let mut told = BufWriter::new(File::create(folder.join("drift.jsonl")).unwrap());
    let unchanged = FLEETS.map(|fleet| (fleet, Change::Nothing));
    for (fleet, change) in unchanged.into_iter().chain(CHANGES) {
        for draw in 0..DRAWS {
            let mut random = Random(mix(draw + 1, fleet as u64 * 16));
            let learnt: Vec<Simulated> =
                (0..LEARNT).map(|_| Simulated::new(fleet, Change::Nothing, &mut random)).collect();
            let mut sessions = Sessions::default();
            learnt.iter().for_each(|it| drop(sessions.push(it.past())));
            if change == Change::Nothing {
                write(&folder.join(format!("{fleet:?}-{draw}-learn.jsonl.gz")), &format!("{fleet:?}"), "l", &learnt);
            }
            let judged: Vec<Simulated> = (0..JUDGED).map(|_| Simulated::new(fleet, change, &mut random)).collect();
            let path = folder.join(format!("{fleet:?}-{change:?}-{draw}-judge.jsonl.gz"));
            write(&path, &format!("{fleet:?}"), "j", &judged);
            let standard = sessions.learn().unwrap();
            for (number, session) in judged.iter().enumerate() {
                let [warned, slowed] = passed(&standard, session);
                let line = format!(
                    r#"{{"fleet":"{fleet:?}","change":"{change:?}","draw":{draw},"session_id":"j{number}","warned":{warned},"slowed":{slowed}}}"#
                );
                writeln!(told, "{line}").unwrap();
            }
        }
    }
    told.flush().unwrap();
}

fn passed(standard: &Standard, session: &Simulated) -> [bool; 2] {
    let farthest = standard.farthest(&session.past());
    [WARNED, SLOWED].map(|level| standard.passed_by(level).is_some_and(|it| farthest > it))
}

fn write(path: &Path, agent: &str, prefix: &str, sessions: &[Simulated]) {
    let mut out = GzEncoder::new(BufWriter::new(File::create(path).unwrap()), Compression::fast());
    for (number, session) in sessions.iter().enumerate() {
        for line in lines(agent, &format!("{prefix}{number}"), number, session) {
            writeln!(out, "{line}").unwrap();
        }
    }
    out.finish().unwrap().flush().unwrap();
}

/// A call and its result for each act.
fn lines(agent: &str, id: &str, number: usize, session: &Simulated) -> Vec<String> {
    let (day, of_day) = (number / SESSIONS_A_DAY, (number % SESSIONS_A_DAY) as f64 / SESSIONS_A_DAY as f64);
    // Sessions of one hour do not begin in the same instant.
    let hour = session.hour + of_day;
    let mut micros = BEGIN + ((day as f64 + hour / 24.0) * DAY_MICROS) as i64;
    let mut lines = Vec::new();
    for (at, act) in session.acts.iter().enumerate() {
        let head = |step: usize, micros: i64, kind: &str| {
            format!(
                r#""session_id":"{id}","step_id":"{step}","seq":{step},"time":"{}","kind":"{kind}","agent":{{"id":"{agent}"}},"tool":"tool_{}""#,
                Timestamp::from_micros(micros),
                act.tool
            )
        };
        let tokens = act.tokens as u64;
        lines.push(format!(
            r#"{{{},"input":{{"form_{}":"item"}},"usage":{{"output_tokens":{tokens},"cost_usd":{}}}}}"#,
            head(at * 2, micros, "tool_call"),
            act.form,
            (act.tokens * 15.0).floor() / 1e6,
        ));
        let took_micros = (act.took * 1e3) as i64;
        micros += took_micros;
        lines.push(format!(
            r#"{{{},"status":"{}","duration_ms":{},"output":"{}"}}"#,
            head(at * 2 + 1, micros, "tool_result"),
            if act.failed { "error" } else { "ok" },
            took_micros as f64 / 1e3,
            "x".repeat(4_usize.pow(act.answer as u32)),
        ));
    }
    lines
}
