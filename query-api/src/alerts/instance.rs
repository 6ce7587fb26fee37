//! What a rule's rows become: pure, from one evaluation to the next.
//!
//! `inactive → pending → firing → resolved`; a row that comes back after that begins again.

use std::collections::BTreeMap;

use martingale_schemas::{Severity, Timestamp, ids};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rule::{Rule, is_label};
use crate::sql::Answer;

/// Version of the kept form, which is also the form on the `alerts` topic; `fixtures/alert` holds each.
pub(crate) const VERSION: u32 = 1;

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Alert {
    /// Derived from the rule and the labels.
    pub(crate) fingerprint: String,
    pub(crate) rule: String,
    pub(crate) title: String,
    pub(crate) severity: Severity,
    pub(crate) state: State,
    /// Since when the row has been there without a gap.
    pub(crate) since: Timestamp,
    /// When it began to fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fired_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resolved_at: Option<Timestamp>,
    /// As of the last evaluation that saw it.
    pub(crate) value: f64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Pending,
    Firing,
    Resolved,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// What an evaluation changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// It is in this state now.
    To(Alert),
    /// It was pending and is gone: nobody was told of it.
    Gone(Alert),
    /// It was resolved long ago.
    Forgotten(Alert),
    /// It is resolved because its rule is gone, and not kept.
    Ended(Alert),
}

impl Change {
    pub(crate) const fn alert(&self) -> &Alert {
        let (Self::To(alert) | Self::Gone(alert) | Self::Forgotten(alert) | Self::Ended(alert)) = self;
        alert
    }

    /// Whether it goes to the `alerts` topic and, unless the alert is pending, to the webhook.
    pub(crate) const fn is_told(&self) -> bool {
        matches!(self, Self::To(_) | Self::Ended(_))
    }

    pub(crate) const fn is_kept(&self) -> bool {
        matches!(self, Self::To(_))
    }
}

impl Alert {
    fn resolve(&mut self, now: Timestamp) {
        self.state = State::Resolved;
        self.resolved_at = Some(now);
    }

    /// What becomes of it when its rule is gone.
    pub(crate) fn without_rule(mut self, now: Timestamp) -> Change {
        match self.state {
            State::Pending => Change::Gone(self),
            State::Resolved => Change::Forgotten(self),
            State::Firing => {
                self.resolve(now);
                Change::Ended(self)
            }
        }
    }
}

/// The alerts of one rule by fingerprint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Instances(BTreeMap<String, Alert>);

impl Instances {
    pub(crate) fn put(&mut self, alert: Alert) {
        self.0.insert(alert.fingerprint.clone(), alert);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.0.values()
    }

    pub(crate) fn firing(&self) -> usize {
        self.iter().filter(|it| it.state == State::Firing).count()
    }

    /// Takes in what the rule's query answered at `now`. Changes are those of state; a firing alert's value is
    /// refreshed without one. Resolved alerts are dropped after `keep_micros`.
    pub(crate) fn evaluate(&mut self, rule: &Rule, seen: Vec<Alert>, now: Timestamp, keep_micros: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut left = std::mem::take(&mut self.0);
        for mut alert in seen {
            let before = left.remove(&alert.fingerprint).filter(|it| it.state != State::Resolved);
            if let Some(before) = &before {
                alert.since = before.since;
                alert.fired_at = before.fired_at;
                alert.state = before.state;
            }
            if alert.state == State::Pending && now.micros_since(alert.since) >= rule.hold.as_micros() {
                alert.state = State::Firing;
                alert.fired_at = Some(now);
            }
            if before.is_none_or(|it| it.state != alert.state) {
                changes.push(Change::To(alert.clone()));
            }
            self.put(alert);
        }
        for (_, mut alert) in left {
            match alert.state {
                State::Pending => changes.push(Change::Gone(alert)),
                State::Firing => {
                    alert.resolve(now);
                    changes.push(Change::To(alert.clone()));
                    self.put(alert);
                }
                State::Resolved if alert.resolved_at.is_none_or(|at| now.micros_since(at) >= keep_micros) => {
                    changes.push(Change::Forgotten(alert));
                }
                State::Resolved => self.put(alert),
            }
        }
        changes
    }
}

/// The alerts an answer speaks of, each as if it were new.
///
/// # Errors
/// A sentence when the answer does not have the shape of a rule's: a numeric `value`, rows told apart by their text.
pub(crate) fn read(rule: &Rule, answer: &Answer, rows_max: usize, now: Timestamp) -> Result<Vec<Alert>, String> {
    if answer.truncated || answer.rows.len() > rows_max {
        return Err(format!("the query answers {} rows or more: at most {rows_max} are taken", answer.rows.len()));
    }
    let names: Vec<&str> = answer.columns.iter().map(|it| it.name.as_str()).collect();
    let value_at = names.iter().position(|it| *it == "value").ok_or_else(|| {
        format!("the query answers {} and no numeric column `value`: name what is measured so", names.join(", "))
    })?;
    let mut alerts: BTreeMap<String, Alert> = BTreeMap::new();
    for row in &answer.rows {
        let value = row.get(value_at).and_then(Value::as_f64).ok_or_else(|| {
            format!("column `value` is {}: expected a number", row.get(value_at).unwrap_or(&Value::Null))
        })?;
        let mut labels = rule.labels.clone();
        for (column, value) in answer.columns.iter().zip(row) {
            if let (true, Value::String(text)) = (column.kind.contains("Utf8"), value) {
                labels.insert(label(&column.name), text.clone());
            }
        }
        labels.insert("alertname".to_owned(), rule.id.clone());
        labels.insert("severity".to_owned(), rule.severity.as_str().to_owned());
        let fingerprint = fingerprint(&labels);
        let fill = |text: &String| filled(text, &names, row);
        let alert = Alert {
            fingerprint: fingerprint.clone(),
            rule: rule.id.clone(),
            title: rule.title.clone(),
            severity: rule.severity,
            state: State::Pending,
            since: now,
            fired_at: None,
            resolved_at: None,
            value,
            labels,
            annotations: rule.annotations.iter().map(|(name, text)| (name.clone(), fill(text))).collect(),
        };
        if let Some(twin) = alerts.insert(fingerprint, alert) {
            return Err(format!("two rows have the same text columns {:?}: group the query by them", twin.labels));
        }
    }
    Ok(alerts.into_values().collect())
}

fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let parts: Vec<&[u8]> = labels.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
    ids::derive("a-", &parts)
}

fn label(column: &str) -> String {
    if is_label(column) {
        return column.to_owned();
    }
    let name: String = column.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect();
    if is_label(&name) { name } else { format!("_{name}") }
}

/// `{{column}}` replaced by the row's value; one that is no column stays as it is.
fn filled(text: &str, names: &[&str], row: &[Value]) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        match names.iter().position(|it| *it == name.trim()).and_then(|at| row.get(at)) {
            Some(Value::String(value)) => out.push_str(value),
            Some(value) => out.push_str(&value.to_string()),
            None => out.push_str(&format!("{{{{{name}}}}}")),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}
