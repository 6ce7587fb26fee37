//! When the column speaks of an agent whose ordinary sessions are known, and how often it is wrong then.

use martingale_schemas::Decision;

use super::{ASKED, Ordinary, SESSIONS_MAX, Sample, WARNED};
use crate::Profile;
use crate::hash::mix;
use crate::hijack::HijackRules;

fn profile(reached: Vec<Vec<i32>>) -> Profile {
    Profile::of_ordinary(Ordinary::from(reached))
}

/// One session of each of so many requests, scores 1 to n thousand.
fn singles(n: i32) -> Vec<Vec<i32>> {
    (1..=n).map(|it| vec![it * 1000]).collect()
}

#[test]
fn levels_are_calibrated_where_requests_are_enough_for_them() {
    use Decision::{StepUp, Warn};
    let low = |n: usize| vec![vec![9_000]; n];
    let high = |n: usize| vec![vec![26_000]; n];
    for (name, reached, score, expected) in [
        ("nothing is known", vec![], 20_499, None),
        ("nothing is known", vec![], 20_500, Some((Warn, None))),
        ("nothing is known", vec![], 23_000, Some((StepUp, None))),
        ("18 high ones", high(18), 20_500, Some((Warn, None))),
        ("a thousand sessions of one request", vec![vec![26_000; 1000]], 22_999, Some((Warn, None))),
        ("19 low ones", low(19), 20_499, None),
        ("19 low ones", low(19), 20_500, Some((Warn, Some(WARNED)))),
        ("19 low ones: asking is not calibrated", low(19), 23_000, Some((StepUp, Some(WARNED)))),
        ("19 high ones: asking is not below warning", high(19), 26_000, None),
        ("19 high ones: asking is not below warning", high(19), 26_001, Some((StepUp, Some(WARNED)))),
        ("99 low ones: none is told of below the lowest level", low(99), 20_499, None),
        ("99 low ones: so few pass it that a person is asked", low(99), 20_500, Some((StepUp, Some(ASKED)))),
        ("99 requests", singles(99), 95_000, None),
        ("99 requests", singles(99), 95_001, Some((Warn, Some(WARNED)))),
        ("99 requests", singles(99), 99_000, Some((Warn, Some(WARNED)))),
        ("99 requests", singles(99), 99_001, Some((StepUp, Some(ASKED)))),
    ] {
        let told = HijackRules::DEFAULT.told(score, Some(&profile(reached)));
        let told = told.map(|it| (it.decision, it.bound.map(|it| it.at_most)));
        assert_eq!(told, expected, "{name}, {score}");
    }
    assert_eq!(HijackRules::DEFAULT.told(20_499, None), None, "no baseline");
}

#[test]
fn a_bound_says_what_it_rests_on() {
    let mut reached = singles(40);
    reached[0] = vec![500; 7];
    let bound = HijackRules::DEFAULT.told(39_001, Some(&profile(reached))).unwrap().bound.unwrap();
    assert_eq!((bound.at_most, bound.threshold, bound.sessions, bound.requests), (0.05, 39.0, 46, 40));
    assert_eq!(bound.alarms_per_day, None, "nothing is known of when they were");
}

#[test]
fn a_sample_is_bounded_and_of_all() {
    let mut sample = Sample::default();
    let count = u64::try_from(SESSIONS_MAX).unwrap() * 4;
    (0..count).for_each(|it| sample.push(it % 7, i32::try_from(it).unwrap()));
    let about = sample.learn();
    assert_eq!((about.about().calibrating, about.about().requests), (SESSIONS_MAX, 7));
    let late = about.reached.iter().flatten().filter(|it| **it as u64 >= count / 2).count();
    assert!((SESSIONS_MAX * 4 / 10..SESSIONS_MAX * 6 / 10).contains(&late), "{late}");
}

/// Stored and read, levels are the same.
#[test]
fn what_is_stored_are_the_scores() {
    let ordinary = Ordinary::from(vec![vec![], vec![1, 2], vec![-3]]);
    let bytes = postcard::to_allocvec(&ordinary).unwrap();
    assert_eq!(postcard::from_bytes::<Ordinary>(&bytes).unwrap(), ordinary);
    assert_eq!(ordinary.about().requests, 2);
}

/// Numbers by counting: the same on every machine.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(mix(self.0, 0xfeed), 0xbeef) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, of variance one.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// How a request's sessions score: by what it asks, by chance, and by how many others are known that asked it.
struct Asked {
    level: f64,
    sessions: usize,
}

impl Asked {
    /// `alike`: how much of what a session scores is its request's. Few requests are asked often, most once or twice.
    fn new(alike: f64, random: &mut Random) -> Self {
        let sessions = (1.0 / (random.unit() + 0.01)) as usize;
        Self { level: alike.sqrt() * random.normal(), sessions: sessions.clamp(1, 60) }
    }

    fn score(&self, alike: f64, known: usize, random: &mut Random) -> i32 {
        let noise = (1.0 - alike).sqrt() * random.normal();
        let new = 1.0 / (1.0 + known as f64);
        // A quarter of sessions makes no call that is scored.
        if random.unit() < 0.25 { 0 } else { (16_000.0 + 2_500.0 * (self.level + noise + new)) as i32 }
    }
}

/// Who is judged once a baseline is learnt.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// A session of a request drawn like those of the baseline, which has its other sessions: what is stated.
    Alike,
    /// A session of a request that nobody has asked before.
    New,
}

/// Share of sessions above either level, the mean over so many baselines; requests weigh one each, or sessions do. Those calibrate
/// whose score `calibrates`.
fn realised(
    (alike, requests): (f64, usize),
    next: Next,
    requests_weigh: bool,
    calibrates: impl Fn(i32, &mut Random) -> bool,
) -> [f64; 2] {
    const BASELINES: usize = 1000;
    const DRAWN: usize = 50;
    let mut random = Random(mix(requests as u64, alike.to_bits()));
    let mut passed = [0_usize; 2];
    for _ in 0..BASELINES {
        let mut sample = Sample::default();
        for number in 0..requests {
            let asked = Asked::new(alike, &mut random);
            for session in 0..asked.sessions {
                // Of the others of the request half are in the other half of the runs.
                let score = asked.score(alike, (asked.sessions - 1) / 2, &mut random);
                let cluster = if requests_weigh { number } else { number << 8 | session };
                if calibrates(score, &mut random) {
                    sample.push(cluster as u64, score);
                }
            }
        }
        let ordinary = sample.learn();
        for _ in 0..DRAWN {
            let asked = Asked::new(alike, &mut random);
            let known = if next == Next::New { 0 } else { asked.sessions - 1 };
            let score = f64::from(asked.score(alike, known, &mut random));
            for (passed, level) in passed.iter_mut().zip([ordinary.warned, ordinary.asked]) {
                *passed += usize::from(score > level.unwrap_or(f64::INFINITY));
            }
        }
    }
    passed.map(|it| it as f64 / (BASELINES * DRAWN) as f64)
}

/// Sessions of a request resemble each other not at all, half, and nearly wholly. What is stated is kept, though requests
/// that nobody has asked before score higher and are told of more often.
#[test]
fn no_more_sessions_are_told_of_than_is_stated() {
    for alike in [0.0, 0.5, 0.95] {
        for requests in [19, 40, 99, 300] {
            let [[warned, asked], new, by_session] = [(Next::Alike, true), (Next::New, true), (Next::Alike, false)]
                .map(|(next, requests_weigh)| realised((alike, requests), next, requests_weigh, |_, _| true));
            println!(
                "alike {alike}, {requests} requests: {warned:.4} {asked:.4}, new ones {:.4} {:.4}, sessions weighing one {:.4} {:.4}",
                new[0], new[1], by_session[0], by_session[1]
            );
            // The deviation by chance is about 0.002 and 0.001.
            assert!(warned <= WARNED + 0.004, "{warned} of {requests}, alike {alike}");
            assert!(asked <= ASKED + 0.002, "{asked} of {requests}, alike {alike}");
            // Why requests weigh and not sessions: many sessions of few requests seem to say what they cannot.
            assert!(by_session[0] > WARNED + 0.01, "{by_session:?}");
        }
    }
}

/// Of ordinary sessions a share is beyond the score from which none is learnt from, but for one in twenty. All of them calibrate:
/// where those do that are learnt from, the share that is told of is this one, whatever is stated.
#[test]
fn sessions_that_are_not_learnt_from_calibrate() {
    const ALIKE: f64 = 0.5;
    let mut random = Random(7);
    let mut drawn: Vec<i32> = (0..40_000)
        .map(|_| {
            let asked = Asked::new(ALIKE, &mut random);
            asked.score(ALIKE, asked.sessions - 1, &mut random)
        })
        .collect();
    drawn.sort_unstable_by(|a, b| b.cmp(a));
    for (beyond, too_many) in [(0.015, 0.012), (0.05, 0.03), (0.12, 0.03)] {
        let limit = drawn[(beyond * drawn.len() as f64) as usize];
        let [all, learnt] = [1.0, 0.05].map(|share| {
            realised((ALIKE, 300), Next::Alike, true, |score, random| score < limit || random.unit() < share)
        });
        println!(
            "{beyond} beyond: all {:.4} {:.4}, those learnt from {:.4} {:.4}",
            all[0], all[1], learnt[0], learnt[1]
        );
        assert!(all[0] <= WARNED + 0.004 && all[1] <= ASKED + 0.002, "{all:?}, {beyond}");
        assert!(learnt[1] > too_many, "{learnt:?}, {beyond}");
    }
}
