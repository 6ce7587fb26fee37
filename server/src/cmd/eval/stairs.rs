//! The scores of a session as far as any threshold can ask of them.

/// For each step at which the score rose above every score of earlier steps: the step and the score. Both only rise, and
/// what comes out of order finds its place, so this is all there is to know of where a threshold is first passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stairs(Vec<(u64, f64)>);

impl Stairs {
    pub(super) fn add(&mut self, step: u64, score: f64) {
        let at = self.0.partition_point(|it| it.0 < step);
        let is_beaten = |it: &(u64, f64)| it.1 >= score;
        if self.0[..at].last().is_some_and(is_beaten) || self.0.get(at).is_some_and(|it| it.0 == step && is_beaten(it))
        {
            return;
        }
        let beaten = self.0[at..].iter().take_while(|it| it.1 <= score || it.0 == step).count();
        self.0.splice(at..at + beaten, [(step, score)]);
    }

    /// The highest score.
    pub(super) fn peak(&self) -> Option<f64> {
        self.0.last().map(|it| it.1)
    }

    /// The highest score up to a step, that one included.
    pub(super) fn peak_until(&self, step: u64) -> Option<f64> {
        self.0[..self.0.partition_point(|it| it.0 <= step)].last().map(|it| it.1)
    }

    /// The first step with a score above the threshold.
    pub(super) fn first_over(&self, threshold: f64) -> Option<u64> {
        self.0.get(self.0.partition_point(|it| it.1 <= threshold)).map(|it| it.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Stairs;

    fn stairs(scores: &[(u64, f64)]) -> Stairs {
        let mut stairs = Stairs::default();
        scores.iter().for_each(|it| stairs.add(it.0, it.1));
        stairs
    }

    #[test]
    fn only_what_rises_is_kept() {
        for (scores, kept) in [
            (&[][..], &[][..]),
            (&[(1, 2.0), (2, 1.0), (3, 2.0), (4, 3.0)], &[(1, 2.0), (4, 3.0)]),
            (&[(4, 3.0), (1, 2.0), (2, 5.0)], &[(1, 2.0), (2, 5.0)]),
            (&[(1, 1.0), (1, 2.0), (1, 1.5)], &[(1, 2.0)]),
        ] {
            assert_eq!(stairs(scores).0, kept, "{scores:?}");
        }
    }

    proptest! {
        #[test]
        fn they_answer_as_all_scores_would(
            scores in prop::collection::vec((0_u64..12, 0_i32..8), 0..40),
            step in 0_u64..12,
            threshold in -1_i32..8,
        ) {
            let scores: Vec<(u64, f64)> = scores.into_iter().map(|(step, score)| (step, f64::from(score))).collect();
            let (stairs, threshold) = (stairs(&scores), f64::from(threshold));
            let most = |until: u64| scores.iter().filter(|it| it.0 <= until).map(|it| it.1).max_by(f64::total_cmp);
            prop_assert_eq!(stairs.peak(), most(u64::MAX));
            prop_assert_eq!(stairs.peak_until(step), most(step));
            let first = scores.iter().filter(|it| it.1 > threshold).map(|it| it.0).min();
            prop_assert_eq!(stairs.first_over(threshold), first);
        }
    }
}
