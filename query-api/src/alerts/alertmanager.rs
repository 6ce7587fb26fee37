//! `POST {url}/api/v2/alerts` of Prometheus' Alertmanager.

use martingale_platform::config::Span;
use martingale_schemas::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::instance::{Alert, State};
use super::{Config, Error, address};
use crate::http::with_causes;

/// A firing alert ends by itself when it was not sent again for this many intervals, so that one of a server that died
/// does not fire for ever.
const INTERVALS_UNTIL_END: i64 = 4;

pub(super) struct Alertmanager {
    url: Url,
    client: reqwest::Client,
    external_url: String,
}

impl Alertmanager {
    /// None when none is configured.
    pub(super) fn open(config: &Config) -> Result<Option<Self>, Error> {
        if config.alertmanager_url.is_empty() {
            return Ok(None);
        }
        let mut url = address("alerts.alertmanager_url", &config.alertmanager_url)?;
        let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let client = crate::webhooks::client(config.timeout, true).map_err(Error::Client)?;
        let external_url = config.external_url.trim_end_matches('/').to_owned();
        Ok(Some(Self { url, client, external_url }))
    }

    pub(super) async fn post(&self, alerts: &[Alert], now: Timestamp, every: Span) -> Result<(), String> {
        let ends = now.plus_micros(every.as_micros().saturating_mul(INTERVALS_UNTIL_END));
        let body: Vec<Value> = alerts.iter().map(|alert| shown(alert, ends, &self.external_url)).collect();
        let answer = self.client.post(self.url.clone()).json(&body).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(error) => Err(with_causes(&error)),
        }
    }
}

fn shown(alert: &Alert, ends: Timestamp, external_url: &str) -> Value {
    let ends = match alert.state {
        State::Resolved => alert.resolved_at.unwrap_or(ends),
        State::Pending | State::Firing => ends,
    };
    let mut annotations = alert.annotations.clone();
    annotations.entry("title".to_owned()).or_insert_with(|| alert.title.clone());
    annotations.insert("value".to_owned(), alert.value.to_string());
    json!({
        "labels": alert.labels,
        "annotations": annotations,
        "startsAt": alert.fired_at.unwrap_or(alert.since),
        "endsAt": ends,
        "generatorURL": format!("{external_url}/v1/alerts?rule={}", alert.rule),
    })
}
