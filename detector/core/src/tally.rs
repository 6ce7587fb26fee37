//! What is counted beside the verdicts.

/// Counted since the start, for whoever shows it. No part of any state, and no verdict depends on it: a step that is judged
/// again counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Conditions that could not be evaluated (a missing field, a wrong type); each counted as no match.
    pub condition_errors: u64,
    /// Partial matches, windows, definitions of tools and secrets that a limit made a session or its run forget or pass over.
    pub dropped: u64,
    /// Steps that came after one of their session with the same or a larger `seq`.
    pub late: u64,
    /// Numbers that sessions left out between two steps; those that come after all count as `late`.
    pub skipped: u64,
}

impl Tally {
    /// A step numbered `seq` after one numbered `last`; answers the largest so far.
    pub(crate) fn number(&mut self, last: Option<u64>, seq: u64) -> u64 {
        match last {
            Some(last) if seq <= last => {
                self.late += 1;
                last
            }
            last => {
                let expected = last.map_or(seq, |it| it.saturating_add(1));
                self.skipped = self.skipped.saturating_add(seq.saturating_sub(expected));
                seq
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn lateness_and_gaps_are_counted() {
        for (arrived, expected) in [
            (vec![0, 1, 2], (2, 0, 0)),
            (vec![5, 6], (6, 0, 0)),
            (vec![0, 3], (3, 0, 2)),
            (vec![0, 3, 1], (3, 1, 2)),
            (vec![2, 2], (2, 1, 0)),
            (vec![0, u64::MAX, 1], (u64::MAX, 1, u64::MAX - 1)),
        ] {
            let (mut tally, mut last) = (Tally::default(), None);
            arrived.iter().for_each(|it| last = Some(tally.number(last, *it)));
            assert_eq!((last, tally.late, tally.skipped), (Some(expected.0), expected.1, expected.2), "{arrived:?}");
        }
    }
}
