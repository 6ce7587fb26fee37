//! What each rule found: how often, in how many sessions, and what it decided or would have decided.

use std::borrow::Cow;
use std::collections::BTreeMap;

use martingale_schemas::{Decision, Finding, Mode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Sessions;
use crate::output::{Paint, Table, decision_paint, grouped};

/// As much of a finding as is counted.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Found<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
    mode: Mode,
    decision: Decision,
}

impl<'a> From<&'a Finding> for Found<'a> {
    fn from(it: &'a Finding) -> Self {
        Self { rule: Cow::Borrowed(&it.rule), mode: it.mode, decision: it.decision }
    }
}

/// Findings by rule, mode and decision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<(String, &'static str, Decision), Count>,
    judged: u64,
}

#[derive(Clone, Debug, Default)]
struct Count {
    steps: u64,
    sessions: Sessions,
    /// The step that was counted last: one that is found twice is one step.
    last: u64,
}

impl Tally {
    /// Takes the findings of one step of a session.
    pub(super) fn count<'a>(&mut self, session: [u8; 16], findings: impl IntoIterator<Item = Found<'a>>) {
        self.judged += 1;
        for found in findings {
            let key = (found.rule.into_owned(), found.mode.as_str(), found.decision);
            let count = self.counts.entry(key).or_default();
            if std::mem::replace(&mut count.last, self.judged) != self.judged {
                count.steps += 1;
                count.sessions.insert(session);
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |((rule, mode, decision), count): (&(String, &str, Decision), &Count)| {
            json!({
                "rule": rule, "mode": mode, "decision": decision.as_str(),
                "steps": count.steps, "sessions": count.sessions.len(),
            })
        };
        self.counts.iter().map(row).collect()
    }

    /// A table, or a sentence when nothing was found.
    pub(super) fn shown(&self) -> String {
        if self.counts.is_empty() {
            return "no rule found anything".to_owned();
        }
        let mut table = Table::new(["rule", "mode", "decision", "steps", "sessions"]);
        for ((rule, mode, decision), count) in &self.counts {
            let enforced = *mode == Mode::Enforce.as_str();
            let (decision, paint) = match enforced {
                true => (decision.to_string(), decision_paint(decision.as_str())),
                false => (format!("would be {decision}"), Paint::Dim),
            };
            table.row([
                (rule.as_str(), Paint::Plain),
                (mode, Paint::Plain),
                (&decision, paint),
                (&grouped(count.steps), Paint::Plain),
                (&grouped(count.sessions.len() as u64), Paint::Plain),
            ]);
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use martingale_schemas::{Decision, Mode};
    use serde_json::json;

    use super::{Found, Tally};

    #[test]
    fn steps_and_sessions_are_counted_by_rule_mode_and_decision() {
        let found = |rule: &'static str, mode, decision| Found { rule: rule.into(), mode, decision };
        let shadow = || found("secret", Mode::Shadow, Decision::Halt);
        let mut tally = Tally::default();
        assert_eq!((tally.to_json(), tally.shown().as_str()), (json!([]), "no rule found anything"));
        tally.count([1; 16], [shadow(), shadow(), found("repeat", Mode::Enforce, Decision::Warn)]);
        tally.count([1; 16], [shadow()]);
        tally.count([2; 16], [shadow(), found("repeat", Mode::Enforce, Decision::Halt)]);
        tally.count([3; 16], []);
        let row = |rule: &str, mode: &str, decision: &str, steps: u64, sessions: u64| json!({ "rule": rule, "mode": mode, "decision": decision, "steps": steps, "sessions": sessions });
        let expected = [
            row("repeat", "enforce", "warn", 1, 1),
            row("repeat", "enforce", "halt", 1, 1),
            row("secret", "shadow", "halt", 3, 2),
        ];
        assert_eq!(tally.to_json(), json!(expected));
        let shown = tally.shown();
        assert!(shown.contains("would be halt") && shown.lines().count() == 5, "{shown}");
    }
}
