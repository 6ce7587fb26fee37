//! What was said of a session, as far as figures need it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use martingale_detector_core::Judgement;
use martingale_schemas::{Column, Decision, Finding, Mode};

use super::stairs::Stairs;

/// How far a decision goes. Each includes those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Anything but `allow`.
    Warned,
    /// The step must not run as it was proposed.
    Stopped,
    Halted,
}

impl Level {
    pub(super) const ALL: [Self; 3] = [Self::Warned, Self::Stopped, Self::Halted];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Warned => "warned",
            Self::Stopped => "stopped",
            Self::Halted => "halted",
        }
    }

    fn is_reached(self, decision: Decision) -> bool {
        match self {
            Self::Warned => decision > Decision::Allow,
            Self::Stopped => decision.stops(),
            Self::Halted => decision == Decision::Halt,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Steps that were judged.
    pub(super) steps: u64,
    columns: BTreeMap<Cow<'static, str>, Stairs>,
    /// First step of each level.
    decided: [Option<u64>; Level::ALL.len()],
    /// First step of each rule, in each mode.
    found: BTreeMap<(String, &'static str), u64>,
}

impl Seen {
    /// Takes the next judgement. `seq` is the step's; one without is known by its place.
    pub(super) fn take(&mut self, seq: Option<u64>, judgement: &Judgement) {
        let step = seq.unwrap_or(self.steps);
        self.steps += 1;
        // That a halt stands repeats what was decided before.
        for (column, score) in judgement.scores.iter().filter(|it| it.0 != Column::Control.as_str()) {
            match self.columns.get_mut(column) {
                Some(stairs) => stairs.add(step, *score),
                None => self.columns.entry(column.clone()).or_default().add(step, *score),
            }
        }
        for level in Level::ALL.into_iter().filter(|it| it.is_reached(judgement.decision)) {
            let first = &mut self.decided[level as usize];
            *first = Some(first.map_or(step, |it| it.min(step)));
        }
        let speaks = |it: &&Finding| it.mode != Mode::Off && it.column != Column::Control;
        for finding in judgement.findings.iter().filter(speaks) {
            let first = self.found.entry((finding.rule.to_string(), finding.mode.as_str())).or_insert(step);
            *first = step.min(*first);
        }
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(AsRef::as_ref)
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &(String, &'static str)> {
        self.found.keys()
    }

    pub(super) fn scores(&self, column: &str) -> Option<&Stairs> {
        self.columns.get(column)
    }

    pub(super) fn decided(&self, level: Level) -> Option<u64> {
        self.decided[level as usize]
    }

    pub(super) fn found(&self, rule: &(String, &'static str)) -> Option<u64> {
        self.found.get(rule).copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;

    use martingale_detector_core::Judgement;
    use martingale_schemas::Decision;

    use super::{Level, Seen};

    /// A session of which this was said: `(seq, decision, score of the column "c")`.
    pub(in crate::cmd::eval) fn seen(steps: &[(u64, Decision, f64)]) -> Seen {
        let mut seen = Seen::default();
        for (seq, decision, score) in steps {
            let scores = [(Cow::Borrowed("c"), *score)].into();
            seen.take(Some(*seq), &Judgement { decision: *decision, scores, ..Judgement::default() });
        }
        seen
    }

    #[test]
    fn the_first_step_of_each_level_is_kept() {
        let steps = [(4, Decision::Halt), (1, Decision::Allow), (3, Decision::Deny), (2, Decision::Throttle)];
        let seen = seen(&steps.map(|(seq, decision)| (seq, decision, 0.0)));
        assert_eq!(Level::ALL.map(|it| seen.decided(it)), [Some(2), Some(3), Some(4)]);
        assert_eq!((seen.steps, seen.columns().collect::<Vec<_>>()), (4, vec!["c"]));
    }

    #[test]
    fn a_step_without_a_number_is_known_by_its_place() {
        let mut seen = Seen::default();
        for decision in [Decision::Allow, Decision::Allow, Decision::StepUp] {
            seen.take(None, &Judgement { decision, ..Judgement::default() });
        }
        assert_eq!(Level::ALL.map(|it| seen.decided(it)), [Some(2), Some(2), None]);
    }
}
