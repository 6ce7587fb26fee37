//! Fleet alerts: rules in SQL over history, evaluated again and again.
//!
//! Every row a rule's query answers is one alert, told apart by its text columns. It fires once it has been there for the
//! rule's `for`, and is resolved once it is gone. Changes go to the `alerts` topic and, with the state, survive a
//! restart; firing and resolved alerts go to the webhook and to Alertmanager.

mod alertmanager;
mod http;
mod instance;
mod rule;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{self, Consumer, Log, Partition, Store};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use url::Url;

use crate::config::{Invalid, at_least_one, some_time};
use crate::http::with_causes;
use crate::metrics::Metrics;
use crate::sql;
use crate::store;
use crate::webhooks::{self, Webhooks};
use alertmanager::Alertmanager;
pub(crate) use http::{List, router};
pub(crate) use instance::Alert;
#[cfg(test)]
pub(crate) use instance::read;
use instance::{Change, Instances};
pub use rule::{Rule, RuleError};

/// Name under which changes are committed: that of deliveries, since what is told of a change is in the same commit.
const CONSUMER: Consumer = webhooks::CONSUMER;
/// Alerts by rule and fingerprint, on the first partition.
pub const STORE: Store = "alerts";
const FIRST: Partition = Partition(0);

/// See `deploy/config.default.toml`, section `alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of rules, one YAML file each; a rule there replaces the shipped one of the same id.
    pub dir: Option<PathBuf>,
    /// Whether the shipped rules are evaluated.
    pub shipped: bool,
    /// Base address of Alertmanager; empty for none. Private addresses are fine.
    pub alertmanager_url: String,
    /// Where people reach this server, for links back.
    pub external_url: String,
    /// How often a firing alert is sent to Alertmanager again.
    pub resend: Span,
    /// Longest time of one post to Alertmanager.
    pub timeout: Span,
    /// Most alerts of one rule. A query that answers more rows fails and changes nothing.
    pub instances_max: usize,
    /// How long a resolved alert is still listed.
    pub keep_resolved: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: None,
            shipped: true,
            alertmanager_url: String::new(),
            external_url: String::new(),
            resend: Span::from_millis(60_000),
            timeout: Span::from_millis(10_000),
            instances_max: 1_000,
            keep_resolved: Span::from_millis(24 * 3_600_000),
        }
    }
}

impl Config {
    /// # Errors
    /// [`Invalid`] with the first key that cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        at_least_one(&[("alerts.instances_max", self.instances_max)])?;
        some_time(&[("alerts.timeout", self.timeout)])?;
        for (key, text) in
            [("alerts.alertmanager_url", &self.alertmanager_url), ("alerts.external_url", &self.external_url)]
        {
            if !text.is_empty() {
                address(key, text)?;
            }
        }
        Ok(())
    }
}

/// A base address, without the `/` at its end.
fn address(key: &'static str, text: &str) -> Result<Url, Invalid> {
    match Url::parse(text.trim_end_matches('/')) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(Invalid::new(key, format!("\"{text}\""), "write an address as http://host:port")),
    }
}

/// Why alerts cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("the log cannot be used")]
    Log(#[from] log::Error),
    #[error(transparent)]
    Config(#[from] Invalid),
    #[error(transparent)]
    Full(#[from] webhooks::Full),
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// Rules, and what they say just now.
pub struct Alerts {
    config: Config,
    log: Arc<dyn Log>,
    engine: sql::Engine,
    clock: Clock,
    webhooks: Arc<Webhooks>,
    alertmanager: Option<Alertmanager>,
    metrics: Metrics,
    rules: Vec<Arc<Rule>>,
    unreadable: Vec<Unreadable>,
    state: Mutex<BTreeMap<String, RuleState>>,
}

/// A kept alert that this release cannot read, as found at start. It is left alone until its row is seen again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub(crate) struct Unreadable {
    /// Rule and fingerprint.
    key: String,
    why: String,
}

/// What is known of one rule.
#[derive(Clone, Debug, Default)]
struct RuleState {
    instances: Instances,
    /// Why the last evaluation failed. What fired before then still does.
    error: Option<String>,
}

/// Looks whether the rules hold.
///
/// # Errors
/// [`Error`] with the file and the field of one that does not.
pub(crate) async fn check(config: &Config, engine: &sql::Engine) -> Result<(), Error> {
    rules(config, engine).await?;
    Alertmanager::open(config)?;
    Ok(())
}

async fn rules(config: &Config, engine: &sql::Engine) -> Result<Vec<Rule>, Error> {
    let rules = rule::load(config)?;
    for rule in &rules {
        run::plan(engine, rule).await?;
    }
    Ok(rules)
}

impl Alerts {
    /// Reads the rules and what fired when the last process stopped.
    ///
    /// # Errors
    /// [`Error`] with the file and the field for a rule that does not hold.
    pub(crate) async fn open(
        config: Config,
        log: Arc<dyn Log>,
        engine: sql::Engine,
        clock: Clock,
        webhooks: Arc<Webhooks>,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Error> {
        let rules = rules(&config, &engine).await?;
        let alertmanager = Alertmanager::open(&config)?;
        let mut state: BTreeMap<String, RuleState> =
            rules.iter().map(|rule| (rule.id.clone(), RuleState::default())).collect();
        let (stored, unreadable) = stored(&*log).await?;
        metrics.unreadable.with_label_values(&[STORE]).set(unreadable.len().try_into().unwrap_or(i64::MAX));
        let mut orphans = Vec::new();
        for alert in stored {
            match state.get_mut(&alert.rule) {
                Some(state) => state.instances.put(alert),
                None => orphans.push(alert),
            }
        }
        let rules = rules.into_iter().map(Arc::new).collect();
        let state = Mutex::new(state);
        let alerts = Self { config, log, engine, clock, webhooks, alertmanager, metrics, rules, unreadable, state };
        alerts.end(orphans).await?;
        Ok(Arc::new(alerts))
    }

    /// Resolves what a rule left behind that is gone. Alertmanager lets it end by itself.
    async fn end(&self, orphans: Vec<Alert>) -> Result<(), Error> {
        let now = Timestamp::from_micros(self.clock.now_micros());
        let changes: Vec<Change> = orphans.into_iter().map(|it| it.without_rule(now)).collect();
        match self.commit(&changes, now).await {
            Err(error @ Error::Full(_)) => {
                tracing::warn!(%error, "alerts of a rule that is gone are resolved with the next start");
                Ok(())
            }
            ended => ended,
        }
    }

    /// Evaluates every rule at its own pace, in `tasks`, until shutdown.
    pub(crate) fn start(self: &Arc<Self>, shutdown: &Shutdown, tasks: &mut JoinSet<()>) {
        for rule in &self.rules {
            tasks.spawn(run::run(Arc::clone(self), Arc::clone(rule), shutdown.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, RuleState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept, and what of it cannot be read.
async fn stored(log: &dyn Log) -> Result<(Vec<Alert>, Vec<Unreadable>), log::Error> {
    let (mut alerts, mut unreadable) = (Vec::new(), Vec::new());
    for (key, entry) in store::entries(log, STORE, FIRST, "").await? {
        match store::read(instance::VERSION, &entry) {
            Ok(alert) => alerts.push(alert),
            Err(error) => {
                let (key, why) = (String::from_utf8_lossy(&key).into_owned(), with_causes(&error));
                tracing::error!(alert = %key, error = %why, "kept alert unreadable, left alone");
                unreadable.push(Unreadable { key, why });
            }
        }
    }
    Ok((alerts, unreadable))
}
