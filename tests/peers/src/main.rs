//! Ordered rules over one stream of steps: the detector core beside rsigma, in turn in one run (`README.md`).

mod ours;
mod sigma;
mod steps;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, bail};
use steps::Lines;

use crate::ours::Columns;
use crate::sigma::Reads;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often each rule spoke of each session.
type Found = BTreeMap<(String, String), usize>;

const PASSES: usize = 15;

fn main() -> Result<()> {
    let lines = Lines::new();
    let sigma = sigma::rules()?;
    let columns = [
        ("martingale, columns off", ours::rules(Columns::Off)?),
        ("martingale, rules off, values followed and calls scored", ours::rules(Columns::OffByPolicy)?),
        ("martingale, everything on", ours::rules(Columns::All)?),
    ];
    let reads = [("rsigma, whole line", Reads::Json), ("rsigma, five fields", Reads::Fields)];
    println!("{} steps of {} bytes, {} sessions", lines.len(), lines.bytes() / lines.len(), steps::SESSIONS);

    let expected: Vec<(String, String)> = steps::expected().collect();
    for (name, rules) in &columns {
        let mut found = Found::new();
        ours::pass(rules, &lines, Some(&mut found))?;
        check(name, &found, &expected)?;
    }
    for (name, reads) in reads {
        let mut found = Found::new();
        sigma::pass(&sigma, reads, &lines, Some(&mut found))?;
        check(name, &found, &expected)?;
    }

    let mut nanos: Vec<(&str, Vec<f64>)> =
        columns.iter().map(|it| it.0).chain(reads.map(|it| it.0)).map(|it| (it, Vec::new())).collect();
    for _ in 0..PASSES {
        for (at, (_, rules)) in columns.iter().enumerate() {
            nanos[at].1.push(timed(&lines, || ours::pass(rules, &lines, None))?);
        }
        for (at, (_, reads)) in reads.iter().enumerate() {
            nanos[columns.len() + at].1.push(timed(&lines, || sigma::pass(&sigma, *reads, &lines, None))?);
        }
    }
    report(&nanos, columns.len());
    Ok(())
}

/// The rules spoke of these sessions and of no other.
fn check(name: &str, found: &Found, expected: &[(String, String)]) -> Result<()> {
    let ids: Vec<&str> = expected.iter().map(|it| it.0.as_str()).collect();
    let told: Vec<(&(String, String), &usize)> = found.iter().filter(|it| ids.contains(&it.0.0.as_str())).collect();
    let times: usize = told.iter().map(|it| it.1).sum();
    let (missed, wrong) = (
        expected.iter().filter(|it| !found.contains_key(*it)).count(),
        told.iter().filter(|it| !expected.contains(it.0)).count(),
    );
    let others = found.len() - told.len();
    println!(
        "{name}: {} of {} found, {wrong} wrong, told {times} times; {others} by other rules",
        expected.len() - missed,
        expected.len()
    );
    if missed > 0 || wrong > 0 {
        bail!("{name} does not find what the others find");
    }
    Ok(())
}

/// Nanoseconds a step.
fn timed(lines: &Lines, f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    f()?;
    Ok(begun.elapsed().as_nanos() as f64 / lines.len() as f64)
}

/// Ratios are of the passes of one turn, which the same minute disturbed.
fn report(nanos: &[(&str, Vec<f64>)], ours: usize) {
    for (name, each) in nanos {
        let least = each.iter().copied().fold(f64::INFINITY, f64::min);
        let middle = median(each.clone());
        println!("{name}: median {middle:.0} ns a step ({:.0} steps/s), best {least:.0}", 1e9 / middle);
    }
    for (own, mine) in &nanos[..ours] {
        for (other, theirs) in &nanos[ours..] {
            let mut ratios: Vec<f64> = theirs.iter().zip(mine).map(|(theirs, mine)| theirs / mine).collect();
            ratios.sort_by(f64::total_cmp);
            let (low, high) = (ratios[ratios.len() / 10], ratios[ratios.len() * 9 / 10]);
            println!("{own} / {other}: {:.2} x its steps/s ({low:.2} to {high:.2})", median(ratios));
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
