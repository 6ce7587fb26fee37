//! Evaluates one rule at its pace: query → states → commit → tell.

use std::sync::Arc;

use martingale_platform::log::{Append, Commit, StateChange};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Timestamp, topics};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use super::instance::{self, Alert, Change, State};
use super::rule::{Rule, RuleError};
use super::{Alerts, CONSUMER, Error, FIRST, STORE};
use crate::http::with_causes;
use crate::sql;
use crate::store;
use crate::webhooks::{Message, MessageKind};

/// Lets the engine plan a rule's query, so that a wrong one is found at start and not at night.
pub(super) async fn plan(engine: &sql::Engine, rule: &Rule) -> Result<(), RuleError> {
    match engine.query(&format!("EXPLAIN {}", rule.query)).await {
        Err(error @ (sql::Error::Invalid { .. } | sql::Error::Forbidden { .. })) => {
            let why = format!("cannot be planned: {error}");
            Err(RuleError::Field { file: rule.id.clone(), field: "query", why })
        }
        // Anything else is the engine's trouble of the moment and may pass.
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) async fn run(alerts: Arc<Alerts>, rule: Arc<Rule>, mut shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(rule.every.0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.stopping() => return,
        }
        tokio::select! {
            () = evaluate(&alerts, &rule, &mut sent) => {}
            () = shutdown.stopping() => return,
        }
    }
}

/// One evaluation. A failed one changes nothing: what fired still fires, and the rule shows its error.
pub(super) async fn evaluate(alerts: &Alerts, rule: &Rule, sent: &mut Option<Instant>) {
    let evaluated = once(alerts, rule).await;
    let due = sent.is_none_or(|at| at.elapsed() >= alerts.config.resend.0);
    // What still fires is sent again whether or not the rule could be evaluated, or Alertmanager would let it end.
    if due || matches!(evaluated, Ok(true)) {
        *sent = alerts.tell_alertmanager(rule).await.then(Instant::now);
    }
    let error = evaluated.err().inspect(|why| {
        tracing::warn!(rule = %rule.id, error = %why, "alert rule cannot be evaluated");
        alerts.metrics.alert_errors.with_label_values(&[&rule.id]).inc();
    });
    if let Some(state) = alerts.lock().get_mut(&rule.id) {
        state.error = error;
        let firing = i64::try_from(state.instances.firing()).unwrap_or(i64::MAX);
        alerts.metrics.alerts_firing.with_label_values(&[&rule.id]).set(firing);
    }
}

/// Whether anything changed that Alertmanager should hear of at once.
async fn once(alerts: &Alerts, rule: &Rule) -> Result<bool, String> {
    let answer = alerts.engine.query(&rule.query).await.map_err(|error| with_causes(&error))?;
    let now = Timestamp::from_micros(alerts.clock.now_micros());
    alerts.take(rule, &answer, now).await
}

impl Alerts {
    /// Takes in an answer: states in memory change only once they are on the log.
    pub(super) async fn take(&self, rule: &Rule, answer: &sql::Answer, now: Timestamp) -> Result<bool, String> {
        let seen = instance::read(rule, answer, self.config.instances_max, now)?;
        let mut instances = self.lock().get(&rule.id).map(|it| it.instances.clone()).unwrap_or_default();
        let changes = instances.evaluate(rule, seen, now, self.config.keep_resolved.as_micros());
        self.commit(&changes, now).await.map_err(|error| with_causes(&error))?;
        if let Some(state) = self.lock().get_mut(&rule.id) {
            state.instances = instances;
        }
        Ok(changes.iter().any(|it| matches!(it, Change::To(alert) if alert.state != State::Pending)))
    }

    /// Records, states and deliveries in one commit: a change is told if and only if it happened, and under one id.
    pub(super) async fn commit(&self, changes: &[Change], now: Timestamp) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut commit = Commit { consumer: CONSUMER, ..Commit::default() };
        let mut messages = Vec::new();
        for change in changes {
            let alert = change.alert();
            let entry = store::write(instance::VERSION, alert);
            if change.is_told() {
                let record = Append::new(topics::ALERTS, alert.fingerprint.clone().into(), entry.clone());
                commit.publish.push(record.to_partition(FIRST));
                messages.extend(message(alert, now));
            }
            let key = format!("{}/{}", alert.rule, alert.fingerprint);
            let value = change.is_kept().then_some(entry);
            commit.state.push(StateChange { store: STORE, partition: FIRST, key: key.into(), value });
        }
        let queued = self.webhooks.queue(messages).await?;
        commit.state.extend(queued.state());
        self.log.commit(commit).await?;
        queued.committed();
        Ok(())
    }

    /// Whether Alertmanager has heard everything, or there is none.
    pub(super) async fn tell_alertmanager(&self, rule: &Rule) -> bool {
        let Some(alertmanager) = &self.alertmanager else { return true };
        let told: Vec<Alert> = match self.lock().get(&rule.id) {
            Some(state) => state.instances.iter().filter(|it| it.state != State::Pending).cloned().collect(),
            None => Vec::new(),
        };
        if told.is_empty() {
            return true;
        }
        let now = Timestamp::from_micros(self.clock.now_micros());
        match alertmanager.post(&told, now, rule.every.max(self.config.resend)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(rule = %rule.id, %error, "alertmanager not told, tried again with the next evaluation");
                self.metrics.alertmanager_errors.inc();
                false
            }
        }
    }
}

fn message(alert: &Alert, now: Timestamp) -> Option<Message> {
    let (kind, at) = match alert.state {
        State::Pending => return None,
        State::Firing => (MessageKind::AlertFiring, alert.fired_at.unwrap_or(now)),
        State::Resolved => (MessageKind::AlertResolved, alert.resolved_at.unwrap_or(now)),
    };
    // One message for each time it fires, whenever its evaluation is repeated.
    let of = format!("{} {}", alert.fingerprint, alert.since);
    let mut data = json!(alert);
    if data.to_string().len() > crate::webhooks::PAYLOAD_BYTES_MAX / 2 {
        data["annotations"] = json!({});
    }
    Some(Message::new(kind, &of, at, &data))
}
