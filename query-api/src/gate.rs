//! `POST /v1/gate`: a step about to run goes in, its verdict comes out.
//!
//! Who waits is registered before the step is appended, so that no verdict can be missed. A step that was sent before
//! gets the verdict it was given then. What an agent is told when there is no verdict in time is the operator's choice,
//! for each agent.

mod answer;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{self, Append, Appended, Log, Position};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Decision, Limits, Step, Timestamp, Verdict, VerdictId, topics};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::feed::{Feed, Lookup, Waiting, verdict_of};
use crate::http::{self, Failure, glob};
use crate::metrics::Metrics;

pub use answer::Answer;
use answer::Outcome;

/// See `deploy/config.default.toml`, section `gate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a step waits for its verdict.
    pub timeout: Span,
    /// What is answered when there is none in time.
    pub on_timeout: OnTimeout,
    /// Other answers for some agents; the first that matches counts.
    pub overrides: Vec<Override>,
    /// Most steps of one partition that wait at once; beyond it a request is refused with 429.
    pub waiting_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Span::from_millis(2_000),
            on_timeout: OnTimeout::Deny,
            overrides: Vec::new(),
            waiting_max: 10_000,
        }
    }
}

/// What an agent is told when there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    Allow,
    Deny,
}

/// `on_timeout` of the agents whose id matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The agent's id; `*` stands for any run of characters.
    pub agent: String,
    pub on_timeout: OnTimeout,
}

impl Config {
    fn without_verdict(&self, agent: &str) -> Decision {
        let chosen =
            self.overrides.iter().find(|it| glob(&it.agent, agent)).map_or(self.on_timeout, |it| it.on_timeout);
        match chosen {
            OnTimeout::Allow => Decision::Allow,
            OnTimeout::Deny => Decision::Deny,
        }
    }
}

pub(crate) struct Gate {
    pub(crate) config: Config,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
}

pub(crate) fn router(gate: Arc<Gate>) -> Router {
    Router::new().route("/v1/gate", post(pass)).with_state(gate)
}

async fn pass(State(gate): State<Arc<Gate>>, headers: HeaderMap, body: axum::body::Body) -> Result<Response, Failure> {
    let begun = Instant::now();
    if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|it| it.as_bytes() != b"identity") {
        let message = format!("content-encoding {coding:?} is not taken here: send the step as it is");
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message));
    }
    let body = http::body(body, gate.limits.step_bytes_max).await?;
    let arrival = Timestamp::from_micros(gate.clock.now_micros());
    let step = StepV1::parse(&body)?.check(arrival, &gate.limits)?;
    let (answer, outcome) = gate.judge(&step).await?;
    gate.metrics.gate_seconds.observe(begun.elapsed().as_secs_f64());
    gate.metrics.gate_answers.with_label_values(&[answer.decision.as_str(), outcome.as_str()]).inc();
    Ok((outcome.status(), axum::Json(answer)).into_response())
}

impl Gate {
    async fn judge(&self, step: &Step<'_>) -> Result<(Answer, Outcome), Failure> {
        let root = step.root_session_id.as_str().as_bytes();
        let partition = self.log.partition_of(root);
        let mut waiting =
            self.feed.wait_for(partition, step.key()).map_err(|error| Failure::busy(error.to_string()))?;
        let _counted = Counted::new(&self.metrics.gate_waiting);

        let record =
            Append::new(topics::STEPS, Bytes::copy_from_slice(root), step.to_json().into()).with_id(step.key());
        let deadline = Instant::now() + self.config.timeout.0;
        let (appended, outcome) = match tokio::time::timeout_at(deadline, self.log.append(vec![record])).await {
            Ok(Ok(appended)) => match appended.first() {
                Some(Appended::Duplicate(position)) => (Some(*position), Outcome::Duplicate),
                _ => (None, Outcome::Judged),
            },
            Ok(Err(error @ log::Error::Full { .. })) => return Err(error.into()),
            Ok(Err(error)) => return Ok(self.without_verdict(step, Outcome::Unavailable, &http::with_causes(&error))),
            Err(_) => return Ok(self.timed_out(step)),
        };
        match tokio::time::timeout_at(deadline, self.verdict(appended, &mut waiting)).await {
            Ok(Ok(Some(verdict))) => match serde_json::from_slice::<Verdict<'static>>(&verdict) {
                Ok(verdict) => Ok((Answer::of(verdict), outcome)),
                Err(error) => {
                    tracing::error!(%error, "verdict unreadable");
                    Ok(self.without_verdict(step, Outcome::Unavailable, "its verdict cannot be read"))
                }
            },
            Ok(Ok(None)) => Ok(self.without_verdict(step, Outcome::Unavailable, "the server is stopping")),
            Ok(Err(error)) => Ok(self.without_verdict(step, Outcome::Unavailable, &http::with_causes(&error))),
            Err(_) => Ok(self.timed_out(step)),
        }
    }

    /// The verdict's record. For a step that stood on the log already it may have been published before anybody waited.
    async fn verdict(&self, before: Option<Position>, waiting: &mut Waiting<'_>) -> Result<Option<Bytes>, log::Error> {
        if let Some(position) = before
            && let Lookup::Found(verdict) = verdict_of(&*self.log, position).await?
        {
            return Ok(Some(verdict));
        }
        Ok(waiting.verdict().await)
    }

    fn timed_out(&self, step: &Step<'_>) -> (Answer, Outcome) {
        let why = format!("no verdict within {}", self.config.timeout);
        self.without_verdict(step, Outcome::TimedOut, &why)
    }

    fn without_verdict(&self, step: &Step<'_>, outcome: Outcome, why: &str) -> (Answer, Outcome) {
        let decision = self.config.without_verdict(step.agent.id.as_str());
        let verdict_id = VerdictId::of(&step.session_id, &step.step_id);
        (Answer::without_verdict(verdict_id, decision, outcome, why), outcome)
    }
}

/// One more in a gauge for as long as it lives.
struct Counted<'g>(&'g prometheus::IntGauge);

impl<'g> Counted<'g> {
    fn new(gauge: &'g prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
