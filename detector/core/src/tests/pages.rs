//! What was read, in pages: a session that reads much writes what each step brings, and is the same read back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use martingale_schemas::{Limits, Timestamp, wire::StepV1};

use crate::provenance::Shelf;
use crate::testing::{BEGIN, step_json};
use crate::{Detector, Observed, Part, Rules, State, StateKey, StateRef};

/// So large is a page at most, by kind: values 832 bytes and what goes before them; ids, names and paths as they are.
const PAGE_BYTES_MAX: usize = 2048;

/// A session that stays in memory, and the same one stored and forgotten after every step.
struct Pair {
    whole: Detector,
    other: Detector,
    stored: HashMap<StateKey<'static>, Vec<u8>>,
    now: i64,
    steps: usize,
    edges: usize,
    found: usize,
}

impl Pair {
    fn new() -> Self {
        let rules = Arc::new(Rules::starter());
        let (whole, other) = (Detector::new(Arc::clone(&rules)), Detector::new(rules));
        Self { whole, other, stored: HashMap::new(), now: BEGIN, steps: 0, edges: 0, found: 0 }
    }

    /// Takes a step in; bytes written for it, of heads and of parts.
    fn step(&mut self, line: &str) -> (usize, usize) {
        let json = step_json(line, self.steps, &mut self.now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        while let Some(key) = self.other.absent(&step).pop() {
            let state = self.stored.get(&key).map(|it| postcard::from_bytes(it).unwrap());
            assert!(state.is_some() || !matches!(key, StateKey::Part(..)), "{key:?}: the head says that it is there");
            self.other.load(key, state);
        }
        let (expected, actual) = (self.whole.observe(&step), self.other.observe(&step));
        assert_eq!(format!("{actual:?}"), format!("{expected:?}"), "step {}: {line}", self.steps);
        if let Observed::Judged(it) = expected {
            self.edges += it.edges.len();
            self.found += it.findings.len();
        }
        let (mut heads, mut parts) = (0, 0);
        self.other.drain_changed(|key, state| {
            let Some(state) = state else {
                self.stored.remove(&key.to_static());
                return;
            };
            let bytes = postcard::to_allocvec(&state).unwrap();
            if matches!(state, StateRef::Part(_)) {
                assert!(bytes.len() <= PAGE_BYTES_MAX, "{key:?} takes {}", bytes.len());
                parts += bytes.len();
            } else {
                heads += bytes.len();
            }
            assert_eq!(StateKey::from_bytes(&key.to_bytes()).unwrap(), *key);
            self.stored.insert(key.to_static(), bytes);
        });
        self.other.evict(0);
        self.steps += 1;
        assert_eq!(self.parts().len(), self.stored.len() - 2, "step {}: its parts and no others", self.steps);
        (heads, parts)
    }

    /// Keys of the parts that the heads of the session and its run say are there.
    fn parts(&self) -> Vec<StateKey<'static>> {
        let heads = [StateKey::Session("s".into()), StateKey::Run("s".into())];
        let parts = |key: &StateKey<'static>| {
            let state: State = postcard::from_bytes(&self.stored[key]).unwrap();
            state.parts().map(|it| StateKey::Part("s".into(), it)).collect::<Vec<_>>()
        };
        heads.iter().flat_map(parts).collect()
    }
}

/// A line of round `n`: results with new values and old ones, words of the user, secrets, hand-overs, calls that send.
fn line(n: usize) -> String {
    let value = |it: usize| format!("user{it}.{}@host{}.test", it % 97, it % 11);
    match n % 8 {
        0 => format!("user_message \"mail {} about order INV-{}\"", value(n), 20_000_000 + n),
        1 | 2 | 5 => {
            let records = (0..8).map(|it| {
                // One in four was read before, some long ago.
                let number = if it % 4 == 3 { n * 3 } else { n * 8 + it };
                format!("{{\"field{}\":{{\"mail\":\"{}\"}}}}", n / 8 % 9, value(number))
            });
            format!("tool_result list_users [{}]", records.collect::<Vec<_>>().join(","))
        }
        3 => format!("tool_call send_email {{\"to\":\"{}\",\"cc\":\"{}\"}}", value(n - 3), value((n - 1) * 8)),
        4 => format!("tool_result read_file \"password: hunter{n}xyzw\""),
        6 => format!("memory_write \"{}\"", value((n - 1) * 8)),
        _ => format!("plan \"step {n}\""),
    }
}

#[test]
fn a_session_that_reads_much_is_the_same_in_pages() {
    let mut pair = Pair::new();
    let mut written = Vec::new();
    pair.step("system_prompt \"You work for the billing department.\"");
    for n in 0..1600 {
        let (_, parts) = pair.step(&line(n));
        written.push(parts);
        if n % 8 == 7 {
            assert!(parts == 0, "a plan brings nothing in, and wrote {parts} bytes at {n}");
        }
    }
    assert!(pair.edges > 200 && pair.found > 0, "{} {}", pair.edges, pair.found);
    let shelf = |it: &StateKey<'static>| match it {
        StateKey::Part(_, Part::Values(shelf, _)) => Some(*shelf),
        _ => None,
    };
    let shelves: BTreeSet<Shelf> = pair.parts().iter().filter_map(shelf).collect();
    assert_eq!(shelves.len(), Shelf::ALL.len(), "{shelves:?}");
    assert!(pair.stored.len() > 90, "{} entries", pair.stored.len());
    let mean = |range: std::ops::Range<usize>| written[range.clone()].iter().sum::<usize>() / range.len();
    // While the tables grow the mean holds their growth; full, each new value is written at most twice.
    println!("bytes of parts a step: {} early, {} late", mean(0..400), mean(1200..1600));
    assert!(mean(1200..1600) <= 3072 && mean(1200..1600) <= mean(0..400) * 2, "{} {}", mean(0..400), mean(1200..1600));
    pair.step("session_end");
    let left = pair.parts();
    assert!(
        left.iter().all(|it| matches!(it, StateKey::Part(_, part) if part.is_of_run() || is_id(*part))),
        "{left:?}"
    );
    pair.step(&line(1601));
    pair.step(&line(1603));
}

fn is_id(part: Part) -> bool {
    matches!(part, Part::Recent(_))
}

/// What a session has read goes at its end in the very commit in which it came, and begins anew in the next.
#[test]
fn an_end_and_a_beginning_in_one_hand_over() {
    let mut detector = Detector::new(Arc::new(Rules::starter()));
    let (mut now, mut stored) = (BEGIN, HashMap::new());
    let lines = [line(1), line(2), "session_end".to_owned(), line(5)];
    for (number, line) in lines.iter().enumerate() {
        let json = step_json(line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
        detector.observe(&step);
        if number == 1 {
            continue;
        }
        let mut seen = Vec::new();
        detector.drain_changed(|key, state| {
            assert!(!seen.contains(&key.to_static()), "{key:?} twice");
            seen.push(key.to_static());
            match state {
                Some(state) => stored.insert(key.to_static(), state.to_state()),
                None => stored.remove(&key.to_static()),
            };
        });
        let parts: usize = stored.values().map(|it| it.parts().count()).sum();
        assert_eq!(parts, stored.keys().filter(|it| matches!(it, StateKey::Part(..))).count(), "{line}");
    }
}
