//! How good scores and alarms are.

use std::collections::BTreeMap;

use serde::Serialize;

/// The chance that a bad session has a higher score than a good one, equal ones counted half (Mann-Whitney).
pub(super) fn auc(bad: &[f64], good: &[f64]) -> Option<f64> {
    let mut all: Vec<(f64, bool)> =
        bad.iter().map(|it| (*it, true)).chain(good.iter().map(|it| (*it, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut goods_below, mut won) = (0.0, 0.0);
    for equal in all.chunk_by(|a, b| a.0 == b.0) {
        let bads = equal.iter().filter(|it| it.1).count() as f64;
        let goods = equal.len() as f64 - bads;
        won += bads * (goods_below + goods / 2.0);
        goods_below += goods;
    }
    let pairs = bad.len() as f64 * good.len() as f64;
    (pairs > 0.0).then(|| won / pairs)
}

/// The lowest threshold that at most this share of these very scores is above: what could be had by somebody who knew them.
pub(super) fn chosen_afterwards(good: &[f64], alarms: f64) -> Option<f64> {
    let mut scores = good.to_vec();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.get((alarms * good.len() as f64) as usize).copied()
}

/// Good sessions that were alarmed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Share {
    pub(super) sessions: usize,
    pub(super) alarmed: usize,
    pub(super) clusters: usize,
    /// The mean over clusters of the share of their sessions: what a threshold speaks of.
    pub(super) share_of_cluster: Option<f64>,
    /// Of the share of sessions, at 95 %.
    pub(super) interval: Option<[f64; 2]>,
}

/// When bad sessions were alarmed on, first; seen from their first bad step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Caught {
    pub(super) sessions: usize,
    pub(super) before: usize,
    pub(super) at: usize,
    pub(super) after: usize,
    pub(super) never: usize,
    /// Steps from the first bad one to the alarm, of those alarmed on at or after it.
    pub(super) median_delay: Option<u64>,
    /// Of the share before or at, at 95 %.
    pub(super) in_time_interval: Option<[f64; 2]>,
}

/// Sessions of a cluster, and how many of them count.
#[derive(Debug, Default)]
struct Clusters(BTreeMap<usize, (usize, usize)>);

impl Clusters {
    fn add(&mut self, cluster: usize, counts: bool) {
        let (all, some) = self.0.entry(cluster).or_default();
        *all += 1;
        *some += usize::from(counts);
    }

    fn sum(&self) -> (usize, usize) {
        self.0.values().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }

    fn mean(&self) -> Option<f64> {
        let shares: f64 = self.0.values().map(|(all, some)| *some as f64 / *all as f64).sum();
        (!self.0.is_empty()).then(|| shares / self.0.len() as f64)
    }

    /// Wilson's, as if of so many independent sessions as these are worth: those of a cluster are alike. The worth is the
    /// variance of a share of independent sessions over that of this one, a ratio of sums over clusters; where all count or
    /// none does there is no variance to see, and a cluster is worth one.
    fn interval(&self) -> Option<[f64; 2]> {
        const Z: f64 = 1.96;
        let (clusters, (all, some)) = (self.0.len() as f64, self.sum());
        if clusters < 2.0 {
            return None;
        }
        let (all, share) = (all as f64, some as f64 / all as f64);
        let spread: f64 = self.0.values().map(|(all, some)| (*some as f64 - share * *all as f64).powi(2)).sum();
        let variance = spread * clusters / (clusters - 1.0) / all.powi(2);
        let worth = if variance > 0.0 { (share * (1.0 - share) / variance).clamp(1.0, all) } else { clusters };
        let centre = (share + Z * Z / (2.0 * worth)) / (1.0 + Z * Z / worth);
        let reach = Z / (1.0 + Z * Z / worth) * (share * (1.0 - share) / worth + (Z / (2.0 * worth)).powi(2)).sqrt();
        // Not left to the last binary digit where all count or none does.
        let low = if some == 0 { 0.0 } else { (centre - reach).max(0.0) };
        let high = if share >= 1.0 { 1.0 } else { (centre + reach).min(1.0) };
        Some([low, high])
    }
}

impl Share {
    /// `alarms`: of each session its cluster, and whether there was an alarm.
    pub(super) fn of(alarms: impl IntoIterator<Item = (usize, bool)>) -> Self {
        let mut clusters = Clusters::default();
        alarms.into_iter().for_each(|(cluster, alarmed)| clusters.add(cluster, alarmed));
        let (sessions, alarmed) = clusters.sum();
        let (share_of_cluster, interval) = (clusters.mean(), clusters.interval());
        Self { sessions, alarmed, clusters: clusters.0.len(), share_of_cluster, interval }
    }
}

impl Caught {
    /// `alarms`: of each session its cluster, its first bad step, and that of the first alarm.
    pub(super) fn of(alarms: impl IntoIterator<Item = (usize, u64, Option<u64>)>) -> Self {
        let (mut caught, mut delays, mut clusters) = (Self::default(), Vec::new(), Clusters::default());
        for (cluster, first_bad, alarm) in alarms {
            caught.sessions += 1;
            clusters.add(cluster, alarm.is_some_and(|it| it <= first_bad));
            match alarm {
                None => caught.never += 1,
                Some(step) if step < first_bad => caught.before += 1,
                Some(step) => {
                    delays.push(step - first_bad);
                    *if step == first_bad { &mut caught.at } else { &mut caught.after } += 1;
                }
            }
        }
        delays.sort_unstable();
        caught.median_delay = delays.get(delays.len() / 2).copied();
        caught.in_time_interval = clusters.interval();
        caught
    }

    pub(super) fn in_time(&self) -> usize {
        self.before + self.at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Caught, Share, auc, chosen_afterwards};

    #[test]
    fn ranks() {
        for (bad, good, expected) in [
            (&[][..], &[1.0][..], None),
            (&[1.0], &[], None),
            (&[2.0, 3.0], &[0.0, 1.0], Some(1.0)),
            (&[0.0], &[1.0], Some(0.0)),
            (&[1.0, 1.0], &[1.0], Some(0.5)),
            (&[0.0, 2.0], &[1.0, 1.0, 0.0], Some((0.5 + 3.0) / 6.0)),
        ] {
            assert_eq!(auc(bad, good), expected, "{bad:?} {good:?}");
        }
    }

    #[test]
    fn thresholds_chosen_afterwards() {
        let good = [5.0, 1.0, 4.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        for (alarms, expected) in [(0.01, 5.0), (0.1, 4.0), (0.19, 4.0), (0.2, 3.0), (0.9, 0.0)] {
            assert_eq!(chosen_afterwards(&good, alarms), Some(expected), "{alarms}");
        }
        assert_eq!(chosen_afterwards(&[], 0.1), None);
    }

    #[test]
    fn alarms_on_good_sessions() {
        assert_eq!(Share::of([]), Share::default());
        let share = Share::of([(1, true), (1, false), (1, false), (1, false), (2, true)]);
        assert_eq!((share.sessions, share.alarmed, share.clusters, share.share_of_cluster), (5, 2, 2, Some(0.625)));
        assert!(Share::of([(1, true), (1, false)]).interval.is_none(), "one cluster says nothing of others");
    }

    #[test]
    fn alarms_on_bad_sessions() {
        assert_eq!(Caught::of([]), Caught::default());
        let alarms = [(3, Some(1)), (3, Some(3)), (0, Some(5)), (3, Some(4)), (3, None)];
        let caught = Caught::of(alarms.into_iter().map(|(first, alarm)| (1, first, alarm)));
        let expected =
            Caught { sessions: 5, before: 1, at: 1, after: 2, never: 1, median_delay: Some(1), in_time_interval: None };
        assert_eq!((caught.in_time(), caught), (2, expected));
    }

    #[test]
    fn intervals_are_those_of_independent_sessions_or_wider() {
        let rounded = |it: Option<[f64; 2]>| it.map(|it| it.map(|it| (it * 1000.0).round()));
        let alone = |some: usize, all: usize| Share::of((0..all).map(|it| (it, it < some))).interval;
        // Wilson's for 10 of 100 is 0.055 to 0.174, and for 0 of 100 it is 0 to 0.037.
        assert_eq!(rounded(alone(10, 100)), Some([55.0, 175.0]));
        assert_eq!(rounded(alone(0, 100)), Some([0.0, 37.0]));
        // The same share, ten sessions a cluster, alarms on all of one: as much as ten sessions say.
        let alike = Share::of((0..100).map(|it| (it / 10, it < 10))).interval;
        assert_eq!(rounded(alike), Some([17.0, 423.0]));
        assert_eq!(rounded(Share::of((0..100).map(|it| (it / 10, false))).interval), Some([0.0, 278.0]));
    }

    proptest! {
        #[test]
        fn the_rank_is_a_count_of_pairs(
            bad in prop::collection::vec(0_u32..10, 1..40),
            good in prop::collection::vec(0_u32..10, 1..40),
        ) {
            let floats = |it: &[u32]| it.iter().map(|it| f64::from(*it)).collect::<Vec<_>>();
            let pairs = || bad.iter().flat_map(|b| good.iter().map(move |g| b.cmp(g)));
            let (over, equal) = (pairs().filter(|it| it.is_gt()).count(), pairs().filter(|it| it.is_eq()).count());
            let expected = (over as f64 + equal as f64 / 2.0) / pairs().count() as f64;
            let found = auc(&floats(&bad), &floats(&good)).expect("both");
            prop_assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }

        #[test]
        fn an_interval_holds_its_share(alarms in prop::collection::vec((0_usize..9, any::<bool>()), 1..80)) {
            let share = Share::of(alarms);
            let found = share.alarmed as f64 / share.sessions as f64;
            let holds = |[low, high]: [f64; 2]| 0.0 <= low && low <= found + 1e-9 && found <= high + 1e-9 && high <= 1.0;
            prop_assert!(share.interval.is_none_or(holds), "{share:?}");
        }

        #[test]
        fn no_more_are_above_it_than_was_wanted(
            good in prop::collection::vec(0_u32..20, 1..60),
            alarms in 0.01_f64..0.99,
        ) {
            let good: Vec<f64> = good.into_iter().map(f64::from).collect();
            let threshold = chosen_afterwards(&good, alarms).expect("some");
            let over = |threshold: f64| good.iter().filter(|it| **it > threshold).count() as f64;
            let wanted = alarms * good.len() as f64;
            prop_assert!(over(threshold) <= wanted);
            prop_assert!(good.iter().all(|it| *it >= threshold || over(*it) > wanted), "and none lower would do");
        }
    }
}
