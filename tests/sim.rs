//! The deterministic simulation. The same seeds in every run; `SEED=123` runs one other, `SEEDS=1000` so many
//! random ones beside them.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use martingale_tests::invariants::{Invariant, Tally, Violation};
use martingale_tests::member::Breakage;
use martingale_tests::simulation::simulate;

const FIXED: u64 = 48;

fn run(seed: u64, breakage: Option<Breakage>) -> Result<Tally, Violation> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
    runtime.block_on(simulate(seed, breakage))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap_or_else(|_| panic!("{name}={it} is no number")))
}

fn must_hold(seed: u64) -> Tally {
    match run(seed, None) {
        Ok(tally) => tally,
        Err(violation) => panic!("SEED={seed}: {violation}"),
    }
}

#[test]
fn invariants_hold() {
    if let Some(seed) = number("SEED") {
        println!("SEED={seed}: {:?}", must_hold(seed));
        return;
    }
    let mut sum = Tally::default();
    let fixed = 1..=FIXED;
    let random = (0..number("SEEDS").unwrap_or(0)).map(|n| RandomState::new().hash_one(n));
    for seed in fixed.chain(random) {
        if seed > FIXED {
            println!("SEED={seed}");
        }
        let tally = must_hold(seed);
        sum.verdicts += tally.verdicts;
        sum.republished += tally.republished;
        sum.halts += tally.halts;
        sum.orders += tally.orders;
    }
    // The seeds reach what they are there for.
    assert!(sum.verdicts > 10_000 && sum.republished > 100 && sum.halts > 100 && sum.orders > 100, "{sum:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let tally = |seed| format!("{:?}", must_hold(seed));
    for seed in [1, 2, 3] {
        assert_eq!(tally(seed), tally(seed));
    }
}

/// Each way of being broken is noticed by one of the invariants it breaks, in some of the fixed seeds.
#[test]
fn broken_detectors_are_noticed() {
    for (breakage, noticed_by) in [
        // L2: a part of state that is not found ends the process.
        (Breakage::SkipsLoad, &[Invariant::D1, Invariant::D2, Invariant::D4, Invariant::L2][..]),
        (Breakage::NotFenced, &[Invariant::D1, Invariant::D2, Invariant::D4, Invariant::D6]),
        (Breakage::LosesVerdicts, &[Invariant::D1, Invariant::D6, Invariant::I1]),
        (Breakage::ChangesItsMind, &[Invariant::D2]),
    ] {
        let mut violations = (1..=FIXED).filter_map(|seed| run(seed, Some(breakage)).err());
        assert!(violations.any(|it| noticed_by.contains(&it.invariant)), "{breakage:?} goes unnoticed");
    }
}
