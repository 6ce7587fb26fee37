//! What a replay comes to, for people and for programs.

use std::time::Duration;

use martingale_schemas::Decision;
use serde_json::{Map, Value, json};

use super::tally::Tally;
use crate::output::{Paint, Table, decision_paint, grouped};

/// Every step ends in exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) shed: u64,
}

/// Steps by decision, in the order of [`Decision::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decisions([u64; Decision::ALL.len()]);

impl Decisions {
    pub(crate) fn count(&mut self, decision: Decision) {
        self.0[decision as usize] += 1;
    }

    fn iter(&self) -> impl Iterator<Item = (Decision, u64)> {
        Decision::ALL.into_iter().zip(self.0)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) sessions: u64,
    pub(crate) steps: u64,
    pub(crate) took: Duration,
    pub(crate) decisions: Decisions,
    pub(crate) findings: Tally,
    pub(crate) outcomes: Outcomes,
}

impl Summary {
    pub(crate) fn to_json(&self) -> Value {
        let decisions: Map<String, Value> =
            self.decisions.iter().map(|(it, count)| (it.to_string(), count.into())).collect();
        let Outcomes { accepted, duplicate, rejected, shed } = self.outcomes;
        json!({
            "sessions": self.sessions,
            "steps": self.steps,
            "seconds": self.took.as_secs_f64(),
            "steps_per_second": self.steps_per_second(),
            "decisions": decisions,
            "findings": self.findings.to_json(),
            "outcomes": { "accepted": accepted, "duplicate": duplicate, "rejected": rejected, "shed": shed },
        })
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(["what", "count"]);
        let mut row = |name: &str, count: String, paint| table.row([(name, Paint::Plain), (&count, paint)]);
        row("sessions", grouped(self.sessions), Paint::Plain);
        row("steps", grouped(self.steps), Paint::Plain);
        row("seconds", format!("{:.2}", self.took.as_secs_f64()), Paint::Plain);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, shown without digits")]
        row("steps per second", grouped(self.steps_per_second() as u64), Paint::Plain);
        let Outcomes { accepted, duplicate, rejected, shed } = self.outcomes;
        for (name, count) in [("accepted", accepted), ("duplicate", duplicate)] {
            row(name, grouped(count), Paint::Plain);
        }
        for (name, count) in [("rejected", rejected), ("shed", shed)] {
            row(name, grouped(count), if count == 0 { Paint::Dim } else { Paint::Bad });
        }
        for (decision, count) in self.decisions.iter().filter(|(_, count)| *count > 0) {
            row(decision.as_str(), grouped(count), decision_paint(decision.as_str()));
        }
        table
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn steps_per_second(&self) -> f64 {
        self.steps as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use martingale_schemas::Decision;

    use super::{Decisions, Outcomes, Summary, Tally};

    #[test]
    fn programs_get_every_decision_and_outcome() {
        let mut decisions = Decisions::default();
        [Decision::Allow, Decision::Allow, Decision::Halt].into_iter().for_each(|it| decisions.count(it));
        let outcomes = Outcomes { accepted: 3, duplicate: 1, ..Outcomes::default() };
        let (took, findings) = (Duration::from_secs(2), Tally::default());
        let summary = Summary { sessions: 1, steps: 4, took, decisions, findings, outcomes };
        let json = serde_json::json!({
            "sessions": 1, "steps": 4, "seconds": 2.0, "steps_per_second": 2.0,
            "decisions": { "allow": 2, "warn": 0, "throttle": 0, "modify": 0, "step_up": 0, "deny": 0, "halt": 1 },
            "findings": [],
            "outcomes": { "accepted": 3, "duplicate": 1, "rejected": 0, "shed": 0 },
        });
        assert_eq!(summary.to_json(), json);
        let shown = summary.table().to_string();
        assert!(shown.contains("halt") && !shown.contains("step_up"), "{shown}");
    }
}
