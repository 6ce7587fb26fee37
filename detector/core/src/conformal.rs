//! The threshold that good sessions seldom pass, and what is stated of it.
//!
//! Split conformal over clusters: sessions that are alike (the same task, the same run) say little more than one of them, so
//! each cluster weighs the same and its sessions share its weight. Of n calibrating clusters, the threshold is the smallest
//! score t such that the shares of the clusters' sessions that stay at or below t add up to (1 − α)(n + 1) at least. A session
//! drawn from a new cluster is then above t with a chance of at most α, if the new cluster is exchangeable with those
//! (Dunn, Wasserman, Ramdas 2022; Lee, Barber, Willett 2023). With one session a cluster it is the usual k-th smallest,
//! k = ⌈(1 − α)(n + 1)⌉. It is an average over draws of the calibrating clusters.

use martingale_schemas::Bound;

/// In the words of a finding.
pub(crate) fn said(bound: &Bound) -> String {
    let Bound { at_most, threshold, sessions, requests, .. } = bound;
    let day = bound.alarms_per_day.map_or_else(String::new, |it| format!(", which is {it:.2} a day at most"));
    format!(
        "At most {} in 100 sessions pass {threshold:.1} as long as they are of the kind of the {sessions} it was calibrated on, of {requests} requests{day}.",
        at_most * 100.0
    )
}

/// So that ⌈0.95 · 20⌉ is 19 whatever binary fractions make of it.
const SLACK: f64 = 1e-9;

/// Nothing when there are too few clusters to say: no score that was seen is high enough.
#[must_use]
pub fn threshold(clusters: &[Vec<f64>], alarms: f64) -> Option<f64> {
    let mut scores: Vec<(f64, f64)> = Vec::new();
    for cluster in clusters {
        let weight = 1.0 / cluster.len() as f64;
        scores.extend(cluster.iter().map(|score| (*score, weight)));
    }
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = (1.0 - alarms) * (clusters.len() as f64 + 1.0) - SLACK;
    let mut below = 0.0;
    // The last of equal scores has the sum of them all, and the first that reaches it is one of them.
    scores
        .into_iter()
        .find(|(_, weight)| {
            below += weight;
            below >= wanted
        })
        .map(|it| it.0)
}

/// The fewest clusters that a threshold can be had from.
#[must_use]
pub fn clusters_needed(alarms: f64) -> usize {
    (1.0 / alarms - 1.0 - SLACK).ceil().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{clusters_needed, threshold};

    fn singles(scores: impl IntoIterator<Item = u32>) -> Vec<Vec<f64>> {
        scores.into_iter().map(|it| vec![f64::from(it)]).collect()
    }

    #[test]
    fn of_single_sessions_it_is_the_kth_smallest() {
        for (n, alarms, expected) in [
            (0, 0.05, None),
            (18, 0.05, None),
            (19, 0.05, Some(19.0)),
            (20, 0.05, Some(20.0)),
            (39, 0.05, Some(38.0)),
            (98, 0.01, None),
            (99, 0.01, Some(99.0)),
            (9, 0.1, Some(9.0)),
            (8, 0.1, None),
            (3, 0.5, Some(2.0)),
        ] {
            assert_eq!(threshold(&singles((1..=n).rev()), alarms), expected, "{n} at {alarms}");
            assert_eq!(expected.is_some(), n as usize >= clusters_needed(alarms), "{n} at {alarms}");
        }
    }

    #[test]
    fn a_large_cluster_weighs_no_more_than_a_small_one() {
        let mut clusters = singles(1..=9);
        clusters[8] = vec![100.0; 1000];
        assert_eq!(threshold(&clusters, 0.2), Some(8.0));
        // One session in a thousand of the ninth cluster is not what an eighth of the alarms may be spent on.
        clusters[8] = [vec![8.5; 999], vec![100.0]].concat();
        assert_eq!(threshold(&clusters, 0.1), Some(100.0));
        assert_eq!(threshold(&clusters, 0.11), Some(8.5));
    }

    proptest! {
        #[test]
        fn fewer_alarms_never_lower_it(
            clusters in prop::collection::vec(prop::collection::vec(0_u32..50, 1..5), 1..40),
            a in 0.01_f64..0.99,
            b in 0.01_f64..0.99,
        ) {
            let clusters: Vec<Vec<f64>> =
                clusters.into_iter().map(|it| it.into_iter().map(f64::from).collect()).collect();
            let (low, high) = (threshold(&clusters, a.max(b)), threshold(&clusters, a.min(b)));
            prop_assert!(high.is_none_or(|high| low.is_some_and(|low| low <= high)), "{low:?} {high:?}");
        }

        /// Exactly, over every choice of the new cluster among n + 1 that are given: what exchangeability means.
        #[test]
        fn a_new_cluster_passes_it_as_seldom_as_is_said(
            clusters in prop::collection::vec(prop::collection::vec(0_u32..30, 1..6), 2..40),
            alarms in 0.01_f64..0.6,
        ) {
            let clusters: Vec<Vec<f64>> =
                clusters.into_iter().map(|it| it.into_iter().map(f64::from).collect()).collect();
            let share = |at: usize| {
                let mut others = clusters.clone();
                let new = others.remove(at);
                let over = threshold(&others, alarms).map_or(0, |t| new.iter().filter(|it| **it > t).count());
                over as f64 / new.len() as f64
            };
            let mean = (0..clusters.len()).map(share).sum::<f64>() / clusters.len() as f64;
            prop_assert!(mean <= alarms + 1e-6, "{mean} at {alarms}");
        }
    }
}
