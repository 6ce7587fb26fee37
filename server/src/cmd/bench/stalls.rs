//! What the machine takes by itself: on a shared one, a core that only reads the clock is away for milliseconds now and then,
//! and a latency that is measured there has those in it.

use std::time::{Duration, Instant};

use super::Facts;

const WATCHED: Duration = Duration::from_secs(2);
/// Longer than reading the clock and an interrupt take together.
const GAP_MIN: Duration = Duration::from_micros(300);

#[derive(Default)]
struct Stalls {
    sum: Duration,
    max: Duration,
}

/// Reads the clock on every core for two seconds. Adds the share of the time in which a core was away for more than 0.3 ms,
/// and the longest such stall.
pub(super) fn watch(facts: &mut Facts) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = (0..cores).map(|_| std::thread::spawn(spin)).collect();
    let all: Vec<Stalls> = threads.into_iter().filter_map(|it| it.join().ok()).collect();
    let sum: Duration = all.iter().map(|it| it.sum).sum();
    let max = all.iter().map(|it| it.max).max().unwrap_or_default();
    facts.insert("idle_stalls_share".into(), (sum.as_secs_f64() / WATCHED.as_secs_f64() / cores as f64).into());
    facts.insert("idle_stall_max_ms".into(), (max.as_secs_f64() * 1e3).into());
}

fn spin() -> Stalls {
    let mut stalls = Stalls::default();
    let begin = Instant::now();
    let mut last = begin;
    while last - begin < WATCHED {
        let now = Instant::now();
        let gap = now - last;
        if gap > GAP_MIN {
            stalls.sum += gap;
            stalls.max = stalls.max.max(gap);
        }
        last = now;
    }
    stalls
}
