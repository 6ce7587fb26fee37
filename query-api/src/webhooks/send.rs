//! Sends what is due.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use martingale_platform::config::Span;
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use tokio::task::JoinSet;
use url::Url;

use super::address::{Resolver, checked};
use super::delivery::{Delivery, Outcome};
use super::{Config, ConfigError, Secret, Webhooks};
use crate::http::with_causes;

/// Attempts at once. An endpoint that hangs does not hold up the others for longer than the time-out.
const AT_ONCE_MAX: usize = 8;

/// Longest sleep between two looks at what is due, in case the wall clock is set forward meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The endpoint, ready to be called.
pub(super) struct Target {
    url: Url,
    secret: Secret,
    signer: Webhook,
    client: reqwest::Client,
}

impl Target {
    /// None when no endpoint is configured.
    pub(super) fn open(config: &Config) -> Result<Option<Self>, ConfigError> {
        if config.url.is_empty() {
            return Ok(None);
        }
        config.validate()?;
        let url = checked(&config.url, config.allow_private)?;
        let secret = config.secret()?;
        let signer = signer(&secret).ok_or(ConfigError::Secret)?;
        let client = client(config.timeout, config.allow_private).map_err(ConfigError::Client)?;
        Ok(Some(Self { url, secret, signer, client }))
    }

    pub(super) fn identity(&self) -> [&[u8]; 2] {
        [self.url.as_str().as_bytes(), self.secret.reveal().as_bytes()]
    }

    /// Scheme, host and port: the path may hold a token.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    async fn attempt(&self, delivery: &Delivery, now: Timestamp) -> Outcome {
        let seconds = now.as_micros().div_euclid(1_000_000);
        let signature = match self.signer.sign(&delivery.id, seconds, delivery.payload.as_bytes()) {
            Ok(signature) => signature,
            Err(error) => return Outcome::Unreachable { error: error.to_string() },
        };
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, &delivery.id)
            .header(HEADER_WEBHOOK_TIMESTAMP, seconds)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(delivery.payload.clone());
        match request.send().await {
            Ok(answer) => outcome(answer.status().as_u16(), answer.headers(), now),
            // Without the URL, whose path may hold a token.
            Err(error) => Outcome::Unreachable { error: with_causes(&error.without_url()) },
        }
    }
}

/// A client that follows no redirect, knows no proxy and connects only to addresses that were checked.
pub(crate) fn client(timeout: Span, allow_private: bool) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(timeout.0)
        .dns_resolver(Arc::new(Resolver { allow_private }))
        .user_agent(concat!("martingale/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// None for a secret that is not `whsec_` and 24 to 64 bytes in base64.
pub(super) fn signer(secret: &Secret) -> Option<Webhook> {
    use base64::Engine;
    let digits = secret.reveal().strip_prefix("whsec_")?;
    let key = base64::engine::general_purpose::STANDARD.decode(digits).ok()?;
    (24..=64).contains(&key.len()).then(|| Webhook::from_bytes(key).ok())?
}

fn outcome(status: u16, headers: &HeaderMap, now: Timestamp) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered { status },
        410 => Outcome::Gone,
        _ => Outcome::Refused {
            status,
            retry_after: headers.get(RETRY_AFTER).and_then(|it| wait(it.to_str().ok()?, now)),
        },
    }
}

/// `Retry-After` as seconds or as a date.
fn wait(text: &str, now: Timestamp) -> Option<Span> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Span::from_millis(u64::from(seconds) * 1_000));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_microsecond();
    let micros = at.saturating_sub(now.as_micros());
    u64::try_from(micros / 1_000).ok().map(Span::from_millis)
}

/// An attempt that has ended: the delivery as it stood when it began, and what came of it.
type Done = (Delivery, Outcome);

/// Sends until shutdown. What is under way then is sent again after the restart, under the same id.
pub(super) async fn run(webhooks: Arc<Webhooks>, mut shutdown: Shutdown) {
    let mut under_way: JoinSet<Done> = JoinSet::new();
    let mut busy = HashSet::new();
    let mut changes = webhooks.book.changes();
    loop {
        changes.mark_unchanged();
        let sleep = begin(&webhooks, &mut under_way, &mut busy).await;
        tokio::select! {
            done = under_way.join_next(), if !under_way.is_empty() => match done {
                Some(Ok((delivery, outcome))) => {
                    busy.remove(&delivery.id);
                    settle(&webhooks, &delivery, &outcome).await;
                }
                Some(Err(error)) => {
                    // An attempt that panicked: nothing is known of it, so all are looked at again.
                    tracing::error!(%error, "attempt broke off");
                    under_way.shutdown().await;
                    busy.clear();
                }
                None => {}
            },
            _ = changes.changed() => {}
            () = tokio::time::sleep(sleep) => {}
            () = shutdown.stopping() => return,
        }
    }
}

/// Begins what is due, and says how long nothing else will be.
async fn begin(webhooks: &Arc<Webhooks>, under_way: &mut JoinSet<Done>, busy: &mut HashSet<String>) -> Duration {
    while under_way.len() < AT_ONCE_MAX {
        let Some((at, delivery)) = webhooks.book.first_due(busy) else { break };
        if webhooks.book.endpoint().disabled.is_some() {
            fail(webhooks, &delivery.id).await;
            continue;
        }
        let now = webhooks.now();
        if at > now {
            let micros = u64::try_from(at.micros_since(now)).unwrap_or_default();
            return Duration::from_micros(micros).min(LOOK_AGAIN);
        }
        busy.insert(delivery.id.clone());
        let webhooks = Arc::clone(webhooks);
        under_way.spawn(async move {
            let outcome = match &webhooks.target {
                Some(target) => target.attempt(&delivery, now).await,
                None => Outcome::Unreachable { error: "no endpoint".to_owned() },
            };
            (delivery, outcome)
        });
    }
    LOOK_AGAIN
}

/// Fails a delivery to a disabled endpoint, unless somebody has enabled it meanwhile.
async fn fail(webhooks: &Webhooks, id: &str) {
    let now = webhooks.now();
    let failed = webhooks.settle(id, |delivery, endpoint| {
        if let Some(disabled) = &endpoint.disabled {
            delivery.fail(&format!("the endpoint is disabled: {}", disabled.why), now);
        }
    });
    if failed.await.is_some_and(|it| it.next_at().is_none()) {
        webhooks.metrics.deliveries.with_label_values(&["failed"]).inc();
    }
}

/// Applies an outcome to the delivery as it stands now, which may not be as the attempt found it.
pub(super) async fn settle(webhooks: &Webhooks, begun: &Delivery, outcome: &Outcome) {
    let now = webhooks.now();
    let settled = webhooks.settle(&begun.id, |delivery, endpoint| {
        // An attempt from before a retry by hand says nothing against the endpoint either.
        if !delivery.attempted(begun, outcome, now, &webhooks.config.retries) {
            return;
        }
        let was_disabled = endpoint.disabled.is_some();
        endpoint.attempted(outcome, now, webhooks.config.disable_after);
        if let (false, Some(disabled)) = (was_disabled, &endpoint.disabled) {
            tracing::error!(why = %disabled.why, "webhook endpoint disabled, retry a delivery by hand to enable it");
        }
    });
    let Some(delivery) = settled.await else { return };
    let told = match (outcome, delivery.next_at()) {
        (Outcome::Delivered { .. }, _) => "delivered",
        (_, Some(_)) => "retried",
        (_, None) => "failed",
    };
    webhooks.metrics.deliveries.with_label_values(&[told]).inc();
    tracing::info!(delivery = %delivery.id, attempt = delivery.attempts, ?outcome, told, "delivery attempted");
}
