//! Grants in force: `GET /v1/grants`.
//!
//! What was applied counts, not what was asked for: each order is taken as the detector of the first partition told of it, by the rules
//! that detectors go by ([`FlowRef`]). Every order goes to every partition, so one of them tells of all. Detectors keep a grant until
//! it ends, and the log its order until retention: one whose order is gone is in force and not listed, and the answer says from
//! when on orders are known.
//!
//! [`FlowRef`]: martingale_schemas::grant::FlowRef

use martingale_schemas::grant::{Flow, GRANT_DAYS_MAX, GRANTS_MAX};
use martingale_schemas::{Control, ControlAction, ControlId, ControlState, Scope, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

const GRANT_MICROS_MAX: i64 = GRANT_DAYS_MAX * 24 * 60 * 60 * 1_000_000;

/// Grants in force, the one that was given last first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Grants {
    grants: Vec<Granted>,
    /// Orders from here on are known: one that was given before, and not again since, may be in force without being listed. Absent
    /// when all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_since: Option<Timestamp>,
}

/// A flow whose calls are not asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Granted {
    /// The order that gave it, or made it last longer.
    control_id: ControlId<'static>,
    #[serde(flatten)]
    flow: Flow,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was given, or made to last longer.
    time: Timestamp,
    until: Timestamp,
}

/// What the orders of the first partition have come to.
#[derive(Debug, Default)]
pub(super) struct Book {
    grants: Vec<Granted>,
    /// There were orders before the first one that was noted.
    is_cut: bool,
    first: Option<Timestamp>,
}

impl Book {
    pub(super) fn lacks_beginning(&mut self) {
        self.is_cut = true;
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Takes in a record of the first partition. Those that detectors could not keep are told of as not known.
    pub(super) fn note(&mut self, control: &Control) {
        self.first.get_or_insert(control.time);
        let (Scope::Flow(flow), ControlState::Applied { known, .. }) = (&control.scope, control.state) else { return };
        self.grants.retain(|it| it.until > control.time);
        match control.action {
            ControlAction::Grant { until } if known => self.give(flow, until, control),
            ControlAction::Revoke => self.grants.retain(|it| !it.flow.borrowed().is_within(flow.borrowed())),
            _ => {}
        }
    }

    fn give(&mut self, flow: &Flow, until: Timestamp, control: &Control) {
        let new = Granted {
            control_id: control.control_id.clone(),
            flow: flow.clone(),
            by: control.by.clone(),
            reason: control.reason.clone(),
            time: control.time,
            until,
        };
        let standing = self.grants.iter_mut().find(|it| it.flow.borrowed().is_same(flow.borrowed()));
        if let Some(standing) = standing {
            if standing.until < until {
                *standing = new;
            }
            return;
        }
        // Detectors keep no more, so there are more only where a log holds what none of them wrote.
        if self.grants.len() < GRANTS_MAX {
            self.grants.push(new);
        }
    }

    pub(super) fn flow_of(&self, id: &str) -> Option<Flow> {
        self.grants.iter().find(|it| it.control_id.as_str() == id).map(|it| it.flow.clone())
    }

    pub(super) fn in_force(&self, now: Timestamp) -> Grants {
        let mut grants: Vec<Granted> = self.grants.iter().filter(|it| it.until > now).cloned().collect();
        grants.sort_by(|a, b| (b.time, &b.control_id).cmp(&(a.time, &a.control_id)));
        // What was given before the longest grant could begin is over.
        let first = self.first.unwrap_or(now);
        let known_since = (self.is_cut && now.micros_since(first) < GRANT_MICROS_MAX).then_some(first);
        Grants { grants, known_since }
    }
}

#[cfg(test)]
mod tests {
    use martingale_schemas::{AgentId, Position};

    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1_000_000;

    fn order(id: &str, action: &str, agent: &str, to: &str, (day, until): (i64, i64)) -> Control {
        let flow = Flow {
            agent_id: AgentId::from(agent.to_owned()),
            environment: None,
            source: Some("mail".to_owned()),
            tool: "send".to_owned(),
            destination: Some(to.to_owned()).filter(|it| it != "*"),
        };
        let until = Timestamp::from_micros(until * DAY);
        Control {
            control_id: ControlId::from(id.to_owned()),
            action: if action == "revoke" { ControlAction::Revoke } else { ControlAction::Grant { until } },
            scope: Scope::Flow(flow),
            time: Timestamp::from_micros(day * DAY),
            by: Some("ada".to_owned()),
            reason: None,
            state: match action {
                "asked for" => ControlState::Requested,
                _ => ControlState::Applied {
                    before: Position { partition: 0, offset: 0 },
                    known: action != "refused",
                    changed: None,
                },
            },
        }
    }

    #[test]
    fn what_the_orders_come_to() {
        let mut book = Book::default();
        for (id, action, agent, to, days, listed) in [
            ("1", "grant", "a", "x@y.zz", (0, 9), &["1"][..]),
            ("2", "asked for", "a", "*", (0, 9), &["1"]),
            ("2", "refused", "a", "*", (0, 9), &["1"]),
            ("3", "grant", "a", "*", (1, 4), &["3", "1"]),
            // Told again after a crash.
            ("3", "grant", "a", "*", (1, 4), &["3", "1"]),
            // The same address; it lasts no longer, then longer.
            ("4", "grant", "a", "X@y.zz", (1, 8), &["3", "1"]),
            ("5", "grant", "a", "X@y.zz", (2, 20), &["5", "3"]),
            ("6", "grant", "b", "*", (2, 20), &["6", "5", "3"]),
            // By now the third is over.
            ("7", "grant", "c", "*", (5, 20), &["7", "6", "5"]),
            ("8", "revoke", "a*", "x@y.zz", (5, 0), &["7", "6"]),
            ("9", "revoke", "*", "*", (6, 0), &[]),
        ] {
            book.note(&order(id, action, agent, to, days));
            let found = book.in_force(Timestamp::from_micros(days.0 * DAY));
            let ids: Vec<&str> = found.grants.iter().map(|it| it.control_id.as_str()).collect();
            assert_eq!((ids, found.known_since), (listed.to_vec(), None), "{id} {action}");
        }
        book.note(&order("10", "grant", "a", "*", (7, 8)));
        assert_eq!(book.flow_of("10").map(|it| it.to_string()).as_deref(), Some("mail → send → *"));
        assert_eq!(book.in_force(Timestamp::from_micros(8 * DAY)), Grants::default());
    }

    #[test]
    fn from_when_on_orders_are_known() {
        for (is_cut, first, now, expected) in [
            (false, None, 100, None),
            (false, Some(50), 100, None),
            (true, None, 100, Some(100)),
            (true, Some(50), 100, Some(50)),
            (true, Some(50), 139, Some(50)),
            (true, Some(50), 140, None),
        ] {
            let mut book = Book::default();
            if is_cut {
                book.lacks_beginning();
            }
            let orders = first.into_iter().flat_map(|it| [it, it + 1]);
            orders.for_each(|day| book.note(&order("1", "revoke", "a", "*", (day, 0))));
            let since = book.in_force(Timestamp::from_micros(now * DAY)).known_since;
            assert_eq!(since, expected.map(|day| Timestamp::from_micros(day * DAY)), "{first:?} {now}");
        }
    }
}
